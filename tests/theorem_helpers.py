"""What the tests of the paper's theorems share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dop.paper.theorems.claims import Claim
from dop.paper.theorems.deterministic.waves import Waves


def verdicts(claims: Sequence[Claim]) -> dict[str, bool]:
    """Whether each claim holds, by its name."""
    return {claim.name: claim.holds for claim in claims}


def sine(amplitude: float, angle: float, *frequency: float) -> Waves:
    """amplitude sin(angle + frequency . x)."""
    return Waves(amplitude=np.array([amplitude]), angle=np.array([angle]), frequency=np.array([frequency]))
