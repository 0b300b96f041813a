"""Composing configs, and telling users what is wrong with their overrides. Imports nothing heavy."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from tasks.shared.config.consent import NODES, hear
from tasks.shared.config.nodes import NAMED, NetworkConfig
from tasks.shared.config.types import FREE, expected_type
from tasks.shared.errors import UserError

CONFIGS = Path(__file__).parents[3] / "configs"
# Keys whose values are paths: they may hold spaces, accents, brackets, commas and `=`, all of which Hydra would parse.
PATH_KEYS = (
    "annotations", "cache", "cache_folder", "cells", "checkpoint", "classes", "images", "index", "input", "minival",
    "output", "pair", "pairs", "path", "pictures", "resume", "root", "run", "runs", "shards", "source", "table",
    "test_root", "unlabelled",
)  # fmt: skip
DEVICE_KEYS = ("accelerator", "devices", "strategy")
OPTIONAL_GROUPS = ("experiment", "recipe")
SEARCH_PATH = "hydra.searchpath"  # folders of configs besides this toolkit's
MOBILENET = "backbone.MobileNetV1"  # which recipes are for


def groups() -> dict[str, list[str]]:
    """Config groups and their options, as the folders of configs/ hold them."""
    return {
        folder.name: sorted(file.stem for file in folder.glob("*.yaml"))
        for folder in sorted(CONFIGS.iterdir())
        if folder.is_dir()
    }


def quote_paths(arguments: list[str]) -> list[str]:
    """Overrides with the values of path-valued keys quoted for Hydra's parser, unless they are already."""
    return [_quote(argument) for argument in arguments]


def _quote(argument: str) -> str:
    match = re.fullmatch(r"(\+{0,2}[\w.]+)=(.*)", argument, re.DOTALL)
    if not match or match[1].split(".")[-1] not in PATH_KEYS:
        return argument
    key, value = match.groups()
    if value in ("null", "true", "false", "") or (len(value) > 1 and value[0] == value[-1] and value[0] in "'\""):
        return argument
    value = re.sub(r"(\\+)(?='|$)", r"\1\1", value).replace("'", "\\'").replace("${", "\\${")
    return f"{key}='{value}'"


def open_free(arguments: list[str]) -> list[str]:
    """Overrides that may add keys to a free node, which Hydra takes for `++key` alone."""
    free = rf"[\w.]+\.({'|'.join(FREE)})(\.[\w.]+)?="
    return [f"++{argument}" if re.match(free, argument) else argument for argument in arguments]


def parse_overrides(arguments: list[str]) -> list[Override]:
    """Hydra overrides; a UserError names the one that is none."""
    parser, parsed = OverridesParser.create(), []
    for argument in arguments:
        try:
            parsed.append(parser.parse_override(argument))
        except HydraException as error:
            raise UserError(
                f"cannot read {argument!r}; expected key=value ({str(error).splitlines()[0]}). A value with commas, "
                "brackets or = in it needs quotes of its own: key=\"'value'\""
            ) from error
    for override in parsed:
        group = override.key_or_group
        if (
            is_group(override)
            and group not in OPTIONAL_GROUPS
            and not override.is_delete()
            and override.value() is None
        ):
            raise UserError(f"{override.input_line}: choose one of {', '.join(groups()[group])}")
    return parsed


def is_group(override: Override) -> bool:
    return override.key_or_group in groups()


def chooses(override: Override) -> bool:
    """Whether it decides which keys there are: as a choice of a group, or of the folders that choices lie in."""
    group = is_group(override) and not override.is_delete()
    return group or override.key_or_group == SEARCH_PATH


def compose_config(name: str, arguments: list[str]) -> DictConfig:
    """Compose configs/<name>.yaml with overrides that have been checked."""
    config = _compose(name, arguments)
    fit_recipe(config, arguments)
    return config


def _compose(name: str, arguments: list[str]) -> DictConfig:
    arguments = open_free(arguments)
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return compose(name, overrides=arguments)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise UserError(str(error).strip()) from error


