"""Agents outside of the team, such as adversaries: selection of the team, and the scripted policies of the others.

`random` draws uniformly from the legal actions, or from the whole box; `noop` takes action 0, or the first legal one if 0 is illegal, or
the middle of the box.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dop.envs.making.listing import listed
from dop.envs.python.base.agent_spaces import Actions
from dop.envs.python.base.answer_checks import mask_of, nothing
from dop.errors import ConfigError

_STREAM = 0x07E125
"""Separates the other agents' random stream from the environment's with the same seed."""


def places(name: str, agents: Sequence[Any], patterns: Sequence[str] | None) -> tuple[int, ...]:
    """Indices of the team's agents: those whose name equals or matches one of the patterns; without patterns, all.

    Raises:
        ConfigError: a pattern that matches no agent.
    """
    names = [str(agent) for agent in agents]
    if patterns is None:
        return tuple(range(len(names)))
    found: set[int] = set()
    for pattern in patterns:
        matched = {i for i, agent in enumerate(names) if agent == pattern or fnmatch.fnmatchcase(agent, pattern)}
        if not matched:
            raise ConfigError(f"{name}: team={pattern!r} matches no agent. The agents are {listed(names)}.")
        found |= matched
    return tuple(sorted(found))


class Others:
    """The scripted policies of the agents outside of the team; `actions` has their action spaces by name."""

    def __init__(self, name: str, how: str, actions: Mapping[Any, Actions]) -> None:
        self._name, self._how, self._actions = name, how, actions
        self._masks: dict[Any, Any] = {}
        self._rng = np.random.default_rng(0)

    def start(self, seed: int) -> None:
        """Start an episode; its draws depend on the seed only."""
        self._masks = {}
        self._rng = np.random.default_rng((_STREAM, seed))

    def allow(self, masks: Mapping[Any, Any]) -> None:
        """Set the action masks of the next step, by agent; agents without one may take any action."""
        self._masks = {agent: mask for agent, mask in masks.items() if not nothing(mask)}

    def act(self, agent: Any) -> Any:
        """The agent's next action, in the environment's form."""
        own = self._actions[agent]
        if own.kind == "box":
            return own.write(self._rng.uniform(-1, 1, own.size) if self._how == "random" else np.zeros(own.size))
        given = self._masks.get(agent)
        legal_actions = np.arange(own.size)
        if given is not None:
            legal_actions = np.flatnonzero(mask_of(self._name, agent, own.combined(given), own.size))
        if not legal_actions.size:
            return own.write(0)
        return own.write(self._rng.choice(legal_actions) if self._how == "random" else legal_actions[0])
