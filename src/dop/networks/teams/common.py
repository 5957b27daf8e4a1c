"""A team's networks, built from an algorithm's `actor`: one for all agents, one per type, or one per agent."""

from __future__ import annotations

from typing import TypeAlias

from jaxtyping import PRNGKeyArray, PyTree

from dop.networks import parts
from dop.networks.inputs import InputLayout, input_layout
from dop.networks.layers import Agent, PerAgent
from dop.networks.protocols import NetworkConfig
from dop.types import EnvSpec, Sharing

Team: TypeAlias = PerAgent[Agent]


def make_team(spec: EnvSpec, network: NetworkConfig, *, sharing: Sharing, sees_last_action: bool, key: PRNGKeyArray) -> Team:
    """The networks of all agents; agents that share parameters differ by the agent id in the input."""

    def make(key: PRNGKeyArray) -> Agent:
        return Agent(
            network=parts.build(network, layout(spec, sees_last_action=sees_last_action), key=key),
            kind=spec.action_kind,
            n_agents=spec.n_agents,
            action_size=spec.action_size,
            sees_last_action=sees_last_action,
        )

    return PerAgent(make, spec.groups(sharing), key=key)


def check(network: NetworkConfig, spec: EnvSpec, *, sees_last_action: bool, feed_forward: str | None = None) -> None:
    """Raise ConfigError if this `actor` cannot be used in `spec`. `feed_forward`: why it must not have a hidden state."""
    parts.check(network, "actor", layout(spec, sees_last_action=sees_last_action), feed_forward=feed_forward)


def initial_state(network: NetworkConfig, spec: EnvSpec, *, sees_last_action: bool) -> PyTree:
    """The hidden state of one agent at the start of an episode."""
    return parts.initial_state(network, layout(spec, sees_last_action=sees_last_action))


def layout(spec: EnvSpec, *, sees_last_action: bool) -> InputLayout:
    """An actor's inputs: own observation, own last action with `sees_last_action`, and agent id. Actors without the last action learn from
    single steps and have no hidden state."""
    if sees_last_action:
        return input_layout(spec, "obs", "action", "agent_id")
    return input_layout(spec, "obs", "agent_id", feed_forward=True)
