"""Critics of states, recurrent or feed-forward: V(s) of the team, or V_i of each agent. One step of one environment in, one out.

Both are called as `critic(hidden, state, obs, is_active)` and return the next hidden state and one value per agent.
"""

from __future__ import annotations

from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from dop import losses, policies
from dop.learning import dynamic_scan
from dop.networks import parts
from dop.networks.inputs import InputLayout, input_layout
from dop.networks.layers import Agent, PerAgent, parameter_dtype
from dop.networks.protocols import NetworkConfig
from dop.types import EnvSpec, Episode, Sharing


class ValueCritic(Protocol):
    """A critic of states; a pytree."""

    def init_state(self) -> PyTree:
        """The hidden state at the start of an episode."""
        ...

    def __call__(
        self, hidden: PyTree, state: Float[Array, " state"], obs: Float[Array, "agent obs"], is_active: Bool[Array, " agent"]
    ) -> tuple[PyTree, Float[Array, " agent"]]: ...


class StateValue(eqx.Module):
    """V(s): the team's value of the global state, the same for all agents."""

    network: Any
    """A `dop.networks.protocols.Network` with one output."""

    def init_state(self) -> PyTree:
        return self.network.init_state()

    def __call__(
        self, hidden: PyTree, state: Float[Array, " state"], obs: Float[Array, "agent obs"], is_active: Bool[Array, " agent"]
    ) -> tuple[PyTree, Float[Array, " agent"]]:
        del obs
        hidden, value = self.network(hidden, state.astype(parameter_dtype(self.network)))
        return hidden, jnp.broadcast_to(value, is_active.shape)


class AgentValues(eqx.Module):
    """V_i of every agent from its own observation, agent id and, with `sees_state`, the global state.

    Inactive agents get the mean over active agents, so that nothing depends on what they observe.
    """

    agents: PerAgent[Agent]
    sees_state: bool = eqx.field(static=True)

    def init_state(self) -> PyTree:
        return self.agents.map(lambda net: net.init_state(), in_axes=())

    def __call__(
        self, hidden: PyTree, state: Float[Array, " state"], obs: Float[Array, "agent obs"], is_active: Bool[Array, " agent"]
    ) -> tuple[PyTree, Float[Array, " agent"]]:
        def step(net: Agent, hidden: PyTree, obs: Float[Array, " obs"], agent_id: Int[Array, ""]) -> tuple[PyTree, Float[Array, " value"]]:
            return net(hidden, jnp.concatenate([obs, state]) if self.sees_state else obs, None, agent_id)

        hidden, value = self.agents.map(step, hidden, obs, jnp.arange(self.agents.n_agents), in_axes=(0, 0, 0))
        return hidden, losses.agreed(value[:, 0], is_active)


def state_layout(spec: EnvSpec) -> InputLayout:
    """Input and output of V(s)."""
    return input_layout(spec, "state", outputs=1)


def state_value(config: NetworkConfig, spec: EnvSpec, *, key: PRNGKeyArray) -> StateValue:
    """V(s), from the global state."""
    return StateValue(network=parts.build(config, state_layout(spec), key=key))


def agent_layout(spec: EnvSpec, *, sees_state: bool) -> InputLayout:
    """Inputs and output of V_i."""
    inputs = ("obs", "state", "agent_id") if sees_state else ("obs", "agent_id")
    return input_layout(spec, *inputs, outputs=1)


def agent_values(config: NetworkConfig, spec: EnvSpec, *, sees_state: bool, sharing: Sharing, key: PRNGKeyArray) -> AgentValues:
    """V_i, from own observation, agent id and, with `sees_state`, the global state."""

    def make(key: PRNGKeyArray) -> Agent:
        network = parts.build(config, agent_layout(spec, sees_state=sees_state), key=key)
        return Agent(network=network, kind=spec.action_kind, n_agents=spec.n_agents, action_size=spec.action_size, sees_last_action=False)

    return AgentValues(agents=PerAgent(make, spec.groups(sharing), key=key), sees_state=sees_state)


def unroll(critic: ValueCritic, episodes: Episode, length: Int[Array, ""]) -> Float[Array, "time+1 episode agent"]:
    """The values on the first `length` steps of every episode (time first); 0 afterwards."""
    hidden = jax.tree.map(lambda x: jnp.broadcast_to(x, (episodes.state.shape[1], *x.shape)), critic.init_state())
    xs = (episodes.state, episodes.obs, policies.is_active(episodes.action_mask))
    return dynamic_scan.scan(_step, critic, hidden, xs, length)


def _step(critic: ValueCritic, hidden: PyTree, x: tuple[Array, Array, Array]) -> tuple[PyTree, Float[Array, "episode agent"]]:
    """One step of a batch of episodes, for `dynamic_scan.scan`."""
    return jax.vmap(critic)(hidden, *x)
