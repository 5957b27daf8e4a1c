"""Errors with messages for users: what is wrong, the value, and what to do."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import logging
import math
import types
from collections.abc import Iterable
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


class DopError(Exception):
    """Base of every error that this library raises on purpose. Its text is safe to print even if its values come from an untrusted file."""

    def __str__(self) -> str:
        return printable(super().__str__())


def printable(text: str) -> str:
    """`text` with control characters, escape sequences and bidirectional overrides spelled out, as in `\\x1b`.

    Line ends, tabs and the letters of all scripts stay.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() or character in "\n\t" else repr(character)[1:-1] for character in text)


class PrintableLog(logging.Filter):
    """Applies `printable` to log messages and their tracebacks."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = printable(record.getMessage()), ()
        if record.exc_info:
            record.exc_text = printable(logging.Formatter().formatException(record.exc_info))
        return True


def shown(value: Any, most: int = 100) -> str:
    """`repr(value)` for a message, truncated to `most` characters; for integers too large to print, their size."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print integers of thousands of digits
        return f"a number of {value.bit_length()} bits" if isinstance(value, int) else f"a {type(value).__name__} with a huge number in it"
    except RecursionError:
        return f"a {type(value).__name__} that is nested too deeply"
    except Exception as error:  # user code
        return f"a {type(value).__name__} whose repr raises {type(error).__name__}"
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


class ConfigError(DopError):
    """Invalid or incompatible hyper-parameters, sizes or environments."""


class UnknownNameError(ConfigError):
    """A name that no registry knows; the message has the nearest one and all that there are, and ends with the sentence `further`."""

    def __init__(self, kind: str, name: str, known: Iterable[str], further: str = "") -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"There is no {kind} {shown(name)}.{hint} Known: {', '.join(names) or 'none'}.{further and ' '}{further}")


def check_types(config: Any, where: str = "") -> None:
    """Raise an error if a field of this dataclass does not match its annotation.

    Scalars of NumPy and JAX become Python numbers, which JSON can hold.

    Raises:
        UnknownNameError: a value that is none of a field's choices.
        ConfigError: the wrong type, or a number that is not finite.
    """
    to_python_scalars(config)
    hints = type_hints(type(config))
    for field in dataclasses.fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        if _fits(value, hint):
            if isinstance(value, int) and value >= _COUNTER_LIMIT:
                raise ConfigError(f"{where}{field.name} must be below 2**31, since counters have 32 bits; got {shown(value)}.")
            continue
        if get_origin(hint) is Literal:
            raise UnknownNameError(field.name, value if isinstance(value, str) else shown(value), get_args(hint))
        raise ConfigError(f"{where}{field.name} must be {_describe(hint)}, got {shown(value)}.{integer_hint(value, hint)}")


def type_hints(cls: type[Any], *, include_extras: bool = False) -> dict[str, Any]:
    """The resolved annotations of a class.

    Raises:
        ConfigError: one cannot be resolved; the message names the class that declares it.
    """
    try:
        return get_type_hints(cls, include_extras=include_extras)
    except Exception as error:  # annotations are user code
        place = next((base for base in reversed(cls.__mro__) if not _resolves(base)), cls)
        raise ConfigError(
            f"The types of the fields of {place.__qualname__} ({_place_of(place)}) cannot be read: {type(error).__name__}: {error}. "
            "Import or define every name in its annotations at the top level of its module."
        ) from error


def _resolves(cls: type[Any]) -> bool:
    """Whether the annotations of a class and its bases can be resolved."""
    try:
        get_type_hints(cls)
    except Exception:  # user code
        return False
    return True


def _place_of(cls: type[Any]) -> str:
    """File and line of a class; its module if it has no file, as in a notebook."""
    try:
        return f"{inspect.getsourcefile(cls)}:{inspect.getsourcelines(cls)[1]}"
    except (OSError, TypeError):
        return cls.__module__


_COUNTER_LIMIT = 2**31
_TYPE_NAMES = {int: "a whole number", float: "a finite number", bool: "True or False", str: "a string", dict: "a dict", type(None): "None"}
_PLURALS = {int: "whole numbers", float: "finite numbers", str: "strings"}


def _describe(hint: Any) -> str:
    """An annotation in words."""
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_describe(choice) for choice in get_args(hint))
    if get_origin(hint) is tuple and get_args(hint)[0] in _PLURALS:
        return f"a tuple of {_PLURALS[get_args(hint)[0]]}"
    if get_origin(hint) is tuple and get_origin(get_args(hint)[0]) is tuple:
        return f"a tuple of tuples of {_PLURALS.get(get_args(get_args(hint)[0])[0], 'values')}"
    return _TYPE_NAMES.get(get_origin(hint) or hint, str(hint))


