"""`--env-args name=value ...` as keyword arguments of `dop.make`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import dop
from dop.errors import ConfigError, shown


def environment_options(words: Sequence[str]) -> dict[str, Any]:
    """Parse `name=value` pairs; values are JSON if they parse as such, else strings.

    Raises:
        ConfigError: a word is not such a pair, a name occurs twice or is not an identifier, or a value is too large.
    """
    options: dict[str, Any] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not name.isidentifier():
            raise ConfigError(f"--env-args takes name=value, got {shown(word)}.")
        if name in options:
            raise ConfigError(f"--env-args has {name} twice: {shown(options[name])}, then {shown(value)}.")
        options[name] = _value(name, value)
    return dop.envs.checked_options(options)


def _value(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
    except (ValueError, RecursionError) as error:
        much = "digits in a number" if isinstance(error, ValueError) else "brackets in each other"
        raise ConfigError(f"--env-args: {name} has too many {much}: {shown(text)}.") from error
