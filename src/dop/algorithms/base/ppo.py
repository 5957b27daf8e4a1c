"""The base class of MAPPO and IPPO: proximal policy optimisation (Schulman et al. 2017) of a team of recurrent actors.

    A_it  GAE(lambda) of a critic of states, normalised; y_it = A_it + V_it before normalisation
    actors   - mean min(rho A, clip(rho, 1 - eps, 1 + eps) A) - entropy_bonus H,   rho = pi_i(a_i | tau_i) / beta_i(a_i | tau_i)
    critic   1/2 mean max((V - y)^2, (V clipped to within eps of its old value - y)^2)

beta is the policy that played the episode, whose probability of the action is in the record. A step that a time limit ends bootstraps; one
that terminates does not. Each iteration takes several gradient steps on its own episodes, which are then never used again.
A subclass defines what the critic sees.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from dop import losses, policies
from dop.errors import ConfigError, check_fractions, check_not_negative, check_positive, check_types
from dop.learning import optimisers
from dop.learning.gradient_step import Loss, gradient_step
from dop.learning.normalisation import RunningMeanVar
from dop.networks import parts, value_critics
from dop.networks.gru import GRU
from dop.networks.inputs import InputLayout
from dop.networks.protocols import NetworkConfig
from dop.networks.teams import recurrent
from dop.networks.teams.greedy_policy import Policy
from dop.networks.teams.recurrent import Carry, Team
from dop.types import EnvSpec, Episode, Learner, Metrics, PolicyOutput, ReplayBuffer, Sharing, TimeStep, Traced


class Estimates(eqx.Module):
    """What the critic says of a batch of episodes before an update, constant in all of its gradient steps."""

    advantage: Float[Array, "time episode agent"]
    target: Float[Array, "time episode agent"]
    """y, as the critic's network is to give it: normalised with `normalise_value`."""
    value: Float[Array, "time episode agent"]
    """V, as the critic's network gives it."""
    counts: Bool[Array, "time episode agent"]
    """The active agents of each step; the rest is ignored."""


class PPOLearner(Learner):
    env_steps: Int[Array, ""]
    actor: Team
    critic: Any
    """A `ValueCritic`."""
    actor_optimiser: PyTree
    critic_optimiser: PyTree
    value_normaliser: RunningMeanVar
    """Mean and variance of all targets so far."""


