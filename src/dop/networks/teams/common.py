"""A team's networks, built from an algorithm's `actor`: one for all agents, one per type, or one per agent."""

from __future__ import annotations

from typing import TypeAlias

from jaxtyping import PRNGKeyArray, PyTree

from dop.networks import parts
from dop.networks.layers import Agent, PerAgent
from dop.networks.protocols import NetworkConfig
from dop.types import EnvSpec, Sharing

Team: TypeAlias = PerAgent[Agent]


def make_team(spec: EnvSpec, network: NetworkConfig, *, sharing: Sharing, sees_last_action: bool, key: PRNGKeyArray) -> Team:
    """The networks of all agents; agents that share parameters differ by the agent id in the input."""

    def make(key: PRNGKeyArray) -> Agent:
        return Agent(
            network=network.build(_inputs(spec, sees_last_action), spec.action_size, key=key),
            kind=spec.action_kind,
            n_agents=spec.n_agents,
            action_size=spec.action_size,
            sees_last_action=sees_last_action,
        )

    return PerAgent(make, spec.groups(sharing), key=key)


def check(network: NetworkConfig, spec: EnvSpec, *, sees_last_action: bool, feed_forward: str | None = None) -> None:
    """Raise ConfigError if this `actor` cannot be used in `spec`. `feed_forward`: why it must not have a hidden state."""
    parts.check(network, "actor", inputs=_inputs(spec, sees_last_action), outputs=spec.action_size, feed_forward=feed_forward)


def initial_state(network: NetworkConfig, spec: EnvSpec, *, sees_last_action: bool) -> PyTree:
    """The hidden state of one agent at the start of an episode."""
    return parts.initial_state(network, _inputs(spec, sees_last_action), spec.action_size)


def _inputs(spec: EnvSpec, sees_last_action: bool) -> int:
    """Number of inputs: own observation, own last action with `sees_last_action`, and agent id."""
    return spec.obs_size + (spec.action_size if sees_last_action else 0) + spec.n_agents
