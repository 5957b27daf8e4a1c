"""Lemma 3: that it holds at one action, and that every claim can fail."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dop.paper.theorems.deterministic import lemma_3, waves
from dop.paper.theorems.deterministic.places import draw_places
from theorem_helpers import verdicts

PLACES = draw_places(0, 12, (2, 5, 20))


def test_lemma_3_holds_at_one_action_and_not_with_every_f_or_at_every_action() -> None:
    assert verdicts(lemma_3.claims(PLACES)) == {"Lemma 3": True, "Lemma 3, proof's K": False, "Lemma 3, all a at once": False}


def test_lemma_3s_other_claims_hold_for_fs_of_the_right_sign_and_decomposed_values() -> None:
    turned = [
        dataclasses.replace(
            p, f=tuple(f.scaled(np.sign(lemma_3.scale(p, f))) for f in p.f), q=waves.decomposed(np.random.default_rng(i), p.n)
        )
        for i, p in enumerate(PLACES)
    ]
    again = [dataclasses.replace(p, f=tuple(f.scaled(np.sign(lemma_3.scale(p, f))) for f in p.f)) for p in turned]
    assert all(verdicts(lemma_3.claims(again)).values())


def test_lemma_3_fails_with_another_k_or_with_one_tuple(monkeypatch: pytest.MonkeyPatch) -> None:
    alike = [dataclasses.replace(p, f=(p.f[0], p.f[0])) for p in PLACES]
    assert not verdicts(lemma_3.claims(alike))["Lemma 3"]
    right = lemma_3.scale
    monkeypatch.setattr(lemma_3, "scale", lambda p, f: 1.01 * right(p, f))
    assert not verdicts(lemma_3.claims(PLACES))["Lemma 3"]
