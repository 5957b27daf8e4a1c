"""The base class of stochastic DOP and COMA: decentralised actors, recurrent by default, and a centralised critic fitted to targets.

The policy gradient credits each agent with its aristocrat utility: the advantage of its action over its policy's expected value.
A subclass defines the critic, its targets, the local values Q_i(., a_i) and their weights k_i.
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

from dop import losses, policies
from dop.errors import ConfigError, check_fractions, check_not_negative, check_positive, check_types
from dop.learning import optimisers
from dop.learning.gradient_step import Loss, gradient_step
from dop.learning.minibatches import Schedule
from dop.learning.normalisation import RunningMeanVar
from dop.networks import parts
from dop.networks.critics import CRITIC_IS_FEED_FORWARD
from dop.networks.gru import GRU
from dop.networks.inputs import InputLayout
from dop.networks.mlp import MLP
from dop.networks.protocols import NetworkConfig
from dop.networks.teams import recurrent
from dop.networks.teams.greedy_policy import Policy
from dop.networks.teams.recurrent import Carry, Team, flatten_time
from dop.types import Action, Credit, EnvSpec, Episode, Learner, Metrics, PolicyOutput, Sharing, TimeStep, Traced

Critic = TypeVar("Critic", bound=eqx.Module)
MOVED_FIELDS = {f"{part}_{hidden}": f"{part}.hidden_size" for part in ("actor", "critic") for hidden in ("hidden", "hidden_size")}
"""Arguments of earlier versions, and the fields that replace them."""


class Values(eqx.Module):
    """The critic's values at one step."""

    q: Float[Array, "*batch agent action"]
    """Each agent's value of each of its own actions."""
    k: Float[Array, "*batch agent"]
    """Weight of each agent's value in the team's; 0 for inactive agents."""

    def metrics(self, action_mask: Bool[Array, "*batch agent action"], mask: Bool[Array, "*batch"]) -> Metrics:
        """Metrics of a batch: the range of q."""
        counts = mask[..., None, None] & action_mask
        return {
            "q_min": jnp.min(self.q, where=counts, initial=jnp.inf),
            "q_max": jnp.max(self.q, where=counts, initial=-jnp.inf),
        }


class Batch(eqx.Module):
    """The episodes of one update; leading axis: episode."""

    on_policy: Episode
    """On-policy episodes: the critic's TD(lambda) targets, and the normalisation of states."""
    actor: Episode
    """The episodes of the actors' gradient."""


class ActorCriticLearner(Learner, Generic[Critic]):
    env_steps: Int[Array, ""]
    since_target: Int[Array, ""]
    """Iterations, or critic steps, since the target networks were last copied."""
    actor: Team
    actor_ema: Team
    """Exponential moving average of the actors, for greedy evaluation."""
    critic: Critic
    target: Critic
    actor_optimiser: PyTree
    critic_optimiser: PyTree
    state_normaliser: RunningMeanVar


