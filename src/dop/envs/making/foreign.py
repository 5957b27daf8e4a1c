"""Guards around foreign environments: any exception, including `SystemExit`, becomes an error message with the name and the location."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dop.envs.making.places import place_of
from dop.errors import ConfigError
from dop.plugins import named
from dop.types import PythonEnvironment, TimeStep


class Guarded:
    """A `PythonEnvironment` whose exceptions become error messages for people."""

    def __init__(self, environment: PythonEnvironment) -> None:
        self._environment, self.spec = environment, environment.spec
        self._name = getattr(self.spec, "name", type(environment).__name__)

    def reset(self, seed: int) -> TimeStep:
        return self._call("reset", seed)

    def step(self, action: np.ndarray) -> TimeStep:
        return self._call("step", action)

    def render(self) -> np.ndarray | None:
        return self._call("render")

    def close(self) -> None:
        self._call("close")

    def _call(self, function: str, *arguments: Any) -> Any:
        method = getattr(self._environment, function)
        with named(f"{self._name}: {function} raised"):
            answer = method(*arguments)
        if function in ("reset", "step") and not hasattr(answer, "obs"):
            raise ConfigError(f"{self._name}: {function} returned {type(answer).__name__}, not a dop.TimeStep{place_of(method)}.")
        return answer


def made(make: Callable[[], Any], name: str) -> Guarded:
    """The Python environment called `name` that `make` returns, guarded.

    Raises:
        ConfigError: `make` does not return a `PythonEnvironment`.
    """
    with named(f"{name} cannot be made"):
        environment = make()
        if not isinstance(environment, PythonEnvironment):
            raise ConfigError(f"{name}: its maker{place_of(make)} returned {type(environment).__name__}; it must return an environment.")
        return Guarded(environment)
