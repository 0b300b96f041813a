"""Tables 10 to 14 of the paper: MobileNet's other tasks."""

from tasks.shared.paper.rows import CUT, ROUNDED, Comparator, Preset, Printed, Row, Table

BREEDS, CELLS, ATTRIBUTES, COCO = 120, 9834, 40, 90
CLASSES_1000, WIDE = "with 1000 classes", "with a 16-channel first layer"
DOGS = (
    "Parameters are printed with the 120 breeds, mult-adds of the networks with ImageNet's 1000 classes: at alpha 1.0 "
    "only those fit."
)
INCEPTION = "torchvision's network at 299 pixels, with the 120 breeds."
BILLION = "The paper's text has 0.58 million mult-adds, an erratum for billion."
NUMBER_OF_CELLS = (
    "The number of cells is not printed; 10 million parameters in the last layer are about 9.8 thousand cells, here "
    "9,834."
)
GEOLOCATION = (
    "Percent of the photos of Im2GPS; the paper's other columns in brackets: PlaNet, Im2GPS. Ours are of each run's "
    "own validation photos."
)
BODY = "Counted without the last layer, which fits the printed figures."
SIXTEEN = "The rows at alpha 0.25 fit only with 16 channels after the first convolution, where alpha gives 8."
BASELINE = "The paper's text says 75 million parameters for the baseline, its table 7.5."
LEARNABLE = "Parameters of the detectors are all that are learnable: biases and batch norm too. 90 classes."
NOT_REPRODUCIBLE = "not reproducible"
HEADS = "No simple head on the body fits the printed figures; ours are the body's alone, and the gap is told."
TYPO = 'Printed as a second "0.75 MobileNet-128"; its mult-adds are those of 160 pixels.'


def dogs(name: str, experiment: str, figures: tuple[str, str, str], known: str = ROUNDED) -> Row:
    """figures: mult-adds, parameters, accuracy as printed; known: the verdict on the first."""
    mult_adds, parameters, accuracy = figures
    preset = Preset(experiment, BREEDS)
    return Row(
        name, preset, Printed(mult_adds, ("", CLASSES_1000), known), Printed(parameters), accuracy, notes=(DOGS,)
    )


def planet(name: str, kilometres: int, accuracy: str) -> Row:
    return Row(name, PLANET, accuracy=accuracy, metric=f"within_{kilometres}km", notes=(GEOLOCATION,))


def attributes(
    name: str, experiment: str, figures: tuple[str, str, str], known: str = ROUNDED, wide: bool = False
) -> Row:
    """figures: mult-adds, parameters, accuracy as printed; known: the verdict on the first. wide: see SIXTEEN."""
    mult_adds, parameters, accuracy = figures
    counted = Printed(mult_adds, ("body", WIDE) if wide else ("body",), known)
    notes = (BODY, SIXTEEN) if wide else (BODY,)
    return Row(name, Preset(experiment, ATTRIBUTES), counted, Printed(parameters, ("body",)), accuracy, notes=notes)


def detector(name: str, experiment: str, mult_adds: str, parameters: str, accuracy: str) -> Row:
    learnable = Printed(parameters, ("all learnable",))
    return Row(name, Preset(experiment, COCO), Printed(mult_adds), learnable, accuracy, notes=(LEARNABLE,))


def embedding(
    name: str, experiment: str, figures: tuple[str, str, str], known: tuple[str, str], notes: tuple[str, ...] = ()
) -> Row:
    """figures: mult-adds, parameters, accuracy as printed; known: the verdicts on the first two."""
    mult_adds, parameters = (
        Printed(text, ("body",), verdict, NOT_REPRODUCIBLE) for text, verdict in zip(figures[:2], known, strict=True)
    )
    return Row(name, Preset(experiment, 0), mult_adds, parameters, figures[2], notes=(HEADS, *notes))


def unbuilt(name: str, mult_adds: str, parameters: str, accuracy: str = "", *notes: str) -> Row:
    return Row(name, None, Printed(mult_adds), Printed(parameters), accuracy, notes=notes)


PLANET = Preset("table11_mobilenet", CELLS)

