"""Draw the paper's Figures 4 and 5 of your own classification runs: accuracy over mult-adds, and over parameters.

python tools/figures.py runs=runs/classification/2026-01-31_12-00-00      a sweep's folder, or one run's
python tools/figures.py runs=runs output=figures paper=false              without the paper's own points
python tools/figures.py output=figures                                    costs of the paper's 16 models, without runs

Costs are counted on each run's network. Prints a table of the runs.
"""

from tasks.shared.commands.cli import run_tool
from tasks.shared.config.compose import own_config
from tasks.shared.config.paths import check_exists
from tasks.shared.config.typed import typed
from tasks.shared.paper.settings import FiguresConfig


def figures(arguments: list[str]) -> None:
    config = typed(FiguresConfig, own_config("figures", arguments))
    check_exists("runs", config.runs, "folder")
    from tasks.shared.paper.figures import draw_figures

    draw_figures(config)


if __name__ == "__main__":
    run_tool("figures", __doc__, figures)
