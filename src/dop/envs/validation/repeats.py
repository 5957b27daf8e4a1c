"""What the seed of an episode decides: whether other seeds give other episodes, and the same one the same again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from dop.types import TimeStep

NEW, LEAST, SECONDS = 5, 2, 5.0
"""New environments, with a seed each, that are compared; fewer, but not below `LEAST`, where they take longer than that."""
AGAIN = (25, 10, 5, 2, 1)
"""Steps of an episode that is played once more in an environment that has played before, which each time stopped somewhere else."""
Same = Callable[[TimeStep, TimeStep], bool]


def seed_notes(make: Callable[[], Any], played: Sequence[TimeStep], actions: Sequence[np.ndarray], seed: int, same: Same) -> Iterator[str]:
    """Remarks if other seeds than `seed`, in new environments, give the episode that was played all the same."""
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
        yield "every episode starts the same, whatever its seed; they differ later"
    elif again:
        yield (
            "with the same actions every episode is the same, whatever its seed: the task is deterministic, or its seed is fixed (by an "
            "option `seed` of its maker, for example)"
        )
    else:
        yield (
            "the seed of an episode does not reach it: other seeds, in new environments, give the same episode. All environments side by "
            "side, those of the evaluation and those of other seeds of a run would play copies: let reset(seed) decide what is drawn, and "
            "leave out an option `seed` of its maker"
        )


def all_start_alike(make: Callable[[], Any]) -> bool:
    """Whether new environments with seeds of their own give the same first observations."""
    seen: list[TimeStep] = []
    for seed in range(1, NEW + 1):
        with contextlib.closing(make()) as environment:
            seen.append(environment.reset(seed))
        if not all(np.array_equal(getattr(seen[0], name), getattr(seen[-1], name)) for name in ("obs", "state", "action_mask")):
            return False
    return True


def again_note(environment: Any, played: Sequence[TimeStep], actions: Sequence[np.ndarray], seed: int, same: Same) -> Iterator[str]:
    """A remark if an environment that has played before gives another episode for `seed` than `played`."""
    first = (played[: steps + 1] for steps in AGAIN)
    if any(_alike(environment, few, actions, seed, same) < len(few) for few in first):
        yield (
            "in an environment that has played before, the same seed gives another episode: a run that is resumed, or has other workers, "
            "does not play the same ones"
        )


def _alike(environment: Any, played: Sequence[TimeStep], actions: Sequence[np.ndarray], seed: int, same: Same) -> int:
    """How many steps of an episode with the same actions are the same, the first one included."""
    if not same(environment.reset(seed), played[0]):
        return 0
    for t, (action, expected) in enumerate(zip(actions, played[1:], strict=False), start=1):
        if not same(environment.step(action), expected):
            return t
    return len(played)
