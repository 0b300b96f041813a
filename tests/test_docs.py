"""The pages hold together, and say what is there: tables, links, commands, choices, keys, tools and files."""

import re
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig

from tasks.shared.config.compose import (
    CONFIGS,
    SEARCH_PATH,
    check_keys,
    chooses,
    compose_config,
    groups,
    parse_overrides,
    quote_paths,
)  # fmt: skip
from tests.markdown import (
    PAGES,
    ROOT,
    anchors,
    code,
    commands,
    files_given,
    help_commands,
    links,
    prose,
    table_of,
    tables,
    text_of,
)  # fmt: skip
from tests.test_architecture import LAYERS

TOOLS = sorted(path.stem for path in (ROOT / "tools").glob("*.py"))
GROUPS = groups()
FILES = {
    path.relative_to(ROOT).as_posix()
    for folder in ("backbone", "tasks", "tools", "tests", "configs", "docs", ".ci")
    for path in (ROOT / folder).rglob("*.*")
}
SOURCES = "".join(text_of(path) for folder in ("tasks", "backbone") for path in (ROOT / folder).rglob("*.py"))
page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
HISTORY = {"CHANGELOG.md"}  # which may name what is gone


@page
def test_tables_are_whole(page: Path) -> None:
    for line, rows in tables(text_of(page)):
        assert len(rows) > 2, f"line {line}: a row by itself; is there an empty line in a table?"
        assert all(re.fullmatch(r":?-+:?", cell) for cell in rows[1]), f"line {line}: no separator below the header"
        for number, row in enumerate(rows, line):
            assert len(row) == len(rows[0]), f"line {number}: {len(row)} cells below a header of {len(rows[0])}"


@page
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(text_of(page)):
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(text_of(file)), f"{target}: no such heading"


def test_the_index_has_every_page() -> None:
    named = {target for target in links(text_of(ROOT / "docs/index.md")) if target.endswith(".md")}
    assert named == {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}


def test_readme_has_every_task_with_a_command() -> None:
    named: list[str] = []
    for _, command, _ in table_of(text_of(ROOT / "README.md"), "task"):
        ((_, arguments),) = commands(command)
        chosen = dict(argument.split("=", 1) for argument in arguments)
        experiment = text_of(CONFIGS / "experiment" / f"{chosen['experiment']}.yaml") if "task" not in chosen else ""
        named += [chosen["task"]] if "task" in chosen else re.findall(r"override /task: (\w+)", experiment)
    assert sorted(named) == GROUPS["task"]


def test_configs_has_every_group_and_choice() -> None:
    rows = {row[0].strip("`"): row[1] for row in table_of(text_of(ROOT / "docs/configs.md"), "group")}
    assert rows.pop("experiment") == "see `configs/experiment`"
    assert {group: sorted(re.findall(r"`(\w+)`", choices)) for group, choices in rows.items()} == {
        group: choices for group, choices in GROUPS.items() if group not in ("experiment", "recipe")
    }


def test_architecture_has_every_tool_and_package() -> None:
    text = text_of(ROOT / "docs/architecture.md")
    ((listed,),) = [re.findall(r"^tools/ +(.*?):", text, re.MULTILINE)]
    assert sorted(listed.split(", ")) == TOOLS
    named = [set(re.findall(r"`(\w+)`", row[0])) for row in table_of(text, "packages, from the bottom up")]
    assert named == [set(layer) - {"errors", "contract"} for layer in LAYERS]


SUBJECT = {"model", "head", "loss", "anchors", "rpn", "detect", "crop", "margin", "boxes", "matching", "postprocess"}


def test_architecture_says_of_every_larger_part_which_library_was_considered() -> None:
    rows = table_of(text_of(ROOT / "docs/architecture.md"), "part")
    named = [name for row in rows for name in re.findall(r"`([\w/.*]+)`", row[0])]
    parts = [f"*/{name}*" if name.endswith("/") else f"*/{name}" for name in named]
    for path in (ROOT / "tasks").rglob("*.py"):
        lines = sum(bool(line.strip()) for line in text_of(path).splitlines())
        if lines > 50 and path.stem not in SUBJECT:
            assert any(fnmatch(path.as_posix(), part) for part in parts), f"{path}: {lines} lines"
    for part in parts:
        assert any(fnmatch(path.as_posix(), part) for path in (ROOT / "tasks").rglob("*.py")), f"{part}: is no more"


@cache
def config_of(name: str, *choices: str) -> DictConfig:
    return compose_config(name, list(choices))


