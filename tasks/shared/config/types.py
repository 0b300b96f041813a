"""What type of value a key takes whose node names a class: that of its default. The other keys are typed.

A class's own arguments are typed by its constructor, which needs torch: this answers without.
"""

from typing import Any

from omegaconf import DictConfig

FREE = ("options",)  # nodes whose keys belong to somebody else's function
NULL = ("mining_nms",)  # numbers that null turns off


def expected_type(key: str, known: Any, value: Any) -> str | None:
    """What `key`, which is `known`, expects, where `value` is of another type; None where it will do.

    Numbers, switches and nodes are told apart. What is a text, a list or null is left to those who read it.
    """
    parts = key.split(".")
    if set(parts[:-1]) & set(FREE) or (isinstance(value, str) and "${" in value):
        return None
    if isinstance(known, DictConfig):
        fits = isinstance(value, dict | bool | None)
        inside = ", ".join(f"{key}.{name}" for name in map(str, known)) or f"{key}.KEY=..."
        return None if fits else f"the keys below it to be set, {inside}"
    if isinstance(known, bool):
        return None if isinstance(value, bool | None) else "true or false"
    if isinstance(known, int | float):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return None if number or (value is None and parts[-1] in NULL) else "a number"
    return None
