"""The registry of algorithms: every module of this package that defines `ALGORITHM` (a class) is registered.

The module's name, with dashes, is the name on the command line: `stochastic_dop` is `stochastic-dop`. Other classes are named
`package.module:Class`, or by an entry point of their package in the group `dop.algorithms`; see docs/own-algorithm.md.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from dop import plugins
from dop.errors import ConfigError, shown
from dop.families import Family, same_class
from dop.types import Algorithm, HasPresets, Listed

FAMILY = Family(
    kind="algorithm",
    package=__name__,
    attribute="ALGORITHM",
    group="dop.algorithms",
    members=tuple(name for name in vars(Algorithm) if not name.startswith("_")),
    about="dop.Algorithm, and docs/own-algorithm.md",
)
names, entry_points, imports_code, name_of = FAMILY.names, FAMILY.entry_points, FAMILY.imports_code, FAMILY.name_of

__all__ = ["FAMILY", "algorithms", "entry_points", "get", "imports_code", "name_of", "names", "presets", "same_class"]


@functools.cache
def algorithms() -> dict[str, type[Listed]]:
    """The algorithm classes of this package, by their command-line names."""
    return FAMILY.classes()


def get(name: str) -> type[Algorithm[Any, Any]]:
    """The algorithm class called `name`: `stochastic-dop`, `my_module:MyAlgorithm`, or the name of an entry point.

    Raises:
        UnknownNameError: no such algorithm; the message suggests the nearest name.
        ConfigError: it cannot be loaded, or is not an algorithm.
    """
    return FAMILY.get(name)


def presets(cls: type[Algorithm[Any, Any]], name: str) -> Mapping[str, Any]:
    """Presets of the class called `name`: its own, or only its defaults as `default`.

    Raises:
        ConfigError: the presets cannot be used.
    """
    if not isinstance(cls, HasPresets):
        return {"default": FAMILY.default(cls, name, "give one, or a class method `presets` with 'default' among them")}
    with plugins.named(f"The presets of {name} cannot be made"):
        if "presets" not in vars(cls):  # those of a base, which knows no fields of `cls` without a default
            FAMILY.default(cls, name)
        found = cls.presets()
    if not isinstance(found, Mapping) or not all(isinstance(preset, cls) for preset in found.values()):
        raise ConfigError(f"The presets of {name} must be a dict, from names to objects of that class; got {shown(found)}.")
    return found
