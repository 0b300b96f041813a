"""What the pages say, taken apart: tables, links, headings, code and commands."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


class Table(NamedTuple):
    """line: of its header, from 1. rows: the cells of header, separator and body."""

    line: int
    rows: list[list[str]]


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(text: str) -> str:
    """Without fenced code, whose lines stay as empty ones."""
    return FENCE.sub(lambda fence: "\n" * fence[0].count("\n"), text)


def tables(text: str) -> list[Table]:
    """Blocks of lines that begin with a bar."""
    found: list[Table] = []
    open_table = False
    for number, line in enumerate(prose(text).splitlines(), 1):
        is_row = line.lstrip().startswith("|")
        if is_row and not open_table:
            found.append(Table(number, []))
        if is_row:
            found[-1].rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]])
        open_table = is_row
    return found


def table_of(text: str, first: str) -> list[list[str]]:
    """The body of the one table whose first header cell is `first`."""
    (rows,) = [table.rows[2:] for table in tables(text) if table.rows[0][0] == first]
    return rows


def code(text: str) -> list[str]:
    """Inline code, which may run over the end of a line."""
    return [re.sub(r"\s+", " ", span) for span in re.findall(r"`([^`]+)`", prose(text))]


def links(text: str) -> list[str]:
    """Targets of links and images, of this repository's own files."""
    found = re.findall(r"\]\(([^()\s]+)\)", re.sub(r"`[^`]+`", "", prose(text)))
    return [target for target in found if not re.match(r"\w+:", target)]


def anchors(text: str) -> set[str]:
    """What links to headings call them, as GitHub makes it."""
    found: set[str] = set()
    for title in re.findall(r"^#+ +(.*)$", prose(text), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).replace("`", "")
        name = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        found.add(name if name not in found else f"{name}-{sum(each.startswith(name) for each in found)}")
    return found


def files_given(text: str) -> dict[str, str]:
    """What a page gives as whole files, by their paths: after a line with path and colon, fenced."""
    return dict(re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each `python tools/<name>.py` of a page, fenced or inline: the name and the arguments."""
    fenced = [re.sub(r"\\\n\s*", " ", body) for _, body in FENCE.findall(text)]
    for line in (*(line for body in fenced for line in body.splitlines()), *code(text)):
        if found := re.search(r"python tools/(\w+)\.py\b(.*)", line):
            yield found[1], shlex.split(found[2], comments=True)


def help_commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """The same of a tool's help, where remarks follow after two spaces."""
    for name, arguments in re.findall(r"^python tools/(\w+)\.py(.*)$", text, re.MULTILINE):
        yield name, shlex.split(re.split(r" {2,}", arguments)[0])
