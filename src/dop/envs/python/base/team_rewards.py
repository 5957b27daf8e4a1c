"""Parsing of rewards in any form into one number per agent; vectors of objectives are scalarised with weights.

A reward is a number, or an array of one. A vector of several numbers has objectives, and needs the option `reward_weights`: the reward is
then the weighted sum. An environment gives one reward for the team, or a list with one per agent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dop.envs.making.options import finite
from dop.envs.python.base import answer_checks
from dop.errors import ConfigError, plain

_LONGEST = 80
"""Most characters of a reward in a message."""


def weights(given: Any) -> tuple[float, ...]:
    """The option `reward_weights`.

    Raises:
        ConfigError: it is not a list of numbers.
    """
    given = plain(given.tolist() if isinstance(given, np.ndarray) else given)
    if isinstance(given, str) or not isinstance(given, Sequence) or len(given) == 0:
        raise ConfigError(f"reward_weights is {given!r}; it must be a list with a number for each objective, for example [1, 0.5].")
    return tuple(finite("reward_weights", weight) for weight in given)


def agent_rewards(name: str, given: Any, n_agents: int, weights: Sequence[float] | None) -> tuple[float, ...]:
    """The reward of each of `n_agents`; or a single one, where the environment called `name` gives only the team's.

    As many numbers as there are agents are the agents' rewards; but if there are as many `weights`, they are the team's objectives.

    Raises:
        ConfigError: it is neither, or has objectives without weights.
    """
    if weights is None and (whole := answer_checks.number(given)) is not None:
        return (whole,)
    array = _numbers(given)
    if array is None and isinstance(given, list | tuple) and len(given) == n_agents:
        return tuple(reward_of(name, f"agent {i}", own, weights) for i, own in enumerate(given))
    if array is None:
        raise _refusal(name, given, f"must be a number, or a list with one for each of the {n_agents} agents")
    of_team = weights is not None and array.shape == (len(weights),)
    if array.size == 1 or of_team or (array.ndim == 1 and len(array) != n_agents):
        return (_weighed(name, given, array, weights, f", and there are {n_agents} agents" if n_agents > 1 and array.size > 1 else ""),)
    if len(array) != n_agents:
        raise _refusal(name, given, f"must be a number, or a list with one for each of the {n_agents} agents")
    return tuple(_weighed(name, given, own, weights, "") for own in array)


def reward_of(name: str, agent: Any, given: Any, weights: Sequence[float] | None) -> float:
    """The reward of one agent.

    Raises:
        ConfigError: it is not a number, or has objectives without weights.
    """
    if weights is None and (reward := answer_checks.number(given)) is not None:
        return reward
    array = _numbers(given)
    if array is None:
        raise ConfigError(f"{name}: step gave {agent} the reward {_shown(given)}; it must be one number.")
    return _weighed(name, given, array, weights, "")


def _weighed(name: str, given: Any, reward: np.ndarray, weights: Sequence[float] | None, but: str) -> float:
    """One scalar reward; `given` is the environment's value and `but` an addition, for messages."""
    if weights is None:
        if reward.size == 1:
            return reward.item()
        raise ConfigError(
            f"{name}: step gave the reward {_shown(given)}, which has {reward.size} objectives{but}. A team learns from one number: give "
            f"each objective a weight, for example reward_weights='{[1] * reward.size}'."
        )
    if reward.size != len(weights) or reward.ndim > 1:
        raise ConfigError(
            f"{name}: step gave the reward {_shown(given)}, with {_counted(reward.shape)}{but}; reward_weights has "
            f"{len(weights)}: {list(weights)}."
        )
    return float(reward.reshape(len(weights)) @ np.asarray(weights))


def _numbers(given: Any) -> np.ndarray | None:
    """A numeric array of it; None if it is not numeric."""
    try:
        array = np.asarray(given)
        if array.dtype.kind == "O" and not any(x is None or isinstance(x, str) for x in array.flat):  # Decimal, for example
            array = array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError):  # ragged, or what other libraries' arrays raise
        return None
    return array.astype(np.float64) if array.size and array.dtype.kind in "biuf" else None


def _refusal(name: str, given: Any, must: str) -> ConfigError:
    return ConfigError(f"{name}: step gave the reward {_shown(given)}; it {must}.")


def _counted(shape: tuple[int, ...]) -> str:
    return "one number" if np.prod(shape) == 1 else f"{' x '.join(map(str, shape))} objectives"


def _shown(given: Any) -> str:
    words = " ".join(repr(given).split())
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 3]}..."
