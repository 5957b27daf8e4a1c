"""An environment whose maker was given a seed: it is made anew when the seed of its first episode is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dop.envs.making import seeding
from dop.envs.python._team import AdaptedTeam
from dop.types import EnvSpec, TimeStep


class Reseeded:
    """A `PythonEnvironment` whose options hold seeds: `dop.envs.making.seeding` mixes them with the seed of the first episode.

    `reset` gets a mixed seed, too: whichever of the two the environment draws from, no two environments are copies. All else is that of the
    adapted environment, `adapted`.

    Args:
        make: makes the adapted environment, of seeds for its maker, by name.
        seeds: what was asked for.
    """

    def __init__(self, make: Callable[[Mapping[str, int]], AdaptedTeam], seeds: Mapping[str, int]) -> None:
        self._make, self._seeds, self._new = make, seeds, True
        self.adapted = make(seeding.each_mixed(seeds))
        self.spec: EnvSpec = self.adapted.spec

    def reset(self, seed: int) -> TimeStep:
        """Start an episode; the first one in a new environment."""
        mixed = seeding.each_mixed(self._seeds, seed)
        if self._new:
            self.adapted.close()
            self.adapted, self._new = self._make(mixed), False
        return self.adapted.reset(next(iter(mixed.values())))

    def step(self, action: np.ndarray) -> TimeStep:
        return self.adapted.step(action)

    def render(self) -> np.ndarray | None:
        return self.adapted.render()

    def close(self) -> None:
        self.adapted.close()

    def __getattr__(self, name: str) -> Any:
        # Before there is one, while this is copied or unpickled, there is nothing to ask.
        if name == "adapted":
            raise AttributeError(name)
        return getattr(self.adapted, name)


def make(adapt: Callable[[Mapping[str, int]], AdaptedTeam], name: str, options: Mapping[str, Any]) -> Any:
    """What `adapt` makes; made anew with a seed of its own where a seed for its maker is among the options.

    Raises:
        ConfigError: that is no seed; or as `adapt`.
    """
    seeds = seeding.asked(name, options)
    return Reseeded(adapt, seeds) if seeds else adapt({})
