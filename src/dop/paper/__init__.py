"""The paper's figures and theorems as programs: every module or package here with `Options` and `reproduce` is one.

`Options` is a frozen dataclass, what the command line takes; `reproduce(options, say)` does the work, writes data and figure where
`options.out` says, and tells `say` what it found. The module's name, with dashes, is the name on the command line, as in
`dop reproduce theorems`.
"""

from __future__ import annotations

from types import ModuleType

from dop import registry


def reproductions() -> dict[str, registry.Outline]:
    """What can be reproduced, not yet imported, by the names that are typed."""
    return registry.outlines(__name__, "Options", "reproduce")


def get(name: str) -> ModuleType:
    """The module that reproduces `name`, for example `theorems`.

    Raises:
        UnknownNameError: no such reproduction; the message names the nearest.
    """
    return registry.get("reproduction", name, reproductions())
