"""An environment with known credit of every action: working and lazy agents, and both with roles exchanged.

One step. The observation is one of three roles; the reward is sum_i w_i x_i, where x_i says whether agent i works (its action 1), or how
much (component 1 of its point of the simplex), and w are the role's wages:

    role 0    agent 0 does all the work        w = (1, 0)
    role 1    the same, exchanged              w = (0, 1)
    role 2    both work, unequally             w = (0.75, 0.25)

Against a uniform action, the credit of working is w_i / 2, and of not working -w_i / 2. On the simplex k_i Q_i rises by w_i over
component 1.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from dop import algorithms
from dop.hyper_parameters import changed
from dop.types import Action, ActionKind, EnvSpec, TimeStep

WAGES = np.array([[1.0, 0.0], [0.0, 1.0], [0.75, 0.25]])


@dataclass(frozen=True)
class Workers:
    """An `Environment`."""

    actions: ActionKind = "discrete"

    @property
    def spec(self) -> EnvSpec:
        return EnvSpec(
            name="workers",
            version="1",
            agents=("agent_0", "agent_1"),
            obs_sizes=(3, 3),
            action_sizes=(2, 2),
            state_size=3,
            time_limit=1,
            action_kind=self.actions,
            obs_bound=1.0,
            metrics=("worked",),
            options=(("actions", self.actions),),
        )

    def reset(self, key: PRNGKeyArray) -> tuple[Int[Array, ""], TimeStep]:
        role = jax.random.randint(key, (), 0, len(WAGES))
        return role, self.look(role, 0.0, False)

    def step(self, key: PRNGKeyArray, state: Int[Array, ""], action: Action) -> tuple[Int[Array, ""], TimeStep]:
        work = action if self.actions == "discrete" else action[:, 1]
        return state, self.look(state, jnp.sum(jnp.asarray(WAGES)[state] * work), True)

    def look(self, role: Array | int, reward: Array | float, ended: bool) -> TimeStep:
        seen = jax.nn.one_hot(role, len(WAGES))
        return TimeStep(
            obs=jnp.tile(seen, (2, 1)),
            state=seen,
            action_mask=jnp.ones((2, 2), bool),
            reward=jnp.float32(reward),
            terminated=jnp.asarray(ended),
            truncated=jnp.zeros((), bool),
            metrics=jnp.float32(reward)[None],
        )


make = Workers

SMALL = {"critic.hidden_size": 16, "actor.hidden_size": 8, "attention_heads": 2, "hypernet_hidden": 8, "embedding": 8}


def small(name: str, **changes: Any) -> Any:
    """The default of an algorithm with networks of a few hidden units."""
    default: Any = algorithms.algorithms()[name].presets()["default"]
    known = {field.name for field in fields(default)}
    return changed(default, {name: value for name, value in (SMALL | changes).items() if name.partition(".")[0] in known})
