"""Probe environments: the smallest tasks on which one ability of an algorithm shows, with values worked out by hand.

From easy to hard: a value (`ConstantReward`), a value that depends on what is observed (`ObservationValue`), one that needs
discounting (`DelayedReward`), a bootstrap at a time limit (`TimeLimit`), a joint choice (`Coordination`), memory (`Recurrent`).
The first one that an algorithm fails says what is broken. V is the value of the team at the start, before `gamma` is said otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from dop.types import EnvSpec, TimeStep


class ProbeState(eqx.Module):
    t: Int[Array, ""]
    """Steps taken."""
    cue: Float[Array, ""]
    """-1 or +1, drawn at reset."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What the probes share. By itself: one step, nothing to see, nothing to earn."""

    n_agents: int = 2
    n_actions: int = 2
    obs_size: ClassVar[int] = 1
    state_size: ClassVar[int] = 1

    @property
    def length(self) -> int:
        return 1

    @property
    def terminates(self) -> bool:
        return True

    @property
    def spec(self) -> EnvSpec:
        return EnvSpec(
            name=f"probe:{type(self).__name__}",
            version="1",
            agents=tuple(f"agent_{i}" for i in range(self.n_agents)),
            obs_sizes=(self.obs_size,) * self.n_agents,
            action_sizes=(self.n_actions,) * self.n_agents,
            state_size=self.state_size,
            time_limit=self.length,
            obs_bound=1.0,
        )

    def reset(self, key: PRNGKeyArray) -> tuple[ProbeState, TimeStep]:
        state = ProbeState(t=jnp.zeros((), jnp.int32), cue=jax.random.rademacher(key, (), jnp.float32))
        return state, self._time_step(state, jnp.zeros(()), ended=jnp.zeros((), bool))

    def step(self, key: PRNGKeyArray, state: ProbeState, action: Int[Array, " agent"]) -> tuple[ProbeState, TimeStep]:
        next_state = ProbeState(t=state.t + 1, cue=state.cue)
        return next_state, self._time_step(next_state, self.reward(state, action), ended=next_state.t >= self.length)

    def _time_step(self, state: ProbeState, reward: Float[Array, ""], *, ended: Bool[Array, ""]) -> TimeStep:
        return TimeStep(
            obs=jnp.tile(self.observe(state), (self.n_agents, 1)),
            state=self.global_state(state),
            action_mask=jnp.ones((self.n_agents, self.n_actions), bool),
            reward=reward,
            terminated=ended & self.terminates,
            truncated=ended & (not self.terminates),
            metrics=jnp.zeros((0,)),
        )

    def reward(self, state: ProbeState, action: Int[Array, " agent"]) -> Float[Array, ""]:
        """Of the joint `action` taken in `state`."""
        return jnp.zeros(())

    def observe(self, state: ProbeState) -> Float[Array, " obs"]:
        """What every agent sees."""
        return jnp.ones((1,))

    def global_state(self, state: ProbeState) -> Float[Array, " state"]:
        return self.observe(state)


@dataclass(frozen=True, kw_only=True)
class ConstantReward(Probe):
    """One step, reward 1 whatever is done: V = Q = 1."""

    def reward(self, state: ProbeState, action: Int[Array, " agent"]) -> Float[Array, ""]:
        return jnp.ones(())


@dataclass(frozen=True, kw_only=True)
class ObservationValue(Probe):
    """One step; all see a sign, -1 or +1 with equal chance, and earn it: V(o) = Q(o, a) = o."""

    def reward(self, state: ProbeState, action: Int[Array, " agent"]) -> Float[Array, ""]:
        return state.cue

    def observe(self, state: ProbeState) -> Float[Array, " obs"]:
        return state.cue[None]


@dataclass(frozen=True, kw_only=True)
class DelayedReward(Probe):
    """Two steps of rewards 0 and 1, whatever is done; all see the step, 0 or 1: V(0) = gamma, V(1) = 1."""

    @property
    def length(self) -> int:
        return 2

    def reward(self, state: ProbeState, action: Int[Array, " agent"]) -> Float[Array, ""]:
        return (state.t == 1).astype(jnp.float32)

    def observe(self, state: ProbeState) -> Float[Array, " obs"]:
        return jnp.clip(state.t, 0, 1).astype(jnp.float32)[None]