@dataclass(frozen=True, kw_only=True)
class ActorCritic(Generic[Critic]):
    """Common hyper-parameters and methods. Defaults: the best measured for stochastic DOP on SMAX. "Paper" and "released" mean DOP's."""

    # Critic
    gamma: Traced[float] = 0.99
    """Discount factor per step."""
    td_lambda: Traced[float] = 0.9
    """lambda of the on-policy TD(lambda) target (Eq. 8). The paper does not state it; released code: 0.8."""
    target_interval: Traced[int] = 2
    """Period of the target critic's update, in units of `target_unit` (d of Algorithm 1)."""
    target_unit: Literal["iterations", "critic_steps"] = "iterations"
    """Unit of `target_interval`; checked at the end of each iteration."""
    critic_schedule: Schedule = "shuffled"
    """Critic steps per iteration: one per timestep, forwards (released) or backwards, one per shuffled minibatch, or one in all (paper)."""
    critic: NetworkConfig = MLP(hidden_size=128)
    """Network of the critic; feed-forward. Paper and released: 256 units."""
    critic_lr: Traced[float] = 1e-3
    """Learning rate of the critic. Paper and released: 1e-4."""
    normalise_state: bool = True
    """Normalise the global state by the running mean and variance of the on-policy episodes. Published: no."""

    # Actors
    actor: NetworkConfig = GRU(hidden_size=64)
    """Network of each actor."""
    share_parameters: Sharing = "all"
    """Actors and local critics: one network for all agents, with the agent id as input (released), one per type, or per agent (paper)."""
    policy_gradient: Literal["expected", "sampled"] = "expected"
    """Gradient in expectation over each agent's own actions, or from sampled actions (released), biased if `epsilon_in="behaviour"`."""
    actor_steps: int = 4
    """Gradient steps of the actors per iteration. Published: 1."""
    actor_batch: int | None = 4
    """Episodes per gradient step of the actors, in turns, out of those of the update. None: all (published)."""
    actor_lr: Traced[float] = 1e-3
    """Learning rate of the actors. Paper and released: 5e-4."""
    scale_advantage: bool = True
    """Divide the utilities by their root mean square over available actions. Published: no."""
    actor_ema_decay: Traced[float] = 0.97
    """Decay per iteration of the actors' exponential moving average, used for greedy evaluation. 0: the newest actors (released)."""
    entropy_bonus: Traced[float] = 0.1
    """Weight of the policy entropy in the actors' objective. Published: 0."""

    # Exploration
    epsilon_start: Traced[float] = 0.2
    """Probability of a uniform action at the start, in [0, 1]. Paper: 1, released: 0.5."""
    epsilon_end: Traced[float] = 0.05
    """Probability of a uniform action after annealing, in [0, 1] (App. G.1: 0.05)."""
    epsilon_anneal_steps: Traced[int] = 20_000
    """Environment steps of the linear annealing of epsilon. Paper and released: 500,000."""
    epsilon_in: Literal["behaviour", "policy"] = "behaviour"
    """Mix epsilon into the behaviour policy only, or also into the learned policy (released)."""

    # Data
    episodes_per_iteration: int = 4
    """Parallel environments, with one episode each per iteration."""
    on_policy_batch: int = 16
    """On-policy episodes per update."""

    # Optimisation
    rms_decay: Traced[float] = 0.99
    """Decay of RMSprop's squared-gradient average (PyTorch's alpha)."""
    rms_eps: Traced[float] = 1e-5
    """RMSprop's epsilon, outside the square root."""
    max_grad_norm: Traced[float] = 20.0
    """Maximum global norm of the gradient; larger ones are clipped."""

    @abstractmethod
    def _make_critic(self, key: PRNGKeyArray, spec: EnvSpec) -> Critic: ...

    @abstractmethod
    def _critic_layout(self, spec: EnvSpec) -> InputLayout:
        """Inputs and outputs of the network of the critic."""

    @abstractmethod
    def _update_critic(
        self, learner: ActorCriticLearner[Critic], batch: Any, key: PRNGKeyArray
    ) -> tuple[ActorCriticLearner[Critic], Metrics, Int[Array, ""]]:
        """The critic's gradient steps: the new learner, metrics and the number of steps."""

    @abstractmethod
    def _values(self, learner: ActorCriticLearner[Critic], critic: Critic, episodes: Episode, length: Int[Array, ""]) -> Values:
        """All agents' values on the first `length` steps; time first."""

    @abstractmethod
    def _credit_terms(
        self, learner: ActorCriticLearner[Critic], step: TimeStep, action: Action
    ) -> tuple[Float[Array, "agent action"], Float[Array, " agent"], Float[Array, ""] | None]:
        """Each agent's values of its own actions at one step, given the others' in `action`; then k and b of `Credit`."""

    def _check(self, spec: EnvSpec, name: str) -> None:
        """Raise ConfigError for hyper-parameters or environments that no subclass supports; `name` is the algorithm's."""
        check_types(self)
        if spec.action_kind != "discrete":
            raise ConfigError(f"{name} needs discrete actions, but those of {spec.name} are a {spec.action_kind}.")
        sizes = ("actor_steps", "target_interval", "episodes_per_iteration", "on_policy_batch")
        check_positive(self, *sizes, "critic_lr", "actor_lr", "max_grad_norm")
        if self.actor_batch is not None:
            check_positive(self, "actor_batch")
        check_fractions(self, "gamma", "td_lambda", "actor_ema_decay", "epsilon_start", "epsilon_end", "rms_decay")
        check_not_negative(self, "epsilon_anneal_steps", "entropy_bonus", "rms_eps")
        if self.actor_ema_decay == 1 or self.rms_decay == 1:
            raise ConfigError("actor_ema_decay and rms_decay must be below 1: at 1 the average never changes.")
        recurrent.check(self.actor, spec)
        parts.check(self.critic, "critic", self._critic_layout(spec), feed_forward=CRITIC_IS_FEED_FORWARD)

    # ---------------------------------------------------------------------------------------------------------------- acting

    def init(self, key: PRNGKeyArray, spec: EnvSpec) -> ActorCriticLearner[Critic]:
        key_actor, key_critic = jax.random.split(key)
        actor = recurrent.make_team(spec, self.actor, sharing=self.share_parameters, key=key_actor)
        critic = self._make_critic(key_critic, spec)
        return ActorCriticLearner(
            env_steps=jnp.zeros((), jnp.int32),
            since_target=jnp.zeros((), jnp.int32),
            actor=actor,
            actor_ema=jax.tree.map(jnp.copy, actor),
            critic=critic,
            target=jax.tree.map(jnp.copy, critic),
            actor_optimiser=self._actor_optimiser.init(eqx.filter(actor, eqx.is_array)),
            critic_optimiser=self._critic_optimiser.init(eqx.filter(critic, eqx.is_array)),
            state_normaliser=RunningMeanVar.start(spec.state_size),
        )

    def initial_carry(self, spec: EnvSpec) -> Carry:
        return recurrent.initial_carry(spec, self.actor)

    def act(
        self, learner: ActorCriticLearner[Critic], carry: Carry, step: TimeStep, key: PRNGKeyArray, *, explore: bool
    ) -> tuple[PolicyOutput, Carry]:
        actor = learner.actor if explore else learner.actor_ema
        hidden, logits = recurrent.step_team(actor, carry.hidden, step.obs, carry.last_action)
        if explore:
            behaviour_prob = self._mixed_policy(logits, step.action_mask, self._epsilon(learner))
            action = jax.vmap(policies.sample)(jax.random.split(key, logits.shape[0]), behaviour_prob)
        else:
            behaviour_prob = jax.vmap(policies.masked_softmax)(logits, step.action_mask)
            action = jax.vmap(policies.greedy)(logits, step.action_mask)
        output = PolicyOutput(action=action, behaviour_prob=policies.probability(behaviour_prob, action))
        return output, Carry(hidden=hidden, last_action=action)

    def schedules(self, learner: Learner) -> Metrics:
        """The current epsilon."""
        return {"epsilon": self._epsilon(learner)}

    def sampling(self) -> ActorCritic[Critic]:
        """The newest actors, without epsilon."""
        return replace(self, epsilon_start=0.0, epsilon_end=0.0)

    def _epsilon(self, learner: Learner) -> Float[Array, ""]:
        return optimisers.linear(self.epsilon_start, self.epsilon_end, self.epsilon_anneal_steps, learner.env_steps)

    def _mixed_policy(
        self, logits: Float[Array, "agent action"], action_mask: Bool[Array, "agent action"], epsilon: Float[Array, ""]
    ) -> Float[Array, "agent action"]:
        """The behaviour policy: the actors' policy mixed with epsilon."""
        return jax.vmap(lambda x, m: policies.mix(x, m, epsilon, before_mask=self.epsilon_in == "policy"))(logits, action_mask)

    def _policy(
        self, logits: Float[Array, "*batch agent action"], action_mask: Bool[Array, "*batch agent action"], epsilon: Float[Array, ""]
    ) -> Float[Array, "*batch agent action"]:
        """The learned policy: with or without epsilon, by `epsilon_in`."""
        mix = epsilon if self.epsilon_in == "policy" else jnp.zeros_like(epsilon)
        return jnp.vectorize(lambda x, m: self._mixed_policy(x, m, mix), signature="(n,a),(n,a)->(n,a)")(logits, action_mask)

    # --------------------------------------------------------------------------------------------------------------- inspection

    def policy(self, learner: ActorCriticLearner[Critic]) -> Policy:
        """The greedy decentralised policy."""
        return Policy(team=learner.actor_ema, chosen="argmax")

    def credit(self, learner: ActorCriticLearner[Critic], carry: Carry, step: TimeStep, action: Action, own: Action) -> Credit:
        """By the current critic, against the averaged actors."""
        _, logits = recurrent.step_team(learner.actor_ema, carry.hidden, step.obs, carry.last_action)
        q, k, b = self._credit_terms(learner, step, action)
        return Credit(k=k, q=losses.gather_actions(q, own), b=b, policy=jax.vmap(policies.masked_softmax)(logits, step.action_mask))

    # -------------------------------------------------------------------------------------------------------------- learning

    def update(self, learner: ActorCriticLearner[Critic], batch: Any, key: PRNGKeyArray) -> tuple[ActorCriticLearner[Critic], Metrics]:
        """One iteration: critic steps, actor steps, and every `target_interval` the target networks' update."""
        if self.normalise_state:
            on = batch.on_policy
            learner = replace(learner, state_normaliser=learner.state_normaliser.update(on.state[:, :-1], on.mask))
        learner, critic_metrics, critic_steps = self._update_critic(learner, batch, key)
        learner, actor_metrics = self._update_actors(learner, batch.actor)
        return self._update_target(learner, critic_steps), critic_metrics | actor_metrics

    def _update_actors(self, learner: ActorCriticLearner[Critic], batch: Episode) -> tuple[ActorCriticLearner[Critic], Metrics]:
        """`actor_steps` steps of the policy gradient with the current critic, on `actor_batch` episodes each; metrics of the last step."""
        episodes = recurrent.time_first(batch)
        values = self._values(learner, learner.critic, episodes, recurrent.max_length(episodes))

        def step(carry: tuple, j: Int[Array, ""]) -> tuple[tuple, Metrics]:
            actor, optimiser = carry
            some, own = recurrent.strided_minibatch((episodes, values), self.actor_batch, j)
            loss = lambda actor: self._actor_loss(actor, self._epsilon(learner), some, own, recurrent.max_length(some))  # noqa: E731
            actor, optimiser, metrics = gradient_step(loss, actor, self._actor_optimiser, optimiser, name="actor")
            return (actor, optimiser), metrics

        start = (learner.actor, learner.actor_optimiser)
        (actor, optimiser), metrics = jax.lax.scan(step, start, jnp.arange(self.actor_steps))
        average = optimisers.incremental_update(learner.actor_ema, actor, 1 - self.actor_ema_decay)
        learner = replace(learner, actor=actor, actor_ema=average, actor_optimiser=optimiser)
        return learner, jax.tree.map(lambda x: x[-1], metrics)

    def _actor_loss(self, actor: Team, epsilon: Float[Array, ""], episodes: Episode, values: Values, length: Int[Array, ""]) -> Loss:
        policy = self._policy(recurrent.unroll(actor, episodes, length), episodes.action_mask, epsilon)
        # The losses need no time axis.
        policy, action_mask, values = jax.tree.map(
            lambda x: flatten_time(x[: episodes.mask.shape[0]]), (policy, episodes.action_mask, values)
        )
        action, behaviour_prob, mask = flatten_time(episodes.action), flatten_time(episodes.behaviour_prob), flatten_time(episodes.mask)
        q, k = values.q, values.k
        scale = losses.utility_rms(losses.aristocrat_utility(policy, q, k), action_mask, mask)
        k_scaled = k / (jax.lax.stop_gradient(scale) + 1e-6) if self.scale_advantage else k
        if self.policy_gradient == "expected":
            loss = losses.stochastic_dop_actor_expected(policy, q, k_scaled, mask)
        else:
            loss = losses.stochastic_dop_actor(policy, q, k_scaled, action, mask, self._ratio(policy, action, behaviour_prob, mask))
        entropy = losses.masked_mean(losses.entropy(policy), mask)
        metrics = {
            "actor_loss": loss,
            "policy_entropy": entropy,
            "policy_max": losses.masked_mean(jnp.max(policy, axis=-1), mask),
            "advantage_rms": scale,
        }
        return loss - self.entropy_bonus * entropy, metrics | values.metrics(action_mask, mask)

    def _ratio(
        self,
        policy: Float[Array, "time agent action"],
        action: Int[Array, "time agent"],
        behaviour_prob: Float[Array, "time agent"],
        mask: Bool[Array, " time"],
    ) -> Float[Array, " time"] | None:
        """Importance weight of each step of a sampled gradient; None on-policy."""
        del policy, action, behaviour_prob, mask
        return None

    def _update_target(self, learner: ActorCriticLearner[Critic], critic_steps: Int[Array, ""]) -> ActorCriticLearner[Critic]:
        since = learner.since_target + (critic_steps if self.target_unit == "critic_steps" else 1)
        due = since >= self.target_interval
        target = optimisers.periodic_update(due, learner.target, learner.critic)
        return replace(learner, target=target, since_target=jnp.where(due, 0, since))

    def _inputs(
        self, learner: ActorCriticLearner[Critic], state: Float[Array, "*batch state"], obs: Float[Array, "*batch agent obs"]
    ) -> tuple[Array, Array]:
        """The critics' inputs: state and observations in full precision, the state normalised."""
        dtype = learner.state_normaliser.mean.dtype
        state, obs = state.astype(dtype), obs.astype(dtype)
        return (learner.state_normaliser.normalise(state) if self.normalise_state else state), obs

    @property
    def _actor_optimiser(self) -> optax.GradientTransformation:
        return optimisers.rmsprop(self.actor_lr, decay=self.rms_decay, eps=self.rms_eps, max_grad_norm=self.max_grad_norm)

    @property
    def _critic_optimiser(self) -> optax.GradientTransformation:
        return optimisers.rmsprop(self.critic_lr, decay=self.rms_decay, eps=self.rms_eps, max_grad_norm=self.max_grad_norm)
