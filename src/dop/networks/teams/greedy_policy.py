"""The greedy decentralised policy of a trained team, for deployment: each agent acts on its own observation."""

from __future__ import annotations

from typing import Literal, TypeAlias

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from dop.networks.layers import Agent, PerAgent

Chosen: TypeAlias = Literal["argmax", "corner", "softmax", "tanh"]


class Policy(eqx.Module):
    """A team's networks, and the mapping from an agent's output to its action.

    argmax     index of the largest output among available actions
    corner     the same, as a corner of the simplex
    softmax    softmax(output / temperature) over existing components
    tanh       tanh(output), 0 on padded components
    """

    team: PerAgent[Agent]
    """Networks of all agents."""
    chosen: Chosen = eqx.field(static=True)
    """How an agent's output gives its action."""
    temperature: Float[Array, ""] = eqx.field(default_factory=lambda: jnp.ones(()))
    """Only for `softmax`."""
