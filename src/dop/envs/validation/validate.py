"""Validation before a run: short, and raises ConfigError at the first difference between an environment and its `EnvSpec`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dop import plugins
from dop.envs.making.places import place_of
from dop.envs.validation.episodes import Played, play, shape_fault
from dop.envs.validation.faults import faults
from dop.errors import ConfigError, DopError
from dop.types import Environment, EnvSpec, PythonEnvironment

FIRST_STEPS = 25
"""Steps of the one episode that `check` plays."""


def validate(environment: Environment | PythonEnvironment) -> None:
    """Compare what an environment gives with what its spec promises: in JAX without computing anything, else in a short episode.

    Raises:
        ConfigError: the first difference.
    """
    if not isinstance(environment, PythonEnvironment):
        return check_shapes(environment)
    played = Played()
    play(environment, played, seed=0, rng=np.random.default_rng(0), most=FIRST_STEPS)
    for _, fault in faults(environment.spec, played):
        raise ConfigError(f"{environment.spec.name}: {fault}. `dop validate-env` tells more.")
    return None


def check_same(promised: EnvSpec, found: EnvSpec) -> None:
    """Raise ConfigError, by name, for the first field in which two specs of what should be the same environment differ."""
    for field_ in fields(EnvSpec):
        was, now = getattr(promised, field_.name), getattr(found, field_.name)
        if was != now:
            raise ConfigError(f"{promised.name} is not the same whenever it is made: its {field_.name} was {was}, then {now}.")


def check_shapes(environment: Environment) -> None:
    spec = environment.spec
    key = jax.eval_shape(lambda: jax.random.key(0))
    state, first = _traced(environment, "reset", key)
    action = jax.ShapeDtypeStruct(spec.action_shape, jnp.int32 if spec.action_kind == "discrete" else jnp.float32)
    later, second = _traced(environment, "step", key, state, action)
    for function, step in (("reset", first), ("step", second)):
        fault = shape_fault(spec, function, step)
        if fault:
            raise ConfigError(f"{spec.name}: {fault}.")
    if _described((state, first)) != _described((later, second)):
        raise ConfigError(f"{spec.name}: reset and step do not give the same structure, shapes and types of state and TimeStep.")


def _traced(environment: Environment, name: str, *arguments: Any) -> tuple[Any, Any]:
    """What the function of that name answers, if that has two parts; nothing is computed."""
    function, who = getattr(environment, name), environment.spec.name
    with in_plain_words(f"The {name} of {who} is taken to be in JAX (outside it would have render and close), but does not compile"):
        answer = jax.eval_shape(function, *arguments)
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise ConfigError(f"{who}: {name} gives {type(answer).__name__}, not a state and a TimeStep{place_of(function)}.")
    return answer[0], answer[1]


def _described(tree: Any) -> tuple[list, Any]:
    """Shapes, types and structure. The leaves are in a list, since nodes of other packages may have an equality of their own."""
    leaves, structure = jax.tree.flatten(tree)
    return [(leaf.shape, leaf.dtype) for leaf in leaves], structure


@contextlib.contextmanager
def in_plain_words(what: str) -> Iterator[None]:
    """Raise a ConfigError for whatever somebody else's code raises."""
    try:
        yield
    except DopError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{what}: {plugins.explain(error)}") from error
