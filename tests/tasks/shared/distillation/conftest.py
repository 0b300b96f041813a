"""Images to be taught, and config nodes that may name what tests define."""

from pathlib import Path

import pytest

from tasks.shared.config import targets
from tests.tasks.classification.conftest import COLORS, write_folders
from tests.tasks.shared.distillation.pupils import OWN_TARGETS


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Three classes, 4 images each to train on and 2 to evaluate."""
    write_folders(tmp_path / "set", "train", dict.fromkeys(COLORS, 4))
    return write_folders(tmp_path / "set", "val", dict.fromkeys(COLORS, 2), seed=1)


@pytest.fixture
def own_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """`_target_` may name what tests define, as if an installed package declared it."""
    monkeypatch.setattr(targets, "declared_targets", lambda node: OWN_TARGETS)
