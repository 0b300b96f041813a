"""Networks that a file describes are laid out soon, or refused, before they take memory."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tasks.shared.config.carried import check_config
from tasks.shared.config.compose import compose_config, plain
from tasks.shared.config.consent import hear
from tasks.shared.config.nodes import NetworkConfig
from tasks.shared.distillation.timm_model import timm_teacher
from tasks.shared.errors import UserError
from tasks.shared.network import planned as module
from tasks.shared.network.build import load_task
from tasks.shared.network.meta import check_new, meta_network
from tasks.shared.network.planned import planned

BOMBS = [  # which pass for what a model may be, and take minutes: blocks, and pairs of places in windows
    ("vit_tiny_patch16_224", {"depth": 3000}),
    ("tiny_vit_5m_224", {"window_sizes": [300] * 4}),
]


def config_of(name: str, options: dict[str, Any]) -> dict[str, Any]:
    made = plain(compose_config("train", ["task=classification", "data=image_folder", "backbone=timm", "data.root=x"]))
    return check_config(made | {"backbone": made["backbone"] | {"name": name, "options": options}}, "file")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm  # noqa: F401, its import is not what is measured

    monkeypatch.setattr(module, "LONGEST", 1)


@pytest.mark.parametrize(("name", "options"), BOMBS)
def test_a_network_that_takes_minutes_to_lay_out_is_refused(name: str, options: dict[str, Any], short: None) -> None:
    config, start = config_of(name, options), time.process_time()
    with pytest.raises(UserError, match=r"file: its network takes more than 1 seconds"):
        load_task(NetworkConfig.of(config), {"a": torch.zeros(1)}, 10, "file")
    with pytest.raises(UserError, match="takes more than 1 seconds"):
        meta_network(NetworkConfig.of(config), 10)
    assert time.process_time() - start < 8


def test_a_teacher_is_laid_out_before_it_takes_memory(tmp_path: Path, short: None) -> None:
    """8192 wide it would have 9,000 million weights, 39 GB."""
    save_file({"head.weight": torch.zeros(2, 192)}, tmp_path / "a.safetensors")
    wide = {"embed_dim": 8192, "num_heads": 8}
    with pytest.raises(UserError, match="does not fit the network"):
        timm_teacher("vit_tiny_patch16_224", str(tmp_path / "a.safetensors"), options=wide)
    with pytest.raises(UserError, match=r"teacher\.options: its network takes more than 1 seconds"):
        timm_teacher("vit_tiny_patch16_224", str(tmp_path / "a.safetensors"), options={"depth": 3000})


def test_nothing_is_left_behind() -> None:
    state = torch.get_rng_state()
    with planned("it"):
        assert nn.Linear(3, 4).weight.is_meta
    assert torch.equal(state, torch.get_rng_state()) and not torch.zeros(1).is_meta
    with pytest.raises(ZeroDivisionError), planned("it"):
        raise ZeroDivisionError
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0) and signal.getsignal(signal.SIGPROF) == signal.SIG_DFL


def test_a_run_without_weights_is_begun_with_no_more_than_memory_holds() -> None:
    """Its file could say any width: 60 wide it would have 11,000 million weights."""
    config = plain(compose_config("train", ["task=classification", "data=image_folder", "data.root=x"]))
    wide = config | {"backbone": config["backbone"] | {"alpha": 60.0}}
    check_new(NetworkConfig.of(wide), 10)  # a command line's own affair
    hear([], carried=True)
    try:
        check_new(NetworkConfig.of(config), 10)
        with pytest.raises(UserError, match=r"the run's network has .* weights; expected 1,073,741,824 at most"):
            check_new(NetworkConfig.of(wide), 10)
    finally:
        hear([], carried=False)
