"""Every figure of ours against what is known of the paper's tables, and the alarm that a break sets off."""

import re
from decimal import Decimal

import pytest

import backbone.mobilenet
from tasks.shared.config.compose import CONFIGS, compose_config
from tasks.shared.paper.backbones import alpha_of
from tasks.shared.paper.counting import Counter
from tasks.shared.paper.results import fill_tables
from tasks.shared.paper.rows import Preset
from tasks.shared.paper.sheets import Figure, Line, Sheet
from tasks.shared.paper.tables import NUMBERS, TABLES, classes_of, presets

ROUNDED, CUT = "equal by rounding", "equal by truncation"
# Table, row, then of mult-adds and of parameters: what the paper prints, our count to as many digits as are known, in
# millions (percent in Table 2, exact where there is no point), and what the verdict begins with.
FACTS = [
    (2, "1x1 conv", ("94.86 %", "94.86", ROUNDED), ("74.59 %", "74.59", ROUNDED)),
    (2, "3x3 depthwise conv", ("3.06 %", "3.06", ROUNDED), ("1.06 %", "1.06", ROUNDED)),
    (2, "3x3 conv", ("1.19 %", "1.91", "differs by +60.1 %"), ("0.02 %", "0.02", ROUNDED)),
    (2, "linear", ("0.18 %", "0.18", ROUNDED), ("24.33 %", "24.33", ROUNDED)),
    (2, "all", ("", "568740352", ""), ("", "4209088", "")),
    (3, "Convolution", ("462 M", "462.4", ROUNDED), ("2.36 M", "2.359", ROUNDED)),
    (3, "Depthwise separable conv", ("52.3 M", "52.28", ROUNDED), ("0.27 M", "0.267", ROUNDED)),
    (3, "alpha = 0.75", ("29.6 M", "29.58", ROUNDED), ("0.15 M", "0.151", ROUNDED)),
    (3, "rho = 0.714", ("15.1 M", "15.09", ROUNDED), ("0.15 M", "0.151", ROUNDED)),
    (4, "Conv MobileNet", ("4866 M", "4867.29", f"{ROUNDED}, without FC (4,866,26"), ("29.3 M", "29.28", ROUNDED)),
    (4, "MobileNet", ("569 M", "568.74", ROUNDED), ("4.2 M", "4.209", ROUNDED)),
    (5, "0.75 MobileNet", ("325 M", "325.40", ROUNDED), ("2.6 M", "2.568", ROUNDED)),
    (5, "Shallow MobileNet", ("307 M", "307.32", ROUNDED), ("2.9 M", "2.875", ROUNDED)),
    (6, "1.0 MobileNet-224", ("569 M", "568.74", ROUNDED), ("4.2 M", "4.209", ROUNDED)),
    (6, "0.75 MobileNet-224", ("325 M", "325.40", ROUNDED), ("2.6 M", "2.568", ROUNDED)),
    (6, "0.5 MobileNet-224", ("149 M", "149.497", ROUNDED), ("1.3 M", "1.320", ROUNDED)),
    (6, "0.25 MobileNet-224", ("41 M", "41.03", ROUNDED), ("0.5 M", "0.464", ROUNDED)),
    (7, "1.0 MobileNet-224", ("569 M", "568.74", ROUNDED), ("4.2 M", "4.209", ROUNDED)),
    (7, "1.0 MobileNet-192", ("418 M", "418.12", ROUNDED), ("4.2 M", "4.209", ROUNDED)),
    (7, "1.0 MobileNet-160", ("290 M", "290.68", CUT), ("4.2 M", "4.209", ROUNDED)),
    (7, "1.0 MobileNet-128", ("186 M", "186.40", ROUNDED), ("4.2 M", "4.209", ROUNDED)),
    (8, "1.0 MobileNet-224", ("569 M", "568.74", ROUNDED), ("4.2 M", "4.209", ROUNDED)),
    (8, "GoogleNet", ("1550 M", "1498.", "differs by -3.3 %"), ("6.8 M", "6.61", "differs by -2.8 %")),
    (8, "VGG 16", ("15300 M", "15470.", f"{ROUNDED}, without FC (15,34"), ("138 M", "138.3", ROUNDED)),
    (9, "0.50 MobileNet-160", ("76 M", "76.52", CUT), ("1.32 M", "1.320", ROUNDED)),
    (
        9, "Squeezenet",
        ("1700 M", "819.", "differs by -51.8 %, counted twice (1,637,849,152) by -3.7 %"),
        ("1.25 M", "1.24", f"{ROUNDED}, all learnable (1,248,"),
    ),
    (9, "AlexNet", ("720 M", "714.", "differs by -0.8 %"), ("60 M", "61.1", "differs by +1.8 %")),
    (10, "Inception V3", ("5000 M", "5711.", "differs by +14.2 %"), ("23.2 M", "22.0", "differs by -5.2 %")),
    (
        10, "1.0 MobileNet-224",
        ("569 M", "567.84", f"{ROUNDED}, with 1000 classes (568,740,352)"), ("3.3 M", "3.31", ROUNDED),
    ),
    (10, "0.75 MobileNet-224", ("325 M", "324.72", ROUNDED), ("1.9 M", "1.89", ROUNDED)),
    (
        10, "1.0 MobileNet-192",
        ("418 M", "417.22", f"{ROUNDED}, with 1000 classes (418,12"), ("3.3 M", "3.31", ROUNDED),
    ),
    (10, "0.75 MobileNet-192", ("239 M", "238.60", ROUNDED), ("1.9 M", "1.89", ROUNDED)),
    (11, "PlaNet, Inception V3", ("5.74 B", "", "not rebuilt"), ("52 M", "", "not rebuilt")),
    (11, "PlaNet MobileNet", ("0.58 B", "577.8", ROUNDED), ("13 M", "13255104", ROUNDED)),
    (11, "with biases and batch norm", ("", "", ""), ("", "13286826", "")),
    (11, "its body", ("", "", ""), ("3 M", "3.2", ROUNDED)),
    (11, "its last layer", ("", "", ""), ("10 M", "10070016", ROUNDED)),
    (12, "1.0 MobileNet-224", ("568 M", "567.7", ROUNDED), ("3.2 M", "3.19", ROUNDED)),
    (12, "0.5 MobileNet-224", ("149 M", "149.0", ROUNDED), ("0.8 M", ".81", ROUNDED)),
    (
        12, "0.25 MobileNet-224",
        ("45 M", "40.8", f"{CUT}, with a 16-channel first layer (45,99"), ("0.2 M", ".21", ROUNDED),
    ),
    (12, "1.0 MobileNet-128", ("185 M", "185.4", ROUNDED), ("3.2 M", "3.19", ROUNDED)),
    (12, "0.5 MobileNet-128", ("48 M", "48.6", CUT), ("0.8 M", ".81", ROUNDED)),
    (
        12, "0.25 MobileNet-128",
        ("15 M", "13.3", f"{ROUNDED}, with a 16-channel first layer (15,0"), ("0.2 M", ".21", ROUNDED),
    ),
    (12, "Baseline", ("1600 M", "", "not rebuilt"), ("7.5 M", "", "not rebuilt")),
    (13, "SSD 300, deeplab-VGG", ("34.9 B", "", "not rebuilt"), ("33.1 M", "", "not rebuilt")),
    (13, "SSD 300, Inception V2", ("3.8 B", "", "not rebuilt"), ("13.7 M", "", "not rebuilt")),
    (13, "SSD 300, MobileNet", ("1.2 B", "1237129408", ROUNDED), ("6.8 M", "6819839", ROUNDED)),
    (13, "Faster-RCNN 300, VGG", ("64.3 B", "", "not rebuilt"), ("138.5 M", "", "not rebuilt")),
    (13, "Faster-RCNN 300, Inception V2", ("118.2 B", "", "not rebuilt"), ("13.3 M", "", "not rebuilt")),
    (13, "Faster-RCNN 300, MobileNet", ("25.2 B", "25224412096", ROUNDED), ("6.1 M", "6065995", ROUNDED)),
    (13, "Faster-RCNN 600, VGG", ("149.6 B", "", "not rebuilt"), ("138.5 M", "", "not rebuilt")),
    (13, "Faster-RCNN 600, Inception V2", ("129.6 B", "", "not rebuilt"), ("13.3 M", "", "not rebuilt")),
    (13, "Faster-RCNN 600, MobileNet", ("30.5 B", "30493700224", ROUNDED), ("6.1 M", "6065995", ROUNDED)),
    (14, "FaceNet", ("1600 M", "", "not rebuilt"), ("7.5 M", "", "not rebuilt")),
    (
        14, "1.0 MobileNet-160",
        ("286 M", "289.65", "not reproducible, differs by +1.3 %"),
        ("4.9 M", "3.19", "not reproducible, differs by -35.0 %"),
    ),
    (
        14, "1.0 MobileNet-128",
        ("185 M", "185.38", ROUNDED), ("5.5 M", "3.19", "not reproducible, differs by -42.1 %"),
    ),
    (
        14, "0.75 MobileNet-160",
        ("166 M", "165.63", ROUNDED), ("3.4 M", "1.80", "not reproducible, differs by -47.1 %"),
    ),
    (
        14, "0.75 MobileNet-128",
        ("108 M", "106.00", "not reproducible, differs by -1.8 %"),
        ("3.8 M", "1.80", "not reproducible, differs by -52.6 %"),
    ),
]  # fmt: skip
ACCURACIES = {
    4: "71.7 70.6", 5: "68.4 65.3", 6: "70.6 68.4 63.7 50.6", 7: "70.6 69.1 67.2 64.4", 8: "70.6 69.8 71.5",
    9: "60.2 57.5 57.2", 10: "84 83.3 81.9 81.9 80.5",
    11: "79.3 (77.6, 51.9) 60.3 (64.0, 35.4) 45.2 (51.1, 32.1) 31.7 (31.7, 21.9) 11.4 (11.0, 2.5)",
    12: "88.7 88.1 87.2 88.1 87.7 86.4 86.9", 13: "21.1 22.0 19.3 22.9 15.4 16.4 25.7 21.9 19.8",
    14: "83 79.4 78.3 75.2 72.5",
}  # fmt: skip


