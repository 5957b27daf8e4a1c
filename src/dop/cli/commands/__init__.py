"""The commands of `dop`, found by themselves: every module of this package that defines `USAGE` and `run` is one.

    USAGE: str                            what is typed after the command's name, for example `RUN`; a text as it stands
    run(arguments: Sequence[str])         does it; prints what there is to say, and raises `DopError` for what a person got wrong

The module's name, with dashes, is the command's, and the first line of its docstring is what the help says about it. Options are fields of
typed records, so that help and code cannot differ.

`dop --help` imports no command. A command imports at its top what its options are made of, so that its own help is quick, too, and takes
what does the work from `dop`, which imports that when it is asked for it.
"""

from __future__ import annotations

from types import ModuleType

from dop import registry


def commands() -> dict[str, registry.Outline]:
    """Every command, not yet imported, by the name that is typed."""
    return registry.outlines(__name__, "USAGE", "run")


def get(name: str) -> ModuleType:
    """The module of the command called `name`.

    Raises:
        UnknownNameError: no such command; the message names the nearest.
    """
    return registry.get("command", name, commands())
