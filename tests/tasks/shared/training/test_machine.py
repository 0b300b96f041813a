"""What a run's file may ask of the machine on its own word."""

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tasks.shared.config.compose import parse_overrides
from tasks.shared.config.consent import hear
from tasks.shared.data.loading import loader_processes
from tasks.shared.errors import UserError
from tasks.shared.training.machine import check_machine
from tasks.shared.training.settings import TrainerConfig
from tests.runs import composed_run


@pytest.fixture
def carried() -> Iterator[None]:
    hear(parse_overrides(["resume=run"]), carried=True)
    yield
    hear([], carried=False)


def config_of(devices: Any) -> TrainerConfig:
    return replace(composed_run("trainer=cpu").trainer, devices=devices, strategy="ddp_fork")


@pytest.mark.parametrize("devices", [300, "300", " 3_00 ", 300.0])
def test_a_file_starts_no_more_processes_than_there_are_cores(devices: Any, carried: None) -> None:
    """Lightning starts one for each, before anything else."""
    with pytest.raises(UserError, match=r"^trainer\.devices=300: a process each, on \d+ cores, .*command line too$"):
        check_machine(config_of(devices))
    check_machine(config_of(os.cpu_count()))
    check_machine(config_of([0]))
    hear(parse_overrides(["resume=run", "trainer.devices=300"]), carried=True)
    check_machine(config_of(300))


def test_a_command_line_starts_as_many_as_it_says() -> None:
    check_machine(config_of(300))
    assert loader_processes(200) == 200


def test_loader_processes_of_a_file_are_no_more_than_cores(carried: None) -> None:
    most = max(os.cpu_count() or 1, 8)
    assert loader_processes(200) == most and loader_processes(most) == most and loader_processes(1) == 1
    hear(parse_overrides(["resume=run", "data.workers=200"]), carried=True)
    assert loader_processes(200) == 200
