"""Errors for people: what was wrong, the value, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin, get_type_hints


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


def check_choices(config: Any) -> None:
    """Raise UnknownNameError if a field of this dataclass that is a choice between names holds none of them."""
    for field, hint in get_type_hints(type(config)).items():
        if get_origin(hint) is Literal and getattr(config, field) not in get_args(hint):
            raise UnknownNameError(field, str(getattr(config, field)), get_args(hint))


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
