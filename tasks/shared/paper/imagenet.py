"""Tables 2 to 9 of the paper: MobileNet on ImageNet, and what it is compared with."""

from tasks.shared.paper.rows import CUT, ROUNDED, Comparator, Preset, Printed, Row, Table

ACCURACY, METRIC = "top-1 %", "top1"
SWAPPED = "The paper's 1.19 is a digit swap of 1.91: its own column adds up to 100 with that alone."
RHO = "rho = 0.714 is an image of 160 pixels, whose map here has the side D_F = 10."
NO_FC = "The printed figure leaves the last, fully connected layer out; every 3x3 and 1x1 pair is one 3x3 convolution."
SHALLOW = "The five 512 -> 512 layers of stride 1 are left out."
GOOGLENET = "torchvision's network, whose 5x5 branches are 3x3."
ALEXNET = "torchvision's network has the layers of AlexNet's later version, in one column."
TWICE = "The printed figure counts a multiply-accumulate as two operations, about."
MOBILENET = Preset("table6_1.0", 1000)


def share(layer_type: str, mult_adds: str, parameters: str, known: str = ROUNDED, notes: tuple[str, ...] = ()) -> Row:
    """A row of Table 2; known: the verdict on its mult-adds."""
    reading = (f"share of {layer_type}",)
    return Row(layer_type, MOBILENET, Printed(mult_adds, reading, known), Printed(parameters, reading), notes=notes)


def layer(name: str, network: Preset, mult_adds: str, parameters: str, notes: tuple[str, ...] = ()) -> Row:
    """A row of Table 3: the layer conv_7, 512 -> 512 channels on a 14x14 map, of a whole network."""
    part = Preset(network.experiment, network.num_classes, network.settings, "backbone.conv_7.")
    return Row(name, part, Printed(mult_adds), Printed(parameters), notes=notes)


def mobilenet(name: str, experiment: str, mult_adds: str, parameters: str, accuracy: str, known: str = ROUNDED) -> Row:
    """known: the verdict on its mult-adds."""
    preset = Preset(experiment, 1000)
    return Row(name, preset, Printed(mult_adds, known=known), Printed(parameters), accuracy)


TABLES = (
    Table(
        2,
        "Resource per layer type",
        (
            share("1x1 conv", "94.86", "74.59"),
            share("3x3 depthwise conv", "3.06", "1.06"),
            share("3x3 conv", "1.19", "0.02", "differs by +60.1 %", (SWAPPED,)),
            share("linear", "0.18", "24.33"),
            Row("all", MOBILENET, Printed(""), Printed("")),
        ),
        units=("%", "%"),
    ),
    Table(
        3,
        "Resource usage for modifications to standard convolution",
        (
            layer("Convolution", Preset("table4_conv", 1000), "462", "2.36"),
            layer("Depthwise separable conv", MOBILENET, "52.3", "0.27"),
            layer("alpha = 0.75", Preset("table6_0.75", 1000), "29.6", "0.15"),
            layer("rho = 0.714", Preset("table6_0.75", 1000, ("resolution=160",)), "15.1", "0.15", (RHO,)),
        ),
    ),
    Table(
        4,
        "Depthwise separable vs full convolution MobileNet",
        (
            Row(
                "Conv MobileNet",
                Preset("table4_conv", 1000),
                Printed("4866", ("", "without FC"), f"{ROUNDED}, without FC"),
                Printed("29.3"),
                "71.7",
                notes=(NO_FC,),
            ),
            mobilenet("MobileNet", "table4_separable", "569", "4.2", "70.6"),
        ),
        accuracy=ACCURACY,
        metric=METRIC,
    ),
    Table(
        5,
        "Narrow vs shallow MobileNet",
        (
            mobilenet("0.75 MobileNet", "table5_0.75", "325", "2.6", "68.4"),
            Row(
                "Shallow MobileNet",
                Preset("table5_shallow", 1000),
                Printed("307"),
                Printed("2.9"),
                "65.3",
                notes=(SHALLOW,),
            ),
        ),
        accuracy=ACCURACY,
        metric=METRIC,
    ),
    Table(
        6,
        "MobileNet width multiplier",
        (
            mobilenet("1.0 MobileNet-224", "table6_1.0", "569", "4.2", "70.6"),
            mobilenet("0.75 MobileNet-224", "table6_0.75", "325", "2.6", "68.4"),
            mobilenet("0.5 MobileNet-224", "table6_0.5", "149", "1.3", "63.7"),
            mobilenet("0.25 MobileNet-224", "table6_0.25", "41", "0.5", "50.6"),
        ),
        accuracy=ACCURACY,
        metric=METRIC,
    ),
    Table(
        7,
        "MobileNet resolution",
        (
            mobilenet("1.0 MobileNet-224", "table7_224", "569", "4.2", "70.6"),
            mobilenet("1.0 MobileNet-192", "table7_192", "418", "4.2", "69.1"),
            mobilenet("1.0 MobileNet-160", "table7_160", "290", "4.2", "67.2", CUT),
            mobilenet("1.0 MobileNet-128", "table7_128", "186", "4.2", "64.4"),
        ),
        accuracy=ACCURACY,
        metric=METRIC,
    ),
    Table(
        8,
        "MobileNet comparison to popular models",
        (
            mobilenet("1.0 MobileNet-224", "table6_1.0", "569", "4.2", "70.6"),
            Row(
                "GoogleNet",
                Comparator("googlenet"),
                Printed("1550", known="differs by -3.3 %"),
                Printed("6.8", known="differs by -2.8 %"),
                "69.8",
                notes=(GOOGLENET,),
            ),
            Row(
                "VGG 16",
                Comparator("vgg16"),
                Printed("15300", ("", "without FC"), f"{ROUNDED}, without FC", digits=3),
                Printed("138"),
                "71.5",
            ),
        ),
        accuracy=ACCURACY,
        metric=METRIC,
    ),
    Table(
        9,
        "Smaller MobileNet comparison to popular models",
        (
            mobilenet("0.50 MobileNet-160", "table9_0.5_160", "76", "1.32", "60.2", CUT),
            Row(
                "Squeezenet",
                Comparator("squeezenet1_0"),
                Printed("1700", ("", "counted twice"), "differs by -51.8 %, counted twice by -3.7 %"),
                Printed("1.25", ("", "all learnable"), f"{ROUNDED}, all learnable"),
                "57.5",
                notes=(TWICE,),
            ),
            Row(
                "AlexNet",
                Comparator("alexnet"),
                Printed("720", known="differs by -0.8 %"),
                Printed("60", known="differs by +1.8 %"),
                "57.2",
                notes=(ALEXNET,),
            ),
        ),
        accuracy=ACCURACY,
        metric=METRIC,
    ),
)
