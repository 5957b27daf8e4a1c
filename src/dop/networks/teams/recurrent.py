"""Teams of agents that may be recurrent: one step of all of them, and whole episodes of a batch.

What an agent's network gives (logits for an actor, Q_i(tau_i, .) for a value-based agent) is up to the algorithm.
Arrays of an update have time first, then the episode of the batch: `dop.learning.dynamic_scan` walks over
time and stops at the longest episode.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from dop import returns
from dop.learning import dynamic_scan
from dop.networks.protocols import NetworkConfig
from dop.networks.teams import common
from dop.networks.teams.common import Team
from dop.types import EnvSpec, Episode, Sharing


class Carry(eqx.Module):
    """What each agent carries through an episode."""

    hidden: PyTree
    """The hidden states of the networks; a leading axis for the agents."""
    last_action: Int[Array, " agent"]
    """-1 at the start."""


def check(network: NetworkConfig, spec: EnvSpec) -> None:
    """Raise ConfigError if no team for `spec` can be made of this network, which an algorithm has as `actor`."""
    common.check(network, spec, sees_last_action=True)


def make_team(spec: EnvSpec, network: NetworkConfig, *, sharing: Sharing, key: PRNGKeyArray) -> Team:
    """One network for all agents, told apart by the agent id, one for each type, or one each."""
    return common.make_team(spec, network, sharing=sharing, sees_last_action=True, key=key)


def initial_carry(spec: EnvSpec, network: NetworkConfig) -> Carry:
    """At the start of an episode."""
    state = common.initial_state(network, spec, sees_last_action=True)
    hidden = jax.tree.map(lambda x: jnp.broadcast_to(x, (spec.n_agents, *x.shape)), state)
    return Carry(hidden=hidden, last_action=jnp.full((spec.n_agents,), -1, jnp.int32))


def initial_hidden(team: Team) -> PyTree:
    """The hidden states of all agents at the start of an episode."""
    return team.map(lambda net: net.init_state(), in_axes=())


def step_team(
    team: Team, hidden: PyTree, obs: Float[Array, "agent obs"], last_action: Int[Array, " agent"]
) -> tuple[PyTree, Float[Array, "agent action"]]:
    """All agents of one environment, one step on."""
    ids = jnp.arange(team.n_agents)
    return team.map(lambda net, *x: net(*x), hidden, obs, last_action, ids, in_axes=(0, 0, 0, 0))


def step_teams(team: Team, hidden: PyTree, x: tuple[Array, Array]) -> tuple[PyTree, Float[Array, "episode agent action"]]:
    """`step_team` in a batch of episodes, as `loops.scan` wants it."""
    return jax.vmap(step_team, in_axes=(None, 0, 0, 0))(team, hidden, *x)


def start(team: Team, episodes: Episode) -> tuple[PyTree, Int[Array, "time+1 episode agent"]]:
    """The hidden states at the start of a batch of episodes (axes: episode, agent), and the last action that agents see at each step."""
    last_action = jnp.concatenate([jnp.full_like(episodes.action[:1], -1), episodes.action])
    hidden = jax.tree.map(lambda x: jnp.broadcast_to(x, (last_action.shape[1], *x.shape)), initial_hidden(team))
    return hidden, last_action


def unroll(team: Team, episodes: Episode, length: Int[Array, ""]) -> Float[Array, "time+1 episode agent action"]:
    """The agents' outputs on the first `length` steps of every episode (time first); 0 after."""
    hidden, last_action = start(team, episodes)
    return dynamic_scan.scan(step_teams, team, hidden, (episodes.obs, last_action), length)


def time_first(episodes: Episode) -> Episode:
    """A batch of episodes with its leading axes (episode, time) exchanged. `final_action`, which has no time, is turned too."""
    return jax.tree.map(lambda x: x.swapaxes(0, 1), episodes)


def actions(episode: Episode) -> Int[Array, "time+1 agent"]:
    """What was done at each step of one episode, and, in the slot after its last, what would have been done there."""
    length = jnp.sum(episode.mask, dtype=jnp.int32)
    return jnp.concatenate([episode.action, episode.final_action[None]]).at[length].set(episode.final_action)


def lambda_return(episode: Episode, q_next: Float[Array, " time"], *, gamma: float, lambda_: float) -> Float[Array, " time"]:
    """TD(lambda) of every step of one episode, from the team's value of each next step.

    The last step bootstraps from its own `q_next` if the episode was cut, from nothing if it terminated; what comes after does not matter.
    """
    continues = jnp.append(episode.mask[1:], False)
    return returns.td_lambda(episode.reward, gamma * (1.0 - episode.terminated), q_next, lambda_ * continues)


def longest(episodes: Episode) -> Int[Array, ""]:
    """Steps of the longest episode; axes: time, episode."""
    return jnp.max(jnp.sum(episodes.mask, axis=0, dtype=jnp.int32))


def end_to_end(x: Array) -> Array:
    """Episodes laid one after another: time and episode become one axis."""
    return x.reshape(-1, *x.shape[2:])
