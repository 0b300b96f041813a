"""Starting from another run, and freezing."""

import logging
from collections.abc import Set
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from backbone import MobileNetV1
from tasks.shared.config.compose import changed, compose_config, plain
from tasks.shared.errors import UserError
from tasks.shared.network.timm_backbone import TimmBackbone
from tasks.shared.network.transfer import adopted, freeze, start_from
from tasks.shared.records.checkpoint import KEY, Checkpoint
from tasks.shared.training.optim import parameter_groups
from tasks.shared.training.settings import run_of
from tasks.ssd import SSD

INFO = {"class_names": ["a", "b"], "category_ids": [1, 2]}


def network(classes: int = 2, alpha: float = 0.25, taps: tuple[int, ...] = (16, 32)) -> SSD:
    return SSD(MobileNetV1(alpha, taps), classes, 64, width=alpha)


def checkpoint_of(task: SSD, info: dict[str, Any] | None = None) -> Checkpoint:
    network: Any = None  # only its weights are taken
    return Checkpoint(Path("old.ckpt"), {}, network, None, info or INFO, 2, task.state_dict(), False)


def test_a_kept_head_takes_every_weight() -> None:
    old, new = network(), network()
    start_from(new, checkpoint_of(old), "keep", INFO)
    assert all(torch.equal(old.state_dict()[name], t) for name, t in new.state_dict().items())


def test_a_head_is_kept_where_classes_have_the_same_ids() -> None:
    old, new = network(), network()
    info = {"class_ids": ["n02012849", "n03126707"], "class_names": ["crane", "crane"]}
    start_from(new, checkpoint_of(old, info), "keep", info | {"class_names": ["crane (bird)", "crane (machine)"]})
    assert all(torch.equal(old.state_dict()[name], t) for name, t in new.state_dict().items())
    with pytest.raises(UserError, match="other classes"):
        start_from(new, checkpoint_of(old, info), "keep", info | {"class_ids": ["n03126707", "n02012849"]})


def test_a_new_head_keeps_its_own_weights(caplog: pytest.LogCaptureFixture) -> None:
    old, new = network(), network(classes=5)
    before = {name: t.clone() for name, t in new.head.state_dict().items()}
    with caplog.at_level(logging.INFO):
        start_from(new, checkpoint_of(old), "new", {"class_names": list("abcde")})
    assert all(torch.equal(old.backbone.state_dict()[name], t) for name, t in new.backbone.state_dict().items())
    assert all(torch.equal(before[name], t) for name, t in new.head.state_dict().items())
    assert "not taken from it: head" in caplog.text


def test_layers_beyond_the_deepest_tap_are_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        start_from(network(taps=(8, 16)), checkpoint_of(network()), "new", INFO)
    assert "not taken from it: backbone.conv_12, backbone.conv_13, head" in caplog.text


def test_what_does_not_fit_is_an_error() -> None:
    with pytest.raises(UserError, match=r"other classes .* init\.head=new"):
        start_from(network(), checkpoint_of(network()), "keep", {"class_names": ["a", "c"]})
    with pytest.raises(UserError, match=r"old\.ckpt does not fit .* differs in shape"):
        start_from(network(alpha=0.5), checkpoint_of(network()), "new", INFO)
    with pytest.raises(UserError, match=r"old\.ckpt does not fit .* lacks"):
        start_from(network(), checkpoint_of(network(taps=(8, 16))), "new", INFO)


def test_frozen_layers_are_neither_trained_nor_decayed() -> None:
    task = network()
    frozen = freeze(task, "conv_3", batch_norm=False)
    assert [name for name, child in task.backbone.named_children() if child in frozen] == [
        "conv_0", "conv_1", "conv_2", "conv_3",
    ]  # fmt: skip
    trained = {id(p) for group in parameter_groups(task, 0.1) for p in group["params"]}
    for name, p in task.backbone.named_parameters():
        layer = int(name.split(".")[0].removeprefix("conv_"))
        assert (id(p) in trained) == p.requires_grad == (layer > 3), name


def test_frozen_batch_norm_leaves_the_convolutions_trained() -> None:
    task = network()
    frozen = freeze(task, None, batch_norm=True)
    assert len(frozen) == 27
    assert all(p.requires_grad == (p.ndim > 1) for p in task.backbone.parameters())
    assert all(p.requires_grad for p in task.head.parameters())


