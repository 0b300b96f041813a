"""The suites `train` and `inference` on small pictures. How fast anything is, is asserted nowhere."""

import pytest
import torch

import backbone.layers
from tasks.classification import benchmark
from tasks.classification.benchmark import (
    EXACT,
    LOOSE,
    SETTINGS,
    Setting,
    inference_suite,
    make_step,
    same_logits,
    same_losses,
    train_suite,
)

SMALL = {"resolution": 64}


def test_train_suite(monkeypatch):
    monkeypatch.setattr(benchmark, "pick_precision", lambda device: "bf16-mixed")
    _, results, note = train_suite(rounds=1, batch=4, **SMALL)
    assert [result.case for result in results] == ["defaults", *SETTINGS]
    for result in results:
        assert result.facts == {"our_images_per_s": pytest.approx(4000 / result.times.ours_ms, abs=0.5)}
        assert result.checks == {"same_loss": True}
    assert note == ""


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_inference_suite(precision, monkeypatch):
    monkeypatch.setattr(benchmark, "pick_precision", lambda device: precision)
    cases = list(SETTINGS) if precision == "bf16-mixed" else ["fp32", "fp32 channels last"]
    _, results, note = inference_suite(rounds=1, batches=(1, 2), **SMALL)
    assert [result.case for result in results] == [f"batch {batch}, {case}" for batch in (1, 2) for case in cases]
    for result, batch in zip(results, len(cases) * [1] + len(cases) * [2], strict=True):
        assert result.facts == {"our_images_per_s": pytest.approx(1000 * batch / result.times.ours_ms, abs=0.5)}
        assert result.checks == {"same_logits": True}
    assert ("bf16 is left out" in note) == (precision == "32-true")


def test_another_network_is_reported(monkeypatch):
    monkeypatch.setattr(benchmark, "SETTINGS", {"padded": Setting(padding="same")})
    (result,) = inference_suite(rounds=1, batches=(1,), **SMALL).results
    assert result.checks == {"same_logits": False}
    ours, peer = (make_step(side, Setting(padding="same"), 4, **SMALL) for side in ("ours", "peer"))
    assert not same_losses(ours, peer, steps=1, tolerance=LOOSE)


def test_a_wrong_gradient_is_reported(monkeypatch):
    strided = backbone.layers._strided_depthwise_on_cpu
    monkeypatch.setattr(backbone.layers, "_strided_depthwise_on_cpu", lambda conv, x: strided(conv, x.detach()))
    ours, peer = (make_step(side, Setting(), 4, **SMALL) for side in ("ours", "peer"))
    assert not same_losses(ours, peer, steps=2, tolerance=LOOSE)
    ours, peer = (make_step(side, Setting(), 4, **SMALL) for side in ("ours", "peer"))
    assert same_losses(ours, peer, steps=1, tolerance=EXACT)  # the first loss says nothing of gradients


def test_the_sides_of_a_run_differ_in_what_tools_train_does_besides():
    plain, in_a_run = (make_step("ours", Setting(in_a_run=run), 4, **SMALL) for run in (False, True))
    assert [plain(), plain()] == [in_a_run(), in_a_run()]  # the moving average leaves the trained network alone


def test_same_logits():
    logits = torch.randn(3, 10, generator=torch.Generator().manual_seed(0))
    near, turned = 1.03 * logits, logits.clone()
    turned[1] = logits[1].roll(1)
    assert same_logits(logits, logits, exact=True)
    assert not same_logits(logits, near, exact=True)
    assert same_logits(logits, near, exact=False)
    assert not same_logits(logits, turned, exact=False)
    for exact in (True, False):
        assert not same_logits(logits, torch.full_like(logits, torch.nan), exact)


def test_same_losses_takes_no_nan():
    assert same_losses(lambda: 7.0, lambda: 7.0001, steps=2, tolerance=EXACT)
    assert not same_losses(lambda: 7.0, lambda: 7.001, steps=2, tolerance=EXACT)
    assert not same_losses(lambda: float("nan"), lambda: float("nan"), steps=1, tolerance=LOOSE)
