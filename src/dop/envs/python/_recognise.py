"""What a function of the user's own returned, told by what it has.

PettingZoo's parallel and Gymnasium's team environments are adapted; of others it is said how to name or convert them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from dop.envs.making import makers, seeding
from dop.envs.python import _reseeded, gymnasium, pettingzoo, pymarl
from dop.envs.python._team import AdaptedTeam, Common
from dop.types import EnvSpec

JAXMARL = (
    "JaxMARL's environments cannot be used as they are: smax:..., mpe:... and, with an extra, mabrax:... are here by name (dop list). For "
    "another one write a class with spec, reset and step around it, as dop.Environment says."
)
"""What to do with an environment of JaxMARL."""


def adapt(name: str, maker: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """What `maker` makes of `options`, as a `PythonEnvironment` if it is of PettingZoo's or Gymnasium's kind, else as it is.

    Options that the maker does not name and the adapters have are the adapter's.

    Raises:
        ConfigError: the maker does not take the options, or the environment cannot be used.
    """
    own, common = _split(maker, options)
    made = makers.call(name, maker, **own)
    adapter = _adapter(made)
    if adapter is None:
        return makers.call(name, maker, **options) if common else made
    version = makers.version_of(name.partition(":")[0], revision=1)
    how: Any = {"version": version, "common": Common(**common), "options": own}
    if not seeding.asked(name, own):
        return adapter(name, made, **how)
    made.close()
    return _reseeded.make(lambda seeds: adapter(name, makers.call(name, maker, **{**own, **seeds}), **how), name, own)


def way_out(name: str, made: Any) -> str:
    """What to do with something that is no environment here; empty if there is nothing better to say than that."""
    if hasattr(made, "agent_iter"):
        return f"Its agents act in turn (AEC). {pettingzoo.PARALLEL}"
    if any(kind.__module__.partition(".")[0] == "jaxmarl" for kind in type(made).__mro__):
        return JAXMARL
    if all(callable(getattr(made, method, None)) for method in pymarl.ASKED):
        return f"It has the interface of PyMARL's: name it {pymarl.FAMILY}:{name}."
    if _adapter(made) is not None:
        return "Give its name, or a function that makes it: several are needed at once."
    return ""


def _adapter(made: Any) -> Callable[..., AdaptedTeam] | None:
    """What adapts it, if it is of one of the kinds that can be told from what they have."""
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
    except ValueError:  # it is not made by a Python function, of which `_makers.call` tells
        named = {}
    common = {field.name for field in fields(Common)} - set(named)
    return {k: v for k, v in options.items() if k not in common}, {k: v for k, v in options.items() if k in common}
