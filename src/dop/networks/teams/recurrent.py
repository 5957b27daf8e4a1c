"""Teams of agents that may be recurrent: one step of a team, and unrolls over batches of episodes.

The algorithm interprets a network's output: logits of an actor, or Q_i(tau_i, .) of a value-based agent.
Arrays of an update have the axes time, episode. `dop.learning.dynamic_scan` scans over time up to the longest episode.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from dop import returns
from dop.learning import dynamic_scan
from dop.networks.protocols import NetworkConfig
from dop.networks.teams import common
from dop.networks.teams.common import Team
from dop.types import EnvSpec, Episode, Sharing


class Carry(eqx.Module):
    """The agents' carry from step to step of an episode."""

    hidden: PyTree
    """Hidden states of the networks; leading axis: agent."""
    last_action: Int[Array, " agent"]
    """-1 at the start of an episode."""


def check(network: NetworkConfig, spec: EnvSpec) -> None:
    """Raise ConfigError if this `actor` cannot be used in `spec`."""
    common.check(network, spec, sees_last_action=True)


def make_team(spec: EnvSpec, network: NetworkConfig, *, sharing: Sharing, key: PRNGKeyArray) -> Team:
    """The networks of all agents, with the last action as input."""
    return common.make_team(spec, network, sharing=sharing, sees_last_action=True, key=key)


def initial_carry(spec: EnvSpec, network: NetworkConfig) -> Carry:
    """The carry at the start of an episode."""
    state = common.initial_state(network, spec, sees_last_action=True)
    hidden = jax.tree.map(lambda x: jnp.broadcast_to(x, (spec.n_agents, *x.shape)), state)
    return Carry(hidden=hidden, last_action=jnp.full((spec.n_agents,), -1, jnp.int32))


def initial_hidden(team: Team) -> PyTree:
    """The hidden states of all agents at the start of an episode."""
    return team.map(lambda net: net.init_state(), in_axes=())


def step_team(
    team: Team, hidden: PyTree, obs: Float[Array, "agent obs"], last_action: Int[Array, " agent"]
) -> tuple[PyTree, Float[Array, "agent action"]]:
    """One step of all agents of one environment."""
    ids = jnp.arange(team.n_agents)
    return team.map(lambda net, *x: net(*x), hidden, obs, last_action, ids, in_axes=(0, 0, 0, 0))


def step_teams(team: Team, hidden: PyTree, x: tuple[Array, Array]) -> tuple[PyTree, Float[Array, "episode agent action"]]:
    """`step_team` on a batch of episodes, for `dynamic_scan.scan`."""
    return jax.vmap(step_team, in_axes=(None, 0, 0, 0))(team, hidden, *x)


def start(team: Team, episodes: Episode) -> tuple[PyTree, Int[Array, "time+1 episode agent"]]:
    """The hidden states at the start of a batch of episodes (axes: episode, agent), and the last actions at each step."""
    last_action = jnp.concatenate([jnp.full_like(episodes.action[:1], -1), episodes.action])
    hidden = jax.tree.map(lambda x: jnp.broadcast_to(x, (last_action.shape[1], *x.shape)), initial_hidden(team))
    return hidden, last_action


def unroll(team: Team, episodes: Episode, length: Int[Array, ""]) -> Float[Array, "time+1 episode agent action"]:
    """The agents' outputs on the first `length` steps of every episode (time first); 0 afterwards."""
    hidden, last_action = start(team, episodes)
    return dynamic_scan.scan(step_teams, team, hidden, (episodes.obs, last_action), length)


def time_first(episodes: Episode) -> Episode:
    """A batch of episodes with the axes time, episode. `final_action`, which has no time axis, gets agent, episode."""
    return jax.tree.map(lambda x: x.swapaxes(0, 1), episodes)


def strided_minibatch(batch: PyTree, size: int | None, first: Int[Array, ""]) -> PyTree:
    """`size` episodes of a batch (axes: time, episode), at equal distances from the one numbered `first`; None: all of them."""
    episodes = jax.tree.leaves(batch)[0].shape[1]
    if size is None or size >= episodes:
        return batch
    chosen = (first + jnp.arange(size) * (episodes // size)) % episodes
    return jax.tree.map(lambda x: x[:, chosen], batch)


def actions(episode: Episode) -> Int[Array, "time+1 agent"]:
    """The joint action at each step of one episode, followed by `final_action`."""
    length = jnp.sum(episode.mask, dtype=jnp.int32)
    return jnp.concatenate([episode.action, episode.final_action[None]]).at[length].set(episode.final_action)


def lambda_return(
    episode: Episode, q_next: Float[Array, " time"], *, gamma: float | Float[Array, ""], lambda_: float | Float[Array, ""]
) -> Float[Array, " time"]:
    """TD(lambda) of every step of one episode, from the team's value of each next step.

    The last step bootstraps from its `q_next` if the episode was truncated, but not if it terminated. Later entries are ignored.
    """
    return returns.td_lambda(episode.reward, gamma * (1.0 - episode.terminated), q_next, lambda_ * _continues(episode))


def advantages(
    episode: Episode, value: Float[Array, " time+1"], *, gamma: float | Float[Array, ""], lambda_: float | Float[Array, ""]
) -> Float[Array, " time"]:
    """GAE(lambda) of every step of one episode, from the value before each step and after the last one; ends as in `lambda_return`."""
    return returns.gae(episode.reward, gamma * (1.0 - episode.terminated), value[:-1], value[1:], lambda_ * _continues(episode))


def _continues(episode: Episode) -> Bool[Array, " time"]:
    """Whether another step of the episode follows."""
    return jnp.append(episode.mask[1:], False)


def max_length(episodes: Episode) -> Int[Array, ""]:
    """Steps of the longest episode; axes: time, episode."""
    return jnp.max(jnp.sum(episodes.mask, axis=0, dtype=jnp.int32))


def flatten_time(x: Array) -> Array:
    """Merge the leading axes, time and episode."""
    return x.reshape(-1, *x.shape[2:])