def line(sheets: dict[int, Sheet], number: int, name: str) -> Line:
    (found,) = (line for line in sheets[number].lines if line.name == name)
    return found


def as_digits(figure: Figure, like: str) -> str:
    """Our count as `like` has it: whole, or in millions (a share in percent) with as many digits behind the point."""
    if figure.ours is None or "." not in like:
        return "" if figure.ours is None else str(figure.ours)
    assert isinstance(figure.ours, int | float)
    value = figure.ours if isinstance(figure.ours, float) else Decimal(figure.ours) / 10**6
    places = len(like.split(".")[1])
    text = f"{value:.{places}f}" + "." * (places == 0)
    return text.removeprefix("0") if like.startswith(".") else text


@pytest.mark.parametrize(("number", "row", "mult_adds", "parameters"), FACTS, ids=[f"{f[0]}-{f[1]}" for f in FACTS])
def test_every_row_comes_out_as_the_facts_say(
    sheets: dict[int, Sheet], number: int, row: str, mult_adds: tuple[str, ...], parameters: tuple[str, ...]
) -> None:
    figures = line(sheets, number, row).figures
    for figure, (paper, ours, verdict) in ((figures["mult-adds"], mult_adds), (figures["parameters"], parameters)):
        assert f"{figure.paper} {figure.unit}".strip() == paper
        assert as_digits(figure, ours) == ours
        assert figure.verdict.startswith(verdict) and bool(verdict) == bool(figure.verdict)
        assert figure.state != "alarm"
        assert (figure.state == "equal") == verdict.startswith("equal")


