"""From a tool's overrides to what it does. Composes and checks first; what needs torch is imported after that."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from tasks.shared.commands.jobs import Job, jobs_of, result_folder, run_folder, run_jobs, split_flags, sweep_folder
from tasks.shared.commands.resume import resume, stoppable
from tasks.shared.config.carried import completed
from tasks.shared.config.compose import (
    changed,
    check_keys,
    choice_of,
    chooses,
    compose_config,
    experiment_keys,
    is_group,
    network_config,
    parse_overrides,
    plain,
    quote_paths,
    recipe_of,
    run_config,
)
from tasks.shared.config.consent import hear
from tasks.shared.config.paths import absolute, check_exists, check_places, check_utf8
from tasks.shared.config.stage_configs import NOT_OF_A_RUN, with_stages
from tasks.shared.config.typed import plain_of, typed
from tasks.shared.errors import UserError
from tasks.shared.files.writing import probe_file, probe_folder
from tasks.shared.images.limits import set_max_megapixels
from tasks.shared.inference.settings import ConvertConfig, PredictConfig
from tasks.shared.processes.failures import going_on_from
from tasks.shared.training.settings import EvalConfig, RunConfig, TrainConfig, run_of

log = logging.getLogger(__name__)
Keys = TypeVar("Keys", EvalConfig, PredictConfig)


def train(arguments: list[str]) -> None:
    """tools/train.py: one run, or those of a sweep; a resumed run takes its config from its checkpoint."""
    flags = split_flags(arguments)
    overrides = parse_overrides(quote_paths(flags.overrides))
    if any(o.key_or_group == "resume" and o.value() is not None for o in overrides):
        resume(flags.overrides)
        return
    # Composed once here with the group choices alone (the first of each sweep), to know which keys there are.
    chosen = [f"{o.key_or_group}={next(o.sweep_iterator()) if o.is_sweep_override() else o.get_value_element_as_str()}"
              for o in overrides if chooses(o)]  # fmt: skip
    keys = compose_config("train", chosen)
    check_keys(overrides, keys)
    jobs = jobs_of(overrides, flags.multirun)
    if flags.cfg:
        print(OmegaConf.to_yaml(compose_config("train", jobs[0].overrides), resolve=flags.resolve), end="")
        return
    named = any(o.key_or_group == "output" for o in overrides)
    with sweep_folder(flags.multirun, named, choice_of(keys, "task")) as sweep:
        run_jobs(lambda job: _train_job(job, keys, sweep), jobs)


def _train_job(job: Job, keys: DictConfig, sweep: str | None) -> None:
    """One run, or one of a sweep's. keys: those that there are, with their defaults. sweep: the name of its folder."""
    overrides = parse_overrides(job.overrides)
    check_keys(overrides, keys)
    config = compose_config("train", job.overrides)
    hear(overrides, carried=False)
    given = {o.key_or_group for o in overrides}
    values = plain(config)
    command = typed(TrainConfig, {key: values[key] for key in TrainConfig.__dataclass_fields__})
    run = run_of(values)
    set_max_megapixels(command.max_megapixels)
    _check_start(run, given)
    check_places(values, run.data_name)
    if run.init.run is not None:
        from tasks.shared.network.transfer import adopted

        values = plain(changed(config, adopted(run.init, run.network, given, experiment_keys(overrides))))
    if job.number is not None and run.trainer.devices != 1:
        raise UserError(
            f"trainer.devices={run.trainer.devices}: the runs of a sweep take one device each, one after "
            "another; start a command for each run to train it on several"
        )
    own = {key: value for key, value in values.items() if key not in NOT_OF_A_RUN}

    def settle(folder: Path) -> RunConfig:
        settled = run_of(absolute(with_stages(own, job.overrides, folder)))
        check_utf8(plain_of(settled) | ({"output": str(folder.absolute())} if settled.stages else {}))
        return settled

    with (
        run_folder(command.output, job, settle, str(run.task.name), sweep) as (settled, output),
        stoppable(output, settled),
        going_on_from(output),
    ):
        for name, stage in {**settled.stages, "this run": settled}.items():
            _tell_recipe(name, stage)
        from tasks.shared.training.stages import train_with_stages

        train_with_stages(settled, output)


def _check_start(run: RunConfig, given: set[str]) -> None:
    """Refuse what the user has set for a network that starts from weights, where it starts from none."""
    asked = {"init.head=new": run.init.head == "new", f"freeze.up_to={run.freeze.up_to}": run.freeze.up_to is not None}
    idle = [line for line, wanted in asked.items() if wanted and line.partition("=")[0] in given]
    if idle and not any((run.init.run, run.init.stage, *run.backbone.sources())):
        raise UserError(f"{', '.join(idle)}: there are no weights to start from; give init.run=RUN too")