def recipe_of(task: str | None, data: str | None) -> Path:
    """The file that is composed for a task and data where it exists."""
    return CONFIGS / "recipe" / f"{task}_{data}.yaml"


def fit_recipe(config: DictConfig, arguments: list[str]) -> None:
    """Leave out what the recipe sets of another backbone than the chosen one, such as MobileNet's alpha of timm's."""
    body = config.get("backbone")
    if body is None or config.data is None or body["_target_"] == MOBILENET:
        return
    if not recipe_of(choice_of(config, "task"), choice_of(config, "data")).exists():
        return
    chosen = [str(o.input_line) for o in parse_overrides(open_free(arguments)) if chooses(o)]
    without = _compose("train", [*chosen, "~recipe"])
    with open_dict(body):
        for key in set(body) - set(without.backbone):
            del body[key]


def experiment_keys(overrides: list[Override]) -> set[str]:
    """The keys that the chosen experiment sets, or the several, and the groups that they choose."""
    keys = set()
    for chosen in (o.value() for o in overrides if o.key_or_group == "experiment"):
        for name in filter(None, chosen if isinstance(chosen, list) else [chosen]):
            config = OmegaConf.load(CONFIGS / "experiment" / f"{name}.yaml")
            assert isinstance(config, DictConfig)
            picked = [key for entry in config.pop("defaults", []) if OmegaConf.is_dict(entry) for key in entry]
            keys |= {str(key).split("/")[-1] for key in picked} | set(_keys(_unresolved(config)))
    return keys


def check_keys(overrides: list[Override], config: DictConfig) -> None:
    """Every override must set a key that `config` has; of a node that names a class, to a value of the default's type.

    A UserError lists the nearest keys to all that do not exist. The values of a sweep are left to each of its runs, and
    those of all other keys to `typed`.
    """
    problems = []
    known = _unresolved(config)
    for override in overrides:
        key = override.key_or_group
        if chooses(override):
            continue
        if override.is_delete():
            problems.append(f"{override.input_line}: keys cannot be deleted; set another value")
        elif not _has(known, key):
            problems.append(f"unknown key {key!r}; {_nearest(key, known)}")
        elif override.is_sweep_override() or key.split(".")[0] not in NODES:
            continue
        elif expected := expected_type(key, OmegaConf.select(config, key), override.value()):
            problems.append(f"{override.input_line}; expected {expected}")
    if problems:
        raise UserError("\n".join(problems))


def _has(known: dict[str, Any], key: str) -> bool:
    node: Any = known
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            return False
        if part in FREE:
            return True
        node = node[part]
    return True


def _unresolved(config: DictConfig) -> dict[str, Any]:
    """As it stands, with the keys that are missing and those that interpolate others."""
    node: Any = OmegaConf.to_container(config, resolve=False)
    return node


def _nearest(key: str, keys: dict[str, Any]) -> str:
    known = _keys(keys)
    last = key.split(".")[-1]
    same = [k for k in known if k.split(".")[-1] == last]
    close = difflib.get_close_matches(key, [*known, *groups()], n=4, cutoff=0.5)
    by_last = [k for k in known if difflib.SequenceMatcher(None, k.split(".")[-1], last).ratio() > 0.75]
    found = list(dict.fromkeys([*same, *close, *by_last]))[:5]
    if found:
        return f"the nearest keys: {', '.join(found)}"
    return f"the top-level keys: {', '.join(keys)}"


def _keys(node: dict[str, Any], prefix: str = "") -> list[str]:
    keys = []
    for name, value in node.items():
        keys.append(f"{prefix}{name}")
        if isinstance(value, dict):
            keys += _keys(value, f"{prefix}{name}.")
    return keys


def plain(config: DictConfig, missing: bool = False) -> dict[str, Any]:
    """Resolved, plain data; a UserError names every key that is missing, unless these may be."""
    try:
        lacking = [] if missing else sorted(OmegaConf.missing_keys(config))
        container = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(str(error).splitlines()[0]) from error
    if lacking:
        raise UserError("; ".join(f"{key} is not set; give {key}=..." for key in lacking))
    assert isinstance(container, dict)
    return {str(k): v for k, v in container.items()}


