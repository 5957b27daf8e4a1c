"""MAAC: actor-attention-critic (Iqbal and Sha 2019) with a shared team reward, a soft actor-critic with a counterfactual baseline.

    critic   y_i = r + gamma (Q_i'(o', a') - alpha log pi_i'(a_i'))      a' sampled from the target actors                   (their Eq. 7)
    actors   ascend  E[grad log pi_i(a_i) (Q_i(o, a) - b_i(o, a_-i) - alpha log pi_i(a_i))]    a sampled from the actors    (Eq. 8)
    baseline b_i = sum_x pi_i(x) Q_i(o, (x, a_-i))                                                                          (Eq. 9)

Actions are discrete, since the baseline is a sum over them. On a simplex the actions are its corners. Boxes are not supported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dop import losses, policies
from dop.algorithms.base.off_policy import MOVED_FIELDS, Loss, OffPolicy, OffPolicyLearner, Rows, td_loss
from dop.errors import ConfigError, check_not_negative, check_positive, shown
from dop.networks.attention import AttentionCritic
from dop.networks.inputs import InputLayout, input_layout
from dop.networks.mlp import MLP
from dop.networks.protocols import NetworkConfig
from dop.networks.teams import feed_forward
from dop.networks.teams.feed_forward import Team
from dop.networks.teams.greedy_policy import Policy
from dop.renamed import moved_into_parts
from dop.types import Action, Credit, EnvSpec, PolicyOutput, Sharing, TimeStep, Traced, Transition

MAACLearner = OffPolicyLearner[AttentionCritic]


@moved_into_parts(**MOVED_FIELDS)
@dataclass(frozen=True, kw_only=True)
class MAAC(OffPolicy[AttentionCritic]):
    """MAAC (Iqbal and Sha 2019). Gradient steps and replay as in deterministic DOP, the rest as published; preset `published`: Iqbal and
    Sha's settings, except for the deviations in docs/deviations.md.

        gradient of actor i = E[grad log pi_i(a_i) (Q_i(o, a) - sum_x pi_i(x) Q_i(o, (x, a_-i)) - alpha log pi_i(a_i))]
    """

    # Critic
    critic: NetworkConfig = MLP(hidden_size=128, layers=1)
    """Sizes of encoders, attention and output heads; must be an `MLP` (published: 128 units)."""
    attention_heads: int = 4
    """Attention heads; must divide the critic's `hidden_size` (published: 4)."""
    attention_penalty: Traced[float] = 1e-3
    """Weight of the mean squared attention logit, over heads and pairs of agents (published: 4e-3 in this form)."""

    # Actors
    share_parameters: Sharing = "all"
    """Actors, critic encoders and heads: one network for all agents, with the agent id as input, one per type, or per agent (published)."""
    entropy_weight: Traced[float] = 0.01
    """Entropy coefficient alpha, in reward per nat (published: 0.01)."""

    @classmethod
    def presets(cls) -> Mapping[str, MAAC]:
        """`default`; `published`: Iqbal and Sha 2019 and their code: Adam with 1e-3, minibatches of 1024, 12 environments, 4 updates every
        100 steps, tau 0.001, 128 units, one network per agent, an attention penalty of 1e-3 for each of four heads, no policy delay."""
        published = cls(
            actor=MLP(hidden_size=128),
            attention_penalty=4e-3,
            share_parameters="none",
            tau=1e-3,
            policy_delay=1,
            rounds_per_iteration=12,
            episodes_per_iteration=12,
            critic_lr=1e-3,
            actor_lr=1e-3,
            optimiser="adam",
            optimiser_eps=1e-8,
            replay_capacity=40_000,
            replay_batch=1024,
        )
        return {"default": cls(), "published": published}

    def check(self, spec: EnvSpec) -> None:
        """Raise ConfigError for unusable hyper-parameters or an unsupported environment."""
        self._check(spec)
        check_positive(self, "attention_heads")
        check_not_negative(self, "attention_penalty", "entropy_weight")
        size = self._critic_sizes.hidden_size
        if size % self.attention_heads:
            raise ConfigError(f"attention_heads ({self.attention_heads}) must divide critic.hidden_size ({size}).")
        if spec.action_kind == "box":
            raise ConfigError(
                f"maac needs discrete or simplex actions, but those of {spec.name} are a box. Use deterministic-dop or maddpg."
            )

    def _make_critic(self, key: PRNGKeyArray, spec: EnvSpec) -> AttentionCritic:
        sizes, layers = (spec.obs_size, spec.action_size, self._critic_sizes.hidden_size), self._critic_sizes.layers
        groups = spec.groups(self.share_parameters)
        return AttentionCritic(*sizes, layers=layers, groups=groups, heads=self.attention_heads, key=key)

    def _critic_layout(self, spec: EnvSpec) -> InputLayout:
        """Of an encoder."""
        return input_layout(spec, "obs", "agent_id", feed_forward=True)

    @property
    def _critic_sizes(self) -> MLP:
        """The critic's sizes.

        Raises:
            ConfigError: the critic is not an `MLP`.
        """
        if not isinstance(self.critic, MLP):
            raise ConfigError(f"critic of maac must be a dop.MLP, which sets the sizes of the attention critic; got {shown(self.critic)}.")
        return self.critic

    def act(
        self, learner: MAACLearner, carry: tuple[()], step: TimeStep, key: PRNGKeyArray, *, explore: bool
    ) -> tuple[PolicyOutput, tuple[()]]:
        kind = learner.actor.network.kind
        output = feed_forward.outputs(learner.actor, step.obs)
        policy = jax.vmap(policies.masked_softmax)(output, step.action_mask)
        if explore:
            action = jax.vmap(policies.sample)(jax.random.split(key, output.shape[0]), policy)
        else:
            action = jax.vmap(policies.greedy)(output, step.action_mask)
        if kind == "discrete":
            return PolicyOutput(action=action, behaviour_prob=policies.probability(policy, action)), carry
        return PolicyOutput(action=feed_forward.as_vectors(action, step.action_mask), behaviour_prob=jnp.ones(output.shape[0])), carry

    def policy(self, learner: MAACLearner) -> Policy:
        """The greedy decentralised policy."""
        chosen = "argmax" if learner.actor.network.kind == "discrete" else "corner"
        return Policy(team=learner.actor, chosen=chosen)

    def credit(self, learner: MAACLearner, carry: tuple[()], step: TimeStep, action: Action, own: Action) -> Credit:
        """Each agent's value is the team's; a simplex action counts as its nearest corner."""
        del carry
        policy = jax.vmap(policies.masked_softmax)(feed_forward.outputs(learner.actor, step.obs), step.action_mask)
        q, _ = learner.critic(step.obs, feed_forward.as_vectors(action, step.action_mask), policies.is_active(step.action_mask))
        q_own = losses.gather_actions(q, jnp.argmax(feed_forward.as_vectors(own, step.action_mask), axis=-1))
        discrete = learner.actor.network.kind == "discrete"
        k = policies.is_active(step.action_mask).astype(q.dtype)
        return Credit(k=k, q=q_own, b=None, policy=policy if discrete else None)

    def _sample_actions(
        self, actor: Team, obs: Float[Array, "agent obs"], action_mask: Array, key: PRNGKeyArray
    ) -> tuple[Float[Array, "agent action"], Int[Array, " agent"]]:
        """The actors' policies at one step, and an action sampled from each."""
        policy = jax.vmap(policies.masked_softmax)(feed_forward.outputs(actor, obs), action_mask)
        return policy, jax.vmap(policies.sample)(jax.random.split(key, len(policy)), policy)

    def _critic_loss(self, critic: AttentionCritic, learner: MAACLearner, rows: Rows) -> Loss:
        """The squared soft TD error of every active agent (their Eq. 7)."""

        def target(step: Transition, key: PRNGKeyArray) -> Float[Array, " agent"]:
            policy, action = self._sample_actions(learner.target_actor, step.next_obs, step.next_action_mask, key)
            is_active = policies.is_active(step.next_action_mask)
            q, _ = learner.target_critic(step.next_obs, feed_forward.as_vectors(action, step.next_action_mask), is_active)
            soft = losses.gather_actions(q, action) - self.entropy_weight * log_probability(policy, action)
            return step.reward + self.gamma * step.discount * losses.agreed(soft, is_active)

        step = rows.step
        action = feed_forward.as_vectors(step.action, step.action_mask)
        q, logits = jax.vmap(critic)(step.obs, action, policies.is_active(step.action_mask))
        q_taken, targets = losses.gather_actions(q, jnp.argmax(action, axis=-1)), jax.vmap(target)(step, rows.key)
        loss, metrics = td_loss(q_taken, jax.lax.stop_gradient(targets), rows.active_weight)
        return loss + self.attention_penalty * rows.mean(logits**2), metrics

    def _actor_loss(self, actor: Team, learner: MAACLearner, rows: Rows) -> Loss:
        """Minus the soft policy-gradient objective (their Eq. 8); no gradient through the advantage."""

        def objective(step: Transition, key: PRNGKeyArray) -> tuple[Float[Array, " agent"], Float[Array, "agent action"]]:
            policy, action = self._sample_actions(actor, step.obs, step.action_mask, key)
            q, _ = learner.critic(step.obs, feed_forward.as_vectors(action, step.action_mask), policies.is_active(step.action_mask))
            log = log_probability(policy, action)
            advantage = counterfactual_advantage(policy, q, action) - self.entropy_weight * log
            return log * jax.lax.stop_gradient(advantage), policy

        objectives, policy = jax.vmap(objective)(rows.step, rows.key)
        loss = -rows.mean(objectives)
        return loss, {"actor_loss": loss, "policy_entropy": rows.mean(losses.entropy(policy))}


def counterfactual_advantage(
    policy: Float[Array, "agent action"], q: Float[Array, "agent action"], action: Int[Array, " agent"]
) -> Float[Array, " agent"]:
    """Q_i(o, a) - sum_x pi_i(x) Q_i(o, (x, a_-i)); mean 0 over agent i's policy (Iqbal and Sha's Eqs. 8 and 9)."""
    return losses.gather_actions(q, action) - jnp.sum(policy * q, axis=-1)


def log_probability(policy: Float[Array, "agent action"], action: Int[Array, " agent"]) -> Float[Array, " agent"]:
    """log pi_i(a_i), finite where the probability underflows; 0 for inactive agents."""
    return jnp.log(jnp.maximum(policies.probability(policy, action), jnp.finfo(policy.dtype).tiny))


ALGORITHM = MAAC
