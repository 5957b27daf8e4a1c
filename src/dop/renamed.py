"""Arguments that an earlier version called otherwise; they are taken under both names."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def formerly(**earlier: str) -> Callable[[F], F]:
    """Take keyword arguments by their earlier names, too: `formerly(trust="trust_env")`.

    The function raises TypeError when it is called with both names of one.
    """

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def renaming(*args: Any, **kwargs: Any) -> Any:
            for name, old in earlier.items():
                if old in kwargs:
                    if name in kwargs:
                        raise TypeError(f"{function.__name__}() got both {name} and {old}, which is its earlier name")
                    kwargs[name] = kwargs.pop(old)
            return function(*args, **kwargs)

        return renaming

    return decorate


C = TypeVar("C", bound=type[Any])


def moved(**earlier: str) -> Callable[[C], C]:
    """Take keyword arguments of a dataclass by which an earlier version set what is a field of one of its parts now.

    `moved(actor_hidden="actor.hidden_size")` takes `actor_hidden=32`, sets that field of the actor (the given one, or the default), and
    warns.
    """

    def decorate(cls: Any) -> Any:
        made = cls.__init__

        @functools.wraps(made)
        def moving(self: Any, *args: Any, **kwargs: Any) -> None:
            for old in earlier.keys() & kwargs.keys():
                part, _, field = earlier[old].partition(".")
                base = kwargs.get(part, getattr(cls, part))
                value = kwargs.pop(old)
                write = f"{part}=dop.{type(base).__name__}({field}={value!r})"
                if not hasattr(base, field):
                    raise TypeError(f"{cls.__name__}() got {old}, which is now {field} of {part}; {base!r} has none")
                warnings.warn(f"{old} of {cls.__name__} is deprecated; write {write}.", DeprecationWarning, stacklevel=2)
                kwargs[part] = dataclasses.replace(base, **{field: value})
            made(self, *args, **kwargs)

        cls.__init__ = moving
        return cls

    return decorate
