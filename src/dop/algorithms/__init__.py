"""Algorithms, found by themselves: every module of this package that defines `ALGORITHM` (a class) is one.

The module's name, with dashes, is the name on the command line: `stochastic_dop` is `stochastic-dop`.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from dop import registry

if TYPE_CHECKING:
    from dop.types import Algorithm


@functools.cache
def algorithms() -> dict[str, type[Algorithm[Any, Any]]]:
    """The algorithm classes of this package, by their command-line names."""
    return {name: module.ALGORITHM for name, module in registry.modules(__name__, "ALGORITHM").items()}


def names() -> tuple[str, ...]:
    """Their command-line names; none of them is imported."""
    return tuple(registry.outlines(__name__, "ALGORITHM"))


def get(name: str) -> type[Algorithm[Any, Any]]:
    """The class of the algorithm called `name`, for example `stochastic-dop`.

    Raises:
        UnknownNameError: no such algorithm; the message names the nearest.
    """
    return registry.get("algorithm", name, registry.outlines(__name__, "ALGORITHM")).ALGORITHM


def name_of(algorithm: Algorithm[Any, Any]) -> str | None:
    """The command-line name of an algorithm object; None if its class is none of this package's."""
    return next((name for name, cls in algorithms().items() if type(algorithm) is cls), None)
