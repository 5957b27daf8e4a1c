"""Environments whose code is not the library's: whatever they raise, `sys.exit` too, becomes a sentence that names them and the place."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dop.envs import _checks
from dop.envs._places import place_of
from dop.errors import ConfigError, DopError
from dop.types import HostEnvironment, TimeStep


class RaisedError(ConfigError):
    """Code of somebody else's raised; another try may do better."""


def plain(error: BaseException) -> str:
    """What went wrong and where: in the user's own code, rather than in a package that it called."""
    return _checks._plain(error)


@contextlib.contextmanager
def named(what: str) -> Iterator[None]:
    """Raise a RaisedError that begins with `what` for all that is raised in here, but for the library's own errors and Ctrl-C."""
    try:
        yield
    except DopError:
        raise
    except (Exception, SystemExit) as error:  # it is somebody else's code
        raise RaisedError(f"{what}: {plain(error)}") from error


class Guarded:
    """A `HostEnvironment` all of whose errors are sentences."""

    def __init__(self, environment: HostEnvironment) -> None:
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
            raise ConfigError(f"{self._name}: {function} gave {type(answer).__name__}, not a dop.TimeStep{place_of(method)}.")
        return answer


def made(make: Callable[[], Any], name: str) -> Guarded:
    """The environment outside JAX that `make` makes, which is called `name`.

    Raises:
        ConfigError: it makes none.
    """
    with named(f"{name} cannot be made"):
        environment = make()
        if not isinstance(environment, HostEnvironment):
            raise ConfigError(f"{name}: what makes it{place_of(make)} gave {type(environment).__name__}; it must give an environment.")
        return Guarded(environment)
