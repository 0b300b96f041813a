"""What tests of the backbone share."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """As many as a test sets."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
