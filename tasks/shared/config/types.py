"""What kind of value a key takes: that of the value it has."""

from typing import Any

from omegaconf import DictConfig

FREE = ("options",)  # nodes whose keys belong to somebody else's function
MAY_BE_OFF = ("task", "data", "backbone", "stages")  # nodes in them may be null, true or false as well
NONE = ("bn_momentum", "ema_decay", "gradient_clip_norm", "mining_nms", "workers")  # numbers that null turns off


def expected_type(key: str, known: Any, value: Any) -> str | None:
    """What `key`, which is `known`, expects, where `value` is of another kind; None where it will do.

    Numbers, switches and nodes are told apart. What is a text, a list or null is left to those who read it.
    """
    parts = key.split(".")
    if set(parts[:-1]) & set(FREE) or (isinstance(value, str) and "${" in value):
        return None
    if isinstance(known, DictConfig):
        may_be_off = parts[-1] in FREE or parts[0] in MAY_BE_OFF
        fits = isinstance(value, dict) or (may_be_off and isinstance(value, bool | None))
        inside = ", ".join(f"{key}.{name}" for name in map(str, known)) or f"{key}.KEY=..."
        return None if fits else f"the keys below it to be set, {inside}"
    if isinstance(known, bool):
        return None if isinstance(value, bool | None) else "true or false"
    if isinstance(known, int | float):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return None if number or (value is None and parts[-1] in NONE) else "a number"
    return None
