"""Critics built from a network configuration, with one factory per kind of critic.

An `MLP` becomes a critic with a split first layer (`dop.networks.split_critics`), so that the state's part is computed once for the team.
Any other network gets its inputs concatenated and is called once per agent. One example in, one out.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dop.networks import parts, split_critics
from dop.networks.inputs import InputLayout, input_layout
from dop.networks.mlp import MLP
from dop.networks.protocols import NetworkConfig
from dop.types import EnvSpec

CRITIC_IS_FEED_FORWARD = "Critics are trained on shuffled steps: use dop.MLP(), or a network of your own without a hidden state."
"""Why a critic has no hidden state."""


def _output(network: Any, *x: Float[Array, " part"]) -> Float[Array, " output"]:
    """The output of a feed-forward network for its concatenated inputs."""
    return network(network.init_state(), jnp.concatenate(x))[1]


class ConcatLocalCritic(eqx.Module):
    """Q_i(tau, .) like `dop.networks.split_critics.LocalCritic`, by any network."""

    network: Any
    n_agents: int = eqx.field(static=True)
    local_inputs: bool = eqx.field(static=True)
    dueling: bool = eqx.field(static=True)

    def __call__(self, state: Float[Array, " state"], obs: Float[Array, " obs"], agent_id: Int[Array, ""]) -> Float[Array, " action"]:
        local = (obs, jax.nn.one_hot(agent_id, self.n_agents, dtype=state.dtype)) if self.local_inputs else ()
        q = _output(self.network, state, *local)
        return q[:-1] + q[-1] if self.dueling else q


def local_layout(spec: EnvSpec, *, local_inputs: bool, dueling: bool) -> InputLayout:
    """Inputs and outputs of a local critic."""
    inputs = ("state", "obs", "agent_id") if local_inputs else ("state",)
    return input_layout(spec, *inputs, outputs=spec.action_size + dueling, output_actions=spec.action_size, feed_forward=True)


def local_critic(config: NetworkConfig, spec: EnvSpec, *, local_inputs: bool, dueling: bool, key: PRNGKeyArray) -> Any:
    """Q_i(tau, .): values of all discrete actions, from the state and, with `local_inputs`, own observation and agent id."""
    if type(config) is MLP:
        sizes = (spec.state_size, spec.obs_size, spec.action_size, spec.n_agents, config.hidden_size)
        return split_critics.LocalCritic(*sizes, layers=config.layers, local_inputs=local_inputs, dueling=dueling, key=key)
    network = parts.build(config, local_layout(spec, local_inputs=local_inputs, dueling=dueling), key=key)
    return ConcatLocalCritic(network=network, n_agents=spec.n_agents, local_inputs=local_inputs, dueling=dueling)


class ConcatActionCritic(eqx.Module):
    """Q_i(tau, a_i) of a vector action like `dop.networks.split_critics.LocalActionCritic`, by any network."""

    network: Any
    n_agents: int = eqx.field(static=True)

    def __call__(
        self, state: Float[Array, " state"], obs: Float[Array, " obs"], action: Float[Array, " action"], agent_id: Int[Array, ""]
    ) -> Float[Array, ""]:
        own = jax.nn.one_hot(agent_id, self.n_agents, dtype=state.dtype)
        return _output(self.network, state, obs, action, own)[0]


def action_layout(spec: EnvSpec, *, local_inputs: bool) -> InputLayout:
    """Inputs and output of a local critic of one vector action."""
    inputs = ("state", "obs", "action", "agent_id") if local_inputs else ("state", "action", "agent_id")
    return input_layout(spec, *inputs, outputs=1, feed_forward=True)


def action_critic(config: NetworkConfig, spec: EnvSpec, obs_size: int, *, key: PRNGKeyArray) -> Any:
    """Q_i(tau, a_i): one value, from state, own observation (of `obs_size`, which may be 0), own action and agent id."""
    if type(config) is MLP:
        sizes = (spec.state_size, obs_size, spec.action_size, spec.n_agents, config.hidden_size)
        return split_critics.LocalActionCritic(*sizes, layers=config.layers, key=key)
    network = parts.build(config, action_layout(spec, local_inputs=obs_size > 0), key=key)
    return ConcatActionCritic(network=network, n_agents=spec.n_agents)


class ConcatJointCritic(eqx.Module):
    """Q(s, a_1, ..., a_n) like `dop.networks.split_critics.JointCritic`, by any network."""

    network: Any

    def __call__(self, state: Float[Array, " state"], action: Float[Array, "agent action"]) -> Float[Array, ""]:
        return _output(self.network, state, action.flatten())[0]

    def deviations(
        self, state: Float[Array, " state"], action: Float[Array, "agent action"], own: Float[Array, "agent action"]
    ) -> Float[Array, " agent"]:
        """Q(s, (own_i, a_-i)) for every agent i, with a_-i from `action`."""
        return jax.vmap(lambda i, own: self(state, action.at[i].set(own)))(jnp.arange(len(action)), own)


def joint_layout(spec: EnvSpec) -> InputLayout:
    """Inputs and output of a critic of the joint action."""
    return input_layout(spec, "state", "joint_action", outputs=1, feed_forward=True)


def joint_critic(config: NetworkConfig, spec: EnvSpec, *, key: PRNGKeyArray) -> Any:
    """Q(s, a): one value, from the state and all agents' vector actions."""
    if type(config) is MLP:
        return split_critics.JointCritic(
            spec.state_size, spec.action_size, spec.n_agents, config.hidden_size, layers=config.layers, key=key
        )
    return ConcatJointCritic(network=parts.build(config, joint_layout(spec), key=key))


class ConcatCounterfactualCritic(eqx.Module):
    """Q_i(s, o_i, (a_-i, .)) like `dop.networks.split_critics.CounterfactualCritic`, by any network."""

    network: Any
    action_size: int = eqx.field(static=True)

    def __call__(
        self, state: Float[Array, " state"], obs: Float[Array, "agent obs"], action: Int[Array, " agent"]
    ) -> Float[Array, "agent action"]:
        """`action` is the joint action; row i does not depend on agent i's own."""
        ids = jnp.eye(len(action), dtype=state.dtype)
        one_hot = jax.nn.one_hot(action, self.action_size, dtype=state.dtype)

        def of_agent(obs: Float[Array, " obs"], own: Float[Array, " agent"]) -> Float[Array, " action"]:
            others = (one_hot * (1 - own)[:, None]).flatten()
            return _output(self.network, state, obs, others, own)

        return jax.vmap(of_agent)(obs, ids)


def counterfactual_layout(spec: EnvSpec) -> InputLayout:
    """Inputs and outputs of COMA's critic."""
    return input_layout(spec, "state", "obs", "joint_action", "agent_id", feed_forward=True)


def counterfactual_critic(config: NetworkConfig, spec: EnvSpec, *, key: PRNGKeyArray) -> Any:
    """Q_i(s, o_i, (a_-i, .)): values of all discrete actions, from state, own observation, the others' actions and agent id."""
    if type(config) is MLP:
        sizes = (spec.state_size, spec.obs_size, spec.action_size, spec.n_agents, config.hidden_size)
        return split_critics.CounterfactualCritic(*sizes, layers=config.layers, key=key)
    return ConcatCounterfactualCritic(network=parts.build(config, counterfactual_layout(spec), key=key), action_size=spec.action_size)
