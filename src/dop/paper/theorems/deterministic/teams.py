"""Random problems for Theorem 4: few states, continuous actions, deterministic actors, and a known Q^pi.

    pi_i(s) = tanh(features_i(s) theta_i),    Q_tot^phi(s, a) = sum_i k_i(s) Q_i(s, a_i) + b(s) with two-layer Q_i

Rewards are chosen so that Q^pi is Q_tot^phi plus a part that no linear critic can represent. Everything is JAX, for automatic
differentiation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dop.paper.theorems.claims import DISCOUNT

Numbers = Array | np.ndarray
"""NumPy arrays when drawn, JAX arrays under differentiation."""
Actions = Float[Array, "state agent action"]
Theta = Float[Numbers, "agent feature action"]


class Team(NamedTuple):
    """A cooperative MDP of few states and continuous actions, deterministic actors, and a linear critic that is exact if `joint` is 0."""

    features: Float[Numbers, "agent state feature"]
    """Agent i's features of s: fewer than states, so states are partly aliased."""
    theta: Theta
    """pi_i(s) = tanh(features_i(s) theta_i)."""
    behaviour: Theta
    """Parameters of the behaviour actors, whose data is in the replay."""
    k: Float[Numbers, "state agent"]
    head: Float[Numbers, "agent hidden"]
    layer: Float[Numbers, "agent action hidden"]
    shift: Float[Numbers, "agent state hidden"]
    """Q_i(s, a_i) = head_i tanh(a_i layer_i + shift_i(s))."""
    b: Float[Numbers, " state"]
    joint: Float[Numbers, ""]
    """Scale of the part of Q^pi that no linear critic can represent."""
    frequency: Float[Numbers, "state agent action"]
    phase: Float[Numbers, " state"]
    """That part is joint sin(phase(s) + sum_i frequency_i(s) a_i)."""
    transition_bias: Float[Numbers, "state next"]
    transition_weights: Float[Numbers, "state next agent action"]
    """P(s' | s, a) = softmax(transition_bias + sum_i transition_weights_i a_i)."""
    start: Float[Numbers, " state"]
    discount: Float[Numbers, ""]


def random_team(
    rng: np.random.Generator, *, agents: int = 3, states: int = 3, features: int = 2, actions: int = 2, hidden: int = 4
) -> Team:
    """A random team; k_i is sometimes 0, which Eq. 4 allows."""
    normal = rng.normal
    return Team(
        features=normal(size=(agents, states, features)),
        theta=normal(size=(agents, features, actions)),
        behaviour=normal(size=(agents, features, actions)),
        k=np.maximum(rng.uniform(-0.5, 2, size=(states, agents)), 0),
        head=normal(size=(agents, hidden)),
        layer=normal(size=(agents, actions, hidden)),
        shift=normal(size=(agents, states, hidden)),
        b=normal(size=states),
        joint=np.ones(()),
        frequency=normal(size=(states, agents, actions)),
        phase=rng.uniform(0, 2 * np.pi, size=states),
        transition_bias=normal(size=(states, states)),
        transition_weights=normal(size=(states, states, agents, actions)),
        start=rng.dirichlet(np.ones(states)),
        discount=np.array(DISCOUNT),
    )


def draw_teams(seed: int, count: int) -> Team:
    """Random teams, stacked. Team i does not depend on `count`."""
    return Team(*(np.stack(each) for each in zip(*(random_team(np.random.default_rng((seed, i))) for i in range(count)), strict=True)))


def act(theta: Float[Numbers, "feature action"], features: Float[Numbers, " feature"]) -> Float[Array, " action"]:
    """pi_i of one agent in one state."""
    return jnp.tanh(features @ theta)


def joint_action(team: Team, theta: Theta) -> Actions:
    """pi(s) of every state."""
    return jax.vmap(jax.vmap(act), in_axes=(None, 1))(theta, team.features)


def local_value(
    head: Float[Array, " hidden"], layer: Float[Array, "action hidden"], shift: Float[Array, " hidden"], action: Float[Array, " action"]
) -> Float[Array, ""]:
    """Q_i of one agent in one state."""
    return head @ jnp.tanh(action @ layer + shift)


def each_agent(function: Callable[..., Array], team: Team, actions: Actions) -> Float[Array, "state agent ..."]:
    """A function of `local_value`'s arguments, for every state and agent."""
    return jax.vmap(jax.vmap(function), in_axes=(None, None, 1, 0))(team.head, team.layer, team.shift, actions)


def total(team: Team, actions: Actions) -> Float[Array, " state"]:
    """Q_tot^phi (Eq. 4)."""
    return (team.k * each_agent(local_value, team, actions)).sum(axis=1) + team.b


def true_value(team: Team, actions: Actions) -> Float[Array, " state"]:
    """Q^pi: the linear critic, and the part that it cannot represent."""
    return total(team, actions) + team.joint * jnp.sin(team.phase + (team.frequency * actions).sum(axis=(1, 2)))


def transition(team: Team, theta: Theta) -> Float[Array, "state next"]:
    """P_pi(s' | s)."""
    return jax.nn.softmax(team.transition_bias + jnp.einsum("sia,snia->sn", joint_action(team, theta), team.transition_weights))


def values(team: Team, theta: Theta) -> Float[Array, " state"]:
    """V of the policy theta, with rewards r = Q - gamma P Q(s', pi(s')) for pi of `team.theta`, whose Q^pi is `true_value`."""
    step = transition(team, theta)
    reward = true_value(team, joint_action(team, theta)) - team.discount * step @ true_value(team, joint_action(team, team.theta))
    return jnp.linalg.solve(jnp.eye(len(step)) - team.discount * step, reward)


def occupancy(team: Team, theta: Theta) -> Float[Array, " state"]:
    """d(s) = sum_t gamma^t P(s_t = s)."""
    step = transition(team, theta)
    return jnp.linalg.solve(jnp.eye(len(step)) - team.discount * step.T, team.start)
