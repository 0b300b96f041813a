"""Table 1: the layers of MobileNet as they run, beside the printed ones."""

from itertools import zip_longest

import torch
from torch import Tensor, nn

from tasks.shared.contract import Task
from tasks.shared.network.meta import meta_network
from tasks.shared.paper.counting import Counter
from tasks.shared.paper.rows import Preset
from tasks.shared.paper.sheets import Figure, Line, Sheet, State

NETWORK = Preset("table6_1.0", 1000)
LAYERS = "28"  # Sec. 3.2, which counts depthwise and pointwise convolutions as layers of their own
# Type / stride, filter shape, input size, as printed.
PRINTED = (
    ("Conv / s2", "3x3x3x32", "224x224x3"),
    ("Conv dw / s1", "3x3x32 dw", "112x112x32"),
    ("Conv / s1", "1x1x32x64", "112x112x32"),
    ("Conv dw / s2", "3x3x64 dw", "112x112x64"),
    ("Conv / s1", "1x1x64x128", "56x56x64"),
    ("Conv dw / s1", "3x3x128 dw", "56x56x128"),
    ("Conv / s1", "1x1x128x128", "56x56x128"),
    ("Conv dw / s2", "3x3x128 dw", "56x56x128"),
    ("Conv / s1", "1x1x128x256", "28x28x128"),
    ("Conv dw / s1", "3x3x256 dw", "28x28x256"),
    ("Conv / s1", "1x1x256x256", "28x28x256"),
    ("Conv dw / s2", "3x3x256 dw", "28x28x256"),
    ("Conv / s1", "1x1x256x512", "14x14x256"),
    *5 * (("Conv dw / s1", "3x3x512 dw", "14x14x512"), ("Conv / s1", "1x1x512x512", "14x14x512")),
    ("Conv dw / s2", "3x3x512 dw", "14x14x512"),
    ("Conv / s1", "1x1x512x1024", "7x7x512"),
    ("Conv dw / s2", "3x3x1024 dw", "7x7x1024"),
    ("Conv / s1", "1x1x1024x1024", "7x7x1024"),
    ("Avg Pool / s1", "Pool 7x7", "7x7x1024"),
    ("FC / s1", "1024x1000", "1x1x1024"),
    ("Softmax / s1", "Classifier", "1x1x1000"),
)
WRONG = 25  # the row, from 0, with the erratum
ERRATUM = "The paper prints s2 for the last depthwise layer; its own sizes, 7x7 in and 7x7 out, say stride 1."
COLUMNS = ("type / stride", "filter shape", "input size")


def sheet(counter: Counter) -> Sheet:
    """Table 1's rows in the order in which they run, and how many layers have weights."""
    config = counter.config(NETWORK)
    ours = run_layers(meta_network(config, NETWORK.num_classes), config.resolution)
    counts = [sum(row[0].startswith(prefix) for row in ours) for prefix in ("Conv /", "Conv dw", "FC")]
    lines = [_line("layers with weights", (str(sum(counts)),), (LAYERS,), columns=("number",))]
    for number, (found, printed) in enumerate(zip_longest(ours, PRINTED, fillvalue=("none", "", ""))):
        lines.append(_line(str(number + 1), found, printed, "type / stride" if number == WRONG else ""))
    return Sheet(1, "MobileNet body architecture", tuple(lines))


def _line(
    name: str, ours: tuple[str, ...], paper: tuple[str, ...], wrong: str = "", columns: tuple[str, ...] = COLUMNS
) -> Line:
    """wrong: the column in which the paper is."""
    other = [column for column, a, b in zip(columns, ours, paper, strict=True) if a != b]
    verdict = f"differs in {', '.join(other)}" if other else "equal"
    known = f"differs in {wrong}" if wrong else "equal"
    state: State = "alarm" if verdict != known else "differs" if wrong else "equal"
    shown = f"DIFFERS: {verdict}; known as: {known}" if state == "alarm" else verdict
    figure = Figure(", ".join(ours), ", ".join(paper), "", shown, state)
    return Line(name, NETWORK.experiment, {"layer": figure}, notes=(ERRATUM,) if wrong else ())


def run_layers(network: Task, resolution: int) -> list[tuple[str, str, str]]:
    """Type / stride, filter shape, input size of a classifier's layers, as Table 1 writes them, in the order they run.

    network: on the meta device. Its pooling and softmax are no modules: their rows are what stands between the last
    convolution's map and the linear layer, and what comes out of that.
    """
    rows: list[tuple[str, str, str]] = []
    maps: list[Tensor] = []

    def record(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            side, stride = layer.kernel_size[0], layer.stride[0]
            depthwise = layer.groups > 1
            shape = f"{side}x{side}x{layer.in_channels}" + (" dw" if depthwise else f"x{layer.out_channels}")
            rows.append((f"Conv{' dw' * depthwise} / s{stride}", shape, _size(inputs[0])))
            maps.append(output)
        elif isinstance(layer, nn.Linear):
            height, width = maps[-1].shape[2:]
            rows.append(("Avg Pool / s1", f"Pool {height}x{width}", _size(maps[-1])))
            rows.append(("FC / s1", f"{layer.in_features}x{layer.out_features}", f"1x1x{layer.in_features}"))
            rows.append(("Softmax / s1", "Classifier", f"1x1x{output.shape[1]}"))

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(record)
    with torch.no_grad():
        network.eval()(torch.empty(1, 3, resolution, resolution, device="meta"))
    return rows


def _size(x: Tensor) -> str:
    """Of a map (1, C, H, W), as HxWxC."""
    channels, height, width = x.shape[1:]
    return f"{height}x{width}x{channels}"
