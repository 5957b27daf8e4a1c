"""Validate an environment, and report its faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import tyro

from dop import envs
from dop.cli.environment import environment_options
from dop.cli.output import say
from dop.cli.parsing import parse
from dop.envs.making.listing import LISTED, listed
from dop.envs.validation.faults import PROMISES
from dop.envs.validation.pictures import picture_notes
from dop.envs.validation.survey import Survey, survey
from dop.errors import ConfigError, checked_episodes, checked_seed
from dop.storage.config import TrainConfig
from dop.training.collect import HALF_LEAST, storage_dtype, storage_words
from dop.types import EnvSpec

USAGE = "ENV [options]"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Play random episodes and compare the environment with its spec. The exit code is 2 if it cannot be used."""

    env: Annotated[str, tyro.conf.Positional]
    """Environment, as for `dop train --env`."""
    env_args: tuple[str, ...] = ()
    """Options for the environment's maker, as `name=value`."""
    episodes: int = 3
    """Number of random episodes."""
    seed: int = 0
    """Seed of the first episode; the following episodes use the following seeds."""


def run(arguments: Sequence[str]) -> None:
    """`dop check-env ENV [--env-args ...]`"""
    options = parse(Options, arguments, prog="dop check-env", first="ENV")
    episodes, seed = checked_episodes("episodes", options.episodes), checked_seed("seed", options.seed)
    makes = environment_options(options.env_args)

    def make() -> Any:
        return envs.make(options.env, **makes)

    found = survey(make, episodes=episodes, seed=seed)
    pictures = [] if found.faults else list(picture_notes(make, seed))
    say("\n".join([*describe(found.spec, in_jax=found.in_jax), *verdict(found, pictures)]))
    if found.faults:
        raise ConfigError(f"{found.spec.name} cannot be used: {len(found.faults)} of {len(PROMISES)} requirements are violated.")


def describe(spec: EnvSpec, *, in_jax: bool) -> list[str]:
    """A summary of the environment's spec."""
    agents, types = listed(spec.agents), list(dict.fromkeys(spec.agent_types))
    what = {"discrete": "actions", "box": "numbers in [-1, 1]", "simplex": "fractions that sum to 1"}[spec.action_kind]
    rows = {
        "agents": f"{spec.n_agents}: {agents}",
        "types": _few([f"{name} x {spec.agent_types.count(name)}" for name in types]),
        "observation": f"{_sizes(spec.obs_sizes)} numbers",
        "action": f"{spec.action_kind}, {_sizes(spec.action_sizes)} {what}",
        **_action_names(spec),
        "state": f"{spec.state_size} numbers",
        "time limit": f"{spec.time_limit} steps",
        "metrics": ", ".join(spec.metrics) or "none",
        **_team(spec),
        "replay": f"keeps observations {storage_words(spec, TrainConfig.precision)}",
    }
    head = f"{spec.name}, version {spec.version}, {'JAX environment' if in_jax else 'Python environment'}"
    return [head, *(f"  {name:13}{value}" for name, value in rows.items())]


def _action_names(spec: EnvSpec) -> dict[str, str]:
    """Names of actions: once for all agents with the same names."""
    agents_of: dict[tuple[str, ...], list[str]] = {}
    for agent, names in zip(spec.agents, spec.action_names, strict=bool(spec.action_names)):
        agents_of.setdefault(names, []).append(agent)
    if not agents_of:
        return {}
    alike = len(agents_of) == 1
    return {"action names": "; ".join(_few(names) if alike else f"{listed(of)}: {_few(names)}" for names, of in agents_of.items())}


def _team(spec: EnvSpec) -> dict[str, str]:
    """The option `team`, and the policy of the other agents."""
    options = dict(spec.options)
    if "team" not in options:
        return {}
    return {"team": ", ".join(options["team"]), "others": f"{options.get('others', 'random')} (outside of the team, not learned)"}


def _sizes(sizes: Sequence[int]) -> str:
    """The common size, each agent's size, or, for many agents, the count of each size."""
    if len(set(sizes)) == 1:
        return str(sizes[0])
    return " / ".join(map(str, sizes)) if len(sizes) <= LISTED else _few([f"{size} x {sizes.count(size)}" for size in dict.fromkeys(sizes)])


def _few(words: Sequence[str]) -> str:
    return ", ".join(words) if len(words) <= LISTED else f"{', '.join(words[:LISTED])} and {len(words) - LISTED} more"


def _precision_note(found: Survey) -> list[str]:
    """A note if half precision, in which the replay stores observations, does not resolve the smallest entries."""
    if not 0 < found.smallest < HALF_LEAST or storage_dtype(found.spec, "auto") != np.float16:
        return []
    return [
        f"entries of observations or state are as small as {found.smallest:.2g}; half precision loses digits below {HALF_LEAST:.2g}: use "
        "--precision full if they matter"
    ]


def verdict(found: Survey, pictures: Sequence[str] = ()) -> list[str]:
    """The results of the validation, with faults and notes."""
    speed = f", {found.steps_per_second:,.0f} steps/s" if found.steps_per_second else ""
    lines = [f"{found.episodes} random episodes, {found.steps} steps{speed}:"]
    for promise, text in PROMISES.items():
        if promise in found.faults:
            lines.append(f"  WRONG  {text}\n         {found.faults[promise]}")
        elif promise == "bound" and found.spec.obs_bound is None:
            lines.append("  -      not checked: the environment gives no obs_bound for observations and state")
        elif not (found.faults.keys() & {"runs", "shapes"}):
            lines.append(f"  ok     {text}")
    lines += [f"  {scale}" for scale in found.scales]
    lines += [f"  note   {note}" for note in (*found.notes, *pictures, *_precision_note(found))]
    return [*lines, "it cannot be used" if found.faults else "it can be used"]
