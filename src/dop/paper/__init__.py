"""The paper's figures and theorems as programs: every module of this package that defines `Options` and `reproduce` is one.

`Options` is a frozen dataclass, what the command line takes; `reproduce(options, say)` does the work, writes data and figure where
`options.out` says, and tells `say` what it found. The module's name, with dashes, is the name on the command line, as in
`dop reproduce theorems`.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from types import ModuleType

from dop.errors import UnknownNameError


@functools.cache
def _reproductions() -> dict[str, ModuleType]:
    modules = {found.name: importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)}
    wanted = {name: module for name, module in modules.items() if hasattr(module, "Options") and hasattr(module, "reproduce")}
    return {name.replace("_", "-"): module for name, module in sorted(wanted.items())}


def names() -> tuple[str, ...]:
    """What can be reproduced, by command-line names."""
    return tuple(_reproductions())


def get(name: str) -> ModuleType:
    """The module that reproduces `name`, for example `theorems`.

    Raises:
        UnknownNameError: no such reproduction; the message names the nearest.
    """
    if name not in _reproductions():
        raise UnknownNameError("reproduction", name, names())
    return _reproductions()[name]


def summary(name: str) -> str:
    """The first line of what the module says about itself."""
    return (get(name).__doc__ or "").split("\n")[0]
