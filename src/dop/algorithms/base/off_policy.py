"""What deterministic DOP, MADDPG and MAAC have in common: actors without memory and a centralised critic that learn from single steps.

The steps may be of any age. The critic learns at every update, actors and target networks every `policy_delay` of them (Fujimoto et al.
2018; App. G.2). An algorithm says how it acts, what its critic is, and what the two losses of a batch are.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from dop import losses
from dop.errors import ConfigError, check_fractions, check_not_negative, check_positive, check_types
from dop.learning import optimisers, transitions
from dop.learning.gradient_step import Loss, gradient_step
from dop.networks import parts
from dop.networks.critics import CRITIC
from dop.networks.mlp import MLP
from dop.networks.protocols import NetworkConfig
from dop.networks.teams import feed_forward
from dop.networks.teams.feed_forward import Team
from dop.types import EnvSpec, Learner, Metrics, ReplayBuffer, Sharing, Transition

Critic = TypeVar("Critic", bound=eqx.Module)
FORMERLY = {f"{part}_{hidden}": f"{part}.hidden_size" for part in ("actor", "critic") for hidden in ("hidden", "hidden_size")}
"""Arguments of earlier versions, and where they are now."""
SINGLE_STEPS = "Single steps of any age cannot train a recurrent actor: use dop.MLP(), or a network of your own without a hidden state."


class OffPolicyLearner(Learner, Generic[Critic]):
    env_steps: Int[Array, ""]
    actor: Team
    target_actor: Team
    critic: Critic
    target_critic: Critic
    actor_optimiser: PyTree
    critic_optimiser: PyTree


@dataclass(frozen=True, kw_only=True)
class OffPolicy(Generic[Critic]):
    """The common fields and methods. Defaults: App. G.2 of the DOP paper where it says something."""

    # Critic
    gamma: float = 0.99
    """Discount per step. The paper does not state it."""
    critic: NetworkConfig = MLP(hidden_size=256)
    """Network of the critic (App. G.1): features to a value, without a hidden state."""

    # Actors
    actor: NetworkConfig = MLP(hidden_size=64)
    """Network of each actor (App. G.2), without a hidden state: single steps cannot train one."""
    share_parameters: Sharing = "all"
    """One network for all actors, told apart by the agent id, one for each type of agent, or one each."""

    # Target networks
    tau: float = 0.01
    """alpha of Algorithm 2: the share of the networks that goes into the target networks each time. The paper does not state it."""

    # Steps
    policy_delay: int = 2
    """Critic steps before each step of the actors and the target networks (App. G.2)."""
    rounds_per_iteration: int = 1
    """Such rounds an iteration, `policy_delay` critic steps and one of the actors; each step has a batch of its own."""
    episodes_per_iteration: int = 2
    """Parallel environments; each plays one episode before the rounds of an iteration."""

    # Optimisation
    critic_lr: float = 5e-4
    """Learning rate of the critic."""
    actor_lr: float = 5e-4
    """Learning rate of the actors."""
    optimiser: Literal["rmsprop", "adam"] = "rmsprop"
    """App. G.2: RMSprop."""
    rms_decay: float = 0.99
    """RMSprop's alpha (App. G.2); nothing else uses it."""
    optimiser_eps: float = 1e-5
    """The optimiser's epsilon, outside the root."""
    max_grad_norm: float = 20.0
    """Gradients are clipped to this joint norm."""
    logit_penalty: float = 1e-3
    """Weight of the mean square of the actors' outputs, which keeps them from saturating (Lowe et al.'s and Iqbal and Sha's code)."""

    # Data
    replay_capacity: int = 10_000
    """The newest episodes that are kept: 250,000 steps where they take 25 (Sec. 5.2)."""
    replay_batch: int = 1250
    """Steps of each batch, drawn with replacement from all that are kept (App. G.2)."""
    warmup_episodes: int = 50
    """Episodes collected before the first update."""

    @abstractmethod
    def _make_critic(self, key: PRNGKeyArray, spec: EnvSpec) -> Critic: ...

    @abstractmethod
    def _critic_loss(self, critic: Critic, learner: OffPolicyLearner[Critic], batch: Transition, key: PRNGKeyArray) -> Loss:
        """Of a batch (leading axis)."""

    @abstractmethod
    def _actor_loss(self, actor: Team, learner: OffPolicyLearner[Critic], batch: Transition, key: PRNGKeyArray) -> Loss:
        """Of a batch (leading axis), but for the penalty on the outputs."""

    def _check(self, spec: EnvSpec) -> None:
        """Raise ConfigError for what no algorithm of this kind can work with."""
        check_types(self)
        counts = ("policy_delay", "rounds_per_iteration", "episodes_per_iteration", "replay_capacity")
        check_positive(self, *counts, "replay_batch", "warmup_episodes", "critic_lr", "actor_lr", "max_grad_norm")
        check_fractions(self, "gamma", "tau", "rms_decay")
        check_not_negative(self, "optimiser_eps", "logit_penalty")
        if self.tau == 0:
            raise ConfigError("tau must be above 0: at 0 the target networks never learn.")
        if self.rms_decay == 1:
            raise ConfigError("rms_decay must be below 1: at 1 nothing new ever counts.")
        if self.replay_capacity < self.episodes_per_iteration:
            raise ConfigError(
                f"replay_capacity ({self.replay_capacity}) must hold episodes_per_iteration ({self.episodes_per_iteration}): raise it."
            )
        feed_forward.check(self.actor, spec, SINGLE_STEPS)
        parts.check(self.critic, "critic", feed_forward=CRITIC)

    def init(self, key: PRNGKeyArray, spec: EnvSpec) -> OffPolicyLearner[Critic]:
        key_actor, key_critic = jax.random.split(key)
        actor = feed_forward.make_team(spec, self.actor, sharing=self.share_parameters, key=key_actor)
        critic = self._make_critic(key_critic, spec)
        return OffPolicyLearner(
            env_steps=jnp.zeros((), jnp.int32),
            actor=actor,
            target_actor=_copy(actor),
            critic=critic,
            target_critic=_copy(critic),
            actor_optimiser=self._optimiser(self.actor_lr).init(eqx.filter(actor, eqx.is_array)),
            critic_optimiser=self._optimiser(self.critic_lr).init(eqx.filter(critic, eqx.is_array)),
        )

    def initial_carry(self, spec: EnvSpec) -> tuple[()]:
        """There is none."""
        del spec
        return ()

    def sample(self, replay: ReplayBuffer, key: PRNGKeyArray) -> Transition:
        """Steps for every critic step of the iteration; leading axes: round, critic step, example."""
        shape = (self.rounds_per_iteration, self.policy_delay, self.replay_batch)
        drawn = transitions.uniform(replay, key, shape[0] * shape[1] * shape[2])
        return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), drawn)

    def update(self, learner: OffPolicyLearner[Critic], batch: Transition, key: PRNGKeyArray) -> tuple[OffPolicyLearner[Critic], Metrics]:
        """The iteration's rounds; metrics are means over them."""
        learner, metrics = jax.lax.scan(self._round, learner, (batch, jax.random.split(key, self.rounds_per_iteration)))
        return learner, jax.tree.map(jnp.mean, metrics)

    def _round(self, learner: OffPolicyLearner[Critic], x: tuple[Transition, PRNGKeyArray]) -> tuple[OffPolicyLearner[Critic], Metrics]:
        """`policy_delay` critic steps, one of the actors on the last batch, one of the target networks."""
        batch, key = x
        key_actor, key_critic = jax.random.split(key)
        learner, metrics = jax.lax.scan(self._critic_step, learner, (batch, jax.random.split(key_critic, self.policy_delay)))
        learner, actor_metrics = self._actor_step(learner, jax.tree.map(lambda x: x[-1], batch), key_actor)
        target_actor = optimisers.moved(learner.target_actor, learner.actor, self.tau)
        target_critic = optimisers.moved(learner.target_critic, learner.critic, self.tau)
        return replace(learner, target_actor=target_actor, target_critic=target_critic), jax.tree.map(jnp.mean, metrics) | actor_metrics

    def _critic_step(
        self, learner: OffPolicyLearner[Critic], x: tuple[Transition, PRNGKeyArray]
    ) -> tuple[OffPolicyLearner[Critic], Metrics]:
        loss = lambda critic: self._critic_loss(critic, learner, *x)  # noqa: E731
        rule = self._optimiser(self.critic_lr)
        critic, optimiser, metrics = gradient_step(loss, learner.critic, rule, learner.critic_optimiser, name="critic")
        return replace(learner, critic=critic, critic_optimiser=optimiser), metrics

    def _actor_step(
        self, learner: OffPolicyLearner[Critic], batch: Transition, key: PRNGKeyArray
    ) -> tuple[OffPolicyLearner[Critic], Metrics]:
        def objective(actor: Team) -> Loss:
            loss, metrics = self._actor_loss(actor, learner, batch, key)
            outputs = jnp.where(batch.action_mask, jax.vmap(feed_forward.outputs, (None, 0))(actor, batch.obs), 0)
            size = jnp.mean(outputs**2)
            return loss + self.logit_penalty * size, metrics | {"actor_output_rms": jnp.sqrt(size)}

        rule = self._optimiser(self.actor_lr)
        actor, optimiser, metrics = gradient_step(objective, learner.actor, rule, learner.actor_optimiser, name="actor")
        return replace(learner, actor=actor, actor_optimiser=optimiser), metrics

    def _optimiser(self, lr: float) -> optax.GradientTransformation:
        if self.optimiser == "rmsprop":
            return optimisers.rmsprop(lr, decay=self.rms_decay, eps=self.optimiser_eps, max_grad_norm=self.max_grad_norm)
        return optimisers.adam(lr, eps=self.optimiser_eps, max_grad_norm=self.max_grad_norm)


def td_metrics(value: Float[Array, "*batch"], target: Float[Array, "*batch"], counts: Bool[Array, "*batch"]) -> Loss:
    """The mean squared error of `value` where it `counts`, and what to report of it."""
    error = value - target
    loss = losses.masked_mean(error**2, counts)
    metrics = {
        "critic_loss": loss,
        "td_error_abs": losses.masked_mean(jnp.abs(error), counts),
        "q_taken_mean": losses.masked_mean(value, counts),
        "target_mean": losses.masked_mean(target, counts),
    }
    return loss, metrics


def _copy(module: Any) -> Any:
    return jax.tree.map(lambda x: jnp.copy(x) if eqx.is_array(x) else x, module)
