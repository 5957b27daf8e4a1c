"""Arguments that an earlier version called otherwise; they are taken under both names."""

from __future__ import annotations

import functools
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
