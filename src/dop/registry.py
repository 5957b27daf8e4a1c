"""Registries by scanning: the modules of a package that define certain names.

The registered name is the module's name with dashes: `stochastic_dop` is `stochastic-dop`. Definitions are read from the source, so
listing a registry imports nothing, and `get` imports one module.
"""

from __future__ import annotations

import ast
import functools
import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from types import ModuleType

from dop.errors import UnknownNameError

_END = re.compile(r"(?<!\bal)(?<!\be\.g)(?<!\bi\.e)(?<!\bvs)(?<!\bcf)(?<!\bEq)(?<!\bSec)(?<!\bFig)[.!?](?=\s+[A-Z`])")
"""The end of a sentence before another one; common abbreviations do not count."""


@dataclass(frozen=True)
class Outline:
    """A module's definitions and docstring, read from its source without importing it."""

    module: str
    """Its full name, for import."""
    names: Mapping[str, str | None]
    """The names it defines: string constants with their value, others with None."""
    doc: str

    @property
    def summary(self) -> str:
        """The first sentence of its docstring, on one line."""
        return _sentence(self.doc)


def outlines(package: str, *defining: str) -> dict[str, Outline]:
    """The modules of `package` that define all these names, by registered name. None is imported.

    Modules whose names begin with an underscore are private and skipped.
    """
    found = _outlines(package)
    return {name: outline for name, outline in found.items() if set(defining) <= outline.names.keys()}


@functools.cache
def _outlines(package: str) -> dict[str, Outline]:
    """All its modules that are no parts of others; their sources are read once."""
    places = importlib.import_module(package).__path__
    found = {module.name: _outline(package, module) for module in pkgutil.iter_modules(places) if not module.name.startswith("_")}
    return {name.replace("_", "-"): outline for name, outline in sorted(found.items())}


def _outline(package: str, module: pkgutil.ModuleInfo) -> Outline:
    name = f"{package}.{module.name}"
    found = module.module_finder.find_spec(name, None)
    source = found.loader.get_source(name) if found and isinstance(found.loader, SourceFileLoader) else None
    assert source is not None, f"{name} has no source"
    tree = ast.parse(source)
    return Outline(name, {defined: text for statement in tree.body for defined, text in _defined(statement)}, ast.get_docstring(tree) or "")


def _defined(statement: ast.stmt) -> Iterator[tuple[str, str | None]]:
    """The names that a statement defines, each with its string value, or None."""
    match statement:
        case ast.Assign(targets=[ast.Name(name)], value=value) | ast.AnnAssign(target=ast.Name(name), value=value):
            yield name, value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            yield name, None
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from ((alias.asname or alias.name, None) for alias in names)


def modules(package: str, *defining: str) -> dict[str, ModuleType]:
    """Like `outlines`, with the modules imported."""
    return {name: importlib.import_module(outline.module) for name, outline in outlines(package, *defining).items()}


def get(kind: str, name: str, known: Mapping[str, Outline]) -> ModuleType:
    """The module called `name`.

    Raises:
        UnknownNameError: there is no `kind` of that name; the message suggests the closest.
    """
    if name not in known:
        raise UnknownNameError(kind, name, known)
    return importlib.import_module(known[name].module)


def summary(thing: object) -> str:
    """The first sentence of a module's or class's docstring, on one line."""
    return _sentence(thing.__doc__ or "")


def _sentence(doc: str) -> str:
    paragraph = _paragraph(doc)
    end = _END.search(paragraph)
    return paragraph[: end.end()] if end else paragraph


def first_paragraph(thing: object) -> str:
    """The first paragraph of a docstring, on one line."""
    return _paragraph(thing.__doc__ or "")


def _paragraph(doc: str) -> str:
    return " ".join(doc.strip().split("\n\n")[0].split())
