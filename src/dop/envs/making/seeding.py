"""Seeds of environments: each environment and each episode has its own, below 2**31, which every environment accepts.

An option `seed` passed unchanged to an environment's maker would make all environments of a run copies of each other: the parallel ones,
those of the evaluation, and those of all of the run's seeds. It is mixed with the seed of the episode instead.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dop.errors import ConfigError

NAMES = ("seed", "random_seed", "rng_seed", "env_seed", "rng", "random_state")
"""Makers' names for the seed of all random draws. Other seeds, `map_seed` for example, choose a task and are left unchanged."""


def mixed(*seeds: int) -> int:
    """A seed that depends on all of these and on their order."""
    return int(np.random.SeedSequence(seeds).generate_state(1)[0] >> 1)


def each_mixed(seeds: Mapping[str, int], *episode: int) -> dict[str, int]:
    """The seeds passed to a maker in place of those among the options, by name."""
    return {name: mixed(seed, *episode) for name, seed in seeds.items()}


def option_seeds(name: str, options: Mapping[str, Any]) -> dict[str, int]:
    """The seeds among the options for the maker of the environment called `name`.

    Raises:
        ConfigError: one of them is not a seed.
    """
    return {option: _seed(name, option, given) for option, given in options.items() if option in NAMES and given is not None}


def _seed(name: str, option: str, given: Any) -> int:
    try:
        seed = -1 if isinstance(given, bool | np.bool_) else operator.index(given)
    except TypeError:
        seed = -1
    if seed < 0:
        raise ConfigError(
            f"{name}: {option} is {given!r}; it must be a whole number of at least 0, which is mixed with the seed of each episode. Or "
            "leave it out: every environment gets its own seed."
        )
    return seed


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has a parameter of that name."""
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):  # not a Python function
        return False
