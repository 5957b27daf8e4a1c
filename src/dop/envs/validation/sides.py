"""Whether agents' rewards oppose each other, as those of adversaries do: what one side earns, the other loses.

Rewards are compared within episodes, as they are and from step to step: of two that only drift apart, the steps are unrelated. Sides are
looked for among the types of agents first; then the two agents that oppose each other most are taken, and every other one goes to whom it
is with.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

LEAST_STEPS = 8
"""Fewer steps say nothing."""
STEPS, LEVELS, FOUND = -0.5, -0.1, -0.7
"""Correlations of two sides from step to step, and as they are, from which on they oppose; and both, where the sides were looked for."""
_MOST_TYPES = 12

Rewards: TypeAlias = Sequence[Float[np.ndarray, "step agent"]]
"""Of each episode."""


@dataclass(frozen=True)
class Sides:
    """Two groups of agents, by number, whose rewards oppose each other."""

    one: tuple[int, ...]
    other: tuple[int, ...]
    correlation: float


def opposing(rewards: Rewards, types: Sequence[str]) -> Sides | None:
    """The two sides of the agents, if their rewards oppose each other most clearly; None if they do not, or too little was played."""
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
    """Whether there are several types of agents, and one of them earned always the same: then nothing is known of whom it opposes."""
    if len(set(types)) < 2 or not rewards:
        return False
    varies = np.ptp(np.concatenate(list(rewards)), axis=0) > 0
    return any(not varies[[i for i, own in enumerate(types) if own == kind]].any() for kind in set(types))


def _zero_sum(whole: Float[np.ndarray, "step agent"]) -> Sides | None:
    """Sides of which one earns exactly what the other loses, in every step: each agent goes with whom its rewards share the sign."""
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
    """With every other type of agents on the side whose rewards rise with its own."""
    one, other = sides.one, sides.other
    for kind in dict.fromkeys(types):
        members = tuple(i for i, own in enumerate(types) if own == kind)
        if not set(members) & {*one, *other}:
            one += members if _correlation(steps, members, sides.one) >= -STEPS else ()
            other += members if _correlation(steps, members, sides.other) >= -STEPS else ()
    return Sides(tuple(sorted(one)), tuple(sorted(other)), sides.correlation)


def _split(levels: Float[np.ndarray, "step agent"], steps: Float[np.ndarray, "step agent"]) -> Sides | None:
    """Everybody who earned something, on the side of one or the other of the two that oppose each other most."""
    size = np.sqrt((steps**2).sum(axis=0))
    unit = np.divide(steps, size, out=np.zeros_like(steps), where=size > 1e-9)
    alike = unit.T @ unit
    first, second = np.unravel_index(alike.argmin(), alike.shape)
    nearer = alike[first] - alike[second]
    one, other = tuple(np.flatnonzero(nearer > 0).tolist()), tuple(np.flatnonzero(nearer < 0).tolist())
    found = Sides(one, other, _correlation(steps, one, other))
    limits = (STEPS, LEVELS) if levels.shape[1] == 2 else (FOUND, FOUND)  # two agents are two sides: nothing was chosen
    return found if found.correlation <= limits[0] and _correlation(levels, one, other) <= limits[1] else None


def _correlation(x: Float[np.ndarray, "step agent"], one: Sequence[int], other: Sequence[int]) -> float:
    """Of what two groups earn together; 0 if one earns always the same."""
    a, b = x[:, list(one)].sum(axis=1), x[:, list(other)].sum(axis=1)
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 1e-9 else 0.0
