"""Proposition 2: the order of actions by hand, and that every claim can fail."""

from __future__ import annotations

import numpy as np

from dop.paper.theorems.stochastic import proposition_2, tabular
from dop.paper.theorems.stochastic.cases import draw_cases
from theorem_helpers import verdicts

CASES = draw_cases(0, 8)


def test_pairs_in_order_by_hand() -> None:
    # Of the pairs (1, 2), (1, 3) and (2, 3) the last is reversed.
    assert proposition_2.pairs_in_order(np.array([[[0.0, 1.0, 2.0]]]), np.array([[[0.0, 9.0, 5.0]]])) == (2, 3)


def test_an_agent_with_k_0_has_no_order() -> None:
    """With k_1 = 0 the fit of Q_1 is 0 up to rounding, which does not count as an order; the other agents' pairs all hold."""
    for case in CASES:
        reference, learned = tabular.marginal_q(case.policy, case.q), proposition_2.without_first_agent(case)
        assert proposition_2.pairs_in_order(reference[:1], learned[:1])[0] == 0
        kept, pairs = proposition_2.pairs_in_order(reference[1:], learned[1:])
        assert kept == pairs


def test_proposition_2_holds_on_policy_only() -> None:
    holds = verdicts(proposition_2.claims(CASES, CASES))
    assert holds.pop("Prop. 2") and holds.pop("Prop. 2, TD(lambda) on policy")
    holds.pop("Prop. 2, the same, beta near pi")  # too few cases here to tell
    assert len(holds) == 4 and not any(holds.values())


def test_a_fit_with_the_wrong_sign_fails_proposition_2() -> None:
    claim = proposition_2.order_claim(CASES, lambda c: -c.fitted(c.pi).q, "", "", assumptions=True)
    assert not claim.holds and claim.measured.startswith("0 of")
