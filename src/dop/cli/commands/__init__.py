"""The commands of `dop`: every module of this package that defines `USAGE` and `run`.

    USAGE: str                            the arguments after the command's name, for example `RUN`; a literal
    run(arguments: Sequence[str])         runs the command; prints results, and raises `DopError` for user errors

The command's name is the module's, with dashes; its help is the first line of the module's docstring. Options are fields of typed
dataclasses, so that help and code cannot differ.

`dop --help` imports no command. A command imports only what its options need at the top, so that its own help is quick; the rest comes from
`dop`, which imports lazily.
"""

from __future__ import annotations

from types import ModuleType

from dop import registry


def commands() -> dict[str, registry.Outline]:
    """Every command by name, without importing it."""
    return registry.outlines(__name__, "USAGE", "run")


def get(name: str) -> ModuleType:
    """The module of the command called `name`.

    Raises:
        UnknownNameError: no such command; the message names the nearest.
    """
    return registry.get("command", name, commands())
