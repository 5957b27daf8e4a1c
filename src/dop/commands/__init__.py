"""The commands of `dop`, found by themselves: every module of this package that defines `USAGE` and `run` is one.

    USAGE: str                            what is typed after the command's name, for example `RUN`
    run(arguments: Sequence[str])         does it; prints what there is to say, and raises `DopError` for what a person got wrong

The module's name, with dashes, is the command's, and the first line of its docstring is what the help says about it. Options are fields of
typed records, so that help and code cannot differ.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from types import ModuleType

from dop.errors import UnknownNameError


@functools.cache
def commands() -> dict[str, ModuleType]:
    """Every command's module, by the name that is typed."""
    modules = {found.name: importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)}
    return {name.replace("_", "-"): module for name, module in sorted(modules.items()) if hasattr(module, "USAGE")}


def get(name: str) -> ModuleType:
    """The module of the command called `name`.

    Raises:
        UnknownNameError: no such command; the message names the nearest.
    """
    if name not in commands():
        raise UnknownNameError("command", name, commands())
    return commands()[name]


def summary(name: str) -> str:
    """The first line of what the module says about itself."""
    return (get(name).__doc__ or "").split("\n")[0]
