"""Reproductions of the paper's figures and theorems: the modules and packages here that define `Options` and `reproduce`.

`Options` is a frozen dataclass of command-line options. `reproduce(options, log)` writes data and figure to `options.out` and passes
lines of output to `log`. The module's name, with dashes, is the name on the command line, as in `dop reproduce theorems`.
"""

from __future__ import annotations

from types import ModuleType

from dop import registry


def reproductions() -> dict[str, registry.Outline]:
    """All reproductions, by name. None is imported."""
    return registry.outlines(__name__, "Options", "reproduce")


def get(name: str) -> ModuleType:
    """The module that reproduces `name`, for example `theorems`.

    Raises:
        UnknownNameError: no such reproduction; the message suggests the closest.
    """
    return registry.get("reproduction", name, reproductions())
