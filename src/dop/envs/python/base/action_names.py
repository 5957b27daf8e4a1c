"""What an environment's package calls the actions: `get_action_meanings()`, or an enum of actions. Spaces themselves have no names.

`get_action_meanings()` gives a list of names for everybody, one list for each agent, or a dict of them by agent. An enum is the attribute
`actions` or `Actions` of the environment, or is called `Action` or `Actions` in the module that the environment is written in; its values
must be the numbers of the actions. Names that are not as many as an agent has actions are not used.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dop.envs.python.base.limits import layers
from dop.errors import ConfigError, check_names


def told(env: Any, agents: Sequence[Any], sizes: Sequence[int]) -> tuple[tuple[str, ...], ...]:
    """`EnvSpec.action_names` of these agents, by what the environment or something that it wraps says first; empty if nothing does."""
    try:
        found = ([_sound(names, size) for names, size in zip(each, sizes, strict=True)] for each in _told(env, agents))
        return next((tuple(names) for names in found if all(names)), ())
    except Exception:  # the environment's own code: what cannot say names has none
        return ()


def ignored(env: Any, agents: Sequence[Any], sizes: Sequence[int]) -> str | None:
    """Why the names of `get_action_meanings()` are not used, if an environment gives some and `told` uses none; else None."""
    if told(env, agents, sizes):
        return None
    try:
        methods = (getattr(layer, "get_action_meanings", None) for layer in layers(env))
        given = next((_of_each(method(), agents) for method in methods if callable(method)), [])
        for agent, names, size in zip(agents, given, sizes, strict=False):
            if not _sound(names, size):
                many = f"it has {len(names or ())} for {agent}, which has {size} actions"
                alike = f"those of {agent} are not different names that can be printed"
                return f"get_action_meanings is not used: {many if len(names or ()) != size else alike}"
    except Exception as error:  # the environment's own code
        return f"get_action_meanings is not used: {type(error).__name__}: {error}"
    return None


def _told(env: Any, agents: Sequence[Any]) -> Iterator[list[Any]]:
    """What may be the names, for each of the agents."""
    for layer in layers(env):
        meanings = getattr(layer, "get_action_meanings", None)
        if callable(meanings):
            yield _of_each(meanings(), agents)
        own = (getattr(layer, name, None) for name in ("actions", "Actions"))
        beside = (getattr(sys.modules.get(type(layer).__module__), name, None) for name in ("Action", "Actions"))
        for kind in (*own, *beside):
            if isinstance(kind, type) and issubclass(kind, enum.Enum):
                yield [_members(kind)] * len(agents)


def _of_each(given: Any, agents: Sequence[Any]) -> list[Any]:
    """The names of each agent, given for everybody or one by one."""
    if isinstance(given, Mapping):
        return [given.get(agent, given.get(str(agent))) for agent in agents]
    nested = [names for names in given if not isinstance(names, str)]
    return list(given) if len(nested) == len(agents) else [given] * len(agents)


def _members(kind: type[enum.Enum]) -> list[str]:
    """The names in the order of their numbers; none if these are not 0, 1, 2, ..."""
    by_number = {member.value: name.lower().replace("_", " ") for name, member in kind.__members__.items()}
    return [by_number[i] for i in range(len(by_number))] if by_number.keys() == set(range(len(by_number))) else []


def _sound(names: Any, size: int) -> tuple[str, ...]:
    """The names, if they are as many different ones as there are actions, and can be printed; else none."""
    texts = tuple(str(name) for name in names or ())
    try:
        check_names("action_names", texts)
    except ConfigError:
        return ()
    return texts if len(texts) == len(set(texts)) == size else ()
