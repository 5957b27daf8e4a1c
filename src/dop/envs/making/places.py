"""Source locations of the user's code, for messages."""

from __future__ import annotations

import inspect
from typing import Any


def place_of(function: Any) -> str:
    """` (file:line)` of the Python source of a function, method or class; empty if unknown."""
    unwrapped = inspect.unwrap(getattr(function, "__func__", function))
    if isinstance(unwrapped, type):
        unwrapped = vars(unwrapped).get("__init__", unwrapped)
    code = getattr(unwrapped, "__code__", None)
    return "" if code is None or code.co_filename.startswith("<") else f" ({code.co_filename}:{code.co_firstlineno})"
