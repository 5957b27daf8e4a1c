"""Environments, found by themselves: every module of this package that defines `FAMILY`, `variants` and `make` is one.

    FAMILY: str                                     the part of the name before the colon
    variants() -> tuple[str, ...]                   the parts after it that are listed; empty if there is none
    make(variant: str | None, **options) -> Environment

A name that has dots before the colon, `my_package.my_env:make`, is a function of the user's own that returns an environment.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from dop.errors import ConfigError, UnknownNameError
from dop.types import Environment


@functools.cache
def families() -> dict[str, ModuleType]:
    """The environment modules of this package, by family name."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    return {module.FAMILY: module for module in modules if hasattr(module, "FAMILY")}


def names() -> tuple[str, ...]:
    """Every listed environment, as `make` takes it."""
    return tuple(
        f"{family}:{variant}" if variant else family
        for family, module in sorted(families().items())
        for variant in module.variants() or ("",)
    )


def make(name: str, **options: Any) -> Environment:
    """The environment called `name`, for example `smax:2s3z`; `options` go to its maker.

    Raises:
        UnknownNameError: no such family or variant; the message names the nearest.
        ConfigError: the options, or the user's own function, do not give an environment.
    """
    family, _, variant = name.partition(":")
    if family in families():
        return _call(name, families()[family].make, variant or None, **options)
    if variant and ("." in family or _is_module(family)):
        return _import_environment(family, variant, options)
    kind = "environment (and no such module on the Python path)" if variant else "environment"
    raise UnknownNameError(kind, name, names())


def check(environment: Environment) -> None:
    """Compare what an environment gives with what its spec promises, without computing anything.

    Raises:
        ConfigError: the first difference, by name, with both shapes or types.
    """
    spec = environment.spec
    n = spec.n_agents
    promised = {
        "obs": ((n, spec.obs_size), "float"),
        "state": ((spec.state_size,), "float"),
        "legal": ((n, spec.action_size), "bool"),
        "reward": ((), "float"),
        "terminated": ((), "bool"),
        "truncated": ((), "bool"),
        "metrics": ((len(spec.metrics),), "float"),
    }
    key = jax.eval_shape(lambda: jax.random.key(0))
    state, first = jax.eval_shape(environment.reset, key)
    action = jax.ShapeDtypeStruct(spec.action_shape, jnp.int32 if spec.action_kind == "discrete" else jnp.float32)
    later, second = jax.eval_shape(environment.step, key, state, action)
    for function, step in (("reset", first), ("step", second)):
        for name, (shape, kind) in promised.items():
            found = getattr(step, name)
            if found.shape != shape or kind not in str(found.dtype):
                raise ConfigError(
                    f"{spec.name}: {function} gives {name} as {found.dtype}{list(found.shape)}, its spec says {kind}{list(shape)}."
                )
    if jax.tree.map(lambda x: (x.shape, x.dtype), (state, first)) != jax.tree.map(lambda x: (x.shape, x.dtype), (later, second)):
        raise ConfigError(f"{spec.name}: reset and step do not give the same structure, shapes and types of state and TimeStep.")


def _call(name: str, maker: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """`maker(*args, **options)`, with unknown options told from errors inside the maker."""
    try:
        takes = inspect.signature(maker)
    except ValueError as error:
        raise ConfigError(f"{name} is not made by a Python function: {error}.") from error
    try:
        takes.bind(*args, **options)
    except TypeError as error:
        raise ConfigError(f"{name} cannot be made with these options: {error}. It takes {takes}.") from error
    return maker(*args, **options)


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:
        # A module that is running as the program, or was made by hand, has no spec but is there.
        return True


def _import_environment(module_name: str, function_name: str, options: dict[str, Any]) -> Environment:
    spec = f"{module_name}:{function_name}"
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, SyntaxError, TypeError, ValueError) as error:
        raise ConfigError(f"Cannot load the environment {spec!r}: {error}. It must be importable as 'module:function'.") from error
    if not callable(function):
        raise ConfigError(f"{spec!r} is {type(function).__name__}, not a function that returns an environment.")
    environment = _call(spec, function, **options)
    if not isinstance(environment, Environment):
        raise ConfigError(
            f"{spec!r} returned {type(environment).__name__}, which is not an environment: "
            "it must have spec, reset and step (see dop.Environment)."
        )
    return environment
