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
    raise UnknownNameError("environment", name, names())


def _call(name: str, maker: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """`maker(*args, **options)`, with unknown options told from errors inside the maker."""
    takes = inspect.signature(maker)
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
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"Cannot load the environment {spec!r}: {error}. It must be importable as 'module:function'.") from error
    environment = _call(spec, function, **options)
    if not isinstance(environment, Environment):
        raise ConfigError(
            f"{spec!r} returned {type(environment).__name__}, which is not an environment: "
            "it must have spec, reset and step (see dop.Environment)."
        )
    return environment
