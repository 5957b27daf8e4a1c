"""Probe environments: the smallest tasks that each need one ability of an algorithm, with values computed by hand.

From easy to hard: a value (`ConstantReward`), a value that depends on the observation (`ObservationValue`), discounting (`DelayedReward`),
bootstrapping at a time limit (`TimeLimit`), coordination (`Coordination`), a hidden state (`Recurrent`). The first one that an algorithm
fails shows what is broken. V is the team's value at the start unless another step is given.
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
    """Base class of the probes. By itself: one step, a constant observation, reward 0."""

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
        """The reward of the joint `action` in `state`."""
        return jnp.zeros(())

    def observe(self, state: ProbeState) -> Float[Array, " obs"]:
        """Every agent's observation."""
        return jnp.ones((1,))

    def global_state(self, state: ProbeState) -> Float[Array, " state"]:
        return self.observe(state)


@dataclass(frozen=True, kw_only=True)
class ConstantReward(Probe):
    """One step, reward 1 for any action: V = Q = 1."""

    def reward(self, state: ProbeState, action: Int[Array, " agent"]) -> Float[Array, ""]:
        return jnp.ones(())


@dataclass(frozen=True, kw_only=True)
class ObservationValue(Probe):
    """One step; all agents observe a sign, -1 or +1 with equal probability, which is the reward: V(o) = Q(o, a) = o."""

    def reward(self, state: ProbeState, action: Int[Array, " agent"]) -> Float[Array, ""]:
        return state.cue

    def observe(self, state: ProbeState) -> Float[Array, " obs"]:
        return state.cue[None]


@dataclass(frozen=True, kw_only=True)
class DelayedReward(Probe):
    """Two steps of rewards 0 and 1 for any actions; all agents observe the step, 0 or 1: V(0) = gamma, V(1) = 1."""

    @property
    def length(self) -> int:
        return 2

    def reward(self, state: ProbeState, action: Int[Array, " agent"]) -> Float[Array, ""]:
        return (state.t == 1).astype(jnp.float32)

    def observe(self, state: ProbeState) -> Float[Array, " obs"]:
        return jnp.clip(state.t, 0, 1).astype(jnp.float32)[None]


@dataclass(frozen=True, kw_only=True)
class TimeLimit(Probe):
    """Reward 1 at each step; never terminates, but is truncated after `limit` steps, which are not observed.

    V = 1 / (1 - gamma). Mistaking truncation for termination gives (1 - gamma^limit) / (1 - gamma) at the start, and 1 in the last step.
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

    The optimum is unique, V* = 1. Uniform agents get n_actions^-n_agents, by default 1/9, and for each agent the value of action 1 is the
    probability that the others take it, that of any other action 0: every gradient points to the optimum.
    """

    n_actions: int = 3

    def reward(self, state: ProbeState, action: Int[Array, " agent"]) -> Float[Array, ""]:
        return jnp.all(action == 1).astype(jnp.float32)


@dataclass(frozen=True, kw_only=True)
class Recurrent(Probe):
    """All agents observe a cue, -1 or +1, at the first step only; the reward of step `delay` is the fraction of agents that name it.

    Action 0 names -1, action 1 names +1. Observation: cue (0 after the first step) and t / delay; the state keeps the cue.
    V* = gamma^delay with a hidden state, V = gamma^delay / 2 at best without. The episode terminates after delay + 1 steps.
    """

    delay: int = 2
    obs_size: ClassVar[int] = 2
    state_size: ClassVar[int] = 2

    @property
    def length(self) -> int:
        return self.delay + 1

    def reward(self, state: ProbeState, action: Int[Array, " agent"]) -> Float[Array, ""]:
        fraction = jnp.mean((action == (state.cue > 0)).astype(jnp.float32))
        return jnp.where(state.t == self.delay, fraction, 0.0)

    def observe(self, state: ProbeState) -> Float[Array, " obs"]:
        return jnp.stack([jnp.where(state.t == 0, state.cue, 0.0), jnp.minimum(state.t / self.delay, 1.0)])

    def global_state(self, state: ProbeState) -> Float[Array, " state"]:
        return jnp.stack([state.cue, jnp.minimum(state.t / self.delay, 1.0)])


PROBES: tuple[type[Probe], ...] = (ConstantReward, ObservationValue, DelayedReward, TimeLimit, Coordination, Recurrent)


@dataclass(frozen=True, kw_only=True, eq=False)
class OneOf:
    """One of several probes, chosen at run time, so that an algorithm is compiled once for all. Smaller probes are padded.

    The spec has the largest sizes: only `action_mask` and the ends of episodes reveal the chosen probe.
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
        """The result of the chosen probe, each leaf padded with zeros to the largest size."""

        def choose(*leaves: Array) -> Array:
            shape = [max(sizes) for sizes in zip(*(leaf.shape for leaf in leaves), strict=True)]
            room = [[(0, more - own, 0) for own, more in zip(x.shape, shape, strict=True)] for x in leaves]
            padded = [jax.lax.pad(x, jnp.zeros((), x.dtype), more) for x, more in zip(leaves, room, strict=True)]
            return jnp.stack(padded)[self.which]

        return jax.tree.map(choose, *answers)
