"""Action names from the environment's package: `get_action_meanings()`, or an enum of actions. Spaces themselves have no names.

`get_action_meanings()` returns one list of names for all agents, one list per agent, or a dict by agent. An enum is the environment's
attribute `actions` or `Actions`, or `Action` or `Actions` in its module; its values must be the indices of the actions. Names whose number
differs from the agent's number of actions are not used.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dop.envs.python.base.limits import layers
from dop.errors import ConfigError, check_names


def names_of(env: Any, agents: Sequence[Any], sizes: Sequence[int]) -> tuple[tuple[str, ...], ...]:
    """`EnvSpec.action_names` of these agents, from the environment or the first environment inside it that has names; else empty."""
    try:
        found = ([_sound(names, size) for names, size in zip(each, sizes, strict=True)] for each in _candidates(env, agents))
        return next((tuple(names) for names in found if all(names)), ())
    except Exception:  # user code; such an environment has no names
        return ()


def ignored(env: Any, agents: Sequence[Any], sizes: Sequence[int]) -> str | None:
    """Why the names of `get_action_meanings()` are not used, if an environment has some and none are used; else None."""
    if names_of(env, agents, sizes):
        return None
    try:
        methods = (getattr(layer, "get_action_meanings", None) for layer in layers(env))
        given = next((_of_each(method(), agents) for method in methods if callable(method)), [])
        for agent, names, size in zip(agents, given, sizes, strict=False):
            if not _sound(names, size):
                many = f"it has {len(names or ())} for {agent}, which has {size} actions"
                alike = f"those of {agent} are not different names that can be printed"
                return f"get_action_meanings is not used: {many if len(names or ()) != size else alike}"
    except Exception as error:  # user code
        return f"get_action_meanings is not used: {type(error).__name__}: {error}"
    return None


def _candidates(env: Any, agents: Sequence[Any]) -> Iterator[list[Any]]:
    """Possible names, each a list over agents."""
    for layer in layers(env):
        meanings = getattr(layer, "get_action_meanings", None)
        if callable(meanings):
            yield _of_each(meanings(), agents)
        own = (getattr(layer, name, None) for name in ("actions", "Actions"))
        in_module = (getattr(sys.modules.get(type(layer).__module__), name, None) for name in ("Action", "Actions"))
        for kind in (*own, *in_module):
            if isinstance(kind, type) and issubclass(kind, enum.Enum):
                yield [_members(kind)] * len(agents)


def _of_each(given: Any, agents: Sequence[Any]) -> list[Any]:
    """The names of each agent, from one list for all agents or one per agent."""
    if isinstance(given, Mapping):
        return [given.get(agent, given.get(str(agent))) for agent in agents]
    nested = [names for names in given if not isinstance(names, str)]
    return list(given) if len(nested) == len(agents) else [given] * len(agents)


def _members(kind: type[enum.Enum]) -> list[str]:
    """The names in the order of their values; empty if these are not 0, 1, 2, ..."""
    by_number = {member.value: name.lower().replace("_", " ") for name, member in kind.__members__.items()}
    return [by_number[i] for i in range(len(by_number))] if by_number.keys() == set(range(len(by_number))) else []


def _sound(names: Any, size: int) -> tuple[str, ...]:
    """The names, if they are distinct, printable, and one per action; else empty."""
    texts = tuple(str(name) for name in names or ())
    try:
        check_names("action_names", texts)
    except ConfigError:
        return ()
    return texts if len(texts) == len(set(texts)) == size else ()
