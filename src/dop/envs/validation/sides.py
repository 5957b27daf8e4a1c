"""Detection of opposing rewards, as of adversaries: one side gains what the other loses.

Correlations are computed within episodes, of the rewards and of their differences from step to step, which are unrelated for two rewards
that only drift apart. Pairs of agent types are tried first; then the two agents with the most negative correlation are chosen, and every
other agent joins the side with which it correlates more.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

LEAST_STEPS = 8
"""Fewer steps are inconclusive."""
STEPS, LEVELS, FOUND = -0.5, -0.1, -0.7
"""Thresholds of the correlations of differences and of rewards for opposing types; and of both, if the sides were searched for."""
_MOST_TYPES = 12

Rewards: TypeAlias = Sequence[Float[np.ndarray, "step agent"]]
"""One array per episode."""


@dataclass(frozen=True)
class Sides:
    """Two groups of agents, by index, whose rewards oppose each other."""

    one: tuple[int, ...]
    other: tuple[int, ...]
    correlation: float


def opposing(rewards: Rewards, types: Sequence[str]) -> Sides | None:
    """The two sides whose rewards oppose each other most clearly; None if there are none, or too few steps."""
    if len(types) < 2:
        return None
    whole = np.concatenate(list(rewards)) if rewards else np.zeros((0, len(types)))
    if (sides := _zero_sum(whole)) is not None:
        return sides
    if len(whole) < LEAST_STEPS:
        return None
    levels = np.concatenate([episode - episode.mean(axis=0) for episode in rewards])
    steps = np.concatenate([np.diff(episode, axis=0) for episode in rewards])
    by_type = [Sides(one, other, _correlation(steps, one, other)) for one, other in _pairs_of_types(types)]
    clear = [s for s in by_type if s.correlation <= STEPS and _correlation(levels, s.one, s.other) <= LEVELS]
    if clear:
        return _with_allies(min(clear, key=lambda s: s.correlation), steps, types)
    return _split(levels, steps)


def constant_types(rewards: Rewards, types: Sequence[str]) -> bool:
    """Whether there are several agent types, and one has constant rewards, so that its side is undetermined."""
    if len(set(types)) < 2 or not rewards:
        return False
    varies = np.ptp(np.concatenate(list(rewards)), axis=0) > 0
    return any(not varies[[i for i, own in enumerate(types) if own == kind]].any() for kind in set(types))


def _zero_sum(whole: Float[np.ndarray, "step agent"]) -> Sides | None:
    """The sides of a zero-sum game, in which one side gains exactly what the other loses in every step."""
    size = np.abs(whole).sum(axis=1)
    if not size.any() or (np.abs(whole.sum(axis=1)) > 1e-6 * size).any():
        return None
    products = whole.T @ whole[:, np.abs(whole).sum(axis=0).argmax()]
    one, other = np.flatnonzero(products > 0), np.flatnonzero(products < 0)
    return Sides(tuple(one.tolist()), tuple(other.tolist()), -1.0)


def _pairs_of_types(types: Sequence[str]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    kinds = {kind: tuple(i for i, own in enumerate(types) if own == kind) for kind in types}
    return itertools.combinations(kinds.values(), 2) if len(kinds) <= _MOST_TYPES else iter(())


def _with_allies(sides: Sides, steps: Float[np.ndarray, "step agent"], types: Sequence[str]) -> Sides:
    """`sides` with every other agent type added to the side with which its rewards correlate positively."""
    one, other = sides.one, sides.other
    for kind in dict.fromkeys(types):
        members = tuple(i for i, own in enumerate(types) if own == kind)
        if not set(members) & {*one, *other}:
            one += members if _correlation(steps, members, sides.one) >= -STEPS else ()
            other += members if _correlation(steps, members, sides.other) >= -STEPS else ()
    return Sides(tuple(sorted(one)), tuple(sorted(other)), sides.correlation)


def _split(levels: Float[np.ndarray, "step agent"], steps: Float[np.ndarray, "step agent"]) -> Sides | None:
    """The agents with varying rewards, each on the side of one of the two agents with the most negative correlation."""
    size = np.sqrt((steps**2).sum(axis=0))
    unit = np.divide(steps, size, out=np.zeros_like(steps), where=size > 1e-9)
    alike = unit.T @ unit
    first, second = np.unravel_index(alike.argmin(), alike.shape)
    nearer = alike[first] - alike[second]
    one, other = tuple(np.flatnonzero(nearer > 0).tolist()), tuple(np.flatnonzero(nearer < 0).tolist())
    found = Sides(one, other, _correlation(steps, one, other))
    limits = (STEPS, LEVELS) if levels.shape[1] == 2 else (FOUND, FOUND)  # with two agents there is no search
    return found if found.correlation <= limits[0] and _correlation(levels, one, other) <= limits[1] else None


def _correlation(x: Float[np.ndarray, "step agent"], one: Sequence[int], other: Sequence[int]) -> float:
    """The correlation of the summed rewards of two groups; 0 if one is constant."""
    a, b = x[:, list(one)].sum(axis=1), x[:, list(other)].sum(axis=1)
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 1e-9 else 0.0
