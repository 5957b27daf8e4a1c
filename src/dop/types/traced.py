"""Hyper-parameters whose values are data of a compiled program, not constants: another value compiles nothing."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias, TypeVar, get_args

from dop.errors import type_hints

Value = TypeVar("Value", float, int)
_TRACED = "traced"

Traced: TypeAlias = Annotated[Value, _TRACED]
"""The annotation of such a field of an algorithm: `gamma: Traced[float] = 0.99`.

While the algorithm's methods are traced the field is an array without axes, float32 or int32, and not a Python number: choose with
`jnp.where`, not with `if`. A subclass that needs the number itself annotates the field again, as `float` or `int`. Fields that decide on
shapes, loops or code are not `Traced`.
"""


def traced_values(algorithm: Any) -> dict[str, float | int]:
    """The values of an algorithm's `Traced` fields by name; without those that are None, and empty for what is not a dataclass."""
    if not dataclasses.is_dataclass(algorithm) or isinstance(algorithm, type):
        return {}
    return {name: kind(value) for name, kind in _traced_fields(type(algorithm)) if (value := getattr(algorithm, name)) is not None}


def with_values(algorithm: Any, values: Mapping[str, Any]) -> Any:
    """The algorithm with other values of its `Traced` fields, which may be traced arrays."""
    return dataclasses.replace(algorithm, **values) if values else algorithm


@functools.cache
def _traced_fields(cls: type[Any]) -> tuple[tuple[str, type[float] | type[int]], ...]:
    """The names of the fields, and float or int."""
    hints = type_hints(cls, include_extras=True)
    kinds = ((field.name, _kind(hints[field.name])) for field in dataclasses.fields(cls) if field.init)
    return tuple((name, kind) for name, kind in kinds if kind is not None)


def _kind(hint: Any) -> type[float] | type[int] | None:
    """Of an annotation that is `Traced`, or a union with it, such as `Traced[float] | None`; else None."""
    if _TRACED in getattr(hint, "__metadata__", ()):
        return int if hint.__origin__ is int else float
    return next((kind for choice in get_args(hint) if (kind := _kind(choice))), None)
