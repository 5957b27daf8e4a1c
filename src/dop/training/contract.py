"""The contract of a user's own algorithm: what its methods return, checked by shapes alone before a run.

The library's own classes are not checked: their tests do it, and tracing an update takes time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from dop import algorithms, plugins
from dop.envs.making.places import place_of
from dop.envs.validation.episodes import time_step_layout
from dop.errors import ConfigError, checked_integer, shown
from dop.learning.replay import allocate
from dop.training import compiled
from dop.training.program import Learning
from dop.types import Algorithm, EnvSpec, Learner, PolicyOutput, Samples, Scheduled, TimeStep
from dop.types.traced import with_values

_MOST_EPISODES = 2**31
_ADVICE = (
    "Compiled code cannot choose by the value of an array, nor by that of a field annotated dop.Traced: use jnp.where or jax.lax.cond, or "
    "annotate the field again in your class, as float or int."
)
_NUMBERS = {jnp.integer: "whole numbers", jnp.floating: "floating-point numbers"}


def check(program: Learning) -> None:
    """Trace every method of a user's own algorithm once, and compare the results with `dop.Algorithm`; nothing is computed.

    Raises:
        ConfigError: a method raises an exception, or returns something else; the message has its class, name and place.
    """
    algorithm = program.algorithm
    if type(algorithm) in algorithms.algorithms().values():
        return
    _check_sizes(algorithm)
    values = {name: jax.ShapeDtypeStruct((), x.dtype) for name, x in compiled.values_of(algorithm, 1).items()}
    jax.eval_shape(lambda values: _check_methods(with_values(algorithm, values), program), values)


def _check_methods(algorithm: Algorithm[Any, Any], program: Learning) -> None:
    """Trace the methods of an algorithm, whose `Traced` fields are traced, too."""
    spec = program.spec
    key = jax.eval_shape(lambda: jax.random.key(0))
    learner = _checked_learner(algorithm, spec, key)
    start = _Method(algorithm, "initial_carry")
    carry = start.shapes(start.returned(lambda: algorithm.initial_carry(spec)))
    for explore in (True, False):
        _check_act(algorithm, spec, learner, carry, key, explore=explore)
    if isinstance(algorithm, Samples):
        with plugins.named(str(_Method(algorithm, "sampling"))):
            sampling = algorithm.sampling()
        if not isinstance(sampling, Algorithm):
            raise _Method(algorithm, "sampling").refusal(shown(sampling), "a dop.Algorithm")
        _check_act(sampling, spec, learner, carry, key, explore=True)
    replay = jax.eval_shape(lambda: allocate(program.episode, algorithm.replay_capacity))
    draw = _Method(algorithm, "sample")
    batch = draw.shapes(draw.returned(algorithm.sample, replay, key))
    _check_update(algorithm, learner, batch, key)
    if isinstance(algorithm, Scheduled):
        method = _Method(algorithm, "schedules")
        method.check_scalars(method.returned(algorithm.schedules, learner), "a dict of numbers by name")


def step_shapes(spec: EnvSpec) -> TimeStep:
    """Shapes and types of a time step."""
    layout = time_step_layout(spec).items()
    fields: dict[str, Any] = {name: jax.ShapeDtypeStruct(shape, bool if kind == "bool" else jnp.float32) for name, (shape, kind) in layout}
    return TimeStep(**fields)


class _Method:
    """A method of an algorithm, for tracing it and for messages about its results."""

    def __init__(self, algorithm: Algorithm[Any, Any], name: str) -> None:
        self._name = f"{type(algorithm).__name__}.{name}"
        self._place = place_of(getattr(algorithm, name))

    def __str__(self) -> str:
        return f"{self._name}{self._place} raised an exception"

    def refusal(self, found: str, wanted: str) -> ConfigError:
        return ConfigError(f"{self._name}{self._place} returns {found}; it must return {wanted}.")

    def returned(self, function: Callable[..., Any], *arguments: PyTree) -> Any:
        """The result of an abstract call, as the method returns it: with tracers in the place of arrays."""
        results = []
        with plugins.named(str(self)):
            try:
                jax.eval_shape(lambda *x: results.append(function(*x)), *arguments)
            except jax.errors.ConcretizationTypeError as error:
                raise ConfigError(f"{self}: {plugins.explain(error)} {_ADVICE}") from error
        return results[0]

    def shapes(self, result: PyTree, *, numbers: bool = False) -> Any:
        """The shapes and types of a result, whose leaves must be arrays, or also Python's numbers."""
        for path, leaf in jax.tree_util.tree_leaves_with_path(result):
            if not _is_array(leaf) and not (numbers and isinstance(leaf, bool | int | float)):
                raise self.refusal(f"{_described(leaf)}{_at(path)}", "arrays, for example jnp.asarray(0.0)")
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), x.dtype if _is_array(x) else jnp.result_type(x)), result)

    def pair(self, result: Any, wanted: str, first: type[Any]) -> tuple[Any, Any]:
        """The two parts of a result, the first of which is a `first`."""
        if not isinstance(result, tuple | list) or len(result) != 2 or not isinstance(result[0], first):
            raise self.refusal(_described(result), f"the pair ({wanted})")
        return result[0], result[1]

    def check_same(self, what: str, given: PyTree, found: PyTree, origin: str) -> None:
        """Refuse a part of the result whose structure, shapes or types differ from those at the start."""
        if jax.tree.structure(given) != jax.tree.structure(found):
            raise self.refusal(
                f"{what} of another structure than {origin}: {shown(jax.tree.structure(found), 200)}",
                f"the same one: {shown(jax.tree.structure(given), 200)}",
            )
        for (path, one), other in zip(jax.tree_util.tree_leaves_with_path(given), jax.tree.leaves(found), strict=True):
            if (one.shape, one.dtype) != (other.shape, other.dtype):
                raise self.refusal(
                    f"{what} with {_described(other)}{_at(path)}",
                    f"{_described(one)} there, as {origin} does: shapes and types are constant",
                )

    def check_array(self, name: str, found: Any, shape: tuple[int, ...], kind: Any) -> None:
        if not _is_array(found) or found.shape != shape or not jnp.issubdtype(found.dtype, kind):
            raise self.refusal(f"{name} as {_described(found)}", f"an array of {_NUMBERS[kind]} with shape {list(shape)}")

    def check_scalars(self, found: Any, wanted: str) -> None:
        """Refuse anything but a dict from names to scalars."""
        if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
            raise self.refusal(_described(found), wanted)
        for name, value in found.items():
            if not _is_scalar(value):
                raise self.refusal(f"{name!r} as {_described(value)}", "scalars by name, for example a mean over agents or episodes")


