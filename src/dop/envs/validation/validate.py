"""Short validation before a run: raises ConfigError at the first mismatch between an environment and its `EnvSpec`."""

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
from dop.types import LABELS, Environment, EnvSpec, PythonEnvironment

FIRST_STEPS = 25
"""Steps of the one episode that `validate` plays."""


def validate(environment: Environment | PythonEnvironment) -> None:
    """Compare an environment with its spec: abstractly in JAX, by a short episode in Python.

    Raises:
        ConfigError: the first mismatch.
    """
    if not isinstance(environment, PythonEnvironment):
        return check_shapes(environment)
    played = Played()
    play(environment, played, seed=0, rng=np.random.default_rng(0), most=FIRST_STEPS)
    for _, fault in faults(environment.spec, played):
        raise ConfigError(f"{environment.spec.name}: {fault}. Run `dop check-env` for details.")
    return None


def check_same(expected: EnvSpec, found: EnvSpec) -> None:
    """Raise ConfigError for the first field, labels aside, in which two specs of the same environment differ."""
    for field_ in (one for one in fields(EnvSpec) if one.name not in LABELS):
        was, now = getattr(expected, field_.name), getattr(found, field_.name)
        if was != now:
            raise ConfigError(f"{expected.name} must have the same spec whenever it is made: its {field_.name} was {was}, then {now}.")


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
    """The abstract result of a function of the environment, which must be a pair; nothing is computed."""
    function, who = getattr(environment, name), environment.spec.name
    with in_plain_words(f"{who} counts as a JAX environment, since it has no render and close, but its {name} does not compile"):
        answer = jax.eval_shape(function, *arguments)
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise ConfigError(f"{who}: {name} returns {type(answer).__name__}, not a state and a TimeStep{place_of(function)}.")
    return answer[0], answer[1]


def _described(tree: Any) -> tuple[list, Any]:
    """Shapes, types and structure. The leaves are listed, since nodes of other packages may define their own equality."""
    leaves, structure = jax.tree.flatten(tree)
    return [(leaf.shape, leaf.dtype) for leaf in leaves], structure


@contextlib.contextmanager
def in_plain_words(what: str) -> Iterator[None]:
    """Turn any exception of foreign code into a ConfigError."""
    try:
        yield
    except DopError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{what}: {plugins.explain(error)}") from error
