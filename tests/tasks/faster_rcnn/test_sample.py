"""Drawing candidates: how many, which, and by what chance."""

import pytest
import torch
from torch import Tensor

from tasks.faster_rcnn.loss import Sampling, make_sampling, sample
from tasks.shared.detection.matching import BACKGROUND, IGNORED


def candidates(*images: tuple[int, int, int], seed: int = 0) -> Tensor:
    """(B, A) of so many positives (of boxes 0 to 2), background and ignored, mixed; short rows end in ignored ones."""
    draw = torch.Generator().manual_seed(seed)
    wide = max(sum(counts) for counts in images)
    rows = []
    for positive, background, ignored in images:
        row = [k % 3 for k in range(positive)] + [BACKGROUND] * background + [IGNORED] * ignored
        mixed = torch.tensor(row)[torch.randperm(len(row), generator=draw)]
        rows.append(torch.cat([mixed, torch.full((wide - len(row),), IGNORED)]))
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("counts", "positives", "background"),
    [
        pytest.param((100, 400, 30), 16, 48, id="plenty"),
        pytest.param((5, 400, 30), 5, 59, id="background-fills-up"),
        pytest.param((0, 400, 0), 0, 64, id="no-positives"),
        pytest.param((100, 20, 30), 16, 20, id="positives-do-not-fill-up"),
        pytest.param((3, 4, 200), 3, 4, id="fewer-than-are-wanted"),
        pytest.param((100, 0, 0), 16, 0, id="no-background"),
        pytest.param((0, 0, 50), 0, 0, id="all-ignored"),
        pytest.param((16, 48, 0), 16, 48, id="exactly"),
    ],
)
def test_a_quarter_of_64_at_most_is_positive(counts, positives, background):
    torch.manual_seed(0)
    matched = candidates(counts)
    drawn = sample(matched, 64, 0.25)
    chosen = drawn.chosen[0, drawn.counted[0]]
    assert len(chosen) == len(chosen.unique()) == positives + background
    assert (matched[0, chosen] >= 0).sum() == positives
    assert (matched[0, chosen] == BACKGROUND).sum() == background
    assert torch.equal(drawn.matched[0, drawn.counted[0]], matched[0, chosen])
    assert (drawn.matched[~drawn.counted] < 0).all()


def test_each_image_of_a_batch_is_drawn_by_itself():
    matched = candidates((100, 400, 30), (0, 0, 9), (2, 30, 3), (0, 300, 0))
    drawn = sample(matched, 64, 0.25)
    assert drawn.chosen.shape == drawn.counted.shape == drawn.matched.shape == (4, 64)
    assert drawn.counted.sum(1).tolist() == [64, 0, 32, 64]
    assert (drawn.matched >= 0).sum(1).tolist() == [16, 0, 2, 0]


def test_fewer_candidates_than_are_wanted_make_fewer_places():
    drawn = sample(candidates((2, 5, 1)), 256, 0.5)
    assert drawn.chosen.shape == (1, 8)
    assert drawn.counted.sum() == 7


@pytest.mark.parametrize(("share", "positives"), [(0.0, 0), (0.5, 5), (1.0, 10)])
def test_the_share_bounds_positives(share, positives):
    assert (sample(candidates((50, 50, 0)), 10, share).matched >= 0).sum() == positives


def test_torchs_generator_draws():
    matched = candidates((100, 400, 30), (50, 60, 70))
    torch.manual_seed(3)
    first, second = sample(matched, 32, 0.5), sample(matched, 32, 0.5)
    torch.manual_seed(3)
    again = sample(matched, 32, 0.5)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.chosen, second.chosen)


def test_every_candidate_has_the_same_chance():
    torch.manual_seed(0)
    matched = candidates((20, 40, 10))[0]
    drawn = sample(matched.expand(4000, -1), 12, 0.5)
    times = torch.bincount(drawn.chosen[drawn.counted], minlength=70) / 4000
    torch.testing.assert_close(times[matched >= 0], torch.full((20,), 6 / 20), rtol=0, atol=0.04)
    torch.testing.assert_close(times[matched == BACKGROUND], torch.full((40,), 6 / 40), rtol=0, atol=0.04)
    assert not times[matched == IGNORED].any()


def test_published_counts_are_the_defaults():
    assert make_sampling({}) == Sampling(256, 0.5, 64, 0.25)
    assert make_sampling({"proposals": 8}) == Sampling(256, 0.5, 8, 0.25)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"anchor": 3}, "task.sampling.anchor: no such key; expected one of anchors, anchors_positive, proposals"),
        ({"anchors": 0}, "task.sampling.anchors=0; expected a whole number from 1"),
        ({"proposals": 2.5}, "task.sampling.proposals=2.5; expected a whole number from 1"),
        ({"anchors_positive": 1.5}, "task.sampling.anchors_positive=1.5; expected a share from 0 to 1"),
        ({"proposals_positive": -0.1}, "task.sampling.proposals_positive=-0.1; expected a share"),
    ],
)
def test_settings_out_of_range_are_named(options, message):
    with pytest.raises(ValueError) as error:
        make_sampling(options)
    assert message in str(error.value)
