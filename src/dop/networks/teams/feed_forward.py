"""Teams of agents without memory, whose actions are vectors to a critic: one-hot numbers, points of a simplex, or boxes (App. D.2, G.2).

An actor's output makes an action of the environment's kind in three ways:

                  `choose`: deterministic      `explore`: with noise                 `relax`: with a gradient
    discrete      the likeliest, one-hot       a sample of the softmax, one-hot      Gumbel-softmax, straight through
    simplex       softmax(output / T)          Gumbel-softmax                        Gumbel-softmax
    box           tanh                         tanh + normal noise, cut to the box   tanh
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
    """Raise ConfigError if no team for `spec` can be made of this network, which an algorithm has as `actor`; `why` says why it must have
    no hidden state."""
    common.check(network, spec, sees_last_action=False, feed_forward=why)


def make_team(spec: EnvSpec, network: NetworkConfig, *, sharing: Sharing, key: PRNGKeyArray) -> Team:
    """One network for all agents, told apart by the agent id, one for each type, or one each."""
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
    noise: float,
) -> Float[Array, " action"]:
    """What one agent does while it explores, as a vector; `noise` is the standard deviation in a box."""
    if kind != "box":
        return relax(kind, key, output, action_mask, temperature)
    disturbed = jnp.tanh(output) + noise * jax.random.normal(key, output.shape, output.dtype)
    return jnp.where(action_mask, jnp.clip(disturbed, -1, 1), 0)


def relax(
    kind: ActionKind, key: PRNGKeyArray, output: Float[Array, " action"], action_mask: Bool[Array, " action"], temperature: Float[Array, ""]
) -> Float[Array, " action"]:
    """An action of one agent through which the critic's gradient reaches the output."""
    if kind == "box":
        return choose(kind, output, action_mask, temperature)
    relaxed = policies.gumbel_softmax(key, output, action_mask, temperature)
    return policies.straight_through(relaxed) if kind == "discrete" else relaxed


def as_vectors(action: Array, action_mask: Bool[Array, "*batch agent action"]) -> Float[Array, "*batch agent action"]:
    """Stored actions as a critic takes them: numbers become one-hot, vectors stay. Who has no legal action does 0, as in `choose`."""
    return jnp.where(action_mask, jax.nn.one_hot(action, action_mask.shape[-1]), 0) if jnp.issubdtype(action.dtype, jnp.integer) else action


def as_stored(kind: ActionKind, vector: Float[Array, "agent action"]) -> Float[Array, "agent action"] | Int[Array, " agent"]:
    """Vectors as an environment of this kind takes them."""
    return jnp.argmax(vector, axis=-1).astype(jnp.int32) if kind == "discrete" else vector
