"""Registries that fill themselves: a package's modules that define certain names, found when they are first asked for.

A module's name, with dashes, is the name that is typed: `stochastic_dop` is `stochastic-dop`.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from types import ModuleType

from dop.errors import UnknownNameError

_END = re.compile(r"(?<!\bal)(?<!\be\.g)(?<!\bi\.e)(?<!\bvs)(?<!\bcf)(?<!\bEq)(?<!\bSec)(?<!\bFig)[.!?](?=\s+[A-Z`])")
"""Of a sentence that another one follows, but of no common abbreviation."""


def modules(package: str, *defining: str) -> dict[str, ModuleType]:
    """The modules of `package` that define all these names, by the names that are typed."""
    places = importlib.import_module(package).__path__
    found = {module.name: importlib.import_module(f"{package}.{module.name}") for module in pkgutil.iter_modules(places)}
    return {name.replace("_", "-"): module for name, module in sorted(found.items()) if all(hasattr(module, x) for x in defining)}


def get(kind: str, name: str, known: dict[str, ModuleType]) -> ModuleType:
    """The module called `name`.

    Raises:
        UnknownNameError: there is no `kind` of that name; the message names the nearest.
    """
    if name not in known:
        raise UnknownNameError(kind, name, known)
    return known[name]


def summary(thing: object) -> str:
    """The first sentence of what a module or a class says about itself, on one line."""
    paragraph = first_paragraph(thing)
    end = _END.search(paragraph)
    return paragraph[: end.end()] if end else paragraph


def first_paragraph(thing: object) -> str:
    """The first paragraph of what it says about itself, on one line."""
    return " ".join((thing.__doc__ or "").strip().split("\n\n")[0].split())
