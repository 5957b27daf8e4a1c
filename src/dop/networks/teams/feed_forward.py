"""Teams of feed-forward agents, whose actions are vectors for the critic: one-hot, simplex or box (App. D.2, G.2).

Three functions turn an actor's output into an action of the environment's kind:

                  `choose`: deterministic      `explore`: with noise                 `relax`: with a gradient
    discrete      argmax, one-hot              a sample of the softmax, one-hot      Gumbel-softmax, straight-through
    simplex       softmax(output / T)          Gumbel-softmax                        Gumbel-softmax
    box           tanh                         tanh + Gaussian noise, clipped        tanh
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from dop import policies
from dop.networks.layers import Agent
from dop.networks.protocols import NetworkConfig
from dop.networks.teams import common
from dop.networks.teams.common import Team
from dop.types import ActionKind, EnvSpec, Sharing


def check(network: NetworkConfig, spec: EnvSpec, why: str) -> None:
    """Raise ConfigError if this `actor` cannot be used in `spec`; `why` says why it must not have a hidden state."""
    common.check(network, spec, sees_last_action=False, feed_forward=why)


def make_team(spec: EnvSpec, network: NetworkConfig, *, sharing: Sharing, key: PRNGKeyArray) -> Team:
    """The networks of all agents, without the last action as input."""
    return common.make_team(spec, network, sharing=sharing, sees_last_action=False, key=key)


def outputs(team: Team, obs: Float[Array, "agent obs"]) -> Float[Array, "agent action"]:
    """Every agent's output, from its own observation."""

    def output(agent: Agent, obs: Float[Array, " obs"], agent_id: Int[Array, ""]) -> Float[Array, " action"]:
        return agent(agent.init_state(), obs, None, agent_id)[1]

    return team.map(output, obs, jnp.arange(team.n_agents), in_axes=(0, 0))


def choose(
    kind: ActionKind, output: Float[Array, " action"], action_mask: Bool[Array, " action"], temperature: Float[Array, ""]
) -> Float[Array, " action"]:
    """The deterministic action of one agent, as a vector."""
    if kind == "box":
        return jnp.where(action_mask, jnp.tanh(output), 0)
    relaxed = policies.masked_softmax(output / temperature, action_mask)
    return policies.straight_through(relaxed) if kind == "discrete" else relaxed


def explore(
    kind: ActionKind,
    key: PRNGKeyArray,
    output: Float[Array, " action"],
    action_mask: Bool[Array, " action"],
    temperature: Float[Array, ""],
    noise: float | Float[Array, ""],
) -> Float[Array, " action"]:
    """The exploratory action of one agent, as a vector; `noise` is the standard deviation in a box."""
    if kind != "box":
        return relax(kind, key, output, action_mask, temperature)
    noisy = jnp.tanh(output) + noise * jax.random.normal(key, output.shape, output.dtype)
    return jnp.where(action_mask, jnp.clip(noisy, -1, 1), 0)


def relax(
    kind: ActionKind, key: PRNGKeyArray, output: Float[Array, " action"], action_mask: Bool[Array, " action"], temperature: Float[Array, ""]
) -> Float[Array, " action"]:
    """A differentiable action of one agent, for the critic's gradient."""
    if kind == "box":
        return choose(kind, output, action_mask, temperature)
    relaxed = policies.gumbel_softmax(key, output, action_mask, temperature)
    return policies.straight_through(relaxed) if kind == "discrete" else relaxed


def as_vectors(action: Array, action_mask: Bool[Array, "*batch agent action"]) -> Float[Array, "*batch agent action"]:
    """Recorded actions as vectors for a critic: indices become one-hot. Inactive agents get 0, as in `choose`."""
    return jnp.where(action_mask, jax.nn.one_hot(action, action_mask.shape[-1]), 0) if jnp.issubdtype(action.dtype, jnp.integer) else action


def as_stored(kind: ActionKind, vector: Float[Array, "agent action"]) -> Float[Array, "agent action"] | Int[Array, " agent"]:
    """Vectors as actions for an environment of this kind."""
    return jnp.argmax(vector, axis=-1).astype(jnp.int32) if kind == "discrete" else vector
