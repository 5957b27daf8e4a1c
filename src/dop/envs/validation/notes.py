"""Notes on an environment: ranges, ends, inactive agents, opposing rewards."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dop.envs.making.listing import LISTED, listed, patterns
from dop.envs.validation.episodes import Played, play
from dop.envs.validation.scale import Scale, same_end
from dop.envs.validation.sides import constant_types, opposing

MORE_STEPS, MORE_SECONDS = 1000, 5.0
"""Most further play of `survey` to detect opposing rewards."""


def end_notes(environment: Any, scales: list[Scale]) -> list[str]:
    """A note if random episodes terminate as if by a time limit, unless the user has set `limit_terminates`."""
    known = getattr(getattr(environment, "common", None), "limit_terminates", False)
    ends = [same_end(of.lengths, of.terminated, environment.spec.time_limit) for of in scales[:1] if not known]
    return [end for end in ends if end]


def range_notes(environment: Any, all_played: list[Played]) -> Iterator[str]:
    spec = environment.spec
    steps = [step for played in all_played for step in played.copies]
    if not steps:
        return
    low, high = min(float(step.obs.min()) for step in steps), max(float(step.obs.max()) for step in steps)
    yield f"observations were between {low:.4g} and {high:.4g}" + ("" if spec.obs_bound is None else f"; obs_bound is {spec.obs_bound}")
    ends = [played.copies[-1] for played in all_played]
    yield f"{sum(bool(end.terminated) for end in ends)} episodes terminated, {sum(bool(end.truncated) for end in ends)} were truncated"
    inactive = np.mean([~step.action_mask.any(axis=-1) for step in steps if not step.terminated], axis=0)
    yield from _inactive_notes(spec.agents, np.broadcast_to(inactive, spec.n_agents))
    if not any(step.reward != 0 for step in steps):
        yield "random play had no reward in any step"
    unreported = sorted(getattr(environment, "unreported", ()))
    if unreported:
        yield f"its infos also have {', '.join(unreported)}: add them to the option metrics to report them"
    yield from getattr(environment, "remarks", ())


def _inactive_notes(agents: Sequence[str], inactive: np.ndarray) -> Iterator[str]:
    """The inactive agents with the fraction of steps: one by one, or, if there are many, together."""
    found = [(agent, fraction) for agent, fraction in zip(agents, inactive, strict=True) if fraction > 0]
    if len(found) <= LISTED:
        for agent, fraction in found:
            yield f"{agent} was inactive (no legal action) in {fraction:.0%} of the steps"
        return
    fractions = [fraction for _, fraction in found]
    least, most = f"{min(fractions):.0%}", f"{max(fractions):.0%}"
    fraction = least if least == most else f"{least} to {most}"
    yield f"{listed(agent for agent, _ in found)} were inactive (no legal action) in {fraction} of the steps"


def sides_notes(environment: Any, all_played: list[Played], seed: int) -> Iterator[str]:
    """A note if agents' rewards oppose each other; it plays further episodes, from `seed` on, while some rewards are constant."""
    agents = environment.spec.agents
    sides = opposing(_agent_rewards(environment, all_played, seed), environment.spec.agent_types)
    if sides is None:
        return
    one, other = (patterns([agents[i] for i in side], agents) for side in (sides.one, sides.other))
    chosen = f"team={other[0]}" if len(other) == 1 else f"team={json.dumps(other)}" if len(other) <= LISTED else "team=[NAMES]"
    yield (
        f"the rewards of {listed(one)} oppose those of {listed(other)} (correlation {sides.correlation:.2f}): they are not one team, but "
        f"their rewards are summed. Set the team, for example --env-args '{chosen}'; the others then act at random (others=random) or take "
        "no-op actions (others=noop)"
    )


def _agent_rewards(environment: Any, all_played: list[Played], seed: int) -> list[np.ndarray]:
    """Rewards by episode, step and agent; with further episodes, from `seed` on, while an agent type's are constant. Empty if unknown."""
    spec = environment.spec
    rewards = [np.array(played.rewards, float) for played in all_played if played.actions]
    if any(of.shape[1:] != (spec.n_agents,) for of in rewards):
        return []
    steps, start = 0, time.perf_counter()
    while constant_types(rewards, spec.agent_types) and steps < MORE_STEPS and time.perf_counter() - start < MORE_SECONDS:
        played = Played()
        try:
            play(environment, played, seed=seed, rng=np.random.default_rng((seed, 0)))
        except (Exception, SystemExit):  # foreign code; its faults are reported for the requested episodes
            break
        if played.actions:
            rewards.append(np.array(played.rewards, float))
        steps, seed = steps + max(len(played.actions), 1), seed + 1
    return rewards
