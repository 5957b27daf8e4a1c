"""Parsing of a command's options by Tyro; their help is the strings below the fields of a dataclass."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, TypeVar, get_origin, get_type_hints

import tyro

from dop.cli.documented import documented
from dop.cli.output import say

Options = TypeVar("Options")
_EARLIER = {"--trust-env": "--trust", "--no-trust-env": "--no-trust"}
"""Options of version 0.1, which are accepted but not in the help."""


def parse(cls: type[Options], arguments: Sequence[str], *, prog: str, first: str = "RUN") -> Options:
    """The options in `arguments`. Tyro prints help and errors, and exits; `first` is what the command's usage calls its first argument."""
    words = [_EARLIER.get(word.replace("_", "-"), word) for word in arguments]
    described = _described(cls)
    try:
        return cls(**vars(tyro.cli(described, args=words, prog=prog)))
    except SystemExit as end:
        for option in _options_of_many(cls) if end.code else ():
            if _has_swallowed(described, words, option):
                say(f"{prog}: {option} takes all words that follow it. Put {first} first: {prog} {first} {option} ...", aside=True)
        raise


def _described(cls: type[Any]) -> type[Any]:
    """The dataclass with its fields' help on one line each; Tyro keeps the line breaks of a source file."""
    hints, about = get_type_hints(cls, include_extras=True), documented(cls)
    fields: list[Any] = []
    for field in dataclasses.fields(cls):
        kind = Annotated[hints[field.name], tyro.conf.arg(help=about[field.name][1])]
        default = field.default
        fields.append((field.name, kind) if default is dataclasses.MISSING else (field.name, kind, default))
    return dataclasses.make_dataclass(cls.__name__, fields, kw_only=True, namespace={"__doc__": cls.__doc__})


def _options_of_many(cls: type[Any]) -> Iterator[str]:
    """Options that take any number of words."""
    hints = get_type_hints(cls)
    yield from (f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(cls) if get_origin(hints[field.name]) is tuple)


def _has_swallowed(described: type[Any], words: Sequence[str], option: str) -> bool:
    """Whether the words would be in order with the last one after `option` in front."""
    plain = [word.replace("_", "-") for word in words]
    if option not in plain:
        return False
    start = plain.index(option) + 1
    end = next((i for i in range(start, len(words)) if words[i].startswith("-")), len(words))
    if end == start:
        return False
    moved = [words[end - 1], *words[: end - 1], *words[end:]]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            tyro.cli(described, args=moved)
        except SystemExit:
            return False
    return True
