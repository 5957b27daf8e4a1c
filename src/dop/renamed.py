"""Deprecated names of arguments: earlier names still work."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def formerly(**earlier: str) -> Callable[[F], F]:
    """Accept keyword arguments by their earlier names, too: `formerly(trust="trust_env")`.

    The function raises TypeError if an argument is given under both names.
    """

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            for name, old in earlier.items():
                if old in kwargs:
                    if name in kwargs:
                        raise TypeError(f"{function.__name__}() got both {name} and {old}, which is its earlier name")
                    kwargs[name] = kwargs.pop(old)
            return function(*args, **kwargs)

        return wrapper

    return decorate


C = TypeVar("C", bound=type[Any])


def moved_into_parts(**earlier: str) -> Callable[[C], C]:
    """Accept earlier arguments of a dataclass that are now fields of one of its parts.

    `moved_into_parts(actor_hidden="actor.hidden_size")` accepts `actor_hidden=32`, sets that field of the given or default actor, and
    emits a DeprecationWarning. It raises TypeError if a part given with it has another value. In `dataclasses.replace`, which passes all
    fields, the earlier argument takes precedence.
    """

    def decorate(cls: Any) -> Any:
        init = cls.__init__

        @functools.wraps(init)
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
            is_copy = {field.name for field in dataclasses.fields(cls) if field.init} <= kwargs.keys()  # dataclasses.replace gives all
            old = {name: kwargs.pop(name) for name in earlier if name in kwargs}
            changes: dict[str, dict[str, Any]] = {}
            for name, value in old.items():
                part, _, field = earlier[name].partition(".")
                base = kwargs.get(part, getattr(cls, part))
                if not hasattr(base, field):
                    raise TypeError(f"{cls.__name__}() got {name}, which is now {field} of {part}; {base!r} has no such field")
                if changes.setdefault(part, {}).setdefault(field, value) != value:
                    both = " and ".join(other for other in old if earlier[other] == earlier[name])
                    raise TypeError(f"{cls.__name__}() got both {both}, which are the same argument; give one")
                if part in kwargs and not is_copy and getattr(base, field) != value:
                    raise TypeError(f"{cls.__name__}() got {name}={value!r} and {part}={base!r}, which disagree; omit {name}")
                instead = f"{part}=dop.{type(base).__name__}({field}={value!r})"
                overrides = f" It overrides {part}={base!r}." if is_copy else ""
                warnings.warn(f"{name} of {cls.__name__} is deprecated; write {instead}.{overrides}", DeprecationWarning, stacklevel=2)
            parts = {part: dataclasses.replace(kwargs.get(part, getattr(cls, part)), **fields) for part, fields in changes.items()}
            init(self, *args, **kwargs | parts)

        cls.__init__ = wrapper
        return cls

    return decorate
