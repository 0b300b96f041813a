"""What a checkpoint or a run's folder carries besides weights, checked before anything believes it."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml
from omegaconf import OmegaConf

from tasks.shared.config.compose import CONFIGS
from tasks.shared.config.consent import NODES
from tasks.shared.config.paths import PLACES
from tasks.shared.config.targets import MOVED
from tasks.shared.config.types import FREE, expected_type
from tasks.shared.errors import UserError
from tasks.shared.files.reading import is_utf8

NETWORK = ("task", "backbone", "trainer")  # nodes that every carried config has
RUN = ("task", "data", "backbone", "trainer")  # and every config.yaml of a run
OTHERS = ("data", "optim", "init", "freeze", "teacher", "stages")  # and those that it may have
NAMES = ("task.name", "data.choice", "teacher.choice")  # that become parts of paths and of choices
# More of it no machine holds, or nobody means; the sizes of layers are held against the weights beside the config.
MOST = {
    "resolution": (1, 8192), "data.batch_size": (1, 65_536), "data.val_batch_size": (1, 65_536),
    "data.workers": (0, 256), "trainer.devices": (-1, 1024),
}  # fmt: skip
DEEPEST, LONGEST = 32, 100_000  # nodes in nodes, and values in all, counted again wherever one is named again
# Of timm.create_model: what reads, fetches or writes files. Of pretrained_cfg_overlay this is harmless:
UNSAFE = re.compile(r"pretrained.*|checkpoint_path|cache_dir|model_cfg|kwargs_filter")
OVERLAY = {"mean", "std", "input_size", "interpolation", "crop_pct", "crop_mode", "pool_size", "num_classes"}
LARGEST = 8192  # number in options, which others' functions may take for counts of layers
WINDOW = 512  # of windows, whose every pair of places some models list
PIXELS = 1 << 30  # of a batch
NAME = 1000  # characters of a class's name, which is drawn on images


def check_config(config: Any, source: str) -> dict[str, Any]:
    """`config`, as a file carries it, with the names of this version. source: what errors call the file.

    Raises UserError, one line naming source and key, for what is no plain data of a run, for values of other kinds
    than the YAML files have, for numbers that no memory holds, for `${`, which would read the environment, and for
    options that would read or fetch files.
    """
    _check_plain(config, f"{source}: the config", "", 0, iter(range(LONGEST)))
    if not isinstance(config, dict):
        raise UserError(f"{source}: its config is a {type(config).__name__}; expected a dict")
    config = renamed(config)
    for node in NETWORK:
        _expect(isinstance(config.get(node), dict), source, node, config.get(node), "keys below it")
    for node in OTHERS:
        _expect(isinstance(config.get(node), dict | None), source, node, config.get(node), "keys below it, or null")
    for key in NAMES:
        value = _value(config, key)
        fits = isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_-]+", value)
        _expect(
            fits or (value is None and key != "task.name"), source, key, value, "a name of letters, digits, _ and -"
        )
    for node in NODES:
        if config.get(node) is not None:
            _check_types(source, node, _known(node, config), config[node])
    for key in PLACES:
        path: Any = config
        for part in key.split("."):
            path = path.get(part) if isinstance(path, dict) else None
        _expect(isinstance(path, str | None), source, key, path, "a path")
    if "bn_momentum" not in config["trainer"]:
        raise UserError(f"{source}: its config lacks trainer.bn_momentum; expected what tools/train.py has written")
    _check_sizes(source, config)
    for node in ("backbone", "teacher"):
        _check_options(source, f"{node}.options", (config.get(node) or {}).get("options"))
    stages = dict(config.get("stages") or {})
    for name, stage in stages.items():
        _expect(re.fullmatch(r"[A-Za-z0-9_-]+", name), source, "stages", name, "names of letters, digits, _ and -")
        if not isinstance(stage, list | None):  # settings that were never composed, of converted weights
            stages[name] = check_config(stage, f"{source}, stages.{name}")
    return config | {"stages": stages} if stages else config


def check_complete(config: dict[str, Any], source: str) -> None:
    """Raise UserError where a config that `check_config` has passed lacks what a run is trained by."""
    wanted = [*(f"trainer.{key}" for key in _yaml("trainer/auto")), *(f"optim.{key}" for key in _yaml("optim/adamw")),
              *(f"optim.schedule.{key}" for key in _yaml("optim/adamw")["schedule"]), "seed",
              "init.method", "init.run", "init.head", "freeze.up_to", "freeze.batch_norm", "data._target_"]  # fmt: skip
    if lacking := [key for key in wanted if not _has(config, key)]:
        raise UserError(f"{source}: its config lacks {', '.join(lacking)}; expected what tools/train.py has written")
    for name, stage in (config.get("stages") or {}).items():
        check_complete(stage or {}, f"{source}, stages.{name}")


def check_info(info: Any, num_classes: Any, source: str) -> None:
    """Raise UserError naming source and key where `info` and `num_classes` of a checkpoint are not what data tell."""
    if not isinstance(num_classes, int) or isinstance(num_classes, bool) or not 0 <= num_classes < 2**31:
        raise UserError(f"{source}: num_classes={_shown(num_classes)}; expected a whole number from 0")
    check_names(info, source)
    for key in ("class_names", "class_ids", "category_ids"):
        if info.get(key) is not None and len(info[key]) != num_classes:
            raise UserError(f"{source}: info.{key} has {len(info[key])} of them; expected num_classes, {num_classes}")


def check_names(info: Any, source: str) -> None:
    """Raise UserError naming source and key for an `info` that no checkpoint may hold, of data before they are used."""
    if not isinstance(info, dict) or not all(isinstance(key, str) for key in info):
        raise UserError(f"{source}: its info is {_shown(info)}; expected a dict of what the data tell of their classes")
    for key, item_type, what in (
        ("class_names", str, "texts"), ("class_ids", str, "texts"), ("attributes", str, "texts"),
        ("category_ids", int, "whole numbers"),
    ):  # fmt: skip
        value = info.get(key)
        if value is None:
            continue
        if not isinstance(value, list | tuple) or not all(type(each) is item_type for each in value):
            raise UserError(f"{source}: info.{key}={_shown(value)}; expected a list of {what}")
        if any(len(each) > NAME if isinstance(each, str) else abs(each) >= 1 << 62 for each in value):
            raise UserError(f"{source}: info.{key} has one too large; expected {NAME:,} characters or 62 bits at most")
        if not all(is_utf8(each) for each in value if isinstance(each, str)):
            raise UserError(f"{source}: info.{key} has a text that is no UTF-8; expected names that files hold")
    if not isinstance(info.get("cells"), dict | None):
        raise UserError(f"{source}: info.cells={_shown(info['cells'])}; expected cells of tools/prepare_planet.py")


def check_contents_types(contents: Any, source: str) -> None:
    """Raise UserError where `contents` is not what `records.contents.content_of` gives by split, or None."""
    splits = {None: None} if contents is None else contents
    fits = isinstance(splits, dict) and all(
        each is None
        or (isinstance(each, dict) and type(each.get("pictures")) is int
            and isinstance(each.get("digest"), str | None))
        for each in splits.values()
    )  # fmt: skip
    _expect(fits, source, "contents", contents, "images and a digest by split")


def _check_plain(value: Any, what: str, key: str, depth: int, left: Iterator[int]) -> None:
    """Refuse what is no plain data, `${` in texts and keys, and nodes too deep or too many to be a run's."""
    where = f"{what}, {key}" if key else what
    if depth > DEEPEST or next(left, None) is None:
        raise UserError(f"{what}, {key[:100]}: nodes are {DEEPEST} deep and {LONGEST:,} values are held at most")
    if isinstance(value, str):
        if "${" in value:
            raise UserError(f"{where}: {value[:80]!r} holds ${{, which would read other values; expected plain text")
    elif isinstance(value, dict):
        for name, each in value.items():
            if not isinstance(name, str) or "${" in name:
                raise UserError(f"{where}: the key {_shown(name)}; expected a plain text")
            _check_plain(each, what, f"{key}.{name}" if key else name, depth + 1, left)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            _check_plain(each, what, f"{key}[{index}]", depth + 1, left)
    elif not isinstance(value, int | float | None):
        raise UserError(
            f"{where}: a {type(value).__name__}; expected numbers, texts, lists, dicts, true, false or null"
        )


