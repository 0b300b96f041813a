"""The pooled head: a mean over the map, dropout in training alone, one linear layer."""

import pytest
import torch

from backbone import MobileNetV1
from tasks.shared.network.pooled_head import PooledHead

BACKBONE = MobileNetV1(0.25)  # 256 channels


def test_it_is_weights_times_the_mean_of_the_map() -> None:
    head = PooledHead(BACKBONE, 5, 64, 0.5).eval()
    torch.nn.init.normal_(head.bias)
    maps = {"conv_13": torch.randn(3, 256, 2, 4), "conv_11": torch.full((3, 128, 4, 8), torch.nan)}
    for row, out in zip(maps["conv_13"], head(maps), strict=True):
        means = [row[c].sum() / 8 for c in range(256)]
        wanted = [sum(w * m for w, m in zip(head.weight[k], means, strict=True)) + head.bias[k] for k in range(5)]
        assert out.tolist() == pytest.approx([w.item() for w in wanted], abs=1e-4)


def test_dropout_drops_features_in_training_alone() -> None:
    head = PooledHead(BACKBONE, 2, 64, 0.75)
    with torch.no_grad():
        head.weight.fill_(1.0)
        maps = {"conv_13": torch.ones(1000, 256, 1, 1)}
        torch.manual_seed(0)
        outputs = head.train()(maps)
        assert outputs.mean().item() == pytest.approx(256, rel=0.02) and len(outputs[:, 0].unique()) > 20
        assert (outputs % 4 == 0).all(), "what is kept counts four times"
        assert (head.eval()(maps) == 256).all()


def test_it_starts_as_tf_slim_does() -> None:
    torch.manual_seed(0)
    head = PooledHead(BACKBONE, 100, 64, 0.0)
    assert set(head.state_dict()) == {"weight", "bias"}, "checkpoints know these names"
    assert 0.075 < head.weight.std() < 0.085 and head.weight.abs().max() <= 0.18 and not head.bias.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 64, 0.0), "num_classes=1; a classifier needs at least 2"),
        ((2, 31, 0.0), "resolution=31 is below the backbone's stride; expected at least 32"),
        ((2, 64, 1.0), r"task\.dropout=1\.0"),
    ],
)
def test_what_it_refuses(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PooledHead(BACKBONE, *arguments)
