"""Classes of one kind that the library has some of and others may add to: algorithms, networks.

The library's own are found by themselves (`dop.registry`). Others are named `package.module:Class`, or by an entry point of their package
(`dop.plugins`). All of them are frozen dataclasses, whose fields are hyper-parameters.
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
    """All classes of one kind."""

    kind: str
    """What one of them is: an algorithm, a network."""
    package: str
    """Whose modules define the library's own."""
    attribute: str
    """The name that such a module gives its class."""
    group: str
    """Of entry points."""
    members: tuple[str, ...]
    """What such a class must have."""
    about: str
    """Where it says so, in words."""

    def classes(self) -> dict[str, type[Any]]:
        """The library's own classes, by their names on the command line."""
        return {name: getattr(module, self.attribute) for name, module in registry.modules(self.package, self.attribute).items()}

    def names(self) -> tuple[str, ...]:
        """Their names; none of them is imported."""
        return tuple(registry.outlines(self.package, self.attribute))

    def entry_points(self) -> dict[str, str]:
        """Where those of other installed packages are, by their names; the library's own names are its own."""
        return {name: place for name, place in plugins.entry_points(self.group).items() if name not in self.names()}

    def imports_code(self, name: str) -> bool:
        """Whether finding the one of this name imports code that is none of the library's."""
        return plugins.is_import_path(name) or name in self.entry_points()

    def get(self, name: str) -> type[Any]:
        """The class called `name`: the library's, `my_module:MyClass`, or an entry point's.

        Raises:
            UnknownNameError: there is none; the message names the nearest.
            ConfigError: what is called so cannot be loaded, or is of another kind.
        """
        own = registry.outlines(self.package, self.attribute)
        if name in own:
            return getattr(registry.get(self.kind, name, own), self.attribute)
        place = name if plugins.is_import_path(name) else self.entry_points().get(name)
        if place is None:
            kind = f"{self.kind} (one of your own is named module:Class)" if "." in name else self.kind
            raise UnknownNameError(kind, name, (*own, *self.entry_points()))
        found = plugins.load(self.kind, place)
        self.check(found, name)
        return found

    def name_of(self, cls: type[Any]) -> str:
        """What a class is called: its name on the command line, or where it is, `module:Class`.

        Raises:
            ConfigError: it is of another kind.
        """
        for name, own in self.classes().items():
            if cls is own:
                return name
        self.check(cls, cls.__name__)
        return next((name for name, place in self.entry_points().items() if plugins.get_imported(place) is cls), plugins.import_path(cls))

    def check(self, cls: Any, name: str) -> None:
        """Raise ConfigError, which calls it `name`, if this is no class of the kind."""
        if not isinstance(cls, type):
            raise ConfigError(f"{name} is {shown(cls)}; {self._one} is named by its class.")
        lacking = [member for member in self.members if not hasattr(cls, member) and member not in fields_of(cls)]
        if lacking:
            raise ConfigError(f"{name} is not {self._one}: it has no {', '.join(lacking)}. See {self.about}.")
        parameters: Any = getattr(cls, "__dataclass_params__", None)
        if parameters is None or not parameters.frozen:
            raise ConfigError(
                f"{name} must be a frozen dataclass, whose fields are the hyper-parameters: put @dataclass(frozen=True, kw_only=True) "
                "above it."
            )
        left_out = [f for f, kind in inspect.get_annotations(cls).items() if f not in fields_of(cls) and "ClassVar" not in str(kind)]
        if left_out:
            raise ConfigError(
                f"{name} declares {', '.join(left_out)}, but is not decorated itself, so that these are no hyper-parameters: put "
                "@dataclass(frozen=True, kw_only=True) above it."
            )

    def default(self, cls: type[Any], name: str, way_out: str = "give one") -> Any:
        """One with the defaults of all its hyper-parameters.

        Raises:
            ConfigError: some have none.
        """
        needed = [
            field.name
            for field in dataclasses.fields(cls)
            if field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        ]
        if needed:
            raise ConfigError(f"{name} has no default of {', '.join(needed)}: {way_out}.")
        return cls()

    @property
    def _one(self) -> str:
        return f"{'an' if self.kind[0] in 'aeiou' else 'a'} {self.kind}"


def fields_of(cls: type[Any]) -> set[str]:
    """The names of its fields, also of those without a default."""
    return {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()


def same(one: str, other: str) -> bool:
    """Whether two names mean one class, which may be in another module, a script or a notebook now, but is not called otherwise."""
    return one == other or (plugins.is_import_path(one) and plugins.is_import_path(other) and _last(one) == _last(other))


def _last(place: str) -> str:
    return re.split("[.:]", place)[-1]
