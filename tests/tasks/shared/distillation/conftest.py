"""Pictures to be taught, and config nodes that may name what tests define."""

from pathlib import Path

import pytest

from tasks.shared import build
from tests.tasks.classification.conftest import COLORS, write_folders


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Three classes, 4 pictures each to train on and 2 to evaluate."""
    write_folders(tmp_path / "set", "train", dict.fromkeys(COLORS, 4))
    return write_folders(tmp_path / "set", "val", dict.fromkeys(COLORS, 2), seed=1)


@pytest.fixture
def own_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """`_target_` may name what tests define."""
    monkeypatch.setattr(build, "OWN_PACKAGES", (*build.OWN_PACKAGES, "tests"))
