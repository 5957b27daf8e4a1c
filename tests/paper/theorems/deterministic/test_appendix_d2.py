"""App. D.2: samples of Gumbel-Softmax, and that both claims can fail."""

from __future__ import annotations

import numpy as np
import pytest

from dop.paper.theorems.deterministic import appendix_d2


def test_gumbel_softmax_samples_are_nearly_one_hot_but_differ() -> None:
    one_sample, fixed = appendix_d2.claims(0, 20)
    assert one_sample.holds and not fixed.holds


def test_the_largest_entry_is_a_sample_of_the_policy() -> None:
    logits = np.array([[1.0, 0.0, -1.0]])
    noise = np.random.default_rng(0).gumbel(size=(20_000, 1, 3))
    found = appendix_d2.relaxed_actions(logits, 1e-6, noise).mean(axis=(0, 1))
    np.testing.assert_allclose(found, np.exp(logits[0]) / np.exp(logits[0]).sum(), atol=0.01)


def test_app_d2_holds_without_noise_and_fails_at_a_high_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    right = appendix_d2.relaxed_actions
    monkeypatch.setattr(appendix_d2, "relaxed_actions", lambda logits, temperature, noise: right(logits, temperature, 0 * noise))
    assert all(claim.holds for claim in appendix_d2.claims(0, 20))
    monkeypatch.setattr(appendix_d2, "relaxed_actions", lambda logits, temperature, noise: right(logits, 1.0, noise))
    assert not any(claim.holds for claim in appendix_d2.claims(0, 20))
