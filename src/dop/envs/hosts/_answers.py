"""What environments answer with, in whatever form: numbers, masks, nothing at all."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from dop.errors import ConfigError

_NUMBERS = (bool, int, float, np.bool_, np.integer, np.floating, Real, Decimal)


def number(given: Any) -> float | None:
    """`given` as a number, if it is one: of Python or NumPy, or an array, a tensor or a list of one. Infinite where no float holds it."""
    if isinstance(given, list | tuple):
        return number(given[0]) if len(given) == 1 else None
    try:
        if isinstance(given, _NUMBERS):
            return float(given)
        if not hasattr(given, "shape") or math.prod(given.shape) != 1:
            return None
        return number(given.item() if hasattr(given, "item") else np.asarray(given).item())
    except OverflowError:
        return math.inf
    except (TypeError, ValueError, RuntimeError):  # what the arrays of other libraries raise, of words say
        return None


def nothing(given: Any) -> bool:
    """Whether it is None or empty, which environments answer that have nothing to say."""
    if isinstance(given, np.ndarray):
        return given.size == 0
    if given is None:
        return True
    return len(given) == 0 if isinstance(given, Sequence | Mapping) else getattr(given, "size", 1) == 0


def mask_of(name: str, agent: Any, given: Any, size: int) -> np.ndarray:
    """The mask of an agent that has `size` actions. A longer one, as where all are padded to the widest agent's, is cut to that.

    Raises:
        ConfigError: it is shorter, or says that actions are legal which do not exist.
    """
    mask = np.asarray(given, bool).ravel()
    if mask.size == size:
        return mask
    who = f"{name}: {agent} has {size} actions by its action space"
    if mask.size < size:
        raise ConfigError(f"{who}, but an action mask of {mask.size} numbers: give it one for each.")
    if mask[size:].any():
        raise ConfigError(
            f"{who}, but its action mask of {mask.size} numbers allows action {size + int(mask[size:].argmax())}: "
            "make the action space as large as the mask, or that action illegal."
        )
    return mask[:size]


def shown(given: Any) -> str:
    """What something is, for a message: short, with its shape if it has one."""
    shape = getattr(given, "shape", None)
    words = f"{type(given).__name__}{list(shape)}" if isinstance(shape, tuple) else repr(given)
    return words if len(words) <= 80 else f"{words[:77]}..."


def strangers(known: Collection[Any], given: Mapping[Any, Any]) -> list[str]:
    """Names in `given` that are nobody's, other than those between underscores (`__all__`, `__common__`), which are no agents anywhere."""
    names = [str(name) for name in given if name not in known]
    return [name for name in names if not (name.startswith("__") and name.endswith("__"))]
