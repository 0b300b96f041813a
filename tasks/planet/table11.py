"""Table 11, with a column of ours."""

from collections.abc import Mapping

# Share of the photos of Im2GPS, in %, as the paper prints it: scale, km, Im2GPS, PlaNet, PlaNet with MobileNet.
TABLE11 = (
    ("Continent", 2500, 51.9, 77.6, 79.3),
    ("Country", 750, 35.4, 64.0, 60.3),
    ("Region", 200, 32.1, 51.1, 45.2),
    ("City", 25, 21.9, 31.7, 31.7),
    ("Street", 1, 2.5, 11.0, 11.4),
)


def table11(figures: Mapping[str, float], photos: int) -> str:
    """The table in Markdown; figures: of `distance_metrics`, of so many photos."""
    columns = ("scale", f"ours ({photos:,} photos)", "Im2GPS", "PlaNet", "PlaNet MobileNet")
    rows = [
        (f"{scale} ({km} km)", f"{100 * figures[f'within_{km}km']:.1f} %", *(f"{share:.1f} %" for share in printed))
        for scale, km, *printed in TABLE11
    ]
    wide = [max(len(row[k]) for row in (columns, *rows)) for k in range(len(columns))]
    lines = [[cell.ljust(w) for cell, w in zip(row, wide, strict=True)] for row in (columns, *rows)]
    lines.insert(1, ["-" * w for w in wide])
    note = "The paper's columns are of the photos of Im2GPS; they compare with ours on those photos alone."
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", note, ""])