def _tell_recipe(name: str, run: RunConfig) -> None:
    recipe = recipe_of(run.task.name, run.data_name)
    if recipe.exists():
        settings = f"resolution {run.resolution}, {run.trainer.max_epochs} epochs, optim.lr {run.optim.lr}"
        log.info("recipe: configs/recipe/%s, unless told otherwise; %s: %s", recipe.name, name, settings)


def evaluate(arguments: list[str]) -> None:
    """tools/eval.py"""
    config, keys, checkpoint = _from_checkpoint("eval", EvalConfig, arguments, unused="data.train")
    from tasks.shared.records.report import print_metrics
    from tasks.shared.training.score import score_checkpoint

    with result_folder("eval", keys.output) as output:
        metrics = score_checkpoint(checkpoint, config, output)
    print_metrics(metrics)
    print(f"results: {output}")


def predict(arguments: list[str]) -> None:
    """tools/predict.py"""
    config, keys, checkpoint = _from_checkpoint("predict", PredictConfig, arguments, unused="data")
    from tasks.shared.inference.predict import predict_files

    device = config.trainer.accelerator, config.trainer.precision
    with result_folder("predict", keys.output) as output:
        predict_files(checkpoint, config.network, *device, keys, output)
    print(f"results: {output}")


def convert_weights(arguments: list[str]) -> None:
    """tools/convert_weights.py"""
    overrides = parse_overrides(quote_paths(arguments))
    keys = compose_config("convert_weights", [])
    own_values = [o for o in overrides if o.key_or_group in list(keys)]
    others = [o for o in overrides if o not in own_values]
    groups = [str(o.input_line) for o in others if is_group(o)]
    task = next((str(o.value()) for o in others if o.key_or_group == "task"), "classification")
    sample = choice_of(compose_config("train", [f"task={task}"]), "data")
    # In its layout, not with its sample's recipe: what is evaluated on is said then.
    composed = [f"task={task}", f"data={sample.removesuffix('_sample')}", *groups]
    config = compose_config("train", composed)
    both = OmegaConf.merge(OmegaConf.to_container(config), OmegaConf.to_container(keys))
    assert isinstance(both, DictConfig)
    check_keys(overrides, both)
    for override in own_values:
        OmegaConf.update(keys, override.key_or_group, override.value(), force_add=True)
    hear(overrides, carried=False)
    own = typed(ConvertConfig, plain(keys))
    set_max_megapixels(own.max_megapixels)
    config = compose_config("train", [*composed, *(str(o.input_line) for o in others if not is_group(o))])
    output, is_run = Path(own.output), own.format == "run"
    if os.path.lexists(output) and (not is_run or not output.is_dir() or any(output.iterdir())):
        raise UserError(f"output={output} exists already; choose another")
    (probe_folder if is_run else probe_file)("output", output)
    if not own.source.startswith("timm:"):
        check_exists("source", own.source, "file" if is_run else "checkpoint or run folder")
    check_exists("classes", own.classes, "file")
    check_exists("pictures", own.pictures, "folder")
    from tasks.shared.inference.convert import convert

    def settled(changes: Mapping[str, Any]) -> dict[str, Any]:
        run = plain(changed(config, changes), missing=True)  # of data that are said when it is evaluated
        return plain_of(run_of({key: value for key, value in run.items() if key not in NOT_OF_A_RUN}))

    convert(own, network_config(config).backbone, {o.key_or_group for o in others}, settled)
    print(f"written: {output}")


def _from_checkpoint(tool: str, made: type[Keys], arguments: list[str], unused: str) -> tuple[RunConfig, Keys, Path]:
    """The run's config with overrides, the tool's own keys, and the checkpoint's path.

    made: the dataclass of its keys. unused: a node that the tool does not read, and whose values may be missing.
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
    carried = completed(load_checkpoint(path).carried)
    run_of(carried, str(path))
    config, own = run_config(carried, overrides, keys, str(path))
    tool_keys = typed(made, plain(own))
    set_max_megapixels(tool_keys.max_megapixels)
    node = OmegaConf.select(config, unused)
    if OmegaConf.is_dict(node) and OmegaConf.missing_keys(node):
        OmegaConf.update(config, unused, None, merge=False)
    return run_of(plain(config)), tool_keys, path
