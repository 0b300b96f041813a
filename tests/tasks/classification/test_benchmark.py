"""The suites `train`, `inference` and `run` on small images. How fast anything is, is asserted nowhere."""

import math
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from backbone.gradients import _ReLU6
from tasks.classification import benchmark, benchmark_inference, benchmark_train
from tasks.classification.benchmark import EXACT, SIDES, Setting, make_network
from tasks.classification.benchmark_inference import Case, inference_suite, same_logits
from tasks.classification.benchmark_onnx import to_onnx
from tasks.classification.benchmark_run import run_suite
from tasks.classification.benchmark_train import LOOSE, SAME, TRAINED, make_step, same_losses, train_suite
from tasks.shared.benchmark.roofline import most_operations
from tasks.shared.benchmark.suite import Options, Result

SMALL = {"resolution": 64}
ONE = Options(rounds=1)


@pytest.fixture
def precision(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(benchmark, "pick_precision", lambda device: request.param)
    return request.param


def check_facts(result: Result, batch: int, most: int = 10) -> None:
    speed, share = result.facts["our_images_per_s"], result.facts["share_of_roofline"]
    assert speed == pytest.approx(1000 * batch / result.times.ours_ms, abs=0.5)
    assert 0 <= share < most


class Here:
    """A side that is no child, but in this process."""

    def __init__(self, make: Any, *arguments: Any):
        self.side = make(*arguments)

    def __call__(self) -> Any:
        return self.side()

    def peak_memory(self) -> int:
        return 123

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("precision", ["bf16-mixed"], indirect=True)
@pytest.mark.parametrize("apart", [pytest.param(True, marks=pytest.mark.slow), False])
def test_train_suite(precision: str, apart: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each side in a process of its own takes long to start."""
    if not apart:
        monkeypatch.setattr(benchmark_train, "Child", Here)
    _, results, note = train_suite(ONE, batch=8, resolution=128)  # in fewer pixels rounding changes a step more
    as_run = ["defaults", "informed", "defaults, fp32 only"]
    assert [result.case for result in results] == [*as_run, *(f"both {setting}" for setting in SAME)]
    for result in results:
        check_facts(result, 8)
        assert result.checks == {"same_loss": True}, result.case
    assert all(result.facts["our_peak_MB"] > 100 for result in results[:3])
    assert note == ""


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"], indirect=True)
def test_inference_suite(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_inference, "Child", Here)
    cases = ["defaults", "both fp32 channels last", "fp32, ONNX Runtime"]
    if precision == "bf16-mixed":
        cases = ["defaults", "defaults, fp32 only", *cases[1:], "both bf16 channels last"]
    _, results, note = inference_suite(ONE, batches=(1, 2), resolution=128)  # in fewer pixels bf16 loses more
    assert [result.case for result in results] == [f"batch {batch}, {case}" for batch in (1, 2) for case in cases]
    for result, batch in zip(results, len(cases) * [1] + len(cases) * [2], strict=True):
        check_facts(result, batch)
        assert result.checks == {"same_logits": True}, result.case
    assert ("bf16 is left out" in note) == (precision == "32-true")


def test_a_device_without_bf16_has_fewer_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "pick_precision", lambda device: "32-true")
    cases = benchmark_train._as_run(torch.device("cpu"))
    assert list(cases) == ["defaults", "informed"]
    assert not any(setting.bf16 for pair in cases.values() for setting in pair)


def test_another_network_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    padded = {"padded": Case(Setting(padding="same"), Setting())}
    monkeypatch.setattr(benchmark_inference, "_cases", lambda device: padded)
    (result,) = inference_suite(ONE, batches=(1,), **SMALL).results
    assert result.checks == {"same_logits": False}
    ours, peer = (make_step(side, Setting(padding="same"), 4, **SMALL) for side in SIDES)
    assert not same_losses(ours, peer, steps=1, tolerance=LOOSE)


def test_a_wrong_gradient_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ReLU6, "backward", staticmethod(lambda ctx, grad: grad))
    ours, peer = (make_step(side, Setting(), 4, **SMALL) for side in SIDES)
    assert not same_losses(ours, peer, steps=2, tolerance=LOOSE)
    ours, peer = (make_step(side, Setting(), 4, **SMALL) for side in SIDES)
    assert same_losses(ours, peer, steps=1, tolerance=EXACT)  # the first loss says nothing of gradients


def test_a_gradient_that_is_a_hundredth_off_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, peer = (make_step(side, Setting(), 4, **SMALL) for side in SIDES)
    assert same_losses(ours, peer, steps=2, tolerance=TRAINED)
    right = _ReLU6.backward
    monkeypatch.setattr(_ReLU6, "backward", staticmethod(lambda ctx, grad: 1.01 * right(ctx, grad)))
    ours, peer = (make_step(side, Setting(), 4, **SMALL) for side in SIDES)
    assert not same_losses(ours, peer, steps=2, tolerance=TRAINED)


def test_the_sides_of_a_run_differ_in_what_tools_train_does_besides() -> None:
    plain, in_a_run = (make_step("ours", Setting(in_a_run=run), 4, **SMALL) for run in (False, True))
    assert [plain(), plain()] == [in_a_run(), in_a_run()]  # the moving average leaves the trained network alone


def test_the_onnx_graph_is_the_network() -> None:
    network, images = make_network("ours", Setting(), 3, 64)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    model: Any = to_onnx(network.eval(), 64)  # type: ignore[arg-type]
    assert [node.op_type for node in model.graph.node].count("Conv") == 27
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": images.numpy()})
    with torch.no_grad():
        expected = network(images)
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_step_of_a_run_is_held_against_the_bare_one() -> None:
    tiny = {"data.train": 8, "data.val": 1, "data.batch_size": 8, "data.workers": 0, "resolution": 32,
            "backbone.alpha": 0.25, "trainer.accelerator": "cpu"}  # fmt: skip
    results = run_suite(Options(rounds=2), **tiny).results
    assert [result.case.split(", ")[-1] for result in results] == ["first epoch", "later epochs"]
    for result in results:
        assert result.facts["our_images_per_s"] == pytest.approx(8000 / result.times.ours_ms, abs=0.5)
        assert 0.02 < result.times.ratio_min <= result.times.ratio <= result.times.ratio_max < 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_roofline_is_no_less_than_a_plain_product_reaches(dtype: torch.dtype) -> None:
    most = most_operations(torch.device("cpu"), dtype)
    assert 1e8 < most < 1e15 and math.isfinite(most)


def test_same_logits() -> None:
    logits = np.random.default_rng(0).standard_normal((3, 10))
    near, turned = 1.03 * logits, logits.copy()
    turned[1] = np.roll(logits[1], 1)
    assert same_logits(logits, logits, exact=True)
    assert not same_logits(logits, near, exact=True)
    assert same_logits(logits, near, exact=False)
    assert not same_logits(logits, turned, exact=False)
    for exact in (True, False):
        assert not same_logits(logits, np.full_like(logits, np.nan), exact)


def test_same_losses_takes_no_nan() -> None:
    assert same_losses(lambda: 7.0, lambda: 7.0001, steps=2, tolerance=EXACT)
    assert not same_losses(lambda: 7.0, lambda: 7.001, steps=2, tolerance=EXACT)
    assert not same_losses(lambda: float("nan"), lambda: float("nan"), steps=1, tolerance=LOOSE)
