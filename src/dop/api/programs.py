"""The program of an algorithm and an environment."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

from dop import envs, plugins
from dop.envs.making import foreign, seeding
from dop.errors import (
    ConfigError,
    UnknownNameError,
    shown,
)
from dop.rollout.program import PythonProgram, Source
from dop.storage.run_directory import TrainConfig
from dop.training.program import Program
from dop.types import Algorithm, Environment, PythonEnvironment

AnyEnvironment: TypeAlias = Environment | PythonEnvironment | Callable[[], PythonEnvironment]
"""An environment in JAX; one that is not, which then must be one that `dop.make` can make again; or a function that makes such a one."""


def make_program(
    algorithm: Algorithm[Any, Any], environment: AnyEnvironment | str, options: dict[str, Any], rules: TrainConfig
) -> Program | PythonProgram:
    """What is run: one compiled program, or, with an environment outside JAX, one that leaves the device for `step`.

    Raises:
        ConfigError: `environment` does not make one, or is the only one of its kind.
        UnknownNameError: there is no environment of that name.
    """
    name = environment if isinstance(environment, str) else getattr(environment, "__name__", type(environment).__name__)
    with plugins.named(f"The environment {name} cannot be made"):
        make = _maker(environment, options)
        one = environment if make is None else make()
        _ = getattr(one, "spec", None)  # a property of somebody else's, which is read from here on
    if isinstance(one, PythonEnvironment):
        assert make is not None
        foreign.Guarded(one).close()
        seeded = any(options.get(seed) is not None for seed in seeding.NAMES)
        return PythonProgram(algorithm=algorithm, environment=Source(one.spec, make, seeded), train_config=rules)
    if not isinstance(one, Environment):
        raise ConfigError(f"{environment!r} made {type(one).__name__}, which is not an environment: it must have spec, reset and step.")
    return Program(algorithm=algorithm, environment=one, train_config=rules)


def _maker(environment: AnyEnvironment | str, options: dict[str, Any]) -> Callable[[], Any] | None:
    """What makes `environment` again, as often as is wanted; None for one in JAX, which has no need of it."""
    if isinstance(environment, str):
        return functools.partial(envs.make, environment, **options)
    if isinstance(environment, type) or (callable(environment) and not isinstance(environment, Environment | PythonEnvironment)):
        # A class makes one, though it has everything that its instances have.
        return functools.partial(envs.made_by, environment, _called(environment), {})
    if way_out := envs.way_out(_called(environment), environment):
        raise ConfigError(f"{type(environment).__name__} is not an environment. {way_out}")
    if not isinstance(environment, PythonEnvironment):
        if isinstance(environment, Environment):
            return None
        raise ConfigError(f"environment must be a name, an environment, or a function that makes one; got {shown(environment)}.")
    spec = environment.spec
    again = functools.partial(envs.make, spec.name, **dict(spec.options))
    try:
        foreign.made(again, spec.name).close()
    except (UnknownNameError, ConfigError) as error:
        raise ConfigError(
            f"Training needs several environments at once, but {spec.name} is one, and cannot be made again from its name and options: "
            f"{error} Pass a function that makes one."
        ) from error
    return again


def _called(maker: Any) -> str:
    """What a function or class, or something that has one, is called: `module:name`."""
    named = maker if hasattr(maker, "__qualname__") else type(maker)
    return f"{named.__module__}:{named.__qualname__}"
