"""Environments outside JAX, in NumPy alone, that say everything they do and can misbehave when they are told to."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from dop.types import ActionKind, EnvSpec, PythonEnvironment, TimeStep

Trouble = Literal["raise", "quit", "exit", "kill", "hang"]


@dataclass(kw_only=True)
class Walk:
    """Everything that it gives is drawn from the episode's seed and what was done before; some agents die, and then have no legal action.

    Ends at a drawn step by terminating, or at its time limit. With `flag`, the name of a file, the first environment that finds it at its
    second step deletes it and gets into `trouble`, or into that which the file tells; with `always`, every one at its second step.
    """

    n_agents: int = 2
    obs_sizes: tuple[int, ...] = (3, 2)
    action_sizes: tuple[int, ...] = (3, 4)
    state_size: int = 2
    time_limit: int = 5
    kind: ActionKind = "discrete"
    mortal: bool = True
    trouble: Trouble = "raise"
    flag: str = ""
    always: bool = False
    wrong: bool = False
    """Gives something that its spec does not allow."""
    sleep: float = 0.0
    """Seconds a step."""
    seen: list[tuple[str, Any, TimeStep]] = field(default_factory=list)
    """Everything that it was asked and answered."""
    closed: int = 0

    @property
    def spec(self) -> EnvSpec:
        return EnvSpec(
            name="host_environments:Walk",
            version="1",
            agents=tuple(f"agent_{i}" for i in range(self.n_agents)),
            obs_sizes=tuple(self.obs_sizes[i % len(self.obs_sizes)] for i in range(self.n_agents)),
            action_sizes=tuple(self.action_sizes[i % len(self.action_sizes)] for i in range(self.n_agents)),
            state_size=self.state_size,
            time_limit=self.time_limit,
            action_kind=self.kind,
            obs_bound=100.0,
            metrics=("steps", "first"),
        )

    def reset(self, seed: int) -> TimeStep:
        self._random, self._t = np.random.default_rng(seed), 0
        self._length, self._first = int(self._random.integers(1, self.time_limit + 2)), float(seed % 97)
        return self._answer("reset", seed, 0.0)

    def step(self, action: np.ndarray) -> TimeStep:
        self._t += 1
        if self.sleep:
            time.sleep(self.sleep)
        told = _take(Path(self.flag)) if self._t == 2 and self.flag else None
        if told is not None or (self._t == 2 and self.always):
            _misbehave(told or self.trouble)
        return self._answer("step", action, float(np.sum(action) / 7))

    def render(self) -> np.ndarray | None:
        return None

    def close(self) -> None:
        self.closed += 1

    def _answer(self, asked: str, what: Any, reward: float) -> TimeStep:
        spec, draw = self.spec, self._random
        n = spec.n_agents
        observed = np.arange(spec.obs_size) < np.array(spec.obs_sizes)[:, None]
        exists = np.arange(spec.action_size) < np.array(spec.action_sizes)[:, None]
        action_mask = (
            exists if self.kind != "discrete" else exists & ((draw.random(exists.shape) < 0.6) | (np.arange(spec.action_size) == 0))
        )
        if self.mortal:
            action_mask = action_mask & (draw.random(n) > 0.1 * self._t)[:, None]
        terminated = asked == "step" and self._t >= self._length
        fields: dict[str, Any] = {
            "obs": (draw.normal(size=(n, spec.obs_size)) * observed + (reward * observed)).astype(np.float32),
            "state": (draw.normal(size=spec.state_size) + self._t).astype(np.float32),
            "action_mask": action_mask,
            "reward": np.float32(reward),
            "terminated": np.bool_(terminated),
            "truncated": np.bool_(asked == "step" and not terminated and self._t >= self.time_limit),
            "metrics": np.array([self._t, self._first], np.float32),
        }
        if self.wrong:
            fields["obs"][0, 0] = np.nan
        step = TimeStep(**fields)
        self.seen.append((asked, np.copy(what), step))
        return step


def _take(flag: Path) -> str | None:
    """What the file says, if this is who deletes it; of several who try, one is."""
    taken = flag.with_suffix(f".{os.getpid()}")
    try:
        flag.rename(taken)
    except FileNotFoundError:
        return None
    return taken.read_text()


def _misbehave(trouble: str) -> None:
    if trouble == "raise":
        raise ValueError("the walk fell over")
    if trouble == "quit":
        sys.exit(0)
    if trouble == "exit":
        os._exit(7)
    if trouble == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(1000)


def make(**options: Any) -> PythonEnvironment:
    """`Walk`, as `dop.make` calls it; JSON has lists for tuples."""
    tuples: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    return Walk(**tuples)


@dataclass(kw_only=True)
class Quits(Walk):
    """Calls sys.exit in the function that `where` names, raises there or answers None, once that was called `after` times in a process."""

    where: str = ""
    how: Literal["exit", "raise", "none"] = "exit"
    after: int = 0
    calls: ClassVar[Counter[str]] = Counter()
    """Of all environments, by function."""

    def reset(self, seed: int) -> Any:
        return self._quit("reset", lambda: super(Quits, self).reset(seed))

    def step(self, action: np.ndarray) -> Any:
        return self._quit("step", lambda: super(Quits, self).step(action))

    def render(self) -> Any:
        return self._quit("render", lambda: None)

    def close(self) -> None:
        self._quit("close", lambda: None)

    def _quit(self, function: str, usual: Callable[[], Any]) -> Any:
        Quits.calls[function] += 1
        if function != self.where or Quits.calls[function] <= self.after:
            return usual()
        if self.how == "exit":
            sys.exit(0)
        if self.how == "raise":
            raise OSError("the window is gone")
        return None


def quits(**options: Any) -> Any:
    """`Quits`; its maker may quit, too, at its first call or later ones."""
    made = Quits(**options)
    return made._quit("make", lambda: made)
