"""Around a training, and no longer, Lightning is quiet and signals are whose they were."""

import logging
import signal
import warnings
from collections.abc import Iterator
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tasks.shared.training.callbacks import OwnSignals
from tasks.shared.training.quiet import LOGGERS, quiet_lightning


def test_filters_and_levels_are_as_before() -> None:
    logging.getLogger(LOGGERS[0]).setLevel(logging.DEBUG)
    levels, filters = [logging.getLogger(name).level for name in LOGGERS], list(warnings.filters)
    with pytest.raises(KeyboardInterrupt), quiet_lightning():
        assert {logging.getLogger(name).level for name in LOGGERS} == {logging.WARNING}
        assert len(warnings.filters) > len(filters)
        warnings.warn("The loader does not have many workers, it says", stacklevel=1)  # else an error in tests
        raise KeyboardInterrupt
    assert [logging.getLogger(name).level for name in LOGGERS] == levels and list(warnings.filters) == filters
    with pytest.raises(UserWarning, match="many workers"):
        warnings.warn("The loader does not have many workers, it says", stacklevel=1)


class Tiny(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.seen = nn.Linear(1, 1), []  # type: ignore[var-annotated]

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        self.seen.append(signal.getsignal(signal.SIGTERM))
        return self.layer(batch[0]).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.fixture
def handler() -> Iterator[Any]:
    def end(number: int, frame: FrameType | None) -> None: ...

    before = signal.signal(signal.SIGTERM, end)
    yield end
    signal.signal(signal.SIGTERM, before)


def test_whoever_has_a_signal_keeps_it(handler: Any) -> None:
    with quiet_lightning():
        for callbacks, kept in (([OwnSignals()], True), ([], False)):
            quiet: Any = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
            trainer = pl.Trainer(
                max_epochs=1, accelerator="cpu", callbacks=list(callbacks), enable_model_summary=False, **quiet
            )
            trainer.fit(module := Tiny(), DataLoader(TensorDataset(torch.ones(2, 1))))
            assert [each is handler for each in module.seen] == [kept] * 2, "Lightning puts its own in front"
            assert signal.getsignal(signal.SIGTERM) is handler
