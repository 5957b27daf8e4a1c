"""Calling what makes an environment, and finding it: a function of the user's own, or of a package. Errors are for people."""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable
from typing import Any

from dop import plugins
from dop.errors import ConfigError


def call(name: str, maker: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
    """`maker(*args, **options)`, with unknown options told from errors inside the maker.

    Raises:
        ConfigError: the maker of the environment called `name` does not take these options.
    """
    try:
        takes = inspect.signature(maker)
    except ValueError as error:
        raise ConfigError(f"{name} is not made by a Python function: {error}.") from error
    try:
        takes.bind(*args, **options)
    except TypeError as error:
        raise ConfigError(f"{name} cannot be made with these options: {error}. It takes {takes}.") from error
    return maker(*args, **options)


def load(module_name: str, function_name: str) -> Callable[..., Any]:
    """The function `module:function`.

    Raises:
        ConfigError: there is none, or it is not a function.
    """
    spec = f"{module_name}:{function_name}"
    function = plugins.load("environment", spec)
    if not callable(function):
        raise ConfigError(f"{spec!r} is {type(function).__name__}, not a function that returns an environment.")
    return function


def version_of(module_name: str, *, revision: int) -> str:
    """Of an environment that comes from `module_name`: the revision of what adapts it, and its package's own version, if it has one."""
    package = module_name.partition(".")[0]
    try:
        return f"{revision}-{package}-{importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{revision}-{package}"
