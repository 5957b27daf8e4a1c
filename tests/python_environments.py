"""Python environments in NumPy alone that record all calls and can misbehave on request."""

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
    """A random walk that depends on the episode's seed and the actions only; some agents die, and then have no legal action.

    Terminates at a random step, or is truncated at its time limit. With `flag`, the name of a file, the first environment that finds the
    file at its second step deletes it and gets into the trouble in the file, or into `trouble`; with `always`, every one does so.
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
    """Whether an observation is NaN, against the spec."""
    sleep: float = 0.0
    """Seconds per step."""
    seen: list[tuple[str, Any, TimeStep]] = field(default_factory=list)
    """All calls and results."""
    closed: int = 0

    @property
    def spec(self) -> EnvSpec:
        return EnvSpec(
            name="python_environments:Walk",
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
        trouble = _take(Path(self.flag)) if self._t == 2 and self.flag else None
        if trouble is not None or (self._t == 2 and self.always):
            _misbehave(trouble or self.trouble)
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
    """The file's text, if this process deletes it; exactly one of several processes does."""
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
    """`Walk`, for `dop.make`; lists, as from JSON, become tuples."""
    tuples: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    return Walk(**tuples)


@dataclass(kw_only=True)
class Quits(Walk):
    """Calls sys.exit, raises or returns None in the function `where`, after `after` calls of it in a process."""

    where: str = ""
    how: Literal["exit", "raise", "none"] = "exit"
    after: int = 0
    calls: ClassVar[Counter[str]] = Counter()
    """Calls of all environments, by function."""

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
    """`Quits`, with a maker that may quit, too."""
    made = Quits(**options)
    return made._quit("make", lambda: made)
