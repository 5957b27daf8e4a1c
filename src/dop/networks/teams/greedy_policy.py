"""What is left of a team when it has learned: each agent's own network, which plays greedily on what that agent sees."""

from __future__ import annotations

from typing import Literal, TypeAlias

import equinox as eqx
from jaxtyping import Array, Float

from dop.networks.layers import Agent, PerAgent

Chosen: TypeAlias = Literal["argmax", "corner", "softmax", "tanh"]


class Policy(eqx.Module):
    """A team's networks, and how an action comes of what an agent's network gives.

    argmax     the number of the largest output among the legal ones
    corner     the same, as a corner of the simplex
    softmax    softmax(output / temperature) over the components that exist
    tanh       tanh(output), 0 on components that do not exist
    """

    team: PerAgent[Agent]
    temperature: Float[Array, ""]
    """Of `softmax`; nothing else uses it."""
    chosen: Chosen = eqx.field(static=True)
