"""From a tool's overrides to what it does. Composes and checks first; what needs torch is imported after that."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tasks.shared.commands.jobs import is_sweep, job_overrides, result_folder, run_folder, run_jobs, sweep_folder
from tasks.shared.commands.resume import resume, stoppable
from tasks.shared.config.compose import (
    check_keys,
    chooses,
    compose_config,
    experiment_keys,
    fit_recipe,
    is_group,
    open_free,
    parse_overrides,
    plain,
    quote_paths,
    recipe_of,
    run_config,
)
from tasks.shared.config.consent import hear
from tasks.shared.config.paths import PLACES, absolute, check_exists, check_places, check_utf8
from tasks.shared.config.stage_configs import NOT_OF_A_RUN, with_stages
from tasks.shared.errors import UserError
from tasks.shared.files.writing import probe_file, probe_folder
from tasks.shared.images.limits import KEY as MAX_MEGAPIXELS
from tasks.shared.images.limits import set_max_megapixels
from tasks.shared.processes.failures import going_on_from

log = logging.getLogger(__name__)
FLAGS_WITH_VALUE = ("--cfg", "-c", "--info", "-i", "--package", "-p")


def train(arguments: list[str]) -> None:
    """tools/train.py: Hydra composes and sweeps; a resumed run takes its config from its checkpoint."""
    flags, plain_values = _split_flags(arguments)
    values = quote_paths(plain_values)
    overrides = parse_overrides(values)
    if any(o.key_or_group == "resume" and o.value() is not None for o in overrides):
        resume(plain_values)
        return
    # Composed once here with the group choices alone (the first of each sweep), to know which keys there are.
    chosen = [f"{o.key_or_group}={next(o.sweep_iterator()) if o.is_sweep_override() else o.get_value_element_as_str()}"
              for o in overrides if chooses(o)]  # fmt: skip
    keys = compose_config("train", chosen)
    check_keys(overrides, keys)
    sys.argv = [sys.argv[0], *flags, *open_free(values)]
    with sweep_folder(flags, {o.key_or_group for o in overrides}, keys.task.name):
        run_jobs(lambda config: _train_job(config, keys))


def _split_flags(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Hydra's flags (-m, --cfg job ...) with their values, and the overrides."""
    flags, values, takes_value = [], [], False
    for argument in arguments:
        if argument.startswith("-") or takes_value:
            flags.append(argument)
            takes_value = argument in FLAGS_WITH_VALUE
        else:
            values.append(argument)
    return flags, values


def _train_job(config: DictConfig, keys: DictConfig) -> None:
    """One run, or one of a sweep's. keys: those that there are, with values of the kinds that they take."""
    overrides = parse_overrides(job_overrides())
    check_keys(overrides, keys)
    fit_recipe(config, job_overrides())
    hear(overrides, carried=False)
    given = {o.key_or_group for o in overrides}
    set_max_megapixels(config[MAX_MEGAPIXELS])
    _check_start(config, given)
    check_places({key: OmegaConf.select(config, key) for key in PLACES}, config.data.choice)
    if config.init.run is not None:
        from tasks.shared.network.transfer import adopt_backbone

        adopt_backbone(config, given, experiment_keys(overrides))
    job = plain(config)
    if is_sweep() and job["trainer"]["devices"] != 1:
        raise UserError(
            f"trainer.devices={job['trainer']['devices']}: the runs of a sweep take one device each, one after "
            "another; start a command for each run to train it on several"
        )
    own = {key: value for key, value in job.items() if key not in NOT_OF_A_RUN}

    def settle(folder: Path) -> dict[str, Any]:
        settled = absolute(with_stages(own, job_overrides(), folder))
        check_utf8(settled | ({"output": str(folder.absolute())} if settled["stages"] else {}))
        return settled

    with run_folder(job, settle) as (settled, output), stoppable(output, settled), going_on_from(output):
        for name, stage in {**settled["stages"], "this run": settled}.items():
            _tell_recipe(name, stage)
        from tasks.shared.training.stages import train_with_stages

        train_with_stages(settled, output)


def _check_start(config: DictConfig, given: set[str]) -> None:
    """Refuse what the user has set for a network that starts from weights, where it starts from none."""
    sources = (config.init.run, config.init.stage, config.backbone.get("pretrained"), config.backbone.get("checkpoint"))
    asked = {"init.head": config.init.head == "new", "freeze.up_to": config.freeze.up_to is not None}
    idle = [f"{key}={OmegaConf.select(config, key)}" for key, wanted in asked.items() if wanted and key in given]
    if idle and not any(sources):
        raise UserError(f"{', '.join(idle)}: there are no weights to start from; give init.run=RUN too")