def integer_hint(value: Any, hint: Any) -> str:
    """A hint for an integer written as a float."""
    return f" Write {int(value)}." if hint is int and isinstance(value, float) and value.is_integer() else ""


def _fits(value: Any, hint: Any) -> bool:
    """Whether `value` matches the annotation. Only numbers, strings, dicts, choices and tuples of them are checked."""
    origin = get_origin(hint)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in get_args(hint))
    if origin in (Union, types.UnionType):
        return any(_fits(value, choice) for choice in get_args(hint))
    if origin is tuple and get_args(hint)[-1] is Ellipsis:
        return isinstance(value, tuple) and all(_fits(item, get_args(hint)[0]) for item in value)
    if hint in (int, float) and isinstance(value, bool):
        return False
    if hint is float:
        return is_finite(value)
    kind = origin or hint
    return isinstance(value, kind) if kind in (int, bool, str, dict, type(None)) else True


def is_finite(value: Any) -> bool:
    """Whether this is a finite number that fits a float: not NaN, not infinite, not an integer of more than 308 digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def plain(value: Any) -> Any:
    """`value` with scalars of NumPy and JAX, also in lists, tuples and dicts, as Python numbers; anything else is unchanged."""
    if type(value) in (list, tuple):
        items = [plain(item) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else type(value)(items)
    if type(value) is dict:
        return {plain(key): plain(item) for key, item in value.items()}
    # Arrays without axes are scalars too.
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def to_python_scalars(config: Any) -> None:
    """`plain` for every field of a dataclass, frozen or not."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if (converted := plain(value)) is not value:
            object.__setattr__(config, field.name, converted)


def is_nested_deeper(value: Any, most: int) -> bool:
    """Whether lists and dicts are nested more than `most` levels deep, as malicious files may be."""
    if not isinstance(value, list | tuple | dict):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return most == 0 or any(is_nested_deeper(item, most - 1) for item in inner)


def checked_integer(name: str, value: Any, *, least: int, below: int) -> int:
    """`value` as a Python number.

    Raises:
        ConfigError: it is not an integer in [least, below); the message names it by `name`.
    """
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name} must be a whole number, got {shown(value)}.{integer_hint(value, int)}")
    if value < least:
        raise ConfigError(f"{name} must {'be positive' if least == 1 else 'not be negative'}, got {shown(value)}.")
    if value >= below:
        raise ConfigError(f"{name} must be below {below:,}, got {shown(value)}.")
    return value


def checked_episodes(name: str, value: Any) -> int:
    """A number of episodes: an integer from 1 to a million. Errors as `checked_integer`."""
    return checked_integer(name, value, least=1, below=1_000_001)


def checked_seed(name: str, value: Any) -> int:
    """A seed: an integer of 32 bits. Errors as `checked_integer`."""
    return checked_integer(name, value, least=0, below=2**32)


def check_flags(**flags: Any) -> None:
    """Raise ConfigError for flags that are not True or False."""
    for name, value in flags.items():
        if not isinstance(plain(value), bool):
            raise ConfigError(f"{name} must be True or False, got {shown(value)}.")


def check_names(kind: str, names: Iterable[str], where: str = "") -> None:
    """Raise ConfigError for a name that is empty or has characters that cannot be printed."""
    for name in names:
        if not name or not name.isprintable():
            raise ConfigError(f"{where}{kind} must be names of letters that can be printed; got {shown(name)}.")


def check_positive(config: Any, *fields: str) -> None:
    """Raise ConfigError if a field of `config` is not above 0."""
    for field in fields:
        if not getattr(config, field) > 0:
            raise ConfigError(f"{field} must be positive, got {shown(getattr(config, field))}.")


def check_not_negative(config: Any, *fields: str) -> None:
    """Raise ConfigError if a field of `config` is below 0."""
    for field in fields:
        if not getattr(config, field) >= 0:
            raise ConfigError(f"{field} must not be negative, got {shown(getattr(config, field))}.")


def check_fractions(config: Any, *fields: str) -> None:
    """Raise ConfigError if a field of `config` is not in [0, 1]. None passes."""
    for field in fields:
        if getattr(config, field) is not None and not 0 <= getattr(config, field) <= 1:
            raise ConfigError(f"{field} must lie in [0, 1], got {shown(getattr(config, field))}.")


class RunError(DopError):
    """A run directory or checkpoint that cannot be used as requested."""


class MissingExtraError(DopError):
    """An optional dependency that is not installed; the message has the command that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed. Install it with: pip install 'dop-marl[{extra}]'")
