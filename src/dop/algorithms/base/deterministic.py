"""The base class of deterministic DOP and MADDPG: deterministic policy gradients (Silver et al. 2014).

    critic   (r + gamma Q'(s', pi'(o')) - Q(s, a))^2                    (Eq. 12)
    actors   ascend the gradient of Q(s, pi(o)) through each agent's own action

A subclass defines the critic and the actors' objective. Discrete and simplex actions are relaxed by Gumbel-softmax (App. D.2); see
`dop.networks.teams.feed_forward`.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from dop import losses, policies
from dop.algorithms.base.off_policy import Critic, Loss, OffPolicy, OffPolicyLearner, Rows, td_loss
from dop.errors import check_fractions, check_not_negative, check_positive
from dop.learning import optimisers
from dop.networks.teams import feed_forward
from dop.networks.teams.feed_forward import Team
from dop.networks.teams.greedy_policy import Chosen, Policy
from dop.types import Action, ActionKind, Credit, EnvSpec, Metrics, PolicyOutput, TimeStep, Traced, Transition


@dataclass(frozen=True, kw_only=True)
class Deterministic(OffPolicy[Critic]):
    """Common hyper-parameters and methods."""

    # Exploration
    temperature_start: Traced[float] = 1.0
    """Softmax temperature of discrete and simplex actions at the start (App. D.2)."""
    temperature_end: Traced[float] = 1.0
    """Softmax temperature after annealing."""
    temperature_steps: Traced[int] = 50_000
    """Environment steps of the linear annealing of the temperature."""
    action_noise: Traced[float] = 0.2
    """Standard deviation of the Gaussian noise on box actions, which lie in [-1, 1] (Algorithm 2's epsilon)."""
    epsilon_start: Traced[float] = 0.0
    """Probability of a uniform action at the start, in [0, 1]."""
    epsilon_end: Traced[float] = 0.0
    """Probability of a uniform action after annealing, in [0, 1]."""
    epsilon_anneal_steps: Traced[int] = 50_000
    """Environment steps of the linear annealing of epsilon."""

    @abstractmethod
    def _values(
        self,
        critic: Critic,
        state: Float[Array, " state"],
        obs: Float[Array, "agent obs"],
        action: Float[Array, "agent action"],
        is_active: Bool[Array, " agent"],
    ) -> Float[Array, " value"]:
        """The critic's estimates of the team's value, one or several, that are fitted to the target; inactive agents add 0."""

    @abstractmethod
    def _actor_objective(
        self, critic: Critic, step: Transition, action: Float[Array, "agent action"], own: Float[Array, "agent action"]
    ) -> Array:
        """The actors' objective, a function of their `own` actions; `action` is the joint action from the replay."""

    @abstractmethod
    def _credit_terms(
        self, critic: Critic, step: TimeStep, action: Float[Array, "agent action"], own: Float[Array, "agent action"]
    ) -> tuple[Float[Array, " agent"], Float[Array, " agent"], Float[Array, ""] | None]:
        """Q_i of each agent's `own` action, given the others' in `action`; then k and b of `Credit`."""

    def _check(self, spec: EnvSpec) -> None:
        super()._check(spec)
        check_positive(self, "temperature_start", "temperature_end")
        check_not_negative(self, "temperature_steps", "action_noise", "epsilon_anneal_steps")
        check_fractions(self, "epsilon_start", "epsilon_end")

    # ---------------------------------------------------------------------------------------------------------------- acting

    def act(
        self, learner: OffPolicyLearner[Critic], carry: tuple[()], step: TimeStep, key: PRNGKeyArray, *, explore: bool
    ) -> tuple[PolicyOutput, tuple[()]]:
        kind = learner.actor.network.kind
        output = feed_forward.outputs(learner.actor, step.obs)
        if explore:
            vector = jax.vmap(lambda *x: self._explore(learner, *x))(jax.random.split(key, output.shape[0]), output, step.action_mask)
        else:
            vector = self._choose(learner.actor, learner, step.obs, step.action_mask)
        action = feed_forward.as_stored(kind, vector)
        if kind != "discrete":
            return PolicyOutput(action=action, behaviour_prob=jnp.ones(output.shape[0])), carry
        epsilon = self._epsilon(learner) if explore else jnp.zeros(())
        behaviour_prob = jax.vmap(lambda x, m: policies.epsilon_mixture(policies.masked_softmax(x, m), m, epsilon))(
            output, step.action_mask
        )
        return PolicyOutput(action=action, behaviour_prob=policies.probability(behaviour_prob, action)), carry

    def _explore(
        self, learner: OffPolicyLearner[Critic], key: PRNGKeyArray, output: Float[Array, " action"], action_mask: Bool[Array, " action"]
    ) -> Float[Array, " action"]:
        """One agent's action with noise, or a uniform one with probability epsilon."""
        kind = learner.actor.network.kind
        key_own, key_uniform, key_which = jax.random.split(key, 3)
        own = feed_forward.explore(kind, key_own, output, action_mask, self._temperature(learner), self.action_noise)
        uniform = feed_forward.as_vectors(policies.random_action(key_uniform, action_mask, kind), action_mask)
        return jnp.where(jax.random.bernoulli(key_which, self._epsilon(learner)), uniform, own)

    def _choose(
        self,
        actor: Team,
        learner: OffPolicyLearner[Critic],
        obs: Float[Array, "agent obs"],
        action_mask: Bool[Array, "agent action"],
    ) -> Float[Array, "agent action"]:
        """pi(o), without noise."""
        output, temperature = feed_forward.outputs(actor, obs), self._temperature(learner)
        return jax.vmap(lambda x, m: feed_forward.choose(actor.network.kind, x, m, temperature))(output, action_mask)

    def schedules(self, learner: OffPolicyLearner[Critic]) -> Metrics:
        """The current epsilon and, except for boxes, the temperature."""
        temperature = {} if learner.actor.network.kind == "box" else {"temperature": self._temperature(learner)}
        return {"epsilon": self._epsilon(learner), **temperature}

    def sampling(self) -> Deterministic[Critic]:
        """The actors with their noise (Gumbel, or Gaussian in a box), without uniform actions."""
        return replace(self, epsilon_start=0.0, epsilon_end=0.0)

    def _temperature(self, learner: OffPolicyLearner[Critic]) -> Float[Array, ""]:
        return optimisers.linear(self.temperature_start, self.temperature_end, self.temperature_steps, learner.env_steps)

    def _epsilon(self, learner: OffPolicyLearner[Critic]) -> Float[Array, ""]:
        return optimisers.linear(self.epsilon_start, self.epsilon_end, self.epsilon_anneal_steps, learner.env_steps)

    # --------------------------------------------------------------------------------------------------------------- inspection

    def policy(self, learner: OffPolicyLearner[Critic]) -> Policy:
        """The greedy decentralised policy."""
        by_kind: dict[ActionKind, Chosen] = {"discrete": "argmax", "simplex": "softmax", "box": "tanh"}
        return Policy(team=learner.actor, temperature=self._temperature(learner), chosen=by_kind[learner.actor.network.kind])

    def credit(self, learner: OffPolicyLearner[Critic], carry: tuple[()], step: TimeStep, action: Action, own: Action) -> Credit:
        """By the current critic."""
        del carry
        q, k, b = self._credit_terms(
            learner.critic,
            step,
            feed_forward.as_vectors(action, step.action_mask),
            feed_forward.as_vectors(own, step.action_mask),
        )
        return Credit(k=k, q=q, b=b, policy=None)

    # -------------------------------------------------------------------------------------------------------------- learning

    def _critic_loss(self, critic: Critic, learner: OffPolicyLearner[Critic], rows: Rows) -> Loss:
        """The squared TD error (Eq. 12)."""

        def target(step: Transition) -> Float[Array, " value"]:
            action = self._choose(learner.target_actor, learner, step.next_obs, step.next_action_mask)
            q_next = self._values(learner.target_critic, step.next_state, step.next_obs, action, policies.is_active(step.next_action_mask))
            return step.reward + self.gamma * step.discount * q_next

        step = rows.step
        action = feed_forward.as_vectors(step.action, step.action_mask)
        value = jax.vmap(self._values, (None, 0, 0, 0, 0))(critic, step.state, step.obs, action, policies.is_active(step.action_mask))
        weight = jnp.broadcast_to(rows.weight[:, None] / value.shape[1], value.shape)
        return td_loss(value, jax.lax.stop_gradient(jax.vmap(target)(step)), weight)

    def _actor_loss(self, actor: Team, learner: OffPolicyLearner[Critic], rows: Rows) -> Loss:
        """Minus the actors' objective (Eq. 13 for a decomposed critic)."""
        kind, temperature = actor.network.kind, self._temperature(learner)

        def objective(step: Transition, action: Float[Array, "agent action"], key: PRNGKeyArray) -> tuple[Array, Array]:
            output = feed_forward.outputs(actor, step.obs)
            keys = jax.random.split(key, output.shape[0])
            own = jax.vmap(lambda k, x, m: feed_forward.relax(kind, k, x, m, temperature))(keys, output, step.action_mask)
            return self._actor_objective(learner.critic, step, action, own), jax.vmap(policies.masked_softmax)(output, step.action_mask)

        action = feed_forward.as_vectors(rows.step.action, rows.step.action_mask)
        value, policy = jax.vmap(objective)(rows.step, action, rows.key)
        loss = -rows.mean(value)
        metrics = {"actor_loss": loss}
        if kind != "box":
            metrics["policy_entropy"] = rows.mean(losses.entropy(policy))
        return loss, metrics
