"""Loading and calling makers: functions, of the user or of a package, that return an environment. Errors are for people."""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable
from typing import Any

from dop import plugins
from dop.errors import ConfigError, shown

_LONGEST = 60
"""Characters of a default in a message."""


def call(name: str, maker: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
    """`maker(*args, **options)`; wrong options are reported separately from errors inside the maker.

    Raises:
        ConfigError: the maker of the environment called `name` does not accept these options.
    """
    try:
        signature = inspect.signature(maker)
    except ValueError as error:
        raise ConfigError(f"{name} is not made by a Python function: {error}.") from error
    try:
        signature.bind(*args, **options)
    except TypeError as error:
        raise ConfigError(f"{name} cannot be made with these options: {error}. It takes {_short(signature)}.") from error
    return maker(*args, **options)


class _Something:
    """In the place of a default that is too long for a message."""

    def __repr__(self) -> str:
        return "..."


def _short(signature: inspect.Signature) -> inspect.Signature:
    """The signature without long defaults."""
    parameters = [
        parameter.replace(default=_Something()) if len(shown(parameter.default, _LONGEST)) > _LONGEST else parameter
        for parameter in signature.parameters.values()
    ]
    return signature.replace(parameters=parameters)


def load(module_name: str, function_name: str) -> Callable[..., Any]:
    """The function `module:function`.

    Raises:
        ConfigError: it does not exist, or is not a function.
    """
    spec = f"{module_name}:{function_name}"
    function = plugins.load("environment", spec)
    if not callable(function):
        raise ConfigError(f"{spec!r} is {type(function).__name__}, not a function that returns an environment.")
    return function


def version_of(module_name: str, *, revision: int) -> str:
    """`EnvSpec.version` of an environment from `module_name`: the adapter's revision, and the package's name and version, if known."""
    package = module_name.partition(".")[0]
    try:
        return f"{revision}-{package}-{importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{revision}-{package}"