def _tell_recipe(name: str, config: dict[str, Any]) -> None:
    recipe = recipe_of(config)
    if recipe.exists():
        epochs, rate = config["trainer"]["max_epochs"], config["optim"]["lr"]
        settings = f"resolution {config['resolution']}, {epochs} epochs, optim.lr {rate}"
        log.info("recipe: configs/recipe/%s, unless told otherwise; %s: %s", recipe.name, name, settings)


def evaluate(arguments: list[str]) -> None:
    """tools/eval.py"""
    config, own, checkpoint = _from_checkpoint("eval", arguments, unused="data.train")
    from tasks.shared.records.report import print_metrics
    from tasks.shared.training.score import score_checkpoint

    with result_folder("eval", own["output"]) as output:
        metrics = score_checkpoint(checkpoint, config, output)
    print_metrics(metrics)
    print(f"results: {output}")


def predict(arguments: list[str]) -> None:
    """tools/predict.py"""
    config, own, checkpoint = _from_checkpoint("predict", arguments, unused="data")
    from tasks.shared.inference.predict import predict_files

    pair = None if own["pair"] is None else str(own["pair"])
    with result_folder("predict", own["output"]) as output:
        predict_files(checkpoint, config, str(own["input"]), output, own["batch_size"], pair)
    print(f"results: {output}")


def convert_weights(arguments: list[str]) -> None:
    """tools/convert_weights.py"""
    overrides = parse_overrides(quote_paths(arguments))
    keys = compose_config("convert_weights", [])
    own_values = [o for o in overrides if o.key_or_group in list(keys)]
    others = [o for o in overrides if o not in own_values]
    groups = [str(o.input_line) for o in others if is_group(o)]
    task = next((str(o.value()) for o in others if o.key_or_group == "task"), "classification")
    sample = compose_config("train", [f"task={task}"]).data.choice
    # In its layout, not with its sample's recipe: what is evaluated on is said then.
    composed = [f"task={task}", f"data={sample.removesuffix('_sample')}", *groups]
    config = compose_config("train", composed)
    both = OmegaConf.merge(OmegaConf.to_container(config), OmegaConf.to_container(keys))
    assert isinstance(both, DictConfig)
    check_keys(overrides, both)
    for override in own_values:
        OmegaConf.update(keys, override.key_or_group, override.value(), force_add=True)
    hear(overrides, carried=False)
    own = plain(keys)
    set_max_megapixels(own[MAX_MEGAPIXELS])
    config = compose_config("train", [*composed, *(str(o.input_line) for o in others if not is_group(o))])
    output = Path(str(own["output"]))
    if own["format"] not in ("run", "safetensors", "timm"):
        raise UserError(f"format={own['format']}; expected run, safetensors or timm")
    if own["background"] not in (None, True, False):
        raise UserError(f"background={own['background']!r}; expected true, false or null")
    if os.path.lexists(output) and (own["format"] != "run" or not output.is_dir() or any(output.iterdir())):
        raise UserError(f"output={output} exists already; choose another")
    (probe_folder if own["format"] == "run" else probe_file)("output", output)
    if not str(own["source"]).startswith("timm:"):
        what = "file" if own["format"] == "run" else "checkpoint or run folder"
        check_exists("source", own["source"], what)
    check_exists("classes", own["classes"], "file")
    check_exists("pictures", own["pictures"], "folder")
    from tasks.shared.inference.convert import convert

    convert(config, own, output, {o.key_or_group for o in others})
    print(f"written: {output}")


def _from_checkpoint(tool: str, arguments: list[str], unused: str) -> tuple[dict[str, Any], dict[str, Any], Path]:
    """The run's config with overrides, the tool's own keys, and the checkpoint's path.

    unused: a node that the tool does not read, and whose values may be missing.
    """
    overrides = parse_overrides(quote_paths(arguments))
    keys = compose_config(tool, [])
    given = {o.key_or_group: o.value() for o in overrides}
    needed = [key for key in OmegaConf.missing_keys(keys) if key not in given]
    if needed:
        raise UserError("; ".join(f"{key} is not set; give {key}=..." for key in sorted(needed)))
    check_exists("checkpoint", given.get("checkpoint"), "checkpoint or run folder")
    check_exists("input", given.get("input"), "file or folder")
    check_exists("pair", given.get("pair"), "file or folder")
    check_places(given, str(given["data"]) if "data" in given else None)
    from tasks.shared.records.checkpoint import find_checkpoint, load_checkpoint

    path = find_checkpoint(str(given["checkpoint"]))
    config, own = run_config(load_checkpoint(path).config, overrides, keys, str(path))
    set_max_megapixels(own[MAX_MEGAPIXELS])
    node = OmegaConf.select(config, unused)
    if OmegaConf.is_dict(node) and OmegaConf.missing_keys(node):
        OmegaConf.update(config, unused, None, merge=False)
    return plain(config), plain(own), path
