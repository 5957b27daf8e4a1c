"""The hyper-parameters of an algorithm as `config.json` keeps them: numbers, texts, None, tuples of them, and networks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from dop.errors import ConfigError, plain, shown
from dop.families import same
from dop.networks import parts


def as_json(values: dict[str, Any]) -> dict[str, Any]:
    """As it comes back from a file: tuples are lists.

    Raises:
        ConfigError: a file cannot keep it.
    """
    try:
        return json.loads(json.dumps(values, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"config.json cannot keep {shown(values)}: {error}. Use numbers, texts, lists and None.") from error


def kept(owner: Any) -> dict[str, Any]:
    """The fields of a frozen dataclass, an algorithm or a network in one, as config.json keeps them.

    Raises:
        ConfigError: one of them would not be the same when it comes back.
    """
    given = {field.name: plain(getattr(owner, field.name)) for field in dataclasses.fields(owner) if field.init}
    return {name: _kept(value, f"{type(owner).__name__}: config.json cannot keep {name}={shown(value)}") for name, value in given.items()}


def _kept(value: Any, refusal: str) -> Any:
    if parts.is_part(value):
        return {parts.KIND: parts.name_of(value)} | kept(value)
    found = as_json({"": value})[""]
    if parts.is_record(value) or as_it_was(found) != value:
        raise ConfigError(
            f"{refusal}, and without it the run could not be resumed. Use numbers, texts, None, tuples of them, and networks (dop.Network)."
        )
    return found


def as_it_was(value: Any) -> Any:
    """What comes back from a file as it was in a frozen dataclass, which has tuples where JSON has lists, and networks.

    Raises:
        ConfigError: a network cannot be made.
    """
    if isinstance(value, list):
        return tuple(as_it_was(item) for item in value)
    if parts.is_record(value):
        return parts.made(value[parts.KIND], {key: as_it_was(item) for key, item in value.items() if key != parts.KIND})
    return {key: as_it_was(item) for key, item in value.items()} if isinstance(value, dict) else value


def agree(one: Any, other: Any) -> bool:
    """Whether two values of config.json are the same; the class of a network may be in another module now."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return one == other
    if parts.is_record(one) and parts.is_record(other) and not same(one[parts.KIND], other[parts.KIND]):
        return False
    alike = parts.is_record(one) and parts.is_record(other)
    return one.keys() == other.keys() and all(agree(one[key], other[key]) for key in one if not (alike and key == parts.KIND))


def foreign_networks(hyper_parameters: dict[str, Any]) -> Iterator[str]:
    """The names of networks that are none of the library's: making them imports code."""
    for value in hyper_parameters.values():
        yield from parts.foreign(value)


def changed(config: Any, changes: Mapping[str, Any]) -> Any:
    """A frozen dataclass with other values, those of its networks by dotted names: `{"gamma": 0.9, "critic.hidden_size": 128}`."""
    own = {name: value for name, value in changes.items() if "." not in name}
    inner: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        part, dot, field = name.partition(".")
        if dot:
            inner.setdefault(part, {})[field] = value
    parts_of = {part: changed(own.get(part, getattr(config, part)), fields) for part, fields in inner.items()}
    return dataclasses.replace(config, **{**own, **parts_of})


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """One level deep, as on the command line: `{"actor": {"kind": "gru", "hidden_size": 64}}` has `actor` and `actor.hidden_size`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if parts.is_record(value):
            found[prefix + name] = value[parts.KIND]
            found |= flat({key: item for key, item in value.items() if key != parts.KIND}, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found
