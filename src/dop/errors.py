"""Errors for people: what was wrong, the value, and what to do."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
from collections.abc import Iterable
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


class DopError(Exception):
    """Base of every error that this library raises on purpose."""


class UnknownNameError(DopError):
    """A name that no registry knows."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"There is no {kind} {name!r}.{hint} Known: {', '.join(names)}.")


class ConfigError(DopError):
    """Hyper-parameters, sizes or an environment that cannot work together."""


def check_types(config: Any, where: str = "") -> None:
    """Raise an error if a field of this dataclass does not hold what its annotation says.

    Raises:
        UnknownNameError: a choice between names holds none of them.
        ConfigError: another type, or a number that is not finite.
    """
    hints = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        if _fits(value, hint):
            if isinstance(value, int) and value >= _LARGEST:
                raise ConfigError(f"{where}{field.name} must be below 2**31, since counters have 32 bits; got {value}.")
            continue
        if get_origin(hint) is Literal:
            raise UnknownNameError(field.name, str(value), get_args(hint))
        raise ConfigError(f"{where}{field.name} must be {_WORDS.get(hint, str(hint))}, got {value!r}.")


_LARGEST = 2**31
_WORDS = {int: "a whole number", float: "a finite number", bool: "True or False", str: "a text"}


def _fits(value: Any, hint: Any) -> bool:
    """Whether `value` is what the annotation says; annotations that are not of numbers, texts, choices and tuples of them let all pass."""
    origin = get_origin(hint)
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(hint))
    if origin in (Union, types.UnionType):
        return any(_fits(value, choice) for choice in get_args(hint))
    if origin is tuple and get_args(hint)[-1] is Ellipsis:
        return isinstance(value, tuple) and all(_fits(item, get_args(hint)[0]) for item in value)
    if hint in (int, float) and isinstance(value, bool):
        return False
    if hint is float:
        return isinstance(value, int | float) and math.isfinite(value)
    kind = origin or hint
    return isinstance(value, kind) if kind in (int, bool, str, dict, type(None)) else True


def check_positive(config: Any, *fields: str) -> None:
    """Raise ConfigError if a field of `config` is not above 0."""
    for field in fields:
        if not getattr(config, field) > 0:
            raise ConfigError(f"{field} must be positive, got {getattr(config, field)}.")


def check_not_negative(config: Any, *fields: str) -> None:
    """Raise ConfigError if a field of `config` is below 0."""
    for field in fields:
        if not getattr(config, field) >= 0:
            raise ConfigError(f"{field} must not be negative, got {getattr(config, field)}.")


def check_shares(config: Any, *fields: str) -> None:
    """Raise ConfigError if a field of `config` is not in [0, 1]. None, where a field may be that, passes."""
    for field in fields:
        if getattr(config, field) is not None and not 0 <= getattr(config, field) <= 1:
            raise ConfigError(f"{field} must lie in [0, 1], got {getattr(config, field)}.")


class RunError(DopError):
    """A run directory or checkpoint that cannot be used as asked."""


class MissingExtraError(DopError):
    """An optional dependency that is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed. Install it with: pip install 'dop-marl[{extra}]'")
