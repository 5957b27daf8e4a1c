"""Shared code of the tests of the paper's theorems."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dop.paper.theorems.claims import Claim
from dop.paper.theorems.deterministic.waves import Waves


def verdicts(claims: Sequence[Claim]) -> dict[str, bool]:
    """Whether each claim holds, by its name."""
    return {claim.name: claim.holds for claim in claims}


def sine(amplitude: float, phase: float, *frequency: float) -> Waves:
    """amplitude sin(phase + frequency . x)."""
    return Waves(amplitude=np.array([amplitude]), phase=np.array([phase]), frequency=np.array([frequency]))
