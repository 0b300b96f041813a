"""docs/results.md is what the command writes today."""

import json
from pathlib import Path

from tasks.shared.paper.document import figures_section, tables_data, tables_document
from tasks.shared.paper.grids import as_markdown, as_text, sheet_grid, sheet_lines
from tasks.shared.paper.sheets import Figure, Line, Sheet

DOCS = Path(__file__).parents[4] / "docs"
COMMAND = "output=docs/results.md format=markdown"


def test_the_page_of_results_is_not_stale(sheets: dict[int, Sheet]) -> None:
    images = ["figure4_cost.png", "figure5_cost.png"]
    text = tables_document(list(sheets.values()), f"python tools/cost.py {COMMAND}")
    text += figures_section("images", images, accuracies=False)
    assert (DOCS / "results.md").read_text(encoding="utf-8") == text, f"stale: run python tools/cost.py {COMMAND}"
    assert all((DOCS / "images" / name).is_file() for name in images)


ALARM = Figure(43_000_000, "41", "M", "DIFFERS: differs by +4.9 %; known as: equal by rounding", "alarm")
SHEET = Sheet(6, "Widths", (Line("0.25", "table6_0.25", {"mult-adds": ALARM}, "50.6", (), ("a note",)),), "top-1 %")


def test_what_should_not_be_is_marked() -> None:
    red, plain = (as_text([sheet_lines(SHEET)], terminal=terminal) for terminal in (True, False))
    assert "\x1b[1;31mDIFFERS: differs by" in red
    assert "DIFFERS: differs by" in plain and "\x1b" not in plain and "1. a note" in plain
    assert f"| 0.25 [1] | 43,000,000 | 41 M | **{ALARM.verdict}** |  | 50.6 | table6_0.25 |" in as_markdown(
        sheet_grid(SHEET)
    )
    data = json.loads(json.dumps(tables_data([SHEET])))
    assert data["alarms"] == [f"Table 6, 0.25, mult-adds: {ALARM.verdict}"]
    assert data["tables"][0]["rows"][0]["mult-adds"] == {
        "ours": 43_000_000, "paper": "41", "unit": "M", "verdict": ALARM.verdict, "state": "alarm",
    }  # fmt: skip