def _check_sizes(algorithm: Algorithm[Any, Any]) -> None:
    for name, least in (("episodes_per_iteration", 1), ("replay_capacity", 1), ("warmup_episodes", 0)):
        where = f"{type(algorithm).__name__}.{name}"
        with plugins.named(f"{where} raised an exception"):
            value = getattr(algorithm, name)
        checked_integer(where, value, least=least, below=_MOST_EPISODES)


def _checked_learner(algorithm: Algorithm[Any, Any], spec: EnvSpec, key: Any) -> Learner:
    method = _Method(algorithm, "init")
    learner = method.returned(lambda key: algorithm.init(key, spec), key)
    if not isinstance(learner, Learner):
        raise method.refusal(_described(learner), "a dop.Learner")
    method.check_array("env_steps", learner.env_steps, (), jnp.integer)
    return method.shapes(learner)


def _check_act(algorithm: Algorithm[Any, Any], spec: EnvSpec, learner: PyTree, carry: PyTree, key: Any, *, explore: bool) -> None:
    method = _Method(algorithm, "act")
    act = lambda *x: algorithm.act(*x, explore=explore)  # noqa: E731
    output, later = method.pair(method.returned(act, learner, carry, step_shapes(spec), key), "dop.PolicyOutput, carry", PolicyOutput)
    method.check_array("action", output.action, spec.action_shape, jnp.integer if spec.action_kind == "discrete" else jnp.floating)
    method.check_array("behaviour_prob", output.behaviour_prob, (spec.n_agents,), jnp.floating)
    method.check_same("a carry", carry, method.shapes(later, numbers=True), "initial_carry")


def _check_update(algorithm: Algorithm[Any, Any], learner: Learner, batch: PyTree, key: Any) -> None:
    method = _Method(algorithm, "update")
    later, metrics = method.pair(method.returned(algorithm.update, learner, batch, key), "learner, metrics", type(learner))
    method.check_same("a learner", learner, method.shapes(later, numbers=True), "init")
    method.check_scalars(metrics, "scalar metrics by name, as the second of (learner, metrics)")


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _is_scalar(value: Any) -> bool:
    if not _is_array(value):
        return isinstance(value, bool | int | float)
    return value.shape == () and (value.dtype == bool or jnp.issubdtype(value.dtype, jnp.number))


def _at(path: Any) -> str:
    """Where a leaf is, for example ` in .weights[0]`."""
    return f" in {jax.tree_util.keystr(path)}" if path else ""


def _described(value: Any) -> str:
    """A result in short: `float32[2,3]`, `(PolicyOutput, dict)`, `3`."""
    if _is_array(value):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    if isinstance(value, tuple) and type(value) is tuple:
        return f"({', '.join(_described(item) for item in value)})"
    if value is None or isinstance(value, bool | int | float | str):
        return shown(value)
    return type(value).__name__
