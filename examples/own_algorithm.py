"""Independent REINFORCE (Williams 1992) with linear policies: a complete algorithm outside the library.

dop train own_algorithm:Reinforce --env two-step --env-steps 4000 --lr 0.3        # in this file's folder
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dop import losses, policies
from dop.errors import ConfigError, check_positive
from dop.types import EnvSpec, Episode, Learner, Metrics, PolicyOutput, TimeStep


class ReinforceLearner(Learner):
    env_steps: Int[Array, ""]
    weights: Float[Array, "agent action obs"]


@dataclass(frozen=True, kw_only=True)
class Reinforce:
    """REINFORCE with linear policies."""

    lr: float = 0.5
    """Learning rate."""
    episodes_per_iteration: int = 16
    """Episodes per update."""

    @property
    def replay_capacity(self) -> int:
        return self.episodes_per_iteration

    @property
    def warmup_episodes(self) -> int:
        return self.episodes_per_iteration

    def check(self, spec: EnvSpec) -> None:
        check_positive(self, "lr", "episodes_per_iteration")
        if spec.action_kind != "discrete":
            raise ConfigError(f"Reinforce needs discrete actions, but those of {spec.name} are a {spec.action_kind}.")

    def init(self, key: PRNGKeyArray, spec: EnvSpec) -> ReinforceLearner:
        weights = jnp.zeros((spec.n_agents, spec.action_size, spec.obs_size))
        return ReinforceLearner(env_steps=jnp.zeros((), jnp.int32), weights=weights)

    def initial_carry(self, spec: EnvSpec) -> tuple[()]:
        return ()

    def act(self, learner: ReinforceLearner, carry: Any, step: TimeStep, key: PRNGKeyArray, *, explore: bool) -> tuple[PolicyOutput, Any]:
        policy = self.policies_of(learner.weights, step.obs, step.action_mask)
        drawn = jax.vmap(policies.sample)(jax.random.split(key, len(policy)), policy)
        action = drawn if explore else jax.vmap(policies.greedy)(policy, step.action_mask)
        return PolicyOutput(action=action, behaviour_prob=policies.probability(policy, action)), carry

    def policies_of(self, weights: Array, obs: Float[Array, "agent obs"], action_mask: Array) -> Float[Array, "agent action"]:
        return jax.vmap(policies.masked_softmax)(jnp.einsum("iao,io->ia", weights, obs), action_mask)

    def sample(self, replay: Any, key: PRNGKeyArray) -> Episode:
        return replay.latest(self.episodes_per_iteration)

    def update(self, learner: ReinforceLearner, batch: Episode, key: PRNGKeyArray) -> tuple[ReinforceLearner, Metrics]:
        return_to_go = jnp.cumsum(batch.reward[:, ::-1], axis=1)[:, ::-1]
        advantage = return_to_go - losses.masked_mean(return_to_go, batch.mask)

        def loss(weights: Array) -> Array:
            policy = jax.vmap(jax.vmap(self.policies_of, (None, 0, 0)), (None, 0, 0))(weights, batch.obs[:, :-1], batch.action_mask[:, :-1])
            log = jnp.log(policies.probability(policy, batch.action) + 1e-8)
            return -losses.masked_mean(advantage * jnp.sum(log, axis=-1), batch.mask)

        value, gradient = jax.value_and_grad(loss)(learner.weights)
        return replace(learner, weights=learner.weights - self.lr * gradient), {"actor_loss": value}
