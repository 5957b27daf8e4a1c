"""Section and help of a dataclass's fields, read from its source: comments above them, and strings below.

A comment of one to three words above a field, such as `# Exploration`, begins a section, which ends at the next such comment of the class.
A field that a class redeclares without a section keeps that of its base class.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

_SECTION = re.compile(r"\s*# ([A-Z]\w*(?: \w+){0,2})")


def documented(cls: type[Any]) -> dict[str, tuple[str | None, str]]:
    """Section and help of each field, from the class itself or the last base class that declares it."""
    found: dict[str, tuple[str | None, str]] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            for name, (section, text) in _own(base):
                earlier = found.get(name, (None, ""))
                found[name] = (section or earlier[0], text or earlier[1])
    return found


def _own(cls: type[Any]) -> Iterator[tuple[str, tuple[str | None, str]]]:
    """Section and help of the fields that a class itself declares."""
    try:
        lines = textwrap.dedent(inspect.getsource(cls)).splitlines()
        body = ast.parse("\n".join(lines)).body[0]
    except (OSError, TypeError, SyntaxError):  # defined in a notebook or at run time
        return
    if not isinstance(body, ast.ClassDef):
        return
    section, read = None, 0
    for place, statement in enumerate(body.body):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        for line in lines[read : statement.lineno]:
            heading = _SECTION.fullmatch(line)
            section = heading[1] if heading else section
        read = statement.lineno
        yield statement.target.id, (section, _text(body.body[place + 1 : place + 2]))


def _text(following: Sequence[ast.stmt]) -> str:
    """The string below a field, as one line."""
    match following:
        case [ast.Expr(value=ast.Constant(value=str(text)))]:
            return " ".join(text.split())
    return ""
