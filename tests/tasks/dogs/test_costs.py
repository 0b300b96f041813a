"""Table 10's parameters."""

import pytest
import torch

from backbone import MobileNetV1, count_cost
from tasks.shared.classification import Classifier


@pytest.mark.parametrize(("alpha", "millions"), [(1.0, 3.31), (0.75, 1.89)])
def test_parameters_with_120_breeds(alpha: float, millions: float) -> None:
    with torch.device("meta"):
        cost = count_cost(Classifier(MobileNetV1(alpha), 120, 224), 224)
    assert round(cost.weights / 1e6, 2) == millions
