"""Typed configs: dataclasses whose annotations say the type and the range of every key. Imports nothing heavy.

Each dataclass lies beside its owner. `typed` makes one of plain values, as YAML and checkpoints hold them, and
`plain_of` gives these back. Defaults and help are the YAML files'.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from tasks.shared.errors import UserError

T = TypeVar("T")
NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", NoneType: "null"}


@dataclasses.dataclass(frozen=True)
class In:
    """A range in an annotation, `Annotated[float | None, In(0, below=1)]`. null is not held against it.

    what: what the numbers are, where "a number" says too little. unit: what they count.
    """

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    what: str = ""
    unit: str = ""

    def holds(self, value: Any) -> bool:
        return bool(self.least <= value <= self.most and (value > self.above or self.above == -math.inf)
                    and (value < self.below or self.below == math.inf))  # fmt: skip

    def expected(self, what: str) -> str:
        limits = {"from": self.least, "above": self.above, "to": self.most, "below": self.below}
        bounds = [f"{word} {limit:g}" for word, limit in limits.items() if math.isfinite(limit)]
        return " ".join([self.what or what, *bounds]) + (f", {self.unit}" if self.unit else "")


@dataclasses.dataclass(frozen=True)
class OneOf:
    """Texts that may be chosen from, in an annotation."""

    names: tuple[str, ...]

    def holds(self, value: Any) -> bool:
        return value in self.names

    def expected(self, what: str) -> str:
        return f"one of {', '.join(self.names)}"


class NotEmpty:
    """Of a list, in an annotation."""

    def holds(self, value: Any) -> bool:
        return bool(value)

    def expected(self, what: str) -> str:
        return f"{what}, one at least"


Count = Annotated[int, In(1)]
Megapixels = Annotated[float, In(above=0, unit="in millions of pixels")]  # of `images.limits`, for every tool


def typed(made: type[T], values: Mapping[str, Any], source: str = "", key: str = "") -> T:
    """The dataclass `made` of plain values by key; keys that `values` lack have the dataclass's defaults.

    source: the file that carries them, if one does. key: of the node, for messages. Raises UserError for values of
    another type or range, unknown keys and lacking ones: a line each, or of a file the first.
    """
    problems: list[str] = []
    built = _made(made, values, key, problems, source)
    if problems:
        raise UserError(f"{source}: {problems[0]}" if source else "\n".join(problems))
    return built  # type: ignore[no-any-return]


def plain_of(config: Any) -> Any:
    """What `typed` would make the same of. Fields with the metadata `left_out_as` are left out at that value."""
    if hasattr(config, "plain"):
        return config.plain()
    if isinstance(config, dict):
        return {name: plain_of(each) for name, each in config.items()}
    if not dataclasses.is_dataclass(config):
        return config
    values = {field: getattr(config, field.name) for field in dataclasses.fields(config)}
    return {
        field.name: plain_of(value)
        for field, value in values.items()
        if "left_out_as" not in field.metadata or value != field.metadata["left_out_as"]
    }


def _made(wanted: Any, value: Any, key: str, problems: list[str], source: str) -> Any:
    """`value` as `wanted`; what does not fit is added to `problems`."""
    parts = get_args(wanted) if get_origin(wanted) in (Union, UnionType) else (wanted,)
    if value is None and NoneType in parts:
        return None
    for part in parts:
        if hasattr(part, "read"):
            try:
                return part.read(key.rpartition(".")[2], value)
            except UserError as error:
                problems.append(str(error))
                return None
        if dataclasses.is_dataclass(part):
            return _fields(part, value, key, problems, source)
        if get_origin(part) is dict and dataclasses.is_dataclass(get_args(part)[1]):
            each = {str(name): v for name, v in (value or {}).items() if isinstance(v, Mapping)}  # lists: not composed
            return {name: _made(get_args(part)[1], v, f"{key}.{name}", problems, source) for name, v in each.items()}
    if not _fits(value, wanted):
        shown = repr(value) if source else _as_given(value)
        problems.append(f"{key}={shown if len(shown) <= 80 else shown[:77] + '...'}; expected {_expected(wanted)}")
    return value


def _fields(made: Any, values: Any, key: str, problems: list[str], source: str) -> Any:
    hints, prefix = get_type_hints(made, include_extras=True), f"{key}." if key else ""
    fields = {field.name: field for field in dataclasses.fields(made)}
    if not isinstance(values, Mapping):
        inside = ", ".join(prefix + name for name in fields)
        problems.append(f"{key}={_as_given(values)}; expected the keys below it to be set, {inside}")
        return None
    problems += [
        f"{prefix}{name}={_as_given(v)}: there is no such key" for name, v in values.items() if name not in fields
    ]
    lacking = [name for name, field in fields.items() if name not in values and _required(field)]
    problems += [f"its config lacks {prefix}{name}; expected what tools/train.py has written" for name in lacking]
    given = [name for name in fields if name in values]
    built = {name: _made(hints[name], values[name], prefix + name, problems, source) for name in given}
    return None if problems else made(**built)


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _fits(value: Any, wanted: Any) -> bool:
    origin, inside = get_origin(wanted), get_args(wanted)
    if wanted is Any:
        return True
    if origin is Annotated:
        return _fits(value, inside[0]) and (value is None or all(rule.holds(value) for rule in inside[1:]))
    if origin in (Union, UnionType):
        return any(_fits(value, each) for each in inside)
    if origin is list:
        return isinstance(value, list) and all(_fits(each, inside[0]) for each in value)
    if origin is dict:
        return isinstance(value, dict)
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, wanted) and (wanted is not int or not isinstance(value, bool))


def _expected(wanted: Any) -> str:
    """What a message says is expected."""
    base, *rules = get_args(wanted) if get_origin(wanted) is Annotated else (wanted,)
    types = get_args(base) if get_origin(base) in (Union, UnionType) else (base,)
    names = [_name(each) for each in types if each is not NoneType]
    what = rules[0].expected(" or ".join(names)) if rules else " or ".join(names)
    return f"{what}, or null" if NoneType in types else what


def _name(wanted: Any) -> str:
    if get_origin(wanted) is list:
        each = "" if get_args(wanted)[0] is Any else _expected(get_args(wanted)[0]).removeprefix("a ")
        return f"a list of {each.replace('number', 'numbers').replace('text', 'texts')}" if each else "a list"
    return NAMES.get(wanted, "the keys below it to be set")


def _as_given(value: Any) -> str:
    """As a command line would give it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return value if isinstance(value, str) and re.fullmatch(r"[^\W\d][\w./-]*", value) else repr(value)
