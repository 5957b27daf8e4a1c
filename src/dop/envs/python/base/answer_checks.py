"""Parsing of environments' return values in any form: numbers, flags, masks, missing values."""

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
    """`given` as a float, or None: a Python or NumPy number, or an array, tensor or list of one. Infinite if it exceeds a float's range."""
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
    except (TypeError, ValueError, RuntimeError):  # raised by other libraries' arrays, for example arrays of strings
        return None


def flags(name: str, what: str, given: Any, n_agents: int) -> tuple[bool, ...]:
    """A flag for each of `n_agents`, from one for all or one per agent; `what` is its name in messages.

    Raises:
        ConfigError: it is neither.
    """
    one = flag(given)
    if one is not None:
        return (one,) * n_agents
    each = [None] if isinstance(given, str | Mapping) or not hasattr(given, "__len__") else [flag(own) for own in given]
    if len(each) != n_agents or None in each:
        raise ConfigError(f"{name}: step returned {what} as {shown(given)}; it must be one boolean, or one for each of {n_agents} agents.")
    return tuple(own is True for own in each)


def flag(given: Any) -> bool | None:
    """`given` as a bool, or None: a bool, 0 or 1, or an array of one of them."""
    if isinstance(given, bool):
        return given
    x = number(given)
    return bool(x) if x in (0.0, 1.0) else None


def nothing(given: Any) -> bool:
    """Whether it is None or empty: environments return either for a missing value."""
    if isinstance(given, np.ndarray):
        return given.size == 0
    if given is None:
        return True
    return len(given) == 0 if isinstance(given, Sequence | Mapping) else getattr(given, "size", 1) == 0


def mask_of(name: str, agent: Any, given: Any, size: int) -> np.ndarray:
    """The mask of an agent that has `size` actions. A longer one, padded to the largest agent's, is cut to that.

    Raises:
        ConfigError: it is shorter, or allows actions that do not exist.
    """
    mask = _booleans(name, agent, given)
    if mask.size == size:
        return mask
    who = f"{name}: {agent} has {size} actions by its action space"
    if mask.size < size:
        raise ConfigError(f"{who}, but an action mask of {mask.size} numbers: the mask needs one per action.")
    if mask[size:].any():
        raise ConfigError(
            f"{who}, but its action mask of {mask.size} numbers allows action {size + int(mask[size:].argmax())}: "
            "make the action space as large as the mask, or mask that action."
        )
    return mask[:size]


def _booleans(name: str, agent: Any, given: Any) -> np.ndarray:
    """A mask as a flat array of booleans.

    Raises:
        ConfigError: it has values other than 0, 1, false and true.
    """
    try:
        mask = np.asarray(given)
    except (TypeError, ValueError, RuntimeError):  # ragged, or what other libraries' arrays raise
        mask = np.asarray("")
    if mask.dtype.kind != "b":
        if mask.dtype.kind not in "iuf" or not np.isin(mask, (0, 1)).all():
            raise ConfigError(f"{name}: {agent} has the action mask {shown(given)}; it must be 1 for legal actions and 0 for others.")
        mask = mask.astype(bool)
    return mask.ravel()


def shown(given: Any) -> str:
    """A short description of a value for a message, with its shape if it has one."""
    shape = getattr(given, "shape", None)
    words = f"{type(given).__name__}{list(shape)}" if isinstance(shape, tuple) else repr(given)
    return words if len(words) <= 80 else f"{words[:77]}..."


def unknown_names(known: Collection[Any], given: Mapping[Any, Any]) -> list[str]:
    """Names in `given` that are not in `known`, except those like `__all__` and `__common__`, which never are agents."""
    names = [str(name) for name in given if name not in known]
    return [name for name in names if not (name.startswith("__") and name.endswith("__"))]
