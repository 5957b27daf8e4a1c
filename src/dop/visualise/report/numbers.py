"""Formatting of numbers over seeds, for pages and tables."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from dop.analysis.statistics import FEWEST_SEEDS, Estimate, seeds_interval

LIMITLESS = (-np.inf, np.inf)


def number(value: float, fraction: bool = False) -> str:
    """Three significant digits, a whole number with separators from 1,000 on, or a percentage."""
    if not np.isfinite(value):
        return "-"
    if fraction:
        return f"{value:.0%}"
    return f"{value:,.0f}" if 999.5 <= abs(value) < 1e9 else f"{value:.3g}"


def over_seeds(scores: Float[np.ndarray, " seed"], *, fraction: bool = False, limits: tuple[float, float] = LIMITLESS) -> str:
    """The mean with its 95% interval in brackets, cut to `limits`; with few seeds, their values instead."""
    found = seeds_interval(scores, limits)
    mean = number(float(found.mean), fraction)
    if len(scores) >= FEWEST_SEEDS:
        return f"{mean} [{number(float(found.low), fraction)}, {number(float(found.high), fraction)}]"
    return f"{mean} ({', '.join(number(float(score), fraction) for score in scores)})" if len(scores) > 1 else mean


def estimate(found: Estimate) -> str:
    """A statistic over tasks and its interval, if it has one."""
    return f"{found.value:.3f}" if np.isnan(found.low) else f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def count(number_of: int, word: str) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{number_of} {word}{'' if number_of == 1 else 's'}"


def span(low: str, high: str) -> str:
    """`3 to 5`, or `3` alone."""
    return low if low == high else f"{low} to {high}"