def test_the_facts_have_every_row(sheets: dict[int, Sheet]) -> None:
    rows = [(sheet.number, line.name) for sheet in sheets.values() if sheet.number > 1 for line in sheet.lines
            if not line.name.endswith("km)")]  # fmt: skip
    assert rows == [(number, row) for number, row, *_ in FACTS]
    assert list(sheets) == list(range(1, 15))


def test_accuracies_are_the_printed_ones(sheets: dict[int, Sheet]) -> None:
    printed = {number: " ".join(line.accuracy for line in sheet.lines if line.accuracy)
               for number, sheet in sheets.items()}  # fmt: skip
    assert {number: text for number, text in printed.items() if text} == ACCURACIES
    assert not any(line.found for sheet in sheets.values() for line in sheet.lines)


def test_nothing_is_alarming(sheets: dict[int, Sheet]) -> None:
    assert [alarm for sheet in sheets.values() for alarm in sheet.alarms] == []


def test_table_1_layer_by_layer(sheets: dict[int, Sheet]) -> None:
    total, *layers = sheets[1].lines
    assert total.figures["layer"] == Figure("28", "28", "", "equal", "equal")
    assert len(layers) == 1 + 26 + 1 + 2  # and pooling and softmax, which have no weights
    wrong = [layer for layer in layers if layer.figures["layer"].verdict != "equal"]
    assert [layer.name for layer in wrong] == ["26"]
    figure = wrong[0].figures["layer"]
    assert (figure.ours, figure.paper, figure.verdict, figure.state) == (
        "Conv dw / s1, 3x3x1024 dw, 7x7x1024", "Conv dw / s2, 3x3x1024 dw, 7x7x1024", "differs in type / stride",
        "differs",
    )  # fmt: skip
    assert "7x7 in and 7x7 out" in wrong[0].notes[0]