def problem(tool: str, arguments: list[str], task: str | None) -> str | None:
    """Why a tool would refuse its arguments, by their keys, choices and types alone. task: which the page is about."""
    flags = {"-m", "--help", "--cfg", "job"}
    overrides = parse_overrides(quote_paths([argument for argument in arguments if argument not in flags]))
    own = () if tool == "train" else tuple(config_of(tool))
    others = [each for each in overrides if each.key_or_group.split(".")[0] not in own]
    if own:
        check_keys([each for each in overrides if each not in others], config_of(tool))
    choices = [str(each.input_line) for each in others if chooses(each)]
    given = any(choice.startswith(("task=", "experiment=")) for choice in choices)
    problems = []
    for known in [None] if given or not others else [task] if task else GROUPS["task"]:
        base = (*(() if known is None else (f"task={known}",)), *choices)
        try:
            check_keys(others, config_of("train", *base))
            return None
        except ValueError as error:
            problems.append(str(error))
    return problems[0]


@pytest.mark.parametrize("file", [*PAGES, *(ROOT / "tools").glob("*.py")], ids=lambda path: path.name)
def test_commands_are_understood(file: Path) -> None:
    found = commands(text_of(file)) if file.suffix == ".md" else help_commands(text_of(file))
    for tool, arguments in found:
        assert tool in TOOLS
        if any(argument.startswith(SEARCH_PATH) for argument in arguments):
            continue  # of somebody's own configs: tests/test_extending.py has them
        assert problem(tool, arguments, file.stem if file.stem in GROUPS["task"] else None) is None, arguments


def test_commands_that_are_not_understood_are_found() -> None:
    assert problem("train", ["task=ssd", "optim.lr=0.1"], None) is None
    assert "unknown key 'optim.rate'" in str(problem("train", ["task=ssd", "optim.rate=0.1"], None))
    assert "unknown key" in str(problem("eval", ["checkpoint=RUN", "task.rate=0.1"], "ssd"))
    assert "Could not find 'task/sdd'" in str(problem("train", ["task=sdd"], None))
    assert problem("eval", ["checkpoint=RUN", "task.evaluator=pycocotools"], None) is None


def keys_in(node: object, prefix: str = "") -> set[str]:
    """`a`, `a.b` ... of a YAML file's content."""
    if not isinstance(node, dict):
        return set()
    return {f"{prefix}{key}" for key in node} | {
        each for key, value in node.items() for each in keys_in(value, f"{prefix}{key}.")
    }


@cache
def all_keys() -> set[str]:
    """Every key of every YAML file, as the command line calls it."""
    keys = set()
    for file in CONFIGS.rglob("*.yaml"):
        text = text_of(file)
        own = file.parent == CONFIGS or "@package _global_" in text
        keys |= keys_in(yaml.safe_load(text), "" if own else f"{file.parent.name}.")
    return keys | set(GROUPS)


@page
def test_keys_and_choices_that_are_named_are_there(page: Path) -> None:
    if page.name in HISTORY:
        return
    for span in code(text_of(page)):
        if choice := re.fullmatch(rf"({'|'.join(GROUPS)})=([a-z][\w.|]*)", span):
            assert set(choice[2].split("|")) <= set(GROUPS[choice[1]]), span
        elif key := re.fullmatch(
            r"((?:data|task|backbone|teacher|optim|trainer|init|freeze)(?:\.[a-z_]\w*)+)(?:=.*)?", span
        ):
            path = re.sub(r"\.options\..*", ".options", key[1])
            assert path in all_keys() or path.endswith("._target_"), span


@page
def test_files_and_modules_that_are_named_are_there(page: Path) -> None:
    if page.name in HISTORY:
        return
    text = text_of(page)
    named = [span for span in code(text) if re.fullmatch(r"[\w./]+\.(py|yaml|md|cpp|h)", span)]
    lost = [name for name in named if not any(file == name or file.endswith(f"/{name}") for file in FILES)]
    lost = [name for name in lost if f'"{name}"' not in SOURCES]  # a run's own, such as config.yaml
    lost = [name for name in lost if name not in files_given(text)]
    modules = re.findall(r"python -m ((?:tests|tasks|backbone)[\w.]*)", text)
    lost += [module for module in modules if f"{module.replace('.', '/')}.py" not in FILES]
    folders = [span for span in code(text) if re.fullmatch(r"(backbone|tasks|configs|tests|tools|docs)(/\w+)+/?", span)]
    lost += [folder for folder in folders if not (ROOT / folder).exists()]
    assert not lost


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("| a | b |\n|---|---|\n| `x\\|y` | 2 |\n\n| 3 | 4 |\n", 2),
        ("```\n| a |\n```\n| a |\n|---|\n| b |", 1),
        ("no table | here", 0),
    ],
)
def test_the_parser_finds_tables(text: str, count: int) -> None:
    assert len(tables(text)) == count


def test_the_parser_finds_links_anchors_and_commands() -> None:
    text = "# The `first` part, two\n[a](b.md#c) `[x](y)` [web](https://e.org)\n"
    text += "```bash\npython tools/a.py x=1 \\\n  y=2  # z\n```\n"
    assert anchors(text) == {"the-first-part-two"} and links(text) == ["b.md#c"] and "tools" not in prose(text)
    assert list(commands(text)) == [("a", ["x=1", "y=2"])]
    assert list(help_commands("python tools/a.py x=1      of all; format=json for b")) == [("a", ["x=1"])]
