"""tools/cost.py: from its overrides to tables. Composes and checks first; what needs torch is imported after that."""

import json
import logging
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from tasks.shared.config.compose import (
    check_keys,
    choice_of,
    chooses,
    compose_config,
    experiment_keys,
    groups,
    is_group,
    network_config,
    parse_overrides,
    plain,
    quote_paths,
)
from tasks.shared.config.consent import hear
from tasks.shared.config.nodes import NetworkConfig
from tasks.shared.config.typed import typed
from tasks.shared.errors import UserError
from tasks.shared.files.writing import make_folder, probe_file, write_text
from tasks.shared.paper.backbones import alpha_of, name_of
from tasks.shared.paper.settings import CostConfig, FiguresConfig
from tasks.shared.paper.tables import NUMBERS, classes_of

if TYPE_CHECKING:
    from tasks.shared.paper.accuracy import Accuracies

log = logging.getLogger(__name__)
OF_TABLES = ("table", "runs", "images", "check")  # keys that mean nothing to one network,
OF_NETWORKS = ("budget", "num_classes")  # and those that mean nothing to the tables
SAMPLE = "_sample"  # how drawn data sets are called


def cost(arguments: list[str]) -> None:
    """tools/cost.py"""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)  # stdout is for tables
    overrides = parse_overrides(quote_paths(arguments))
    for override in overrides:
        if override.is_sweep_override():
            raise UserError(f"{override.input_line}: one value is expected here; a list stands in brackets")
    own = compose_config("cost", [])
    others = [o for o in overrides if o.key_or_group.split(".")[0] not in own]
    composed = compose_config("train", [str(o.input_line) for o in others if chooses(o)])
    both = OmegaConf.merge(OmegaConf.to_container(composed), OmegaConf.to_container(own))
    assert isinstance(both, DictConfig)
    check_keys(overrides, both)
    hear(overrides, carried=False)
    for override in overrides:
        if override not in others:
            OmegaConf.update(own, override.key_or_group, override.value())
    settings, given = typed(CostConfig, plain(own)), {o.key_or_group for o in overrides}
    _check(settings, given, bool(others))
    if others:
        _one_network(_compose(others, composed), settings)
    else:
        _tables(settings, shlex.join(["python", "tools/cost.py", *arguments]))


def _check(settings: CostConfig, given: set[str], network: bool) -> None:
    """Refuse values out of range, and keys that mean nothing beside the others. network: whether one is described."""
    if settings.output is not None:
        probe_file("output", Path(settings.output))
    if settings.runs is not None and not Path(settings.runs).is_dir():
        raise UserError(f"runs={settings.runs}: no such folder")
    limits = [key for key in ("budget.mult_adds", "budget.parameters") if key in given]
    if idle := [key for key in OF_TABLES if key in given and network]:
        raise UserError(f"{idle[0]}: is of the paper's tables; leave it out, or the network's keys, such as task=")
    if idle := [key for key in sorted(given) if key.startswith(OF_NETWORKS) and not network]:
        raise UserError(f"{idle[0]}: of which network? give task=... too: {', '.join(groups()['task'])}")
    if idle := [key for key in sorted(given) if key.startswith("budget") and not limits]:
        raise UserError(f"{idle[0]}: there is no budget; give budget.mult_adds=... or budget.parameters=... too")


def _compose(others: list[Override], composed: DictConfig) -> DictConfig:
    """The config of one network. composed: that of the group choices alone.

    On the real data of its task where none is chosen: a drawn sample's recipe may shrink the network.
    """
    chosen = {o.key_or_group for o in others if is_group(o)}
    if "task" not in chosen | experiment_keys(others):
        line = others[0].input_line
        raise UserError(f"{line}: of which network? give task=... too: {', '.join(groups()['task'])}")
    lines = [str(o.input_line) for o in others if not o.key_or_group.startswith("data.")]
    real = choice_of(composed, "data").removesuffix(SAMPLE)
    if not chosen & {"data", "experiment"} and real in groups()["data"]:
        lines.append(f"data={real}")
    return compose_config("train", lines)