@pytest.mark.parametrize(
    ("number", "row", "words"),
    [
        (2, "3x3 conv", "digit swap"),
        (11, "PlaNet MobileNet", "0.58 million mult-adds, an erratum for billion"),
        (12, "Baseline", "75 million"),
        (12, "0.25 MobileNet-224", "16 channels after the first convolution"),
        (14, "0.75 MobileNet-160", 'second "0.75 MobileNet-128"'),
    ],
)
def test_errata_are_told(sheets: dict[int, Sheet], number: int, row: str, words: str) -> None:
    assert any(words in note for note in line(sheets, number, row).notes)


def test_presets_are_found_from_their_rows_and_rows_from_their_presets() -> None:
    files = {file.stem for file in (CONFIGS / "experiment").glob("table*.yaml")}
    used = {preset.experiment for preset in presets()}
    assert used <= files
    assert files - used == set()


def test_a_preset_is_of_its_rows_width_and_resolution(counter: Counter) -> None:
    named = 0
    for row in (row for table in TABLES for row in table.rows):
        if isinstance(row.network, Preset) and (name := re.fullmatch(r"([\d.]+) MobileNet(-(\d+))?", row.name)):
            config = counter.config(row.network)
            assert (alpha_of(config.backbone), config.resolution) == (float(name[1]), int(name[3] or 224))
            named += 1
    assert named == 25


def test_a_preset_stands_beside_a_recipe() -> None:
    for both in ("[paper_imagenet,table6_0.5]", "[paper_ssd,table13_ssd_300]", "[dogs_web,table10_0.75_192]"):
        config = compose_config("train", [f"experiment={both}"])
        assert not config.data.choice.endswith("_sample") and config.optim.name == "rmsprop"
        assert (
            config.backbone.alpha == {"table6": 0.5, "table13": 1.0, "table10": 0.75}[re.findall(r"table\d+", both)[0]]
        )


@pytest.mark.parametrize(
    ("layer", "channels", "numbers", "expected"),
    [
        (
            3, 136, (1, 6, 9, 12),
            [
                "Table 1, 7, layer: DIFFERS: differs in filter shape; known as: equal",
                "Table 6, 1.0 MobileNet-224, mult-adds: DIFFERS: differs by +0.8 %; known as: equal by rounding",
                "Table 12, 0.25 MobileNet-224, mult-adds: DIFFERS: differs by -8.7 %",  # -9.4 % else
            ],
        ),
        (
            13, 1280, (1, 6, 9, 13),
            [
                "Table 1, 29, layer: DIFFERS: differs in filter shape, input size; known as: equal",
                "Table 6, 1.0 MobileNet-224, parameters: DIFFERS: differs by +12.6 %; known as: equal by rounding",
                "Table 13, SSD 300, MobileNet, parameters: DIFFERS",
                "Table 13, Faster-RCNN 300, MobileNet, mult-adds: DIFFERS",
                "Table 13, Faster-RCNN 600, MobileNet, mult-adds: DIFFERS",
            ],
        ),
    ],
)  # fmt: skip
def test_a_changed_channel_count_sets_off_the_alarm(
    layer: int, channels: int, numbers: tuple[int, ...], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = list(backbone.mobilenet.TABLE_1)
    table[layer] = (channels, table[layer][1])
    monkeypatch.setattr(backbone.mobilenet, "TABLE_1", tuple(table))
    alarms = [alarm for sheet in fill_tables(numbers, Counter()) for alarm in sheet.alarms]
    assert [line for line in expected if not any(alarm.startswith(line) for alarm in alarms)] == []
    assert not any("AlexNet" in alarm or "Squeezenet" in alarm for alarm in alarms)


def test_a_changed_stride_sets_off_the_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    channels = [*backbone.mobilenet.TABLE_1[:-1], (1024, 2)]  # as the paper prints it
    monkeypatch.setattr(backbone.mobilenet, "TABLE_1", tuple(channels))
    (sheet,) = fill_tables((1,), Counter())  # the last layer is then of stride 64, and no head reads it
    assert sheet.alarms[0] == "Table 1, layers with weights, layer: DIFFERS: differs in number; known as: equal"
    assert [alarm.split(", ")[1] for alarm in sheet.alarms[1:]] == ["26", "27", "28", "29", "30"]


def test_classes_are_the_papers() -> None:
    found = {task: classes_of(task) for task in ("classification", "dogs", "planet", "ssd", "faster_rcnn")}
    assert found == {"classification": 1000, "dogs": 120, "planet": 9834, "ssd": 90, "faster_rcnn": 90}
    with pytest.raises(ValueError, match=r"num_classes is not set; .* no table of the paper has task=poems"):
        classes_of("poems")


def test_numbers_are_those_of_the_tables() -> None:
    assert list(NUMBERS) == [1, *(table.number for table in TABLES)]