def _check_types(source: str, key: str, known: Any, value: Any) -> None:
    """Refuse a value of another kind than `known`, that of the YAML files; keys that these lack are left to others."""
    if known is None or (isinstance(known, str) and known.startswith(("${", "???"))):
        return
    if isinstance(known, str):
        _expect(not isinstance(value, dict | list), source, key, value, "a text")
    elif isinstance(known, list):
        _expect(isinstance(value, list | None), source, key, value, "a list")
        if known and not any(isinstance(each, dict | list) for each in known):
            plain = not any(isinstance(each, dict | list) for each in value or ())
            _expect(plain, source, key, value, "a list of numbers or texts")
    else:
        expected = expected_type(key, OmegaConf.create(known) if isinstance(known, dict) else known, value)
        _expect(expected is None, source, key, value, str(expected))
    if isinstance(known, dict) and isinstance(value, dict) and key.split(".")[-1] not in FREE:
        for name in known.keys() & value.keys():
            _check_types(source, f"{key}.{name}", known[name], value[name])


def _check_sizes(source: str, config: dict[str, Any]) -> None:
    for key, (least, most) in MOST.items():
        value = config.get(key) if "." not in key else _value(config, key)
        if (value is None and key != "resolution") or (key == "trainer.devices" and not isinstance(value, int)):
            continue  # Lightning reads texts and lists of devices itself
        fits = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        _expect(fits, source, key, value, f"a whole number from {least} to {most:,}")
    for key in ("data.batch_size", "data.val_batch_size"):
        pixels = (_value(config, key) or 1) * config["resolution"] ** 2
        _expect(pixels <= PIXELS, source, key, _value(config, key), f"{PIXELS:,} pixels in a batch at most")