@dataclass(frozen=True, kw_only=True)
class PPO:
    """Common hyper-parameters and methods."""

    # Critic
    gamma: Traced[float] = 0.99
    """Discount factor per step."""
    td_lambda: Traced[float] = 0.95
    """lambda of GAE(lambda)."""
    critic: NetworkConfig = GRU(hidden_size=64)
    """Network of the critic."""
    critic_lr: Traced[float] = 1e-3
    """Learning rate of the critic."""
    normalise_value: bool = True
    """Fit the critic to targets that are normalised by their running mean and variance (MAPPO)."""
    clip_value: bool = True
    """Clip the critic's values to within `clip` of those before the update, in its loss."""

    # Actors
    actor: NetworkConfig = GRU(hidden_size=64)
    """Network of each actor."""
    share_parameters: Sharing = "all"
    """Actors, and critics per agent: one network for all agents, with the agent id as input, one per type, or per agent."""
    actor_lr: Traced[float] = 1e-3
    """Learning rate of the actors."""
    clip: Traced[float] = 0.2
    """Largest distance from 1 of the ratio of new and old probabilities (epsilon of PPO)."""
    normalise_advantage: bool = True
    """Normalise the advantages of each iteration by their mean and standard deviation."""
    entropy_bonus: Traced[float] = 0.01
    """Weight of the policy entropy in the actors' objective."""

    # Data
    episodes_per_iteration: int = 32
    """Parallel environments, with one episode each per iteration."""
    epochs: int = 4
    """Passes over the episodes of an iteration."""
    minibatches: int = 4
    """Gradient steps per epoch, each on an equal part of the episodes, drawn anew in every epoch; at most one per episode."""

    # Optimisation
    optimiser_eps: Traced[float] = 1e-5
    """Adam's epsilon."""
    max_grad_norm: Traced[float] = 0.5
    """Maximum global norm of the gradient, of actors and of critic; larger ones are clipped."""
    lr_anneal_steps: Traced[int] = 0
    """Environment steps in which both learning rates fall linearly to 0; 0: they are constant."""

    @abstractmethod
    def _make_critic(self, key: PRNGKeyArray, spec: EnvSpec) -> Any:
        """The critic, a `ValueCritic`."""

    @abstractmethod
    def _critic_layout(self, spec: EnvSpec) -> InputLayout:
        """Inputs and output of the critic's network."""

    @property
    def replay_capacity(self) -> int:
        return self.episodes_per_iteration

    @property
    def warmup_episodes(self) -> int:
        return 0

    @property
    def _parts(self) -> int:
        """Minibatches of an epoch."""
        return min(self.minibatches, self.episodes_per_iteration)

    def _check(self, spec: EnvSpec, name: str) -> None:
        """Raise ConfigError for hyper-parameters or environments that no subclass supports; `name` is the algorithm's."""
        check_types(self)
        if spec.action_kind != "discrete":
            raise ConfigError(f"{name} needs discrete actions, but those of {spec.name} are a {spec.action_kind}.")
        check_positive(self, "episodes_per_iteration", "epochs", "minibatches", "critic_lr", "actor_lr", "clip", "max_grad_norm")
        check_fractions(self, "gamma", "td_lambda", "clip")
        check_not_negative(self, "entropy_bonus", "optimiser_eps", "lr_anneal_steps")
        if self.episodes_per_iteration % self._parts:
            raise ConfigError(
                f"minibatches ({self.minibatches}) must divide episodes_per_iteration ({self.episodes_per_iteration}) into equal parts: "
                "change one of them."
            )
        recurrent.check(self.actor, spec)
        parts.check(self.critic, "critic", self._critic_layout(spec))

    # ---------------------------------------------------------------------------------------------------------------- acting

    def init(self, key: PRNGKeyArray, spec: EnvSpec) -> PPOLearner:
        key_actor, key_critic = jax.random.split(key)
        actor = recurrent.make_team(spec, self.actor, sharing=self.share_parameters, key=key_actor)
        critic = self._make_critic(key_critic, spec)
        return PPOLearner(
            env_steps=jnp.zeros((), jnp.int32),
            actor=actor,
            critic=critic,
            actor_optimiser=self._optimiser(self.actor_lr).init(eqx.filter(actor, eqx.is_array)),
            critic_optimiser=self._optimiser(self.critic_lr).init(eqx.filter(critic, eqx.is_array)),
            value_normaliser=RunningMeanVar.start(1),
        )

    def initial_carry(self, spec: EnvSpec) -> Carry:
        return recurrent.initial_carry(spec, self.actor)

    def act(self, learner: PPOLearner, carry: Carry, step: TimeStep, key: PRNGKeyArray, *, explore: bool) -> tuple[PolicyOutput, Carry]:
        hidden, logits = recurrent.step_team(learner.actor, carry.hidden, step.obs, carry.last_action)
        policy = jax.vmap(policies.masked_softmax)(logits, step.action_mask)
        if explore:
            action = jax.vmap(policies.sample)(jax.random.split(key, logits.shape[0]), policy)
        else:
            action = jax.vmap(policies.greedy)(logits, step.action_mask)
        output = PolicyOutput(action=action, behaviour_prob=policies.probability(policy, action))
        return output, Carry(hidden=hidden, last_action=action)

    def policy(self, learner: PPOLearner) -> Policy:
        """The greedy decentralised policy."""
        return Policy(team=learner.actor, chosen="argmax")

    # -------------------------------------------------------------------------------------------------------------- learning

    def sample(self, replay: ReplayBuffer, key: PRNGKeyArray) -> Episode:
        """The episodes of the iteration."""
        del key
        return replay.latest(self.episodes_per_iteration)

    def update(self, learner: PPOLearner, batch: Episode, key: PRNGKeyArray) -> tuple[PPOLearner, Metrics]:
        """The iteration's gradient steps. Metrics are means over them."""
        episodes = recurrent.time_first(batch)
        learner, estimates, found = self._estimates(learner, episodes)
        shuffle = jax.vmap(lambda key: jax.random.permutation(key, self.episodes_per_iteration))
        order = shuffle(jax.random.split(key, self.epochs)).reshape(self.epochs * self._parts, -1)

        def step(learner: PPOLearner, chosen: Int[Array, " episode"]) -> tuple[PPOLearner, Metrics]:
            return self._one_step(learner, *jax.tree.map(lambda x: x[:, chosen], (episodes, estimates)))

        learner, metrics = jax.lax.scan(step, learner, order)
        return learner, jax.tree.map(jnp.mean, metrics) | found

    def _estimates(self, learner: PPOLearner, episodes: Episode) -> tuple[PPOLearner, Estimates, Metrics]:
        """Advantages and targets of the episodes, the learner with these targets' mean and variance, and metrics."""
        counts = policies.is_active(episodes.action_mask[:-1]) & episodes.mask[..., None]
        output = value_critics.unroll(learner.critic, episodes, recurrent.max_length(episodes) + 1)
        value = learner.value_normaliser.denormalise(output) if self.normalise_value else output
        advantage = jax.vmap(self._advantages, in_axes=(1, 1), out_axes=1)(episodes, value)
        target = advantage + value[:-1]
        metrics = {"target_mean": losses.masked_mean(target, counts), "td_error_abs": losses.masked_mean(jnp.abs(advantage), counts)}
        if self.normalise_value:
            learner = replace(learner, value_normaliser=learner.value_normaliser.update(target[..., None], counts))
            target = learner.value_normaliser.normalise_target(target)
        if self.normalise_advantage:
            advantage = normalised(advantage, counts)
        return learner, Estimates(advantage=advantage, target=target, value=output[:-1], counts=counts), metrics

    def _advantages(self, episode: Episode, value: Float[Array, "time+1 agent"]) -> Float[Array, "time agent"]:
        """GAE(lambda) of every agent in one episode."""
        of_agent = lambda value: recurrent.advantages(episode, value, gamma=self.gamma, lambda_=self.td_lambda)  # noqa: E731
        return jax.vmap(of_agent, in_axes=1, out_axes=1)(value)

    def _one_step(self, learner: PPOLearner, episodes: Episode, estimates: Estimates) -> tuple[PPOLearner, Metrics]:
        """A gradient step of the actors and one of the critic, on some of the episodes."""
        length = recurrent.max_length(episodes)
        rate = self._lr_fraction(learner)
        actor, actor_optimiser, of_actor = gradient_step(
            lambda actor: self._actor_loss(actor, episodes, estimates, length),
            learner.actor,
            self._optimiser(self.actor_lr * rate),
            learner.actor_optimiser,
            name="actor",
        )
        critic, critic_optimiser, of_critic = gradient_step(
            lambda critic: self._critic_loss(critic, episodes, estimates, length),
            learner.critic,
            self._optimiser(self.critic_lr * rate),
            learner.critic_optimiser,
            name="critic",
        )
        learner = replace(learner, actor=actor, actor_optimiser=actor_optimiser, critic=critic, critic_optimiser=critic_optimiser)
        return learner, of_actor | of_critic

    def _actor_loss(self, actor: Team, episodes: Episode, estimates: Estimates, length: Int[Array, ""]) -> Loss:
        logits = recurrent.unroll(actor, episodes, length)[:-1]
        policy = jnp.vectorize(policies.masked_softmax, signature="(a),(a)->(a)")(logits, episodes.action_mask[:-1])
        counts = estimates.counts
        # Steps that do not count may have any recorded probability, 0 included.
        ratio = jnp.where(counts, losses.gather_actions(policy, episodes.action), 1) / jnp.where(counts, episodes.behaviour_prob, 1)
        loss = losses.clipped_actor(ratio, estimates.advantage, self.clip, counts)
        entropy = losses.masked_mean(losses.entropy(policy), counts)
        metrics = {
            "actor_loss": loss,
            "policy_entropy": entropy,
            "policy_max": losses.masked_mean(jnp.max(policy, axis=-1), counts),
            "clip_fraction": losses.masked_mean((jnp.abs(ratio - 1) > self.clip).astype(ratio.dtype), counts),
        }
        return loss - self.entropy_bonus * entropy, metrics

    def _critic_loss(self, critic: Any, episodes: Episode, estimates: Estimates, length: Int[Array, ""]) -> Loss:
        value = value_critics.unroll(critic, episodes, length)[:-1]
        clip = self.clip if self.clip_value else None
        loss = losses.clipped_critic(value, estimates.value, estimates.target, clip, estimates.counts)
        return loss, {"critic_loss": loss}

    def _lr_fraction(self, learner: PPOLearner) -> Float[Array, ""]:
        """The fraction of the initial learning rates."""
        return jnp.where(self.lr_anneal_steps > 0, optimisers.linear(1.0, 0.0, self.lr_anneal_steps, learner.env_steps), 1.0)

    def _optimiser(self, lr: float | Float[Array, ""]) -> optax.GradientTransformation:
        return optimisers.adam(lr, eps=self.optimiser_eps, max_grad_norm=self.max_grad_norm)


def normalised(advantage: Float[Array, "*step"], counts: Bool[Array, "*step"]) -> Float[Array, "*step"]:
    """Advantages with mean 0 and standard deviation 1 over the entries that count."""
    centred = advantage - losses.masked_mean(advantage, counts)
    return centred / (jnp.sqrt(losses.masked_mean(centred**2, counts)) + 1e-5)
