"""The base class of deterministic DOP, MADDPG and MAAC: feed-forward actors and a centralised critic that learn from replayed transitions.

Actors and target networks are updated once every `policy_delay` critic steps (Fujimoto et al. 2018; App. G.2). A subclass defines the
behaviour policy, the critic, and the losses of critic and actors.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from dop import losses, policies
from dop.errors import ConfigError, check_fractions, check_not_negative, check_positive, check_types
from dop.learning import minibatches, optimisers, transitions
from dop.learning.gradient_step import Loss, gradient_step
from dop.networks import parts
from dop.networks.critics import CRITIC_IS_FEED_FORWARD
from dop.networks.inputs import InputLayout
from dop.networks.mlp import MLP
from dop.networks.protocols import NetworkConfig
from dop.networks.teams import feed_forward
from dop.networks.teams.feed_forward import Team
from dop.types import EnvSpec, Learner, Metrics, ReplayBuffer, Sharing, Traced, Transition

Critic = TypeVar("Critic", bound=eqx.Module)
MOVED_FIELDS = {f"{part}_{hidden}": f"{part}.hidden_size" for part in ("actor", "critic") for hidden in ("hidden", "hidden_size")}
"""Arguments of earlier versions, and the fields that replace them."""
ACTOR_IS_FEED_FORWARD = "Single transitions cannot train a recurrent actor: use dop.MLP(), or a network of your own without a hidden state."
"""Why an off-policy actor has no hidden state."""


class Rows(eqx.Module):
    """Transitions of a minibatch (leading axis: row): all of them, or one device's part. Losses and metrics are sums over rows."""

    step: Transition
    key: PRNGKeyArray
    weight: Float[Array, " row"]
    """Equal for all rows of the minibatch, with a sum of 1."""
    active_weight: Float[Array, "row agent"]
    """Equal for all active agents of the minibatch, with a sum of 1; 0 for the others."""

    @classmethod
    def of(cls, batch: Transition, key: PRNGKeyArray) -> Rows:
        """All rows of a minibatch."""
        n = len(batch.reward)
        return cls(
            step=batch,
            key=jax.random.split(key, n),
            weight=jnp.full(n, 1 / n),
            active_weight=losses.equal_shares(policies.is_active(batch.action_mask), (0, 1)),
        )

    def mean(self, x: Float[Array, "row *rest"]) -> Float[Array, ""]:
        """What these rows add to the mean of `x` over the minibatch and all other axes."""
        return jnp.sum(self.weight * jnp.mean(x, axis=tuple(range(1, x.ndim))))


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
    """Common hyper-parameters and methods. Defaults: App. G.2 of the DOP paper where it states a value."""

    # Critic
    gamma: Traced[float] = 0.99
    """Discount factor per step. The paper does not state it."""
    critic: NetworkConfig = MLP(hidden_size=256)
    """Network of the critic; feed-forward (App. G.1)."""

    # Actors
    actor: NetworkConfig = MLP(hidden_size=64)
    """Network of each actor; feed-forward (App. G.2)."""
    share_parameters: Sharing = "all"
    """Actors: one network for all agents, with the agent id as input, one per type, or per agent."""

    # Target networks
    tau: Traced[float] = 0.01
    """Polyak coefficient of the target networks, in (0, 1] (alpha of Algorithm 2). The paper does not state it."""

    # Steps
    policy_delay: int = 2
    """Critic steps per step of the actors and target networks (App. G.2)."""
    rounds_per_iteration: int = 1
    """Rounds per iteration, of `policy_delay` critic steps and one actor step each."""
    episodes_per_iteration: int = 2
    """Parallel environments, with one episode each per iteration."""

    # Optimisation
    critic_lr: Traced[float] = 5e-4
    """Learning rate of the critic."""
    actor_lr: Traced[float] = 5e-4
    """Learning rate of the actors."""
    optimiser: Literal["rmsprop", "adam"] = "rmsprop"
    """Optimiser of all networks (App. G.2: RMSprop)."""
    rms_decay: Traced[float] = 0.99
    """Decay of RMSprop's squared-gradient average (App. G.2); only for RMSprop."""
    optimiser_eps: Traced[float] = 1e-5
    """The optimiser's epsilon, outside the square root."""
    max_grad_norm: Traced[float] = 20.0
    """Maximum global norm of the gradient; larger ones are clipped."""
    logit_penalty: Traced[float] = 1e-3
    """Weight of the mean squared actor output in the loss, against saturation (code of Lowe et al., and of Iqbal and Sha)."""

    # Data
    replay_capacity: int = 10_000
    """Capacity of the replay buffer, in episodes; 250,000 steps if each has 25 (Sec. 5.2)."""
    replay_batch: int = 1250
    """Transitions per minibatch, drawn uniformly with replacement (App. G.2)."""
    warmup_episodes: int = 50
    """Episodes collected before the first update."""

    @abstractmethod
    def _make_critic(self, key: PRNGKeyArray, spec: EnvSpec) -> Critic: ...

    @abstractmethod
    def _critic_layout(self, spec: EnvSpec) -> InputLayout:
        """Inputs and outputs of the network of the critic."""

    @abstractmethod
    def _critic_loss(self, critic: Critic, learner: OffPolicyLearner[Critic], rows: Rows) -> Loss:
        """The critic's loss, a sum over rows."""

    @abstractmethod
    def _actor_loss(self, actor: Team, learner: OffPolicyLearner[Critic], rows: Rows) -> Loss:
        """The actors' loss, a sum over rows, without the penalty on the outputs."""

    def _check(self, spec: EnvSpec) -> None:
        """Raise ConfigError for hyper-parameters or environments that no subclass supports."""
        check_types(self)
        counts = ("policy_delay", "rounds_per_iteration", "episodes_per_iteration", "replay_capacity")
        check_positive(self, *counts, "replay_batch", "warmup_episodes", "critic_lr", "actor_lr", "max_grad_norm")
        check_fractions(self, "gamma", "tau", "rms_decay")
        check_not_negative(self, "optimiser_eps", "logit_penalty")
        if self.tau == 0:
            raise ConfigError("tau must be above 0: at 0 the target networks never change.")
        if self.rms_decay == 1:
            raise ConfigError("rms_decay must be below 1: at 1 the average never changes.")
        if self.replay_capacity < self.episodes_per_iteration:
            raise ConfigError(
                f"replay_capacity ({self.replay_capacity}) must hold episodes_per_iteration ({self.episodes_per_iteration}): raise it."
            )
        feed_forward.check(self.actor, spec, ACTOR_IS_FEED_FORWARD)
        parts.check(self.critic, "critic", self._critic_layout(spec), feed_forward=CRITIC_IS_FEED_FORWARD)

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
        """Empty: the actors have no hidden state."""
        del spec
        return ()

    def sample(self, replay: ReplayBuffer, key: PRNGKeyArray) -> Transition:
        """Transitions for every critic step of the iteration; leading axes: round, critic step, example."""
        shape = (self.rounds_per_iteration, self.policy_delay, self.replay_batch)
        drawn = transitions.uniform(replay, key, shape[0] * shape[1] * shape[2])
        return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), drawn)

    def update(self, learner: OffPolicyLearner[Critic], batch: Transition, key: PRNGKeyArray) -> tuple[OffPolicyLearner[Critic], Metrics]:
        """The iteration's rounds; metrics are means over rounds."""
        learner, metrics = jax.lax.scan(self._round, learner, (batch, jax.random.split(key, self.rounds_per_iteration)))
        return learner, jax.tree.map(jnp.mean, metrics)

    def _round(self, learner: OffPolicyLearner[Critic], x: tuple[Transition, PRNGKeyArray]) -> tuple[OffPolicyLearner[Critic], Metrics]:
        """`policy_delay` critic steps, one actor step on the last minibatch, and one update of the target networks."""
        batch, key = x
        key_actor, key_critic = jax.random.split(key)
        learner, metrics = jax.lax.scan(self._critic_step, learner, (batch, jax.random.split(key_critic, self.policy_delay)))
        learner, actor_metrics = self._actor_step(learner, jax.tree.map(lambda x: x[-1], batch), key_actor)
        target_actor = optimisers.incremental_update(learner.target_actor, learner.actor, self.tau)
        target_critic = optimisers.incremental_update(learner.target_critic, learner.critic, self.tau)
        return replace(learner, target_actor=target_actor, target_critic=target_critic), jax.tree.map(jnp.mean, metrics) | actor_metrics

    def _critic_step(
        self, learner: OffPolicyLearner[Critic], x: tuple[Transition, PRNGKeyArray]
    ) -> tuple[OffPolicyLearner[Critic], Metrics]:
        loss = lambda critic, rows: self._critic_loss(critic, learner, rows)  # noqa: E731
        rule = self._optimiser(self.critic_lr)
        critic, optimiser, metrics = gradient_step(loss, learner.critic, rule, learner.critic_optimiser, Rows.of(*x), name="critic")
        return replace(learner, critic=critic, critic_optimiser=optimiser), metrics

    def _actor_step(
        self, learner: OffPolicyLearner[Critic], batch: Transition, key: PRNGKeyArray
    ) -> tuple[OffPolicyLearner[Critic], Metrics]:
        def objective(actor: Team, rows: Rows) -> Loss:
            loss, metrics = self._actor_loss(actor, learner, rows)
            outputs = jnp.where(rows.step.action_mask, jax.vmap(feed_forward.outputs, (None, 0))(actor, rows.step.obs), 0)
            size = rows.mean(outputs**2)
            return loss + self.logit_penalty * size, metrics | {"actor_output_square": size}

        rule = self._optimiser(self.actor_lr)
        actor, optimiser, metrics = gradient_step(
            objective, learner.actor, rule, learner.actor_optimiser, Rows.of(batch, key), name="actor"
        )
        metrics["actor_output_rms"] = jnp.sqrt(metrics.pop("actor_output_square"))  # of the sum over all devices
        return replace(learner, actor=actor, actor_optimiser=optimiser), metrics

    def _optimiser(self, lr: float) -> optax.GradientTransformation:
        if self.optimiser == "rmsprop":
            return optimisers.rmsprop(lr, decay=self.rms_decay, eps=self.optimiser_eps, max_grad_norm=self.max_grad_norm)
        return optimisers.adam(lr, eps=self.optimiser_eps, max_grad_norm=self.max_grad_norm)


def td_loss(value: Float[Array, "row value"], target: Float[Array, "row value"], weight: Float[Array, "row value"]) -> Loss:
    """The weighted sum of squared TD errors, and its metrics; whatever has weight 0 is ignored."""
    value, target = (jnp.where(weight > 0, x, 0) for x in (value, target))
    loss, metrics = minibatches.squared_error(value - target, weight)
    return loss, metrics | {"q_taken_mean": jnp.sum(weight * value), "target_mean": jnp.sum(weight * target)}


def _copy(module: Any) -> Any:
    return jax.tree.map(lambda x: jnp.copy(x) if eqx.is_array(x) else x, module)
