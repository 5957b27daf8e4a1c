"""Time limits of adapted environments.

A time limit is not the end of the task, but many environments terminate when it is reached, without reporting truncation (lbforaging,
rware, multiwalker; StarCraft II by default). So an episode that terminates exactly at a limit of the environment, or of a wrapper around
it, counts as truncated, unless the environment reports which it was (`Moment.certain`). The option `time_limit` has the same effect where
the environment itself has no limit. A task that is completed in exactly the last step then counts as truncated. Where the limit is a part
of the task, as in a game of one step, set the option `limit_terminates`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dop.errors import ConfigError

LIMITS = ("max_cycles", "max_steps", "max_episode_steps", "_max_episode_steps", "episode_limit")
"""Environments' attribute names for time limits."""
_MOST_LAYERS = 32


@dataclass(frozen=True)
class Limits:
    """Time limits found by name, in steps."""

    own: frozenset[int]
    """Limits of the environment under its wrappers."""
    around: frozenset[int]
    """Limits of the wrappers."""

    @classmethod
    def of(cls, env: Any, **more: Any) -> Limits:
        """The limits of an environment and its wrappers; `more` are limits from other sources, by name."""
        *wrappers, raw = layers(env)
        declared = _whole([*more.values(), *(_quiet(layer, "spec.max_episode_steps") for layer in (*wrappers, raw))])
        # A wrapper may forward attributes of the wrapped environment: its own are in its `__dict__`.
        around = _whole([vars(wrapper).get(name) for wrapper in wrappers if hasattr(wrapper, "__dict__") for name in LIMITS])
        own = _whole([_quiet(raw, name) for name in LIMITS])
        return cls(own=own, around=around | declared) if wrappers else cls(own=own | declared, around=around)

    def shortest(self, name: str, asked: int | None, looked: str) -> int:
        """The shortest of these and the limit that the option asks for.

        Raises:
            ConfigError: none is known. `looked` says where the environment's limit was searched for.
        """
        known = self.own | self.around | ({asked} if asked is not None else frozenset())
        if not known:
            raise ConfigError(f"{name} has no time limit of its own ({looked}): set one with the option time_limit=STEPS.")
        return min(known)


def layers(env: Any) -> list[Any]:
    """An environment's wrappers, the outermost first, and last the wrapped environment."""
    found = [env]
    while len(found) < _MOST_LAYERS:
        inside = (_quiet(found[-1], name) for name in ("env", "_env", "aec_env", "unwrapped"))
        inner = next((x for x in inside if hasattr(x, "step") and not any(x is layer for layer in found)), None)
        if inner is None:
            break
        found.append(inner)
    return found


def _quiet(thing: Any, path: str) -> Any:
    """The attribute of an attribute; None if there is none."""
    try:
        return functools.reduce(getattr, path.split("."), thing)
    except Exception:  # a foreign property may raise anything
        return None


def _whole(values: Sequence[Any]) -> frozenset[int]:
    """The positive whole numbers among these."""
    return frozenset(int(v) for v in values if isinstance(v, int | np.integer) and not isinstance(v, bool) and v > 0)
