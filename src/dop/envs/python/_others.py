"""Agents of an environment that are not of the team, its adversaries say: who the team is, and what the others do, which nobody learns.

`random` draws uniformly from the actions that are legal, or from the whole box; `noop` takes action 0, or the first that is legal if 0 is
not, or the middle of the box.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dop.envs.making.listing import listed
from dop.envs.python._answers import mask_of, nothing
from dop.envs.python._spaces import Actions
from dop.errors import ConfigError

_STREAM = 0x07E125
"""Sets the draws of the others apart from what an environment draws from the same seed."""


def places(name: str, agents: Sequence[Any], patterns: Sequence[str] | None) -> tuple[int, ...]:
    """Which of the agents are the team: those whose name one of the patterns is, or matches; without patterns, all.

    Raises:
        ConfigError: a pattern that matches nobody.
    """
    names = [str(agent) for agent in agents]
    if patterns is None:
        return tuple(range(len(names)))
    found: set[int] = set()
    for pattern in patterns:
        matched = {i for i, agent in enumerate(names) if agent == pattern or fnmatch.fnmatchcase(agent, pattern)}
        if not matched:
            raise ConfigError(f"{name}: team={pattern!r} matches no agent. There are {listed(names)}.")
        found |= matched
    return tuple(sorted(found))


class Others:
    """What the agents do that are not of the team; `actions` has them by name."""

    def __init__(self, name: str, how: str, actions: Mapping[Any, Actions]) -> None:
        self._name, self._how, self._actions = name, how, actions
        self._masks: dict[Any, Any] = {}
        self._rng = np.random.default_rng(0)

    def start(self, seed: int) -> None:
        """A new episode, in which the same is drawn whenever it has this seed."""
        self._masks = {}
        self._rng = np.random.default_rng((_STREAM, seed))

    def allow(self, masks: Mapping[Any, Any]) -> None:
        """The masks of the next step, of those that have one."""
        self._masks = {agent: mask for agent, mask in masks.items() if not nothing(mask)}

    def act(self, agent: Any) -> Any:
        """What this one does, as the environment takes it."""
        own = self._actions[agent]
        if own.kind == "box":
            return own.write(self._rng.uniform(-1, 1, own.size) if self._how == "random" else np.zeros(own.size))
        given = self._masks.get(agent)
        action_mask = np.arange(own.size)
        if given is not None:
            action_mask = np.flatnonzero(mask_of(self._name, agent, own.combined(given), own.size))
        if not action_mask.size:
            return own.write(0)
        return own.write(self._rng.choice(action_mask) if self._how == "random" else action_mask[0])
