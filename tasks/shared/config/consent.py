"""What this command's own words ask for.

A config that a checkpoint or a run's folder carries asks for nothing: on its word no code of others is named, nothing
is drawn or downloaded, and no new place is written. What the command line says is the user's own.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hydra.core.override_parser.types import Override

log = logging.getLogger(__name__)
NODES = ("task", "backbone", "data", "teacher")  # of a run's config that name code, by `_target_`
CACHE = Path("data/cache")  # where caches lie unless told otherwise


@dataclass(frozen=True)
class Consent:
    """given: values by key of the command line, chosen groups among them. carried: the config is not the command's."""

    given: Mapping[str, object]
    carried: bool


_now = Consent({}, carried=False)  # of this process, which runs one command


def hear(overrides: Iterable[Override], *, carried: bool) -> None:
    """Take note of what the command line gives.

    carried: it is given on top of a config that a checkpoint or a run's folder carries, not of this toolkit's own.
    """
    global _now
    given = {o.key_or_group: None if o.is_sweep_override() or o.is_delete() else o.value() for o in overrides}
    _now = Consent(given, carried)


def names_target(node: str, name: object) -> bool:
    """Whether the command line itself gives `<node>._target_=<name>`."""
    return name is not None and _now.given.get(f"{node}._target_") == name


def asks_for(key: str) -> bool:
    """Whether `key` has its value on the user's word: given on this command line, or of a config of the command's."""
    return not _now.carried or key in _now.given or key.split(".")[0] in _now.given


def may_draw_in(path: Path) -> bool:
    """Whether this command may have sample images drawn in `path`: data are its own, or it names this root."""
    if not _now.carried or "data" in _now.given:
        return True
    root = _now.given.get("data.root")
    return root is not None and path.resolve().is_relative_to(Path(str(root)).resolve())


def cache_path(key: str, path: Path, mark: str) -> Path:
    """The folder to keep a cache in: `path`, which is the value of `key`, unless nobody but a carried config names it.

    Then it must hold what this toolkit has kept there before, `mark` as a pattern of names; else `CACHE` is taken, and
    a line says so.
    """
    if asks_for(key) or path == CACHE or any(path.glob(mark)):
        return path
    log.info("%s=%s: named by the checkpoint alone, and holds no cache of this toolkit: %s is used", key, path, CACHE)
    return CACHE