TABLES = (
    Table(
        10,
        "MobileNet for Stanford Dogs",
        (
            Row(
                "Inception V3",
                Comparator("inception_v3", BREEDS, 299),
                Printed("5000", known="differs by +14.2 %"),
                Printed("23.2", known="differs by -5.2 %"),
                "84",
                notes=(INCEPTION,),
            ),
            dogs("1.0 MobileNet-224", "table10_1.0_224", ("569", "3.3", "83.3"), f"{ROUNDED}, {CLASSES_1000}"),
            dogs("0.75 MobileNet-224", "table10_0.75_224", ("325", "1.9", "81.9")),
            dogs("1.0 MobileNet-192", "table10_1.0_192", ("418", "3.3", "81.9"), f"{ROUNDED}, {CLASSES_1000}"),
            dogs("0.75 MobileNet-192", "table10_0.75_192", ("239", "1.9", "80.5")),
        ),
        accuracy="top-1 %",
        metric="top1",
    ),
    Table(
        11,
        "PlaNet with MobileNet (and Sec. 4.4)",
        (
            unbuilt("PlaNet, Inception V3", "5.74", "52"),
            Row("PlaNet MobileNet", PLANET, Printed("0.58"), Printed("13"), notes=(BILLION, NUMBER_OF_CELLS)),
            Row("with biases and batch norm", PLANET, parameters=Printed("", ("all learnable",))),
            Row("its body", PLANET, parameters=Printed("3", ("body",))),
            Row("its last layer", PLANET, parameters=Printed("10", ("last layer",))),
            planet("Continent (2500 km)", 2500, "79.3 (77.6, 51.9)"),
            planet("Country (750 km)", 750, "60.3 (64.0, 35.4)"),
            planet("Region (200 km)", 200, "45.2 (51.1, 32.1)"),
            planet("City (25 km)", 25, "31.7 (31.7, 21.9)"),
            planet("Street (1 km)", 1, "11.4 (11.0, 2.5)"),
        ),
        units=("B", "M"),
        accuracy="within, %",
    ),
    Table(
        12,
        "Face attribute classification",
        (
            attributes("1.0 MobileNet-224", "table12_1.0_224", ("568", "3.2", "88.7")),
            attributes("0.5 MobileNet-224", "table12_0.5_224", ("149", "0.8", "88.1")),
            attributes(
                "0.25 MobileNet-224",
                "table12_0.25_224",
                ("45", "0.2", "87.2"),
                f"{CUT}, {WIDE}",
                wide=True,
            ),
            attributes("1.0 MobileNet-128", "table12_1.0_128", ("185", "3.2", "88.1")),
            attributes("0.5 MobileNet-128", "table12_0.5_128", ("48", "0.8", "87.7"), CUT),
            attributes(
                "0.25 MobileNet-128", "table12_0.25_128", ("15", "0.2", "86.4"), f"{ROUNDED}, {WIDE}", wide=True
            ),
            unbuilt("Baseline", "1600", "7.5", "86.9", BASELINE),
        ),
        accuracy="mean AP %",
        metric="mean_ap",
    ),
    Table(
        13,
        "COCO object detection",
        (
            unbuilt("SSD 300, deeplab-VGG", "34.9", "33.1", "21.1"),
            unbuilt("SSD 300, Inception V2", "3.8", "13.7", "22.0"),
            detector("SSD 300, MobileNet", "table13_ssd_300", "1.2", "6.8", "19.3"),
            unbuilt("Faster-RCNN 300, VGG", "64.3", "138.5", "22.9"),
            unbuilt("Faster-RCNN 300, Inception V2", "118.2", "13.3", "15.4"),
            detector("Faster-RCNN 300, MobileNet", "table13_faster_rcnn_300", "25.2", "6.1", "16.4"),
            unbuilt("Faster-RCNN 600, VGG", "149.6", "138.5", "25.7"),
            unbuilt("Faster-RCNN 600, Inception V2", "129.6", "13.3", "21.9"),
            detector("Faster-RCNN 600, MobileNet", "table13_faster_rcnn_600", "30.5", "6.1", "19.8"),
        ),
        units=("B", "M"),
        accuracy="mAP %",
        metric="AP",
    ),
    Table(
        14,
        "MobileNet distilled from FaceNet",
        (
            unbuilt("FaceNet", "1600", "7.5", "83"),
            embedding(
                "1.0 MobileNet-160",
                "table14_1.0_160",
                ("286", "4.9", "79.4"),
                ("differs by +1.3 %", "differs by -35.0 %"),
            ),
            embedding(
                "1.0 MobileNet-128",
                "table14_1.0_128",
                ("185", "5.5", "78.3"),
                (ROUNDED, "differs by -42.1 %"),
            ),
            embedding(
                "0.75 MobileNet-160",
                "table14_0.75_160",
                ("166", "3.4", "75.2"),
                (ROUNDED, "differs by -47.1 %"),
                (TYPO,),
            ),
            embedding(
                "0.75 MobileNet-128",
                "table14_0.75_128",
                ("108", "3.8", "72.5"),
                ("differs by -1.8 %", "differs by -52.6 %"),
            ),
        ),
        accuracy="VAL at 1e-4 %",
        metric="val_at_far",
        condition=("far", 1e-4),
    ),
)
