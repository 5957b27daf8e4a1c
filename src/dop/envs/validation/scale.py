"""The scale of returns and rewards without learning: under a random policy and a no-op policy."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dop.types import EnvSpec

EPISODES = 32
"""Episodes of each policy."""
SECONDS = 2.0
"""Time limit of each policy's episodes, after which no further one starts."""


@dataclass
class Scale:
    """Statistics of one policy's episodes."""

    policy: str
    returns: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    terminated: list[bool] = field(default_factory=list)
    least: float = np.inf
    """Smallest and largest reward of a step."""
    most: float = -np.inf

    def add(self, rewards: list[float], terminated: bool) -> None:
        """Add an episode."""
        self.returns.append(float(np.sum(rewards)))
        self.lengths.append(len(rewards))
        self.terminated.append(terminated)
        self.least, self.most = min([self.least, *rewards]), max([self.most, *rewards])

    def play(self, environment: Any, policy: Callable[[np.ndarray], np.ndarray], seed: int) -> None:
        """Play until there are `EPISODES` episodes or `SECONDS` are over, but at least one; their seeds are those from `seed` on."""
        start, done = time.perf_counter(), len(self.returns)
        for i in range(EPISODES - done):
            if self.returns and time.perf_counter() - start > SECONDS:
                return
            self.add(*_episode(environment, policy, seed + i))

    def __str__(self) -> str:
        """One line."""
        count = len(self.returns)
        mean, low, high = np.mean(self.returns), min(self.returns), max(self.returns)
        episodes = f"{count} episode{'s' * (count != 1)}"
        rewards = f"reward per step: min {self.least:.4g}, max {self.most:.4g}" if np.isfinite(self.least) else "no step"
        return f"return of {self.policy}: mean {mean:.4g}, min {low:.4g}, max {high:.4g} ({episodes}); {rewards}"


def _episode(environment: Any, policy: Callable[[np.ndarray], np.ndarray], seed: int) -> tuple[list[float], bool]:
    """The rewards of one episode, and whether it terminated."""
    step, rewards = environment.reset(seed), []
    while not (step.terminated or step.truncated) and len(rewards) < environment.spec.time_limit:
        step = environment.step(policy(np.array(step.action_mask)))
        rewards.append(float(step.reward))
    return rewards, bool(step.terminated)


def no_op(spec: EnvSpec, action_mask: np.ndarray) -> np.ndarray:
    """The no-op policy: action 0, or the first legal one; the middle of a box; equal parts of a simplex."""
    if spec.action_kind == "discrete":
        return action_mask.argmax(axis=-1).astype(np.int32)
    if spec.action_kind == "box":
        return np.zeros(action_mask.shape, np.float32)
    return (action_mask / np.maximum(action_mask.sum(axis=-1, keepdims=True), 1)).astype(np.float32)


def same_end(lengths: list[int], terminated: list[bool], time_limit: int) -> str | None:
    """A note if episodes of more than one step terminate as if by a time limit."""
    if time_limit == 1:
        return None
    advice = (
        "if that is a time limit and not the end of the task, they must be truncated to bootstrap "
        "(adapters: the option time_limit={0}; if it is the end, set limit_terminates=true)"
    )
    if len(lengths) > 1 and all(terminated) and len(set(lengths)) == 1 and lengths[0] > 1:
        return f"every episode terminated at the same length, after {lengths[0]} steps: {advice.format(lengths[0])}"
    late = sum(ended and length == time_limit for ended, length in zip(terminated, lengths, strict=True))
    if late > 1:
        return f"{late} of {len(lengths)} episodes terminated exactly at the time limit, {time_limit} steps: {advice.format(time_limit)}"
    return None
