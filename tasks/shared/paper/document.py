"""The paper's tables as a Markdown document, and as plain data."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tasks.shared.paper.grids import as_markdown, sheet_grid
from tasks.shared.paper.sheets import Line, Sheet

INTRODUCTION = """\
# The paper's tables, ours beside theirs

Made by `{command}`, which counts every figure of ours anew, on the networks themselves.

Mult-adds are multiply-accumulates of convolutions and linear layers for one image; bias, batch norm and pooling are
free. Parameters are the weights of those layers, without biases and batch norm, where no note says otherwise. Both are
of the network that `experiment=` composes, with as many classes as the paper's; of other networks, torchvision's.

- *equal by rounding*, *equal by truncation*: to the digits that the paper prints. *without FC (4,866,269,184)* and the
  like: not as counted in the column of ours, but in this way, which gives the number in brackets.
- *differs by x %*: ours against the paper's. The notes say why.
- *not rebuilt*: there is no module of it here; the paper's figure alone.
- **DIFFERS**: not as it is known to come out. Something is broken.

Accuracies of ours are those of finished runs (`runs=FOLDER`), each with the data that it was evaluated on. None is
typed in.
"""
FIGURES = """
## Figures 4 and 5

{about}

![Figure 4]({folder}/{first})

![Figure 5]({folder}/{second})
"""
COSTS_ALONE = "What the 16 models cost, counted: the paper's axes, without the accuracies that runs would bring."
ACCURACIES = "Our runs on classification, and the models whose accuracy the paper prints."


def tables_document(sheets: Sequence[Sheet], command: str) -> str:
    """command: what makes it, as it was typed."""
    return "\n".join([INTRODUCTION.format(command=command), *(as_markdown(sheet_grid(sheet)) for sheet in sheets)])


def figures_section(folder: str, files: Sequence[str], accuracies: bool) -> str:
    """files: two images in `folder`, which is told from where the document lies; accuracies: of runs, or none."""
    first, second = files
    return FIGURES.format(folder=folder, first=first, second=second, about=ACCURACIES if accuracies else COSTS_ALONE)


def tables_data(sheets: Sequence[Sheet]) -> dict[str, Any]:
    """All tables and alarms, as plain data."""
    return {
        "tables": [
            {"table": sheet.number, "title": sheet.title, "rows": [_row(line, sheet) for line in sheet.lines]}
            for sheet in sheets
        ],
        "alarms": [alarm for sheet in sheets for alarm in sheet.alarms],
    }


def _row(line: Line, sheet: Sheet) -> dict[str, Any]:
    row: dict[str, Any] = {"row": line.name, "experiment": line.experiment or None}
    row |= {name: asdict(figure) for name, figure in line.figures.items()}
    if sheet.accuracy:
        found = [asdict(found) for found in line.found]
        row["accuracy"] = {"of": sheet.accuracy, "paper": line.accuracy, "ours": found}
    return row | {"notes": list(line.notes)}
