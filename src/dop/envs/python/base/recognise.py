"""The kind of environment that a user's function returned, recognised by its attributes.

PettingZoo's parallel and Gymnasium's team environments are adapted; for other kinds a message says how to name or convert them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from dop.envs.common import jaxmarl
from dop.envs.making import makers, seeding
from dop.envs.python import gymnasium, pettingzoo, pymarl
from dop.envs.python.base import drawn_pictures, reseeded
from dop.envs.python.base.adapted_team import AdaptedTeam
from dop.envs.python.base.common import Common
from dop.types import EnvSpec


def adapt(name: str, maker: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """The environment that `maker` returns for `options`: a `PythonEnvironment` around PettingZoo's and Gymnasium's, unchanged otherwise.

    Options of the adapters that are not parameters of the maker go to the adapter.

    Raises:
        ConfigError: the maker does not accept the options, or the environment cannot be used.
    """
    own, common = _split(maker, options)
    made = _ready(name, maker, own)
    adapter = _adapter(made)
    if adapter is None:
        return makers.call(name, maker, **options) if common else made
    version = makers.version_of(name.partition(":")[0], revision=1)
    how: Any = {"version": version, "common": Common(**common), "options": own}
    if not seeding.option_seeds(name, own):
        return adapter(name, made, **how)
    made.close()
    return reseeded.make(lambda seeds: adapter(name, _ready(name, maker, {**own, **seeds}), **how), name, own)


def _ready(name: str, maker: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """What `maker` makes of `options`; ready to draw, if that is wanted and it is of a kind that is adapted."""
    return drawn_pictures.ready(name, lambda **more: makers.call(name, maker, **options, **more), maker, options)


def way_out(name: str, made: Any) -> str:
    """Advice for a value that is not a supported environment; empty if there is none."""
    if hasattr(made, "agent_iter"):
        return f"Its agents act in turn (AEC). {pettingzoo.PARALLEL}"
    if any(kind.__module__.partition(".")[0] == "jaxmarl" for kind in type(made).__mro__):
        return jaxmarl.ADVICE
    if all(callable(getattr(made, method, None)) for method in pymarl.REQUIRED):
        return f"It has PyMARL's interface: use the name {pymarl.FAMILY}:{name}."
    if _adapter(made) is not None:
        return "Give its name, or a function that makes it: a run needs several copies."
    return ""


def _adapter(made: Any) -> Callable[..., AdaptedTeam] | None:
    """The adapter of an environment whose attributes reveal its kind; None for others."""
    if isinstance(getattr(made, "spec", None), EnvSpec) or isinstance(made, type) or hasattr(made, "agent_iter"):
        return None
    spaces = [getattr(made, name, None) for name in ("observation_space", "action_space")]
    if hasattr(made, "possible_agents") and all(callable(space) for space in spaces):
        return pettingzoo.PettingZoo
    if hasattr(made, "unwrapped") and not any(space is None or callable(space) for space in spaces):
        return gymnasium.Gymnasium
    return None


def _split(maker: Callable[..., Any], options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The maker's options, and the adapter's."""
    try:
        named = inspect.signature(maker).parameters
    except ValueError:  # not a Python function: `makers.call` reports it
        named = {}
    common = {field.name for field in fields(Common)} - set(named)
    return {k: v for k, v in options.items() if k not in common}, {k: v for k, v in options.items() if k in common}