def value_of(config: Mapping[str, Any], key: str) -> Any:
    """The value of a key with dots in plain data; None where there is none."""
    return OmegaConf.select(OmegaConf.create(dict(config)), key)


def choice_of(config: DictConfig, group: str) -> str:
    """Which option of a group a composed config was made with: of task, data or teacher."""
    return str(config[group][NAMED[group]])


def changed(config: DictConfig, changes: Mapping[str, Any]) -> DictConfig:
    """A composed config with other values by key; what interpolates them follows."""
    made = config.copy()
    OmegaConf.set_struct(made, False)
    for key, value in changes.items():
        OmegaConf.update(made, key, value, merge=False)
    return made


def network_config(config: DictConfig) -> NetworkConfig:
    """What makes the network of a composed config; where its images lie need not be set.

    Raises UserError for a key that is missing there, or that cannot be resolved.
    """
    nodes = {node: plain(config[node]) for node in ("task", "backbone", "trainer")}
    return NetworkConfig.of({"resolution": config.resolution} | nodes)


def own_config(name: str, arguments: list[str]) -> dict[str, Any]:
    """The keys of a tool that has no others, with overrides, as plain data."""
    values = quote_paths(arguments)
    check_keys(parse_overrides(values), compose_config(name, []))
    return plain(compose_config(name, values))


def run_config(
    run: dict[str, Any], overrides: list[Override], tool: DictConfig, source: str
) -> tuple[DictConfig, DictConfig]:
    """A run's config with overrides applied, and the tool's own keys with theirs.

    run: the config that a checkpoint carries, with all keys. data and the teacher to compare with can be chosen anew,
    and of trainer what it runs on; what makes the network is the checkpoint's. From here on it asks for nothing
    (`consent.py`) but what `overrides` say.
    """
    hear(overrides, carried=True)
    name = run["task"]["name"]
    chosen = [o for o in overrides if is_group(o)]
    for override in overrides:
        if override.is_sweep_override():
            raise UserError(f"{override.input_line}: one value is expected here; quote it if it holds a comma")
    for override in chosen:
        if override.key_or_group == "task" and override.value() == name:
            continue
        if override.key_or_group == "task":
            raise UserError(f"{source} was trained with task={name}, not {override.input_line}")
        if override.key_or_group not in ("data", "teacher", "trainer"):
            raise UserError(f"{override.input_line}: {override.key_or_group} is fixed by the checkpoint {source}")
    config = OmegaConf.create(run)
    fresh = [o for o in chosen if o.key_or_group != "task"]
    if fresh:
        searched = [o for o in overrides if o.key_or_group == SEARCH_PATH]
        composed = compose_config("train", [f"task={name}", *(str(o.input_line) for o in (*searched, *fresh))])
        for override in fresh:
            if override.key_or_group in ("data", "teacher"):
                config[override.key_or_group] = composed[override.key_or_group]
            else:  # of the trainer only what it runs on: the rest is the run's recipe
                config["trainer"].update({key: composed["trainer"][key] for key in DEVICE_KEYS})
    own = OmegaConf.create(OmegaConf.to_container(tool))
    values = [o for o in overrides if not is_group(o) and o.key_or_group != SEARCH_PATH]
    both = OmegaConf.merge(config, own)
    assert isinstance(both, DictConfig)
    check_keys(values, both)
    for override in values:
        # What data has from the task, such as its crop, is a value of its own in a checkpoint: it follows all the same.
        node, _, key = override.key_or_group.partition(".")
        was = OmegaConf.select(config, override.key_or_group)
        if node == "task" and was is not None and OmegaConf.select(config, f"data.{key}") == was:
            OmegaConf.update(config, f"data.{key}", override.value())
        target = own if override.key_or_group.split(".")[0] in list(own) else config
        OmegaConf.update(target, override.key_or_group, override.value(), force_add=True)
    assert isinstance(own, DictConfig)
    return config, own
