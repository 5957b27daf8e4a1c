"""Records of one step or one episode, what an algorithm carries, and what a critic says of one step."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import equinox as eqx
from jaxtyping import Array, Bool, Float, Int, PyTree

if TYPE_CHECKING:
    pass


Action: TypeAlias = Int[Array, " agent"] | Float[Array, "agent action"]
"""What a team does at one step: a number each, or a vector each; see `EnvSpec.action_kind`."""
Metrics: TypeAlias = dict[str, Float[Array, ""]]
"""Scalars to record, by name."""
EnvState: TypeAlias = PyTree
"""What an environment in JAX carries from step to step."""
Carry: TypeAlias = PyTree
"""The hidden state of the agents' networks, carried from step to step of an episode."""


class TimeStep(eqx.Module):
    """What an environment answers. `reset` fills `reward` with 0 and both flags with False."""

    obs: Float[Array, "agent obs"]
    """What each agent observes, padded with zeros."""
    state: Float[Array, " state"]
    """The global state, for critics only."""
    action_mask: Bool[Array, "agent action"]
    """The discrete actions that may be taken; the components that exist of a continuous one. An agent without any is not there: dead, gone,
    or yet to come. What it does is action 0 (a vector of zeros) with probability 1, and neither earns nor teaches anything."""
    reward: Float[Array, ""]
    """Shared by the team."""
    terminated: Bool[Array, ""]
    """The task ended: nothing comes after, the value of what follows is 0."""
    truncated: Bool[Array, ""]
    """The episode was cut, by the time limit say: something would have come after, and its value counts."""
    metrics: Float[Array, " metric"]
    """In the order of `EnvSpec.metrics`."""


class PolicyOutput(eqx.Module):
    """What the agents do at one step, and how likely the policy that acted was to do it (1 where actions are continuous)."""

    action: Action
    """A number or a vector for each agent; see `EnvSpec.action_kind`."""
    behaviour_prob: Float[Array, " agent"]
    """Of each agent's action, under the policy that acted."""


class Episode(eqx.Module):
    """One whole episode, padded with zeros from its end to the time limit."""

    action: Int[Array, "time agent"] | Float[Array, "time agent action"]
    """What the team did at each step."""
    behaviour_prob: Float[Array, "time agent"]
    """Probability of each action taken, under the policy that took it; 1 where actions are continuous."""
    reward: Float[Array, " time"]
    """The team's reward for each step."""
    terminated: Bool[Array, " time"]
    """True on the last step of an episode that ended for real, nowhere else."""
    mask: Bool[Array, " time"]
    """True on the steps that were taken: the first `length` of them."""
    obs: Float[Array, "time+1 agent obs"]
    """What each agent observed before each step, and after the last one."""
    state: Float[Array, "time+1 state"]
    """The global state, at the same times."""
    action_mask: Bool[Array, "time+1 agent action"]
    """The actions that could be taken, at the same times; see `TimeStep`."""
    final_action: Action
    """What the behaviour policy would have done after the last step: what a sampled bootstrap at a time limit needs."""


class Transition(eqx.Module):
    """One step of an episode, with what came of it."""

    obs: Float[Array, "agent obs"]
    """What each agent observed before the step."""
    state: Float[Array, " state"]
    """The global state before the step."""
    action_mask: Bool[Array, "agent action"]
    """The actions that could be taken; see `TimeStep`."""
    action: Action
    """What the team did."""
    reward: Float[Array, ""]
    """The team's reward for the step."""
    discount: Float[Array, ""]
    """0 where the episode terminated, else 1; gamma is the algorithm's."""
    next_obs: Float[Array, "agent obs"]
    """What each agent observed after the step."""
    next_state: Float[Array, " state"]
    """The global state after the step."""
    next_action_mask: Bool[Array, "agent action"]
    """The actions that can be taken next."""


class Learner(eqx.Module):
    """What an algorithm carries from update to update. Algorithms extend it with their networks and optimisers."""

    env_steps: eqx.AbstractVar[Int[Array, ""]]
    """Environment steps collected so far, kept by the engine; schedules (epsilon) read it."""


class Credit(eqx.Module):
    """What a critic says of the agents' actions at one step."""

    k: Float[Array, " agent"]
    """How much each agent's value counts for the team's: of a linear mixer its weights, of another the slopes at what was done."""
    q: Float[Array, " agent"]
    """Q_i of the action that was asked about."""
    b: Float[Array, ""] | None
    """Q_tot(a) = sum_i k_i Q_i(a_i) + b. None: the critic is no such sum, and each Q_i is the team's whole value."""
    policy: Float[Array, "agent action"] | None
    """Where the agents are stochastic, how likely their policies are to take each discrete action. None: they are not."""
