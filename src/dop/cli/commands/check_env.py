"""Whether an environment can be used, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import tyro

from dop import envs
from dop.cli.environment import environment_options
from dop.cli.output import say
from dop.envs.making.listing import LISTED, listed
from dop.envs.validation.faults import PROMISES
from dop.envs.validation.survey import Survey, survey
from dop.errors import ConfigError, checked_episodes, checked_seed
from dop.storage.run_directory import TrainConfig
from dop.training.collect import HALF_LEAST, storage_dtype, storage_words
from dop.types import EnvSpec

USAGE = "ENV [options]"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Play random episodes and compare what the environment does with what it says. The exit code is 2 if it cannot be used."""

    env: Annotated[str, tyro.conf.Positional]
    """Environment, as `dop train --env` takes it."""
    env_args: tuple[str, ...] = ()
    """Options for the environment's maker, as `name=value`."""
    episodes: int = 3
    """How many."""
    seed: int = 0
    """Of the first episode; the others' are the numbers after it."""


def run(arguments: Sequence[str]) -> None:
    """`dop check-env ENV [--env-args ...]`"""
    options = tyro.cli(Options, args=arguments, prog="dop check-env")
    episodes, seed = checked_episodes("episodes", options.episodes), checked_seed("seed", options.seed)
    makes = environment_options(options.env_args)
    found = survey(lambda: envs.make(options.env, **makes), episodes=episodes, seed=seed)
    say("\n".join([*describe(found.spec, in_jax=found.in_jax), *verdict(found)]))
    if found.faults:
        raise ConfigError(f"{found.spec.name} cannot be used as it is: {len(found.faults)} of {len(PROMISES)} promises are broken.")


def describe(spec: EnvSpec, *, in_jax: bool) -> list[str]:
    """What the environment says of itself."""
    agents, types = listed(spec.agents), list(dict.fromkeys(spec.agent_types))
    what = {"discrete": "actions", "box": "numbers in [-1, 1]", "simplex": "shares that sum to 1"}[spec.action_kind]
    rows = {
        "agents": f"{spec.n_agents}: {agents}",
        "types": _few([f"{name} x {spec.agent_types.count(name)}" for name in types]),
        "observation": f"{_sizes(spec.obs_sizes)} numbers",
        "action": f"{spec.action_kind}, {_sizes(spec.action_sizes)} {what}",
        "state": f"{spec.state_size} numbers",
        "time limit": f"{spec.time_limit} steps",
        "metrics": ", ".join(spec.metrics) or "none",
        **_team(spec),
        "replay": f"keeps observations {storage_words(spec, TrainConfig.precision)}",
    }
    head = f"{spec.name}, version {spec.version}, {'in JAX' if in_jax else 'outside JAX'}"
    return [head, *(f"  {name:13}{value}" for name, value in rows.items())]


def _team(spec: EnvSpec) -> dict[str, str]:
    """Who the team was said to be, and what the others do."""
    options = dict(spec.options)
    if "team" not in options:
        return {}
    return {"team": ", ".join(options["team"]), "others": f"{options.get('others', 'random')} (not of the team, and not learned)"}


def _sizes(sizes: Sequence[int]) -> str:
    """One size of all, each agent's, or, where they are many, how many have which."""
    if len(set(sizes)) == 1:
        return str(sizes[0])
    return " / ".join(map(str, sizes)) if len(sizes) <= LISTED else _few([f"{size} x {sizes.count(size)}" for size in dict.fromkeys(sizes)])


def _few(words: Sequence[str]) -> str:
    return ", ".join(words) if len(words) <= LISTED else f"{', '.join(words[:LISTED])} and {len(words) - LISTED} more"


def _precision_note(found: Survey) -> list[str]:
    """A note if half precision, in which the replay keeps observations, does not resolve what was seen."""
    if not 0 < found.smallest < HALF_LEAST or storage_dtype(found.spec, "auto") != np.float16:
        return []
    return [
        f"entries of observations or state are as small as {found.smallest:.2g}, of which half precision keeps fewer digits (below "
        f"{HALF_LEAST:.2g}): use --precision full if they matter"
    ]


def verdict(found: Survey) -> list[str]:
    """What it did."""
    speed = f", {found.steps_per_second:,.0f} steps/s" if found.steps_per_second else ""
    lines = [f"{found.episodes} random episodes, {found.steps} steps{speed}:"]
    for promise, text in PROMISES.items():
        if promise in found.faults:
            lines.append(f"  WRONG  {text}\n         {found.faults[promise]}")
        elif not (found.faults.keys() & {"runs", "shapes"}):
            lines.append(f"  ok     {text}")
    lines += [f"  {scale}" for scale in found.scales]
    lines += [f"  note   {note}" for note in (*found.notes, *_precision_note(found))]
    return [*lines, "it cannot be used" if found.faults else "it can be used"]