def _one_network(config: DictConfig, settings: CostConfig) -> None:
    from tasks.shared.network.meta import network_cost
    from tasks.shared.paper.budget import Budget, budget_data, budget_grid, sized_networks
    from tasks.shared.paper.composed import cost_data, cost_grids
    from tasks.shared.paper.grids import Grid, as_markdown, as_text

    network = network_config(config)
    name = str(network.task.name)
    classes = settings.num_classes if settings.num_classes is not None else classes_of(name)
    budget = Budget(settings.budget.mult_adds, settings.budget.parameters)
    grids: list[Grid]
    if budget == Budget():
        counted = network_cost(network, classes)
        title = f"{_body(network)}, resolution={network.resolution}, {classes} classes"
        grids, data = cost_grids(title, counted), cost_data(counted)
    else:
        networks = sized_networks(config, classes, settings.budget.alphas, settings.budget.resolutions)
        title = f"task={name}, {classes} classes, within {budget}"
        grids, data = [budget_grid(title, networks, budget)], budget_data(networks, budget)
    data = {"task": name, "num_classes": classes} | data
    if settings.format == "json":
        text = json.dumps(data, indent=2) + "\n"
    else:
        text = (
            as_text(grids, _at_terminal(settings))
            if settings.format == "terminal"
            else "\n".join(map(as_markdown, grids))
        )
    _write(text, settings.output)


def _body(network: NetworkConfig) -> str:
    alpha = alpha_of(network.backbone)
    body = f"backbone={name_of(network.backbone)}" if alpha is None else f"backbone.alpha={alpha}"
    return f"task={network.task.name}, {body}"


def _tables(settings: CostConfig, command: str) -> None:
    numbers = _numbers(settings.table)
    from tasks.shared.paper.accuracy import Accuracies
    from tasks.shared.paper.counting import Counter
    from tasks.shared.paper.document import tables_data, tables_document
    from tasks.shared.paper.grids import as_text, sheet_lines
    from tasks.shared.paper.results import fill_tables

    counter = Counter()
    accuracies = None if settings.runs is None else Accuracies(Path(settings.runs), counter)
    sheets = fill_tables(numbers, counter, accuracies)
    if settings.format == "json":
        text = json.dumps(tables_data(sheets), indent=2) + "\n"
    elif settings.format == "markdown":
        text = tables_document(sheets, command) + _figures(settings, accuracies)
    else:
        text = as_text([sheet_lines(sheet) for sheet in sheets], _at_terminal(settings))
    _write(text, settings.output)
    if alarms := [alarm for sheet in sheets for alarm in sheet.alarms]:
        message = "\n".join([f"{len(alarms)} figures do not come out as they are known to", *alarms])
        if settings.check:
            raise UserError(message)
        log.warning("%s", message)


def _figures(settings: CostConfig, accuracies: "Accuracies | None") -> str:
    """Figures 4 and 5 drawn beside a document that is written to a file, and its section that shows them."""
    if settings.output is None or settings.images is None:
        return ""
    from tasks.shared.paper.document import figures_section
    from tasks.shared.paper.figures import TASK, draw_figures

    runs = settings.runs if accuracies and TASK in accuracies.tasks else None
    folder = str(Path(settings.output).parent / settings.images)
    drawn = draw_figures(FiguresConfig(runs, folder, paper=True))
    return figures_section(settings.images, [file.name for file in drawn], accuracies=runs is not None)


def _numbers(table: Any) -> list[int]:
    """From null, 6, [6,7] or those as a text: the key `table` is quoted before Hydra parses."""
    if table is None:
        return list(NUMBERS)
    texts = [text.strip() for text in str(table).strip("[] ").split(",")]
    wrong = [text for text in texts if not text.isdecimal() or int(text) not in NUMBERS]
    if wrong:
        raise UserError(f"table={table}; expected one of the paper's tables, 1 to {NUMBERS[-1]}, or several: [6,7]")
    return sorted({int(text) for text in texts})


def _at_terminal(settings: CostConfig) -> bool:
    return settings.output is None and sys.stdout.isatty()


def _write(text: str, output: str | None) -> None:
    if output is None:
        print(text, end="")
        return
    make_folder(Path(output).parent, "output")
    write_text(Path(output), text, "output")
    log.info("written: %s", output)
