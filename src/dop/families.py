"""Families of extensible classes: algorithms and networks.

The library's own classes are registered automatically (`dop.registry`). Others are named `package.module:Class`, or by an entry point of
their package (`dop.plugins`). All are frozen dataclasses, whose fields are hyper-parameters.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from dataclasses import dataclass
from typing import Any

from dop import plugins, registry
from dop.errors import ConfigError, UnknownNameError, shown


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of classes, for example all algorithms."""

    kind: str
    """The noun for a member: `algorithm`, `network`."""
    package: str
    """The package whose modules define the library's own classes."""
    attribute: str
    """The module attribute that holds the class."""
    group: str
    """The group of entry points."""
    members: tuple[str, ...]
    """Required members of a class."""
    about: str
    """Where to read about them, for error messages."""

    def classes(self) -> dict[str, type[Any]]:
        """The library's own classes by their command-line names."""
        return {name: getattr(module, self.attribute) for name, module in registry.modules(self.package, self.attribute).items()}

    def names(self) -> tuple[str, ...]:
        """The command-line names of the library's own classes, without importing them."""
        return tuple(registry.outlines(self.package, self.attribute))

    def entry_points(self) -> dict[str, str]:
        """Import paths of classes of other installed packages, by name; the library's own names take precedence."""
        return {name: place for name, place in plugins.entry_points(self.group).items() if name not in self.names()}

    def imports_code(self, name: str) -> bool:
        """Whether loading the class called `name` imports third-party code."""
        return plugins.is_import_path(name) or name in self.entry_points()

    def get(self, name: str) -> type[Any]:
        """The class called `name`: the library's, `my_module:MyClass`, or the name of an entry point.

        Raises:
            UnknownNameError: no such class; the message suggests the nearest name.
            ConfigError: it cannot be loaded, or is not of this family.
        """
        own = registry.outlines(self.package, self.attribute)
        if name in own:
            return getattr(registry.get(self.kind, name, own), self.attribute)
        place = name if plugins.is_import_path(name) else self.entry_points().get(name)
        if place is None:
            hint = plugins.class_hint(name) or (" (one of your own is named module:Class)" if "." in name else "")
            raise UnknownNameError(self.kind + hint, name, (*own, *self.entry_points()))
        found = plugins.load(self.kind, place)
        self.check(found, name)
        return found

    def name_of(self, cls: type[Any]) -> str:
        """The name of a class: that on the command line, or its import path, `module:Class`.

        Raises:
            ConfigError: it is not of this family.
        """
        for name, own in self.classes().items():
            if cls is own:
                return name
        self.check(cls, cls.__name__)
        return next((name for name, place in self.entry_points().items() if plugins.get_imported(place) is cls), plugins.import_path(cls))

    def check(self, cls: Any, name: str) -> None:
        """Raise ConfigError unless `cls`, called `name`, is a class of this family."""
        if not isinstance(cls, type):
            raise ConfigError(f"{name} is {shown(cls)}; {self._noun} must be a class.")
        lacking = [member for member in self.members if not hasattr(cls, member) and member not in fields_of(cls)]
        if lacking:
            raise ConfigError(f"{name} is not {self._noun}: it has no {', '.join(lacking)}. See {self.about}.")
        parameters: Any = getattr(cls, "__dataclass_params__", None)
        if parameters is None or not parameters.frozen:
            raise ConfigError(
                f"{name} must be a frozen dataclass, whose fields are the hyper-parameters: put @dataclass(frozen=True, kw_only=True) "
                "above it."
            )
        left_out = [f for f, kind in inspect.get_annotations(cls).items() if f not in fields_of(cls) and "ClassVar" not in str(kind)]
        if left_out:
            raise ConfigError(
                f"{name} declares {', '.join(left_out)}, but is not decorated itself, so that these are not hyper-parameters: put "
                "@dataclass(frozen=True, kw_only=True) above it."
            )

    def default(self, cls: type[Any], name: str, way_out: str = "give one") -> Any:
        """An instance with all defaults.

        Raises:
            ConfigError: some fields have no default.
        """
        needed = [
            field.name
            for field in dataclasses.fields(cls)
            if field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        ]
        if needed:
            raise ConfigError(f"{name} has no default for {', '.join(needed)}: {way_out}.")
        return cls()

    @property
    def _noun(self) -> str:
        return f"{'an' if self.kind[0] in 'aeiou' else 'a'} {self.kind}"


def fields_of(cls: type[Any]) -> set[str]:
    """The names of all dataclass fields."""
    return {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()


def same_class(one: str, other: str) -> bool:
    """Whether two names mean the same class; its module may differ (a script, a notebook), its name may not."""
    return one == other or (plugins.is_import_path(one) and plugins.is_import_path(other) and _last(one) == _last(other))


def _last(place: str) -> str:
    return re.split("[.:]", place)[-1]
