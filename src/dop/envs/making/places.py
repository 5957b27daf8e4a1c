"""Where code of the user's own stands, for messages."""

from __future__ import annotations

import inspect
from typing import Any


def place_of(function: Any) -> str:
    """` (file:line)` of where a function, a method or a class is written in Python; empty if that is not known."""
    unwrapped = inspect.unwrap(getattr(function, "__func__", function))
    if isinstance(unwrapped, type):
        unwrapped = vars(unwrapped).get("__init__", unwrapped)
    code = getattr(unwrapped, "__code__", None)
    return "" if code is None or code.co_filename.startswith("<") else f" ({code.co_filename}:{code.co_firstlineno})"
