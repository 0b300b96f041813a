"""Ways in which a file comes to harm, or is made to do harm."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Dice = random.Random
WRONG: tuple[Any, ...] = (
    None, True, -1, 0, 0.5, 1e30, 10**30, float("nan"), float("inf"), 2**31, -(2**63), "", "\0", "../../x", "9" * 500,
    "\ud7ff\u202e", [], {}, [[[]]], {"a": {"b": None}}, [None] * 3, "${oc.env:HOME}", {"_target_": "os.system"},
)  # fmt: skip
LENGTHS = (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00")


def mutate(file: Path, dice: Dice) -> str:
    """Change `file` in one of the ways that suit it. Returns what was done."""
    ways: list[Callable[[Path, Dice], str]] = [truncate, flip, flip, zero, swap, length, nul]
    if dice.random() < 0.1:
        return dice.choice((empty, folder, fifo))(file, dice)
    if file.suffix in TREES:
        ways = [*ways, value, value, value, value, nest]
    elif _is_text(file):
        ways = [*ways, lines, lines, lines, number, number, nul, nul]
    else:
        ways = [*ways, length, length, truncate, zero, swap, nul]
    return dice.choice(ways)(file, dice)


def truncate(file: Path, dice: Dice) -> str:
    data = file.read_bytes()
    count = dice.randrange(max(len(data), 1))
    file.write_bytes(data[:count])
    return f"ends after {count} of {len(data)} bytes"


def flip(file: Path, dice: Dice) -> str:
    data, count = bytearray(file.read_bytes()), dice.choice((1, 1, 3, 20))
    end = len(data) if dice.random() < 0.5 else min(len(data), 512)  # headers are where harm is done
    places = [dice.randrange(max(end, 1)) for _ in range(count)] if data else []
    for place in places:
        data[place] ^= 1 << dice.randrange(8)
    file.write_bytes(bytes(data))
    return f"bits flipped in bytes {places}"


def zero(file: Path, dice: Dice) -> str:
    data = bytearray(file.read_bytes())
    place, count = dice.randrange(max(len(data), 1)), dice.choice((4, 64, 1024))
    data[place : place + count] = bytes(len(data[place : place + count]))
    file.write_bytes(bytes(data))
    return f"zeros from byte {place}, {count} of them"


def swap(file: Path, dice: Dice) -> str:
    data, size = file.read_bytes(), dice.choice((8, 64, 512))
    a, b = sorted(dice.randrange(max(len(data) - size, 1)) for _ in range(2))
    file.write_bytes(data[:a] + data[b : b + size] + data[a + size : b] + data[a : a + size] + data[b + size :])
    return f"blocks of {size} bytes at {a} and {b} swapped"


def length(file: Path, dice: Dice) -> str:
    """Four bytes that may be a length, become a huge one."""
    data = bytearray(file.read_bytes())
    end = len(data) if dice.random() < 0.3 else min(len(data), 1024)
    place, number = dice.randrange(max(end - 4, 1)), dice.choice(LENGTHS)
    data[place : place + 4] = number
    file.write_bytes(bytes(data))
    return f"{number.hex()} at byte {place}"


def nul(file: Path, dice: Dice) -> str:
    data = file.read_bytes()
    place, put = dice.randrange(len(data) + 1), dice.choice((b"\0", b"\xff\xfe", b"\x00" * 4096, b"\xc3"))
    file.write_bytes(data[:place] + put + data[place:])
    return f"{len(put)} bytes {put[:2].hex()} put in at {place}"


def empty(file: Path, dice: Dice) -> str:
    file.write_bytes(b"")
    return "empty"


def folder(file: Path, dice: Dice) -> str:
    file.unlink()
    file.mkdir()
    return "a folder in its place"


def fifo(file: Path, dice: Dice) -> str:
    file.unlink()
    os.mkfifo(file)
    return "a named pipe in its place, into which nobody writes"


def lines(file: Path, dice: Dice) -> str:
    rows = file.read_text(encoding="utf-8").splitlines(keepends=True)
    place = dice.randrange(max(len(rows), 1))
    way = dice.choice(("repeated", "deleted", "moved to the end", "cut", "a thousand times"))
    row = rows[place : place + 1]
    half = [part[: len(part) // 2] + "\n" for part in row]
    instead = {
        "repeated": row * 2, "deleted": [], "moved to the end": [], "cut": half,
        "a thousand times": row * 1000,
    }[way]  # fmt: skip
    rows[place : place + 1] = instead
    file.write_text("".join(rows + (row if way == "moved to the end" else [])), encoding="utf-8")
    return f"line {place + 1} {way}"


def number(file: Path, dice: Dice) -> str:
    """A word of a text becomes something else."""
    text = file.read_text(encoding="utf-8")
    words = text.replace(",", " ").replace("\t", " ").replace("\n", " ").replace("<", " ").replace(">", " ").split()
    if not words:
        return empty(file, dice)
    word = dice.choice(words)
    put = dice.choice(
        ("-1", "nan", "1e400", "9" * 400, "", "x", "0x7f", "../../x", "\N{ARABIC-INDIC DIGIT SEVEN}", "²")
    )
    file.write_text(text.replace(word, put, 1), encoding="utf-8")
    return f"{word!r} became {put!r}"[:200]


def value(file: Path, dice: Dice) -> str:
    """A value somewhere in a tree becomes one of another kind, or is taken out."""
    load, dump = TREES[file.suffix]
    tree = load(file)
    told = change_tree(tree, dice)
    dump(file, tree)
    return told


def change_tree(tree: Any, dice: Dice) -> str:
    places = list(_places(tree))
    if not places:
        return "nothing"
    parent, key, path = dice.choice(places)
    if dice.random() < 0.15:
        del parent[key]
        return f"without {path}"
    parent[key] = dice.choice(WRONG)
    return f"{path} became {str(parent[key])[:60]!r}"


def nest(file: Path, dice: Dice) -> str:
    """So deep that who walks it by recursion falls."""
    deep = dice.choice((500, 5000, 100_000))
    file.write_text("[" * deep + "]" * dice.choice((0, deep)))
    return f"nested {deep} deep"


def _places(tree: Any, path: str = "") -> Any:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in items:
        yield tree, key, f"{path}/{key}"
        yield from _places(child, f"{path}/{key}")


def _is_text(file: Path) -> bool:
    try:
        return "\0" not in file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False


def _load_checkpoint(file: Path) -> Any:
    import torch

    return torch.load(file, weights_only=True)


def _dump_checkpoint(file: Path, tree: Any) -> None:
    import torch

    torch.save(tree, file)


def _load_safetensors(file: Path) -> Any:
    data = file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    return [json.loads(data[8 : 8 + size]), data[8 + size :]]


def _dump_safetensors(file: Path, tree: Any) -> None:
    header = json.dumps(tree[0] if tree else {}).encode()
    rest = tree[1] if len(tree) > 1 and isinstance(tree[1], bytes) else b""
    file.write_bytes(len(header).to_bytes(8, "little") + header + rest)


TREES: dict[str, tuple[Callable[[Path], Any], Callable[[Path, Any], Any]]] = {
    ".json": (
        lambda file: json.loads(file.read_text(encoding="utf-8")),
        lambda file, tree: file.write_text(json.dumps(tree), encoding="utf-8"),
    ),
    ".yaml": (
        lambda file: yaml.safe_load(file.read_text(encoding="utf-8")),
        lambda file, tree: file.write_text(yaml.safe_dump(tree), encoding="utf-8"),
    ),
    ".ckpt": (_load_checkpoint, _dump_checkpoint),
    ".safetensors": (_load_safetensors, _dump_safetensors),
}
