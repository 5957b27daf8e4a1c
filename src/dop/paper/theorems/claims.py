"""Shared code of the theorems: a claim with its verdict, the table of claims, and numerical tolerances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

DISCOUNT = 0.9
"""gamma of the random problems."""
EXACT = 1e-9
"""Tolerance for equality of float64 numbers of order 1."""
DIFFERENCE_STEP = 1e-5
"""The step of central differences."""
NUMERIC = 1e-6
"""Relative tolerance for equality with a central difference."""
ROUNDING = 1e-12
"""Changes of J and differences of action values below this count as 0."""
TEAMS = tuple(range(2, 21))
"""n of Theorems 3, 5 and 6."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim and its measurement."""

    name: str
    claim: str
    measured: str
    holds: bool
    note: str = ""
    assumptions: bool = True
    """Whether the assumptions of the paper's statement or proof hold here."""

    @property
    def verdict(self) -> str:
        return ("holds" if self.holds else "FAILS") + ("" if self.assumptions else " (beyond the proof)")


def as_table(claims: Sequence[Claim]) -> str:
    """One line per claim, in aligned columns, then the notes."""
    rows = [("theorem", "claimed", "measured", "verdict"), *((c.name, c.claim, c.measured, c.verdict) for c in claims)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    notes = [f"{claim.name}: {claim.note}." for claim in claims if claim.note]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], "", *notes])


def relative(found: Float[np.ndarray, "..."], expected: Float[np.ndarray, "..."]) -> float:
    """|found - expected| / |expected|."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
