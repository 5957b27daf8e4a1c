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


def flags(name: str, what: str, given: Any, n_agents: int) -> tuple[bool, ...]:
    """A flag for each of `n_agents`, of one for all or one for each; `what` it says.

    Raises:
        ConfigError: it is neither.
    """
    one = flag(given)
    if one is not None:
        return (one,) * n_agents
    each = [None] if isinstance(given, str | Mapping) or not hasattr(given, "__len__") else [flag(own) for own in given]
    if len(each) != n_agents or None in each:
        raise ConfigError(
            f"{name}: step gave {what} as {shown(given)}; it must be true or false, or one of them for each of {n_agents} agents."
        )
    return tuple(own is True for own in each)


def flag(given: Any) -> bool | None:
    """`given` as true or false, if it is that, or 0 or 1, or an array of one of them."""
    if isinstance(given, bool):
        return given
    x = number(given)
    return bool(x) if x in (0.0, 1.0) else None


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
    mask = _booleans(name, agent, given)
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


def _booleans(name: str, agent: Any, given: Any) -> np.ndarray:
    """A mask as booleans, without its shape.

    Raises:
        ConfigError: it has something else than 0, 1, false and true.
    """
    try:
        mask = np.asarray(given)
    except (TypeError, ValueError, RuntimeError):  # ragged, or what other libraries' arrays raise
        mask = np.asarray("")
    if mask.dtype.kind != "b":
        if mask.dtype.kind not in "iuf" or not np.isin(mask, (0, 1)).all():
            raise ConfigError(f"{name}: {agent} has the action mask {shown(given)}; it must have 1 for what is legal, and 0 for all else.")
        mask = mask.astype(bool)
    return mask.ravel()


def shown(given: Any) -> str:
    """What something is, for a message: short, with its shape if it has one."""
    shape = getattr(given, "shape", None)
    words = f"{type(given).__name__}{list(shape)}" if isinstance(shape, tuple) else repr(given)
    return words if len(words) <= 80 else f"{words[:77]}..."


def strangers(known: Collection[Any], given: Mapping[Any, Any]) -> list[str]:
    """Names in `given` that are nobody's, other than those between underscores (`__all__`, `__common__`), which are no agents anywhere."""
    names = [str(name) for name in given if name not in known]
    return [name for name in names if not (name.startswith("__") and name.endswith("__"))]
