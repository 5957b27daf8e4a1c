"""The effect of an episode's seed: whether other seeds give other episodes, and the same seed the same episode."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from dop.types import TimeStep

NEW, LEAST, SECONDS = 5, 2, 5.0
"""New environments, with a seed each, that are compared; fewer, but at least `LEAST`, if they take longer than `SECONDS`."""
AGAIN = (25, 10, 5, 2, 1)
"""Steps of each replay of an episode in a used environment, so that each reset interrupts another step."""
Same = Callable[[TimeStep, TimeStep], bool]


def seed_notes(make: Callable[[], Any], played: Sequence[TimeStep], actions: Sequence[np.ndarray], seed: int, same: Same) -> Iterator[str]:
    """Notes if seeds other than `seed`, in new environments, give the same episode."""
    first_difference, start, again = len(played), time.perf_counter(), True
    for i in range(NEW):
        if i >= LEAST and time.perf_counter() - start > SECONDS:
            break
        with contextlib.closing(make()) as environment:
            first_difference = min(first_difference, _alike(environment, played, actions, seed + i + 1, same))
            if first_difference == 0:
                return
            if i == 0 and first_difference == len(played):
                again = _alike(environment, played, actions, seed + NEW + 1, same) == len(played)
    if first_difference < len(played):
        yield "every episode starts the same, whatever its seed; episodes differ later"
    elif again:
        yield (
            "with the same actions every episode is the same, whatever its seed: the task is deterministic, or its seed is fixed (by an "
            "option `seed` of its maker, for example)"
        )
    else:
        yield (
            "the seed of an episode has no effect: other seeds, in new environments, give the same episode. All parallel environments, "
            "those of the evaluation and those of a run's other seeds would play copies: let reset(seed) seed all random draws, and leave "
            "out an option `seed` of its maker"
        )


def all_start_alike(make: Callable[[], Any]) -> bool:
    """Whether new environments with different seeds give the same first observations."""
    seen: list[TimeStep] = []
    for seed in range(1, NEW + 1):
        with contextlib.closing(make()) as environment:
            seen.append(environment.reset(seed))
        if not all(np.array_equal(getattr(seen[0], name), getattr(seen[-1], name)) for name in ("obs", "state", "action_mask")):
            return False
    return True


def again_note(environment: Any, played: Sequence[TimeStep], actions: Sequence[np.ndarray], seed: int, same: Same) -> Iterator[str]:
    """A note if a used environment gives another episode for `seed` than `played`."""
    first = (played[: steps + 1] for steps in AGAIN)
    if any(_alike(environment, few, actions, seed, same) < len(few) for few in first):
        yield (
            "in a used environment the same seed gives another episode: a run that is resumed, or has other workers, does not repeat its "
            "episodes"
        )


def _alike(environment: Any, played: Sequence[TimeStep], actions: Sequence[np.ndarray], seed: int, same: Same) -> int:
    """The number of equal steps, that of the reset included, of an episode with the same actions."""
    if not same(environment.reset(seed), played[0]):
        return 0
    for t, (action, expected) in enumerate(zip(actions, played[1:], strict=False), start=1):
        if not same(environment.step(action), expected):
            return t
    return len(played)