def test_an_unknown_layer_lists_those_there_are() -> None:
    with pytest.raises(UserError, match=r"freeze\.up_to=conv_99: .*conv_0, conv_1"):
        freeze(network(), "conv_99", batch_norm=False)


def test_a_stage_of_a_timm_model_and_all_before_it_are_frozen() -> None:
    task = SSD(TimmBackbone("mobilenetv3_small_050", (16, 32)), 2, 64)
    freeze(task, "blocks.2", batch_norm=False)
    body: Any = task.backbone.net
    early = [body.conv_stem, body.bn1, *body.blocks[:3]]
    assert not any(p.requires_grad for module in early for p in module.parameters())
    assert all(p.requires_grad for module in (*body.blocks[3:], task.head) for p in module.parameters())
    with pytest.raises(UserError, match=r"freeze\.up_to=blocks\.9: .*conv_stem, .*blocks\.0, blocks\.1.*, blocks$"):
        freeze(task, "blocks.9", batch_norm=False)


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    """A checkpoint of task=ssd with alpha 0.25 and symmetric padding at 96 pixels."""
    config = {
        "task": {"name": "ssd"},
        "resolution": 96,
        "backbone": {"_target_": "backbone.MobileNetV1", "alpha": 0.25, "padding": "symmetric", "taps": [8]},
        "trainer": {"bn_momentum": 0.1},
    }
    torch.save({"state_dict": {}, KEY: {"config": config, "info": {}, "num_classes": 2}}, tmp_path / "old.ckpt")
    return tmp_path / "old.ckpt"


def composed(run: Path, *overrides: str) -> DictConfig:
    return compose_config("train", ["task=ssd", f"init.run='{run}'", *overrides])


def adopt(config: DictConfig, *given: Set[str]) -> DictConfig:
    run = run_of(plain(config))
    return changed(config, adopted(run.init, run.network, *given))


def test_a_run_brings_its_backbone_but_not_its_taps(old_run: Path) -> None:
    config = composed(old_run)
    config = adopt(config, {"task", "init.run"})
    assert config.backbone == {
        "_target_": "backbone.MobileNetV1", "alpha": 0.25, "padding": "symmetric", "taps": [16, 32],
    }  # fmt: skip
    assert config.resolution == 96
    assert config.task.width == 0.25, "what depends on alpha follows"


def test_what_the_user_asked_for_is_not_overruled(old_run: Path) -> None:
    config = composed(old_run, "resolution=128", "backbone.alpha=0.25")
    config = adopt(config, {"resolution", "backbone.alpha"})
    assert config.resolution == 128
    config = composed(old_run, "backbone.alpha=0.5", "backbone.padding=same")
    with pytest.raises(UserError, match=r"alpha=0\.5 .* has 0\.25; backbone\.padding=same .* has symmetric"):
        config = adopt(config, {"backbone.alpha", "backbone.padding"})


def test_an_experiment_keeps_what_it_sets_and_nothing_else(old_run: Path) -> None:
    config = composed(old_run, "experiment=by_heart")
    config = adopt(config, {"experiment"}, {"data.augment", "init.method"})
    assert config.resolution == 96 and config.backbone.alpha == 0.25
    config = composed(old_run, "resolution=128")  # as an experiment would
    config = adopt(config, {"experiment"}, {"resolution"})
    assert config.resolution == 128
    with pytest.raises(UserError, match=r"alpha=1\.0 was asked for, but the run has 0\.25"):
        adopt(composed(old_run), {"experiment"}, {"backbone", "backbone.alpha"})


def test_a_method_that_the_runs_weights_would_replace_is_refused(old_run: Path) -> None:
    for head in ("keep", "new"):
        config = composed(old_run, "init.method=isometric", f"init.head={head}")
        config = adopt(config, {"init.run"})  # a recipe's gives way
        if head == "new":
            config = adopt(config, {"init.method"})
            continue
        with pytest.raises(UserError, match=r"init\.method=isometric, init\.run=.*old\.ckpt: .*init\.head=new"):
            config = adopt(config, {"init.method"})
