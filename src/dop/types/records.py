"""Records of steps and episodes, the learner, and the credit of one step."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import equinox as eqx
from jaxtyping import Array, Bool, Float, Int, PyTree

if TYPE_CHECKING:
    pass


Action: TypeAlias = Int[Array, " agent"] | Float[Array, "agent action"]
"""The joint action of one step: an index or a vector per agent; see `EnvSpec.action_kind`."""
Metrics: TypeAlias = dict[str, Float[Array, ""]]
"""Scalar metrics by name."""
EnvState: TypeAlias = PyTree
"""The state of a JAX environment."""
Carry: TypeAlias = PyTree
"""The hidden state of the agents' networks, carried from step to step of an episode."""


class TimeStep(eqx.Module):
    """The result of `reset` or `step`. `reset` sets `reward` to 0 and both flags to False."""

    obs: Float[Array, "agent obs"]
    """Each agent's observation, padded with zeros."""
    state: Float[Array, " state"]
    """The global state, for critics only."""
    action_mask: Bool[Array, "agent action"]
    """Available discrete actions, or existing components of a continuous one. An agent without any is inactive: dead, left, or not yet
    spawned. It takes action 0 (a vector of zeros) with probability 1, gets no credit, and is excluded from losses."""
    reward: Float[Array, ""]
    """The shared team reward."""
    terminated: Bool[Array, ""]
    """The episode ended in a terminal state, whose value is 0."""
    truncated: Bool[Array, ""]
    """The episode was cut, for example by the time limit: the last state's value is bootstrapped."""
    metrics: Float[Array, " metric"]
    """Values in the order of `EnvSpec.metrics`."""


class PolicyOutput(eqx.Module):
    """The joint action of one step, and its probabilities under the behaviour policy."""

    action: Action
    """An index or a vector per agent; see `EnvSpec.action_kind`."""
    behaviour_prob: Float[Array, " agent"]
    """Probability of each agent's action under the behaviour policy; 1 if actions are continuous."""


class Episode(eqx.Module):
    """One whole episode, padded with zeros from its end to the time limit."""

    action: Int[Array, "time agent"] | Float[Array, "time agent action"]
    """The joint action of each step."""
    behaviour_prob: Float[Array, "time agent"]
    """Probability of each action under the behaviour policy; 1 if actions are continuous."""
    reward: Float[Array, " time"]
    """The team reward of each step."""
    terminated: Bool[Array, " time"]
    """True only on the last step of an episode that terminated."""
    mask: Bool[Array, " time"]
    """True on the first `length` steps, False on padding."""
    obs: Float[Array, "time+1 agent obs"]
    """Each agent's observation before each step and after the last one."""
    state: Float[Array, "time+1 state"]
    """The global state, at the same times."""
    action_mask: Bool[Array, "time+1 agent action"]
    """The available actions, at the same times; see `TimeStep`."""
    final_action: Action
    """The behaviour policy's action after the last step, for a sampled bootstrap at a time limit."""


class Transition(eqx.Module):
    """One transition of an episode."""

    obs: Float[Array, "agent obs"]
    """Each agent's observation before the step."""
    state: Float[Array, " state"]
    """The global state before the step."""
    action_mask: Bool[Array, "agent action"]
    """The available actions; see `TimeStep`."""
    action: Action
    """The joint action."""
    reward: Float[Array, ""]
    """The team reward of the step."""
    discount: Float[Array, ""]
    """0 if the episode terminated, else 1; without gamma."""
    next_obs: Float[Array, "agent obs"]
    """Each agent's observation after the step."""
    next_state: Float[Array, " state"]
    """The global state after the step."""
    next_action_mask: Bool[Array, "agent action"]
    """The available actions after the step."""


class Learner(eqx.Module):
    """The state of an algorithm between updates. Subclasses add networks and optimisers."""

    env_steps: eqx.AbstractVar[Int[Array, ""]]
    """Environment steps so far, counted by the training loop; schedules (epsilon) use it."""


class Credit(eqx.Module):
    """Per-agent credit of one step, as estimated by a critic."""

    k: Float[Array, " agent"]
    """Weight of each agent's value in the team's: the weights of a linear mixer, or the gradient of another at the joint action."""
    q: Float[Array, " agent"]
    """Q_i of each agent's `own` action."""
    b: Float[Array, ""] | None
    """Q_tot(a) = sum_i k_i Q_i(a_i) + b. None: the critic is not decomposed, and each Q_i is the team's value."""
    policy: Float[Array, "agent action"] | None
    """Action probabilities of stochastic agents with discrete actions; None for others."""
