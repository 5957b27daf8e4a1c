"""Skirmish: the battles of SMAC, its maps, units and rules, in JAX and without StarCraft II.

Samvelyan et al., The StarCraft Multi-Agent Challenge (2019); Ellis et al., SMACv2 (2023) for random teams. Learning allies fight enemies
that attack-move to the allies' start, as in SMAC. Rules, observations, states, actions and rewards are SMAC's: `observation` and
`environment` describe them; `battle` describes a game loop; `units.toml` and `maps/` have the facts, with their sources.

What is simpler than StarCraft II: attacks hit at once (no missiles, no time to aim or turn), units have no acceleration, and they find
ways around each other by pushing and turning (`motion`).
"""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import asdict
from typing import Any

from dop.envs.making.options import boolean, finite, one_of, positive, positive_integer
from dop.envs.skirmish import environment, maps
from dop.envs.skirmish.environment import Rewards, Skirmish
from dop.envs.skirmish.rules import Rules
from dop.envs.skirmish.units import MULTIPLAYER
from dop.envs.skirmish.units import UNITS as SMAC
from dop.errors import ConfigError, shown

FAMILY = "skirmish"
READS_DATA = maps.SUFFIX
"""A name that ends so is the path of a map, which is read as data; no code is imported."""

UNITS = {"smac": SMAC, "multiplayer": MULTIPLAYER}
DIFFICULTIES = {"easy": 24, "medium": 12, "hard": 6, "very-hard": 2}
"""Game loops between an enemy's looks around itself. With 6, scripted allies win about as often as in StarCraft II on 3s5z and 10m_vs_11m
(`bench/skirmish.py`)."""
OWN_OPTIONS = ("time_limit", "difficulty", "units", "step_mul", "move_amount")
MOST_LOOPS = 1000
"""The largest `step_mul`."""
MOST_REWARD = 1e6
"""The largest number in an option of rewards."""
_ACQUIRE = 5.0
"""How far enemies look for targets, from edge to edge; the game's own distance."""
_RANDOM = {"obs_own_pos": True, "use_unit_ranges": True}
"""Defaults on maps of random teams, as SMACv2 configures them."""


def variants() -> tuple[str, ...]:
    return maps.names()


full_name = maps.full_name


def make(
    variant: str | None,
    *,
    time_limit: int | None = None,
    difficulty: str = "hard",
    units: str = "smac",
    step_mul: int = 8,
    move_amount: float = 2.0,
    **options: Any,
) -> Skirmish:
    """A battle on the map `variant`: a listed one, or the path of a map file of one's own, `skirmish:PATH.toml`.

    Args:
        time_limit: steps; by default the map's own.
        difficulty: how often enemies look around themselves: easy every 24 game loops, medium 12, hard 6, very-hard 2.
        units: the numbers of the units that SMAC's maps use (`smac`), or those of the multiplayer game, version 4.10 (`multiplayer`).
        step_mul: game loops of one step (SMAC: 8).
        move_amount: cells that an order to move goes (SMAC: 2).
        options: SMAC's options of observations and rewards, by SMAC's names; the fields of `observation.Shown` and `environment.Rewards`.

    Raises:
        UnknownNameError: no such map.
        ConfigError: an option out of range, or a map file that is not valid.
    """
    if variant is None:
        raise ConfigError(
            f"{FAMILY} needs a map, for example {FAMILY}:MMM, or {FAMILY}:PATH.toml for one of your own. `dop list` names them."
        )
    variant = full_name(variant)
    battlefield = maps.load(variant)
    known = environment.option_fields() | (_RANDOM if battlefield.random is not None else {})
    unknown = sorted(set(options) - set(known))
    if unknown:
        names = (*OWN_OPTIONS, *known)
        near = difflib.get_close_matches(unknown[0], names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"{FAMILY}:{variant} has no option {shown(unknown[0])}.{hint} It has {', '.join(sorted(names))}.")
    checked = {name: _checked(name, options.get(name, default), default) for name, default in known.items()}
    shown_, rewards = environment.grouped(checked)
    _check_rewards(rewards)
    if positive_integer("step_mul", step_mul) > MOST_LOOPS:
        raise ConfigError(f"step_mul is {step_mul}; it must be at most {MOST_LOOPS}.")
    limit = battlefield.time_limit if time_limit is None else positive_integer("time_limit", time_limit)
    rules = Rules(
        map=battlefield,
        time_limit=limit,
        step_loops=step_mul,
        move_amount=positive("move_amount", move_amount),
        units=UNITS[one_of("units", units, tuple(UNITS))],
        acquire=_ACQUIRE,
        reaction=DIFFICULTIES[one_of("difficulty", difficulty, tuple(DIFFICULTIES))],
    )
    own = zip(OWN_OPTIONS, (limit, difficulty, units, step_mul, float(move_amount)), strict=True)
    return Skirmish(
        rules=rules,
        shown=shown_,
        rewards=rewards,
        name=f"{FAMILY}:{variant}",
        version=f"1-{_digest(rules)}",
        options=(*own, *environment.as_options(shown_, rewards)),
    )


def _checked(name: str, value: Any, default: Any) -> Any:
    return boolean(name, value) if isinstance(default, bool) else finite(name, value)


def _check_rewards(rewards: Rewards) -> None:
    """Refuse rewards that the largest return cannot scale: then it would be 0 or negative, or infinite in 32 bits."""
    for name, value in vars(rewards).items():
        if abs(value) > MOST_REWARD:
            raise ConfigError(f"{name} is {value}; it must be from -{MOST_REWARD:g} to {MOST_REWARD:g}.")
    if not rewards.reward_scale:
        return
    positive("reward_scale_rate", rewards.reward_scale_rate)
    for name in ("reward_win", "reward_death_value"):
        if getattr(rewards, name) < 0.0:
            raise ConfigError(f"{name} is {getattr(rewards, name)}; with reward_scale=true it must be at least 0.")


def _digest(rules: Rules) -> str:
    """Eight characters that change whenever the map or a number of its units does."""
    facts = [asdict(rules.map), *(asdict(unit) for unit in rules.types)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
