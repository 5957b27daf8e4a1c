"""Validation of the environments' options. Each function returns a valid value and raises ConfigError for any other."""

from __future__ import annotations

from collections.abc import Sequence

from dop.errors import ConfigError, is_finite, shown

_MOST = 1_000_000
"""More than any task needs of anything; a typing error must not exhaust the memory."""


def positive_integer(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} is {shown(value)}; it must be a whole number of at least 1.")
    if value > _MOST:
        raise ConfigError(f"{name} is {shown(value)}; it must be at most {_MOST}.")
    return value


def boolean(name: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is {shown(value)}; it must be true or false.")
    return value


def finite(name: str, value: float) -> float:
    if not is_finite(value):
        raise ConfigError(f"{name} is {shown(value)}; it must be a finite number.")
    return float(value)


def positive(name: str, value: float) -> float:
    if finite(name, value) <= 0.0:
        raise ConfigError(f"{name} is {shown(value)}; it must be above 0.")
    return float(value)


def one_of(name: str, value: str, choices: Sequence[str]) -> str:
    if value not in choices:
        raise ConfigError(f"{name} is {shown(value)}; it must be one of {', '.join(choices)}.")
    return value
