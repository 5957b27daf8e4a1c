"""Actions on the simplex, with a discrete variant: action j is the corner whose component j is 1."""

from __future__ import annotations

import jax
from jaxtyping import Array, Float

from dop.types import Action, EnvSpec

KINDS = ("simplex", "discrete")
"""Values of the option `actions`."""


def points(action: Action, spec: EnvSpec) -> Float[Array, "agent action"]:
    """The joint action as one point of the simplex per agent."""
    return jax.nn.one_hot(action, spec.action_size) if spec.action_kind == "discrete" else action