def _check_options(source: str, key: str, options: Any) -> None:
    """Of timm's models: what reads, fetches or writes files a command line may give, a file may not carry."""
    _expect(isinstance(options, dict | None), source, key, options, "keys below it")
    for name, value in (options or {}).items():
        harmless = name == "pretrained_cfg_overlay" and isinstance(value, dict) and value.keys() <= OVERLAY
        if UNSAFE.fullmatch(name) and not harmless:
            raise UserError(f"{source}: {key}.{name} reads, fetches or writes files; only a command line may give it")
        _check_numbers(source, f"{key}.{name}", value, WINDOW if "window" in name else LARGEST)


def _check_numbers(source: str, key: str, value: Any, most: int) -> None:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inside:
        _check_numbers(source, key, each, most)
    if isinstance(value, int | float):
        _expect(abs(value) <= most, source, key, value, f"no number above {most:,}")


def _known(node: str, config: dict[str, Any]) -> Any:
    """The node as the YAML files have it, {} for what they do not know, such as somebody's own task."""
    if node == "task":
        return _yaml(f"task/{config['task']['name']}").get("task", {})
    files = ("mobilenet", "timm") if node == "backbone" else (config[node].get("choice"),)
    known = [_yaml(f"{node}/{file}") for file in files]
    return next((each for each in known if each.get("_target_") == config[node].get("_target_")), {})


def completed(config: dict[str, Any]) -> dict[str, Any]:
    """A carried config, with today's defaults of the keys that runs of older versions, or of weights alone, lack.

    The nodes that name a class are left as they are: their defaults are the class's.
    """
    today = {key: _yaml("train")[key] for key in ("seed", "init", "freeze")} | {"data": None, "teacher": None}
    today |= {"trainer": _yaml("trainer/auto"), "optim": _yaml("optim/adamw")}
    stages = {name: stage for name, stage in (config.get("stages") or {}).items() if isinstance(stage, dict)}
    return _filled(today, config) | {"stages": {name: completed(stage) for name, stage in stages.items()}}


def _filled(today: Any, value: Any) -> Any:
    if not isinstance(today, dict) or not isinstance(value, dict | None):
        return value
    values = value or {}
    return today | {key: _filled(today.get(key), each) for key, each in values.items()}


def renamed(config: dict[str, Any]) -> dict[str, Any]:
    """A run's config whose nodes name what they named when it was written, under the names of this version."""
    moved = {}
    for node in NODES:
        value = config.get(node)
        if isinstance(value, dict) and (target := MOVED.get(str(value.get("_target_")))) is not None:
            moved[node] = value | {"_target_": target}
    return config | moved


def no_run(config: Any, task: str | None = None) -> str | None:
    """Why the content of a config.yaml is no run's, or none of `task` (None: of any)."""
    if not isinstance(config, dict) or "resolution" not in config:
        return "its config.yaml is no run's"
    if lacking := [node for node in RUN if not isinstance(config.get(node), dict)]:
        return f"its config.yaml is no run's, it lacks {', '.join(lacking)}"
    own = config["task"].get("name")
    return f"task={own}" if task is not None and own != task else None


def data_name_of(config: dict[str, Any]) -> str | None:
    """The choice of data that a carried config was made with, where it says."""
    return (config.get("data") or {}).get("choice")


@cache
def _yaml(name: str) -> dict[str, Any]:
    file = CONFIGS / f"{name}.yaml"
    return yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _value(config: dict[str, Any], key: str) -> Any:
    node, name = key.split(".")
    return (config.get(node) or {}).get(name)


def _has(config: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(config, dict) or part not in config:
            return False
        config = config[part]
    return True


def _expect(fits: object, source: str, key: str, value: Any, expected: str) -> None:
    if not fits:
        raise UserError(f"{source}: {key}={_shown(value)}; expected {expected}")


def _shown(value: Any) -> str:
    shown = (
        repr(value) if not isinstance(value, dict | list | tuple) or len(value) < 20 else f"a {type(value).__name__}"
    )
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