@dataclass(frozen=True, kw_only=True)
class TimeLimit(Probe):
    """Reward 1 at each step; never terminates, but is cut after `limit` steps, which agents cannot see coming.

    V = 1 / (1 - gamma). Whoever takes the cut for an end gets (1 - gamma^limit) / (1 - gamma) at the start, and 1 before the last step.
    """

    limit: int = 5

    @property
    def length(self) -> int:
        return self.limit

    @property
    def terminates(self) -> bool:
        return False

    def reward(self, state: ProbeState, action: Int[Array, " agent"]) -> Float[Array, ""]:
        return jnp.ones(())


@dataclass(frozen=True, kw_only=True)
class Coordination(Probe):
    """One step; reward 1 if every agent takes action 1, else 0.

    The optimum is unique, V* = 1. Uniform agents get n_actions^-n_agents, by default 1/9, and for each of them action 1 is worth the chance
    that the others take it, any other action nothing: every gradient points to the optimum.
    """

    n_actions: int = 3

    def reward(self, state: ProbeState, action: Int[Array, " agent"]) -> Float[Array, ""]:
        return jnp.all(action == 1).astype(jnp.float32)


@dataclass(frozen=True, kw_only=True)
class Recurrent(Probe):
    """All see a cue, -1 or +1, at the first step only; the reward of step `delay` is the share of agents whose action says which.

    Action 0 says -1, action 1 says +1. Observation: cue (0 after the first step) and t / delay; the state keeps the cue.
    V* = gamma^delay with memory, V = gamma^delay / 2 at best without. The episode terminates after delay + 1 steps.
    """

    delay: int = 2
    obs_size: ClassVar[int] = 2
    state_size: ClassVar[int] = 2

    @property
    def length(self) -> int:
        return self.delay + 1

    def reward(self, state: ProbeState, action: Int[Array, " agent"]) -> Float[Array, ""]:
        share = jnp.mean((action == (state.cue > 0)).astype(jnp.float32))
        return jnp.where(state.t == self.delay, share, 0.0)

    def observe(self, state: ProbeState) -> Float[Array, " obs"]:
        return jnp.stack([jnp.where(state.t == 0, state.cue, 0.0), jnp.minimum(state.t / self.delay, 1.0)])

    def global_state(self, state: ProbeState) -> Float[Array, " state"]:
        return jnp.stack([state.cue, jnp.minimum(state.t / self.delay, 1.0)])


PROBES: tuple[type[Probe], ...] = (ConstantReward, ObservationValue, DelayedReward, TimeLimit, Coordination, Recurrent)


@dataclass(frozen=True, kw_only=True, eq=False)
class OneOf:
    """One of several probes, chosen at run time, so that what learns them is compiled once for all. Where others have more, it is padded.

    Its spec is that of the largest: only `action_mask`, and when episodes end, say which one is played.
    """

    probes: tuple[Probe, ...]
    which: Int[Array, ""]

    @property
    def spec(self) -> EnvSpec:
        specs = [probe.spec for probe in self.probes]
        return EnvSpec(
            name=f"probe:{type(self).__name__}",
            version="1",
            agents=specs[0].agents,
            obs_sizes=(max(spec.obs_size for spec in specs),) * specs[0].n_agents,
            action_sizes=(max(spec.action_size for spec in specs),) * specs[0].n_agents,
            state_size=max(spec.state_size for spec in specs),
            time_limit=max(spec.time_limit for spec in specs),
            obs_bound=1.0,
        )

    def reset(self, key: PRNGKeyArray) -> tuple[ProbeState, TimeStep]:
        return self._choose([probe.reset(key) for probe in self.probes])

    def step(self, key: PRNGKeyArray, state: ProbeState, action: Int[Array, " agent"]) -> tuple[ProbeState, TimeStep]:
        return self._choose([probe.step(key, state, action) for probe in self.probes])

    def _choose(self, answers: Sequence[Any]) -> Any:
        """The answer of the chosen probe, each leaf padded with zeros to its largest size."""

        def choose(*leaves: Array) -> Array:
            shape = [max(sizes) for sizes in zip(*(leaf.shape for leaf in leaves), strict=True)]
            room = [[(0, more - own, 0) for own, more in zip(x.shape, shape, strict=True)] for x in leaves]
            padded = [jax.lax.pad(x, jnp.zeros((), x.dtype), more) for x, more in zip(leaves, room, strict=True)]
            return jnp.stack(padded)[self.which]

        return jax.tree.map(choose, *answers)
