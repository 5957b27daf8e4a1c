"""Combining an algorithm and an environment to a program."""

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
from dop.storage.config import TrainConfig
from dop.training.program import Program
from dop.types import Algorithm, Environment, PythonEnvironment

AnyEnvironment: TypeAlias = Environment | PythonEnvironment | Callable[[], PythonEnvironment]
"""A JAX environment; a Python environment that `dop.make` can create again; or a function that makes one."""


def make_program(
    algorithm: Algorithm[Any, Any], environment: AnyEnvironment | str, options: dict[str, Any], train_config: TrainConfig
) -> Program | PythonProgram:
    """The program: compiled as a whole for a JAX environment; for a Python environment, `step` runs on the host.

    Raises:
        ConfigError: `environment` does not create one, or cannot be created again.
        UnknownNameError: there is no environment of that name.
    """
    name = environment if isinstance(environment, str) else getattr(environment, "__name__", type(environment).__name__)
    with plugins.named(f"The environment {name} cannot be made"):
        make = _maker(environment, options)
        made = environment if make is None else make()
        _ = getattr(made, "spec", None)  # may be a property, and raise
    if isinstance(made, PythonEnvironment):
        assert make is not None
        foreign.Guarded(made).close()
        seeded = any(options.get(seed) is not None for seed in seeding.NAMES)
        return PythonProgram(algorithm=algorithm, environment=Source(made.spec, make, seeded), train_config=train_config)
    if not isinstance(made, Environment):
        raise ConfigError(
            f"{environment!r} returned {type(made).__name__}, which is not an environment: it must have spec, reset and step."
        )
    return Program(algorithm=algorithm, environment=made, train_config=train_config)


def _maker(environment: AnyEnvironment | str, options: dict[str, Any]) -> Callable[[], Any] | None:
    """A function that creates `environment` again; None for a JAX environment, which does not need it."""
    if isinstance(environment, str):
        return functools.partial(envs.make, environment, **options)
    if isinstance(environment, type) or (callable(environment) and not isinstance(environment, Environment | PythonEnvironment)):
        # A class is a maker, though it has the methods of its instances.
        return functools.partial(envs.made_by, environment, _import_path(environment), {})
    if way_out := envs.way_out(_import_path(environment), environment):
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
            f"Training needs several environments, but {spec.name} cannot be made again from its name and options: "
            f"{error} Pass a function that makes one."
        ) from error
    return again


def _import_path(maker: Any) -> str:
    """The name of a function or class, or of an object's class: `module:name`."""
    named = maker if hasattr(maker, "__qualname__") else type(maker)
    return f"{named.__module__}:{named.__qualname__}"
