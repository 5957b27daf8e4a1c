"""Algorithms that are not the library's: what their classes must have."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from dop.errors import ConfigError, shown
from dop.types import Algorithm

MEMBERS = tuple(name for name in vars(Algorithm) if not name.startswith("_"))
"""What `dop.Algorithm` asks for."""


def check(cls: Any, name: str) -> None:
    """Raise ConfigError, which calls it `name`, if this is no class of an algorithm."""
    if not isinstance(cls, type):
        raise ConfigError(f"{name} is {shown(cls)}; an algorithm is named by its class.")
    lacking = [member for member in MEMBERS if member not in _members(cls)]
    if lacking:
        raise ConfigError(f"{name} is not an algorithm: it has no {', '.join(lacking)}. See dop.Algorithm, and docs/own-algorithm.md.")
    parameters: Any = getattr(cls, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        raise ConfigError(
            f"{name} must be a frozen dataclass, whose fields are the hyper-parameters: put @dataclass(frozen=True, kw_only=True) above it."
        )
    left_out = [field for field, kind in inspect.get_annotations(cls).items() if field not in _fields(cls) and "ClassVar" not in str(kind)]
    if left_out:
        raise ConfigError(
            f"{name} declares {', '.join(left_out)}, but is not decorated itself, so that these are no hyper-parameters: put "
            "@dataclass(frozen=True, kw_only=True) above it."
        )


def default(cls: type[Any], name: str) -> Any:
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
        raise ConfigError(f"{name} has no default of {', '.join(needed)}: give one, or a class method `presets` with 'default' among them.")
    return cls()


def _members(cls: type[Any]) -> set[str]:
    return {member for member in MEMBERS if hasattr(cls, member)} | _fields(cls)


def _fields(cls: type[Any]) -> set[str]:
    """The names of its fields, also of those without a default."""
    return {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
