"""Texts that may come from strangers' files, for terminals, images and diagrams. Imports nothing heavy."""

import os
from pathlib import Path

LONGEST = 400  # characters of a name in an image; to lay out many more takes minutes


def escaped(text: str) -> str:
    r"""`text` with every character that is none to read, such as those that steer a terminal, as `\x1b`. Lines stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def one_line(text: str, most: int = LONGEST) -> str:
    """A name as one line of `most` characters at most, for an image."""
    line = escaped(text[: most + 1]).replace("\n", " ")
    return line if len(line) <= most else f"{line[:most]}..."


def in_diagram(text: str, most: int = 32) -> str:
    """A name for a diagram, where what stands between dollars would be taken for a formula."""
    return one_line(text, most).replace("$", r"\$")


def printable(path: str | Path) -> str:
    r"""A path as text that every file and terminal takes: bytes that are no UTF-8 become `\xe9` and the like."""
    return os.fsencode(path).decode(errors="backslashreplace")
