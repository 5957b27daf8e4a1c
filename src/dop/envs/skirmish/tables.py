"""Frozen dataclasses from TOML: every missing, unknown or wrong-typed key is refused with its file, table and value."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from dop.errors import ConfigError, UnknownNameError, check_types, shown, type_hints

T = TypeVar("T")

MOST_BYTES = 1 << 20
"""The largest file that is read."""


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: there is no such file, it is larger than `MOST_BYTES`, or it is not TOML; the message names the file and the line.
    """
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path} is not a file; give the path of a TOML file.")
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{path} has {path.stat().st_size:,} bytes; a file may have at most {MOST_BYTES:,}.")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"There is no file {shown(str(path), 300)}.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except RecursionError:
        raise ConfigError(f"{path} nests lists or tables too deeply.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from None
    except ValueError:  # Python does not read integers of thousands of digits
        raise ConfigError(f"{path} has a number of too many digits; write a shorter one.") from None


def from_table(cls: type[T], table: Any, where: str, **given: Any) -> T:
    """`cls` from the keys of a TOML table; `given` are fields whose values were read before. `where` opens messages, as in `3m.toml: `.

    Lists become tuples, and whole numbers become floats where the field is one.

    Raises:
        ConfigError: a key is missing, unknown or of the wrong type.
    """
    values = checked_table(table, where)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.name not in given}  # pyright: ignore[reportArgumentType]
    check_keys(cls, values, where)
    for name, field in fields.items():
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}{name} is missing; add a line `{name} = ...`.")
    hints = type_hints(cls)
    record = cls(**{name: _converted(value, hints[name]) for name, value in values.items()}, **given)
    try:
        check_types(record, where)
    except UnknownNameError as error:
        raise ConfigError(f"{where}{error}") from None
    return record


def check_keys(cls: type[Any], table: dict[str, Any], where: str) -> None:
    """Refuse a key that is not a field of `cls`; `name` is none, since a file's name is its path.

    Raises:
        ConfigError: an unknown key; the message has the nearest and all that there are.
    """
    known = [field.name for field in dataclasses.fields(cls) if field.name != "name"]
    for key in table:
        if key not in known:
            raise ConfigError(f"{where}there is no key {shown(key)}.{_nearest(key, known)} Known: {', '.join(known)}.")


def checked_table(table: Any, where: str) -> dict[str, Any]:
    """`table` itself, if it is one."""
    if not isinstance(table, dict):
        raise ConfigError(f"{where}a table of keys and values was expected, got {shown(table)}.")
    return table


def _nearest(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _converted(value: Any, hint: Any) -> Any:
    """Lists as tuples; whole numbers as floats for a field that is a float."""
    if isinstance(value, list):
        return tuple(_converted(item, None) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value
