"""Serialisation of hyper-parameters in `config.json`: numbers, strings, None, tuples of them, and networks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from dop.errors import ConfigError, plain, shown
from dop.families import same_class
from dop.networks import parts

_STORABLE = "Use numbers, strings, None, tuples of them, and networks (dop.Network)."


def as_json(values: dict[str, Any]) -> dict[str, Any]:
    """The values after a round trip through JSON: tuples become lists.

    Raises:
        ConfigError: JSON cannot represent a value.
    """
    return _round_trip(values, f"config.json cannot store {shown(values)}", "Use numbers, strings, lists and None.")


def _round_trip(value: Any, error: str, advice: str) -> Any:
    """A value after a round trip through JSON; the message of a ConfigError begins with `error` and ends with `advice`."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as failure:
        raise ConfigError(f"{error}: {failure}. {advice}") from failure


def serialise(owner: Any) -> dict[str, Any]:
    """The fields of a frozen dataclass, an algorithm or a network configuration, for config.json.

    Raises:
        ConfigError: a field would change in a round trip.
    """
    values = {field.name: plain(getattr(owner, field.name)) for field in dataclasses.fields(owner) if field.init}
    return {
        name: _serialise(value, f"{type(owner).__name__}: config.json cannot store {name}={shown(value)}") for name, value in values.items()
    }


def _serialise(value: Any, error: str) -> Any:
    if parts.is_part(value):
        return {parts.KIND: parts.name_of(value)} | _fields_of_network(value)
    found = _round_trip(value, error, _STORABLE)
    if _has_dict(value) or deserialise(found) != value:
        raise ConfigError(f"{error}, which resuming the run needs. {_STORABLE}")
    return found


def _fields_of_network(network: Any) -> dict[str, Any]:
    """The fields of a network configuration.

    Raises:
        ConfigError: one of them has the name of the key that holds the network's name.
    """
    values = serialise(network)
    if parts.KIND in values:
        raise ConfigError(
            f"{type(network).__name__} has a field {parts.KIND}; config.json stores the network's name there: rename the field."
        )
    return values


def _has_dict(value: Any) -> bool:
    """Whether a value is a dict or has one in it, which could change during the run."""
    return isinstance(value, dict) or (isinstance(value, tuple | list) and any(map(_has_dict, value)))


def deserialise(value: Any) -> Any:
    """The inverse of `serialise` for one value: lists become tuples, and records of networks become configurations.

    Raises:
        ConfigError: a network cannot be constructed.
    """
    if isinstance(value, list):
        return tuple(deserialise(item) for item in value)
    if parts.is_record(value):
        return parts.make(value[parts.KIND], {key: deserialise(item) for key, item in value.items() if key != parts.KIND})
    return {key: deserialise(item) for key, item in value.items()} if isinstance(value, dict) else value


def same_values(one: Any, other: Any) -> bool:
    """Whether two values of config.json are equal, apart from the module of a network's class."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return one == other
    both_networks = parts.is_record(one) and parts.is_record(other)
    if both_networks and not same_class(one[parts.KIND], other[parts.KIND]):
        return False
    return one.keys() == other.keys() and all(same_values(one[key], other[key]) for key in one if not (both_networks and key == parts.KIND))


def foreign_networks(hyper_parameters: dict[str, Any]) -> Iterator[str]:
    """The names of third-party networks; making them imports code."""
    for value in hyper_parameters.values():
        yield from parts.foreign(value)


def changed(config: Any, changes: Mapping[str, Any]) -> Any:
    """A copy of a frozen dataclass with changed fields; dotted names for its networks: `{"gamma": 0.9, "critic.hidden_size": 128}`."""
    own = {name: value for name, value in changes.items() if "." not in name}
    inner: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        part, dot, field = name.partition(".")
        if dot:
            inner.setdefault(part, {})[field] = value
    parts_of = {part: changed(own.get(part, getattr(config, part)), fields) for part, fields in inner.items()}
    return dataclasses.replace(config, **{**own, **parts_of})


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A flat dict with the option names of the command line: `{"actor": {"kind": "gru", "hidden_size": 64}}` gives `actor` and
    `actor.hidden_size`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if parts.is_record(value):
            found[prefix + name] = value[parts.KIND]
            found |= flat({key: item for key, item in value.items() if key != parts.KIND}, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found
