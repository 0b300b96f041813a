"""The benchmark compares like with like. How fast anything is, is asserted nowhere."""

import pytest
import torch

from tasks.faster_rcnn import benchmark
from tasks.faster_rcnn.benchmark import CASES, TOTAL, Torchvision, draw_image, our_detections, our_proposals
from tasks.shared.benchmark.postprocess import same_detections
from tasks.shared.benchmark.suite import Options


@pytest.mark.parametrize("name", CASES)
def test_both_sides_give_the_same_answers(name):
    case = CASES[name]
    image = draw_image(case.side, case.noise)
    peer = Torchvision(image, case.looked_at, case.threshold)
    assert image.proposals.shape == (TOTAL, 4)
    torch.testing.assert_close(our_proposals(image), peer.proposals(), rtol=0, atol=0.01)
    assert same_detections(our_detections(image, case.threshold), peer.detections(), TOTAL)


def test_where_anchors_agree_torchvisions_default_finds_fewer():
    image = draw_image(300, CASES["300 px, crowded"].noise)
    assert len(Torchvision(image, 1000, 0.05).proposals()) < TOTAL == len(our_proposals(image))


def test_every_part_of_a_case_is_timed_and_checked(monkeypatch):
    monkeypatch.setattr(benchmark, "CASES", {"300 px": CASES["300 px"]})
    suite = benchmark.postprocess_suite(Options(rounds=1))
    assert [r.case for r in suite.results] == ["300 px: first stage", "300 px: second stage", "300 px: both"]
    assert all(r.checks == {"same": True} and r.times.ratio > 0 for r in suite.results)
    monkeypatch.setattr(Torchvision, "proposals", lambda self: self.image.proposals.flip(0))
    assert [r.checks["same"] for r in benchmark.postprocess_suite(Options(rounds=1)).results] == [False, True, False]
