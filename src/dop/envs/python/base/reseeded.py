"""An environment whose maker takes a seed: it is remade when the seed of its first episode is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dop.envs.making import seeding
from dop.envs.python.base.adapted_team import AdaptedTeam
from dop.types import EnvSpec, TimeStep


class Reseeded:
    """A `PythonEnvironment` whose options hold seeds: `dop.envs.making.seeding` mixes them with the seed of the first episode.

    `reset` gets a mixed seed, too: whichever of the two the environment uses, no two environments are copies. All other attributes are
    those of the adapted environment, `adapted`.

    Args:
        make: makes the adapted environment from seeds for its maker, by name.
        seeds: the seeds among the options, by name.
    """

    def __init__(self, make: Callable[[Mapping[str, int]], AdaptedTeam], seeds: Mapping[str, int]) -> None:
        self._make, self._seeds, self._new = make, seeds, True
        self.adapted = make(seeding.each_mixed(seeds))
        self.spec: EnvSpec = self.adapted.spec

    def reset(self, seed: int) -> TimeStep:
        """Start an episode; the first one in a remade environment."""
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
        # `adapted` does not exist yet while this object is copied or unpickled.
        if name == "adapted":
            raise AttributeError(name)
        return getattr(self.adapted, name)


def make(adapt: Callable[[Mapping[str, int]], AdaptedTeam], name: str, options: Mapping[str, Any]) -> Any:
    """The environment that `adapt` makes; wrapped in `Reseeded` if a seed for its maker is among the options.

    Raises:
        ConfigError: an invalid seed; or as `adapt`.
    """
    seeds = seeding.option_seeds(name, options)
    return Reseeded(adapt, seeds) if seeds else adapt({})
