"""JSON, YAML and lists of others: bounded in size and depth before anything is made of it. Imports nothing heavy."""

import json
import os
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tasks.shared.errors import UserError

SMALL = 1 << 20  # bytes: figures, markers, configs
DEEPEST = 40  # nodes in nodes of a config
NODES = 100_000  # of a config, those that are named again counted again
NAMES = 16 << 20  # bytes of a list of names that is held as a whole; of a hundred thousand classes 2 MB
LINE = 1 << 14  # bytes of a line of a list: four of the longest paths that Linux has
DIGITS = 18  # that fit into 64 bits
SCALAR = 1 << 13  # characters of a line, or of a number or date: what libraries make of more takes long


def read_json(file: Path, most: int = SMALL) -> Any:
    """The content of a JSON file of `most` bytes at most. Raises UserError naming the file, in one line."""
    content = _bytes(file, most)
    try:
        return parse_json(content)
    except ValueError as error:
        raise UserError(f"{file}: not a readable json file ({error})") from error


def parse_json(content: bytes | str) -> Any:
    """JSON in UTF-8. Raises ValueError for what is damaged or nested too deep."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError, MemoryError) as error:  # of text, of numbers with too many digits, of depth
        raise ValueError(_reason(error)) from error


def read_yaml(file: Path) -> Any:
    """The plain data of a YAML file, such as a run's config. Raises UserError naming the file, in one line.

    What is named once and meant a thousand times counts a thousand times; nothing may contain itself.
    """
    content = _bytes(file, SMALL)
    try:
        text = content.decode()
        _check_events(text)
        node = yaml.compose(text, yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)
        if node is None:
            return None
        _check_nodes(node)
        return yaml.SafeLoader("").construct_document(node)  # type: ignore[no-untyped-call]
    except (ValueError, yaml.YAMLError, RecursionError, MemoryError, TypeError, OverflowError) as error:
        raise UserError(f"{file}: not a readable yaml file ({_reason(error)})") from error


def read_names(file: Path) -> list[str]:
    """The lines of a text file in UTF-8, without the spaces around them; empty ones too. UserError names the file."""
    content = _bytes(file, NAMES)
    try:
        lines = [line.strip() for line in content.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: is no text in UTF-8 ({error})") from error
    if (number := next((n for n, line in enumerate(lines, 1) if len(line) > LINE), None)) is not None:
        raise UserError(f"{file}: line {number} has more than {LINE:,} characters; expected a name")
    return lines


def read_lines(file: Path, longest: int = LINE) -> Iterator[tuple[int, bytes]]:
    """Number, from 1, and content of each line of a list of any length, one at a time. UserError names the file."""
    try:
        if file.exists() and not file.is_file():
            raise UserError(f"{file}: cannot be read (not a regular file)")
        with file.open("rb") as content:
            number = 0
            while line := content.readline(longest + 1):
                number += 1
                if len(line) > longest:
                    raise UserError(f"{file}: line {number} has more than {longest:,} bytes; expected a list")
                yield number, line
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from error


def whole_number(text: str | bytes) -> int | None:
    """What decimal digits stand for; None for anything else: signs, superscripts, more digits than 64 bits have."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS else None


def is_utf8(text: str) -> bool:
    """Whether a file can hold it: JSON and YAML may name halves of signs by their numbers."""
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


def shown(value: object) -> str:
    """A value of a stranger's file for a message: cut, and one line."""
    return " ".join(reprlib.repr(value).split())[:120]


def _bytes(file: Path, most: int) -> bytes:
    try:
        if not file.is_file():
            found = "not a regular file" if file.exists() else "no such file"
            raise UserError(f"{file}: cannot be read ({found})")
        with file.open("rb") as opened:
            too_long = os.fstat(opened.fileno()).st_size > most
            content = b"" if too_long else opened.read(most + 1)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from error
    if too_long or len(content) > most:
        raise UserError(f"{file}: has more than {most:,} bytes; expected fewer of such a file")
    return content


def _check_events(text: str) -> None:
    """Depth and number of what is written, before it is put together: that happens in calls within calls."""
    if any(len(line) > SCALAR for line in text.splitlines()):
        raise ValueError(f"a line of more than {SCALAR:,} characters")
    depth = 0
    for count, event in enumerate(yaml.parse(text, yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.ScalarEvent) and event.style is None and len(event.value) > SCALAR:
            raise ValueError(f"a plain value of more than {SCALAR:,} characters")
        if depth > DEEPEST or count > NODES:
            raise ValueError(f"more than {DEEPEST} levels or {NODES:,} values")


def _check_nodes(root: yaml.Node) -> None:
    sizes: dict[int, int | None] = {}  # of a node with all that it means; None: it is being looked at

    def size(node: yaml.Node) -> int:
        known = sizes.get(id(node), 0)
        if known is None:
            raise ValueError("a value that contains itself")
        if known:
            return known
        sizes[id(node)] = None
        total = 1
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                # Numbers could be chosen so that all fall into one place of the dict; merges multiply.
                number = key.tag.endswith(":int")
                if not isinstance(key, yaml.ScalarNode) or not (number or key.tag.endswith(":str")):
                    raise ValueError("a key that is neither a text nor a number")
                if number and len(key.value) > 10:
                    raise ValueError("a key of more than 10 digits")
                total += 1 + size(value)
        elif isinstance(node, yaml.SequenceNode):
            total += sum(map(size, node.value))
        if total > NODES:
            raise ValueError(f"more than {NODES:,} values, what is named again counted again")
        sizes[id(node)] = total
        return total

    size(root)


def _reason(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    if isinstance(error, MemoryError):
        return "larger than memory"
    return " ".join(str(error).split())[:200]
