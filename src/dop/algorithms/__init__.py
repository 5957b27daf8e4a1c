"""Algorithms, found by themselves: every module of this package that defines `ALGORITHM` (a class) is one.

The module's name, with dashes, is the name on the command line: `stochastic_dop` is `stochastic-dop`. Classes of somebody else's are named
`package.module:Class`, or by an entry point of their package in the group `dop.algorithms`; docs/own-algorithm.md says what they must have.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from dop import plugins, registry
from dop.algorithms.base import outside
from dop.errors import ConfigError, UnknownNameError, shown
from dop.types import Algorithm, HasPresets, Listed

GROUP = "dop.algorithms"


@functools.cache
def algorithms() -> dict[str, type[Listed]]:
    """The algorithm classes of this package, by their command-line names."""
    return {name: module.ALGORITHM for name, module in registry.modules(__name__, "ALGORITHM").items()}


def names() -> tuple[str, ...]:
    """Their command-line names; none of them is imported."""
    return tuple(registry.outlines(__name__, "ALGORITHM"))


def entry_points() -> dict[str, str]:
    """Where the algorithms of other installed packages are, by their names; the library's own names are its own."""
    return {name: place for name, place in plugins.entry_points(GROUP).items() if name not in names()}


def imports_code(name: str) -> bool:
    """Whether finding this algorithm imports code that is none of the library's."""
    return plugins.is_import_path(name) or name in entry_points()


def get(name: str) -> type[Algorithm[Any, Any]]:
    """The class of the algorithm called `name`, for example `stochastic-dop`, `my_module:MyAlgorithm`, or an entry point's.

    Raises:
        UnknownNameError: no such algorithm; the message names the nearest.
        ConfigError: what is called so cannot be loaded, or is no algorithm.
    """
    own = registry.outlines(__name__, "ALGORITHM")
    if name in own:
        return registry.get("algorithm", name, own).ALGORITHM
    place = name if plugins.is_import_path(name) else entry_points().get(name)
    if place is None:
        kind = "algorithm (one of your own is named module:Class)" if "." in name else "algorithm"
        raise UnknownNameError(kind, name, (*own, *entry_points()))
    found = plugins.load("algorithm", place)
    outside.check(found, name)
    return found


def presets(cls: type[Algorithm[Any, Any]], name: str) -> Mapping[str, Any]:
    """Named settings of the class called `name`: its own, or its defaults alone as `default`.

    Raises:
        ConfigError: it has none that can be used.
    """
    if not isinstance(cls, HasPresets):
        return {"default": outside.default(cls, name)}
    with plugins.named(f"The presets of {name} cannot be made"):
        found = cls.presets()
    if not isinstance(found, Mapping) or not all(isinstance(preset, cls) for preset in found.values()):
        raise ConfigError(f"The presets of {name} must be a dict, from names to objects of that class; got {shown(found)}.")
    return found


def name_of(cls: type[Any]) -> str:
    """What the class of an algorithm is called: its name on the command line, or where it is, `module:Class`.

    Raises:
        ConfigError: it is no algorithm.
    """
    for name, own in algorithms().items():
        if cls is own:
            return name
    outside.check(cls, cls.__name__)
    return next((name for name, place in entry_points().items() if plugins.get_imported(place) is cls), plugins.import_path(cls))


def same(one: str, other: str) -> bool:
    """Whether two names mean one class, which may be in another module, a script or a notebook now, but is not called otherwise."""
    return one == other or (plugins.is_import_path(one) and plugins.is_import_path(other) and _last(one) == _last(other))


def _last(place: str) -> str:
    return re.split("[.:]", place)[-1]
