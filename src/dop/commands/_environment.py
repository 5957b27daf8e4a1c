"""What is typed about an environment, `--env-args name=value ...`, as keyword arguments of `dop.make`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from dop.errors import ConfigError


def environment_options(words: Sequence[str]) -> dict[str, Any]:
    """`name=value` pairs; values are read as JSON where they are JSON, else as text."""
    options = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator:
            raise ConfigError(f"--env-args takes name=value, got {word!r}.")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    return options
