"""Network configurations as fields of an algorithm: validation and serialisation in `config.json`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from dop import plugins
from dop.errors import ConfigError, shown
from dop.networks import FAMILY
from dop.networks.inputs import InputLayout
from dop.networks.layers import parameter_dtype
from dop.networks.protocols import NeedsLayout, Network, NetworkConfig

KIND = "kind"
"""The key of a network's name in `config.json`: `{"kind": "gru", "hidden_size": 64}`."""


def is_part(value: Any) -> bool:
    """Whether this is a network configuration."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type) and isinstance(value, NetworkConfig)


# --------------------------------------------------------------------------------------------------------------------- validation


def check(part: Any, field: str, layout: InputLayout, *, feed_forward: str | None = None) -> None:
    """Raise ConfigError unless `part` builds a usable network for this field of the algorithm.

    Args:
        part: the value of the field.
        field: `actor` or `critic`.
        layout: its inputs and outputs.
        feed_forward: why the network must not have a hidden state, as a sentence; None if it may.
    """
    if isinstance(part, type):
        raise ConfigError(f"{field} is the class {part.__name__}; pass an object of it: {part.__name__}().")
    if not isinstance(part, NetworkConfig):
        own = ", ".join(f"dop.{cls.__name__}()" for cls in FAMILY.classes().values())
        raise ConfigError(f"{field} must be one of {own}, or an object of your own with a method `build`; got {shown(part)}.")
    FAMILY.check(type(part), f"{field}={shown(part)}")
    _check_fields(part, field)
    _check_hash(part, field)
    network, state = _built(part, field, layout)
    if feed_forward is not None and jax.tree.leaves(state):
        raise ConfigError(f"{field}={shown(part)} has a hidden state. {feed_forward}")
    _check_step(network, state, f"The network of {field}={shown(part)}", layout.size, layout.outputs)


def _check_hash(part: Any, field: str) -> None:
    """Raise ConfigError unless the configuration can be hashed and compared, as an argument of compiled functions."""
    with plugins.named(f"{field}={shown(part)} cannot be hashed; its fields must be numbers, strings, None, tuples of them, or networks"):
        hash(part)
    with plugins.named(f"{field}={shown(part)} cannot be compared with itself"):
        if not bool(part == part):  # noqa: PLR0124
            raise ConfigError(f"{field}={shown(part)} is not equal to itself, because of its own __eq__ or a field that is NaN.")


def _check_fields(part: Any, field: str) -> None:
    """Run the configuration's own `check`; its ConfigError gets the name of the field."""
    own = getattr(part, "check", None)
    if own is None:
        return
    with plugins.named(f"{field}={shown(part)} cannot be used"):
        try:
            own()
        except ConfigError as error:
            text = str(error)
            first = re.match(r"\w+", text)
            place = "." if first and hasattr(part, first[0]) else ": "
            raise ConfigError(f"{field}{place}{text}") from error


def build(part: NetworkConfig, layout: InputLayout, *, key: PRNGKeyArray) -> Any:
    """The network for these inputs and outputs."""
    return _in_layout(part, layout).build(layout.size, layout.outputs, key=key)


def _in_layout(part: NetworkConfig, layout: InputLayout) -> NetworkConfig:
    """The configuration to build, if it depends on what its inputs are."""
    return part.for_layout(layout) if isinstance(part, NeedsLayout) else part


def _built(part: Any, field: str, layout: InputLayout) -> tuple[Any, PyTree]:
    """The network, as shapes only, and the hidden state at the start of an episode."""
    name = f"{field}={shown(part)}"
    with plugins.named(f"The network of {name} cannot be built for {layout.size} inputs and {layout.outputs} outputs"):
        try:
            placed = _in_layout(part, layout)
        except ConfigError as error:
            raise ConfigError(f"{name} cannot be used: {error}") from error
        network = eqx.filter_eval_shape(placed.build, layout.size, layout.outputs, key=jax.random.key(0))
    if not isinstance(network, eqx.Module) or not isinstance(network, Network):
        lacking = [name for name in ("init_state", "__call__") if not hasattr(network, name)]
        what = f"it has no {' and no '.join(lacking)}" if lacking else "it is not an equinox.Module"
        raise ConfigError(f"{field}={shown(part)} builds {type(network).__name__}, which is not a network: {what}. See {FAMILY.about}.")
    with plugins.named(f"The network of {field}={shown(part)} cannot give its initial hidden state (init_state must not use parameters)"):
        state = network.init_state()
    if not all(eqx.is_inexact_array(leaf) for leaf in jax.tree.leaves(state)):
        raise ConfigError(
            f"The network of {field}={shown(part)} has the initial hidden state {shown(state)}; it must consist of arrays of real numbers, "
            "none of them parameters, or be () for a feed-forward network."
        )
    return network, state


def _check_step(network: Any, state: PyTree, name: str, inputs: int, outputs: int) -> None:
    """Raise ConfigError unless one step of the network returns the next hidden state and `outputs` numbers."""
    x = jax.ShapeDtypeStruct((inputs,), parameter_dtype(network))
    with plugins.named(f"{name} cannot be called with {inputs} inputs"):
        given: Any = eqx.filter_eval_shape(lambda network, state, x: network(state, x), network, state, x)
    if not isinstance(given, tuple) or len(given) != 2:
        raise ConfigError(f"{name} must return the next hidden state and the output; it returned {shown(given)}.")
    if getattr(given[1], "shape", None) != (outputs,):
        raise ConfigError(f"{name} must return {outputs} outputs; it returned {shown(given[1])}.")
    if given[1].dtype != (real := jnp.zeros(()).dtype):
        raise ConfigError(f"{name} must return outputs of type {real}; they were {given[1].dtype}. Cast them: output.astype(jnp.{real}).")
    before, after = (jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) for tree in (state, given[0]))
    if before != after:
        raise ConfigError(f"{name} must keep the shapes and types of its hidden state; it was {shown(before)} and became {shown(after)}.")


def initial_state(part: NetworkConfig, layout: InputLayout) -> PyTree:
    """The hidden state of one agent at the start of an episode."""
    return _built(part, "actor", layout)[1]


# --------------------------------------------------------------------------------------------------------------------- serialisation


def name_of(part: Any) -> str:
    """The name of a configuration in `config.json`: that on the command line, or the import path of its class, `module:Class`."""
    return FAMILY.name_of(type(part))


def is_record(value: Any) -> bool:
    """Whether a value of `config.json` describes a network."""
    return isinstance(value, dict) and isinstance(value.get(KIND), str)


def foreign(value: Any) -> Iterator[str]:
    """The names of third-party networks in a value of `config.json`; making them imports code."""
    if is_record(value) and FAMILY.imports_code(value[KIND]):
        yield value[KIND]
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from foreign(inner)


def make(kind: str, fields: dict[str, Any]) -> Any:
    """The configuration called `kind` with these fields. The module of a third-party network is imported.

    Raises:
        ConfigError: no such network, or it has other fields.
    """
    cls = FAMILY.get(kind)
    known = [field.name for field in dataclasses.fields(cls) if field.init]
    for name in fields:
        if name not in known:
            raise ConfigError(f"The network {kind} has no field {shown(name)}. Its fields: {', '.join(known)}.")
    with plugins.named(f"The network {kind} cannot be made"):
        return cls(**fields)


def default(name: str) -> Any:
    """The configuration called `name` with the defaults of all its fields.

    Raises:
        UnknownNameError: no such network.
        ConfigError: it cannot be loaded, is not a network configuration, or has fields without a default.
    """
    return FAMILY.default(FAMILY.get(name), name)
