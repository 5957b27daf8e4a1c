"""Stochastic DOP (Wang et al., Algorithm 1, Sec. 4.1, App. G.1): decentralised recurrent actors and a linearly decomposed critic.

    Q_tot(tau, a) = sum_i k_i(s) Q_i(tau, a_i) + b(s)                                            (Eq. 4)

Each iteration, from 16 on-policy and 32 off-policy episodes:

    critic   targets: TD(lambda) on-policy (Eq. 8), k-step tree backup off-policy (Eq. 7); losses mixed by kappa (Eq. 6)
    actors   ascend  sum_i k_i grad log pi_i(a_i) (Q_i(a_i) - E_pi Q_i)                  (Eq. 9, App. A.3)

`base.actor_critic` has the actors, their gradient and exploration; this module has the critic and its targets.
Arrays of an update have the axes time, episode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from dop import losses, policies
from dop.algorithms.base import actor_critic
from dop.algorithms.base.actor_critic import MOVED_FIELDS, ActorCritic, ActorCriticLearner
from dop.errors import ConfigError, check_fractions, check_not_negative, check_positive
from dop.learning import dynamic_scan, minibatches
from dop.learning.gradient_step import Loss
from dop.mixers import LinearMixer
from dop.networks.critics import local_critic, local_layout
from dop.networks.inputs import InputLayout
from dop.networks.layers import PerAgent
from dop.networks.mlp import MLP
from dop.networks.protocols import NetworkConfig
from dop.networks.teams import recurrent
from dop.networks.teams.recurrent import max_length
from dop.renamed import moved_into_parts
from dop.returns import expected_q, sampled_q, td_lambda, tree_backup
from dop.types import Action, EnvSpec, Episode, Metrics, ReplayBuffer, TimeStep, Traced


class DecomposedCritic(eqx.Module):
    """Local critics, and the mixer that combines them into Q_tot (Fig. 2)."""

    local: PerAgent[Any]
    mixer: LinearMixer

    def local_q(self, state: Float[Array, " state"], obs: Float[Array, "agent obs"]) -> Float[Array, "agent action"]:
        """Q_i(tau, .) of every agent."""
        ids = jnp.arange(self.local.n_agents)
        return self.local.map(lambda net, *x: net(*x), state, obs, ids, in_axes=(None, 0, 0))

    def total(
        self,
        state: Float[Array, " state"],
        obs: Float[Array, "agent obs"],
        action: Int[Array, " agent"],
        is_active: Bool[Array, " agent"] | None = None,
    ) -> Float[Array, ""]:
        """Q_tot(tau, a) (Eq. 4) over the active agents; by default all."""
        k, b = self.mixer(state)
        q = losses.gather_actions(self.local_q(state, obs), action)
        return jnp.sum(k * (q if is_active is None else jnp.where(is_active, q, 0))) + b


DOPLearner = ActorCriticLearner[DecomposedCritic]


class Values(actor_critic.Values):
    """The critic's values at one step: Q_i(tau, .), k_i and b."""

    b: Float[Array, "*batch"]

    def metrics(self, action_mask: Bool[Array, "*batch agent action"], mask: Bool[Array, "*batch"]) -> Metrics:
        """The ranges of Q_i and k."""
        return super().metrics(action_mask, mask) | {
            "k_min": losses.masked_mean(jnp.min(self.k, axis=-1), mask),
            "k_max": losses.masked_mean(jnp.max(self.k, axis=-1), mask),
        }


class Batch(actor_critic.Batch):
    """The episodes of one update; leading axis: episode."""

    off_policy: Episode
    """Episodes of the replay buffer: the critic's tree-backup targets."""


class CriticData(eqx.Module):
    """Minibatches of the critic; two leading axes: minibatch, row."""

    state: Float[Array, "minibatch row state"]
    obs: Float[Array, "minibatch row agent obs"]
    action: Int[Array, "minibatch row agent"]
    is_active: Bool[Array, "minibatch row agent"]
    target: Float[Array, "minibatch row"]
    weight: Float[Array, "minibatch row"]


@moved_into_parts(**MOVED_FIELDS)
@dataclass(frozen=True, kw_only=True)
class StochasticDOP(ActorCritic[DecomposedCritic]):
    """Stochastic DOP (Wang et al., Algorithm 1). Defaults: the best settings measured on SMAX (docs/deviations.md); presets `paper` and
    `released`: the published ones.

        Q_tot(tau, a) = sum_i k_i(s) Q_i(tau, a_i) + b(s)                                          (Eq. 4)
        gradient      = E[sum_i k_i(s) grad log pi_i(a_i | tau_i) (Q_i(tau, a_i) - E_pi Q_i)]      (Eq. 9)
    """

    # Critic targets
    tb_lambda: Traced[float] = 0.93
    """lambda of the tree backup (Eq. 7). The paper does not state it; released: 0.93."""
    tb_steps: int = 5
    """k of the k-step tree backup, in steps (Eq. 7, App. G.1)."""
    tb_expectation: Literal["decomposed", "sampled"] = "decomposed"
    """E_pi[Q_tot] in tree backup: exact by decomposition (Eq. 5), or estimated from sampled joint actions (ablation, Sec. 5.1.1)."""
    tb_samples: int | None = None
    """Joint actions per estimate with `sampled`. None: the paper's 20 for at most two agents, else 200."""
    kappa: Traced[float] | None = None
    """Weight of the tree-backup loss, in [0, 1] (Eq. 6; paper: 0.5). None: one mean over all steps of both batches (released)."""
    bootstrap: Literal["expected", "taken"] = "expected"
    """On-policy value at a time limit: E_pi[Q_tot], or Q_tot of one more sampled action (released)."""

    # Critic
    critic_inputs: Literal["state", "state_obs_id"] = "state_obs_id"
    """Inputs of a local critic: the global state (paper), or also its agent's observation and id (released)."""
    critic: NetworkConfig = MLP(hidden_size=128)
    """Network of a local critic; feed-forward (App. G.1: 256 units). The mixer is always linear."""
    dueling: bool = False
    """Add a learned state value to each Q_i(a) (released)."""
    mixer_weights: Literal["linear", "product"] = "linear"
    """k(s): absolute value of a linear layer (paper), or a product of two with 32 hidden units (released); normalised to sum 1."""
    mixer_bias: bool = True
    """Add the bias b(s) to Q_tot (Eq. 4). Released: no."""

    # Actors
    actor_episodes: Literal["latest", "on_policy", "off_policy"] = "latest"
    """Episodes of the actors: the newest (released), a sample of the on-policy ones (paper), or off-policy ones (Theorem 7)."""
    ratio_clip: Traced[float] = 1.0
    """Upper bound of the joint ratio pi/beta (Theorem 7); only for `sampled` gradients from `off_policy` episodes."""

    # Data
    on_policy_capacity: int = 32
    """Capacity of the on-policy buffer, in episodes (App. G.1)."""
    replay_capacity: int = 5000
    """Capacity of the replay buffer, in episodes (App. G.1)."""
    off_policy_batch: int = 32
    """Off-policy episodes per update (App. G.1). 0: On-Policy DOP, without tree backup (Sec. 5.1.1)."""

    @property
    def warmup_episodes(self) -> int:
        return self.on_policy_capacity

    @classmethod
    def presets(cls) -> Mapping[str, StochasticDOP]:
        """`default`; `paper`: the text of Sec. 4.1 and App. G.1; `released`: the authors' released code; and the ablations of Sec. 5.1.1:
        `on-policy` without tree backup, `undecomposed` with a sampled expectation. `v0.1`: the default of version 0.1."""
        earlier = cls(
            critic=MLP(hidden_size=256),
            critic_lr=5e-4,
            actor_lr=5e-4,
            actor_batch=None,
            epsilon_start=0.5,
            epsilon_anneal_steps=50_000,
        )
        common = replace(
            earlier,
            td_lambda=0.8,
            critic_lr=1e-4,
            normalise_state=False,
            policy_gradient="sampled",
            scale_advantage=False,
            actor_steps=1,
            actor_ema_decay=0.0,
            entropy_bonus=0.0,
            epsilon_anneal_steps=500_000,
        )
        paper = replace(
            common,
            kappa=0.5,
            target_interval=10,
            critic_inputs="state",
            share_parameters="none",
            critic_schedule="full",
            actor_episodes="on_policy",
            epsilon_start=1.0,
        )
        released = replace(
            common,
            bootstrap="taken",
            target_interval=600,
            target_unit="critic_steps",
            critic_schedule="timestep",
            dueling=True,
            mixer_weights="product",
            mixer_bias=False,
            epsilon_in="policy",
        )
        return {
            "default": cls(),
            "v0.1": earlier,
            "paper": paper,
            "released": released,
            "on-policy": cls(off_policy_batch=0),
            "undecomposed": cls(tb_expectation="sampled"),
        }

    def check(self, spec: EnvSpec) -> None:
        """Raise ConfigError for unusable hyper-parameters or an unsupported environment."""
        self._check(spec, "stochastic-dop")
        check_positive(self, "tb_steps", "ratio_clip")
        check_fractions(self, "tb_lambda", "kappa")
        check_not_negative(self, "off_policy_batch")
        if self.tb_samples is not None:
            check_positive(self, "tb_samples")
        if self.on_policy_batch > self.on_policy_capacity:
            raise ConfigError(
                f"on_policy_batch ({self.on_policy_batch}) is larger than on_policy_capacity ({self.on_policy_capacity}): lower the first."
            )
        if self.replay_capacity < max(self.on_policy_capacity, self.episodes_per_iteration):
            raise ConfigError(
                f"replay_capacity ({self.replay_capacity}) must hold on_policy_capacity ({self.on_policy_capacity}) "
                f"and episodes_per_iteration ({self.episodes_per_iteration}): raise it."
            )
        if self.actor_episodes == "off_policy" and self.off_policy_batch == 0:
            raise ConfigError("actor_episodes='off_policy' needs off_policy_batch > 0.")

    def sample(self, replay: ReplayBuffer, key: PRNGKeyArray) -> Batch:
        key_on, key_off = jax.random.split(key)
        latest = replay.latest(self.on_policy_batch)
        drawn = replay.uniform(key_on, self.on_policy_batch, window=self.on_policy_capacity)
        off_policy = replay.uniform(key_off, self.off_policy_batch)
        on_policy = latest if self.actor_episodes == "latest" else drawn
        return Batch(on_policy=on_policy, off_policy=off_policy, actor=off_policy if self.actor_episodes == "off_policy" else on_policy)

    def _make_critic(self, key: PRNGKeyArray, spec: EnvSpec) -> DecomposedCritic:
        key_local, key_mixer = jax.random.split(key)
        local_inputs = self.critic_inputs == "state_obs_id"

        def make_local(k: PRNGKeyArray) -> Any:
            return local_critic(self.critic, spec, local_inputs=local_inputs, dueling=self.dueling, key=k)

        return DecomposedCritic(
            local=PerAgent(make_local, spec.groups(self.share_parameters), key=key_local),
            mixer=LinearMixer(spec.state_size, spec.n_agents, key=key_mixer, weights=self.mixer_weights, bias=self.mixer_bias),
        )

    def _critic_layout(self, spec: EnvSpec) -> InputLayout:
        return local_layout(spec, local_inputs=self.critic_inputs == "state_obs_id", dueling=self.dueling)

    def _update_critic(self, learner: DOPLearner, batch: Batch, key: PRNGKeyArray) -> tuple[DOPLearner, Metrics, Int[Array, ""]]:
        key_targets, key_rows = jax.random.split(key)
        episodes = recurrent.time_first(jax.tree.map(lambda x, y: jnp.concatenate([x, y]), batch.on_policy, batch.off_policy))
        off_policy = jnp.arange(episodes.mask.shape[1]) >= self.on_policy_batch
        target = self.critic_targets(learner, episodes, off_policy, key_targets)
        data, count = self._minibatches(key_rows, episodes, off_policy, target)

        def loss(critic: DecomposedCritic, rows: CriticData) -> Loss:
            state, obs = self._inputs(learner, rows.state, rows.obs)
            error = jax.vmap(critic.total)(state, obs, rows.action, rows.is_active) - rows.target
            # Rows of weight 0 have arbitrary values.
            return minibatches.squared_error(jnp.where(rows.weight > 0, error, 0), rows.weight)

        full_batch = self.critic_schedule == "full"
        critic, optimiser, metrics = minibatches.fit(
            loss, self._critic_optimiser, learner.critic, learner.critic_optimiser, data, count, full_batch=full_batch
        )
        metrics["target_mean"] = losses.masked_mean(target, episodes.mask)
        return replace(learner, critic=critic, critic_optimiser=optimiser), metrics, jnp.where(full_batch, 1, count)

    def critic_targets(
        self, learner: DOPLearner, episodes: Episode, off_policy: Bool[Array, " episode"], key: PRNGKeyArray
    ) -> Float[Array, "time episode"]:
        """y of every step: tree backup on off-policy episodes (Eq. 7), TD(lambda) on on-policy ones (Eq. 8). Axes: time, episode."""
        length = max_length(episodes)
        logits = recurrent.unroll(learner.actor, episodes, length + 1)
        policy = self._policy(logits, episodes.action_mask, self._epsilon(learner))
        values = self._values(learner, learner.target, episodes, length + 1)
        keys = jax.random.split(key, episodes.mask.shape[1])
        by_tree_backup, by_td_lambda = jax.vmap(self._targets, in_axes=(1, 1, 1, 0), out_axes=1)(episodes, values, policy, keys)
        return jnp.where(off_policy, by_tree_backup, by_td_lambda)

    def _targets(
        self, episode: Episode, values: Values, policy: Float[Array, "time+1 agent action"], key: PRNGKeyArray
    ) -> tuple[Float[Array, " time"], Float[Array, " time"]]:
        """Both targets of one episode."""
        action = recurrent.actions(episode)
        expected = jax.vmap(expected_q)(values.k, values.b, policy, values.q)
        estimated = expected if self.tb_expectation == "decomposed" else self._sampled_expectation(values, policy, key)
        q = jnp.sum(values.k * losses.gather_actions(values.q, action), axis=-1) + values.b
        discount = self.gamma * (1.0 - episode.terminated)
        continues = jnp.append(episode.mask[1:], False)
        probability = jnp.prod(policies.probability(policy, action)[:-1], axis=-1)
        by_tree_backup = tree_backup(
            episode.reward, discount, q[:-1], estimated[1:], self.tb_lambda * probability * episode.mask, self.tb_steps
        )
        last = q[1:] if self.bootstrap == "taken" else expected[1:]
        by_td_lambda = td_lambda(episode.reward, discount, jnp.where(continues, q[1:], last), self.td_lambda * continues)
        return by_tree_backup, by_td_lambda

    def _sampled_expectation(
        self, values: Values, policy: Float[Array, "time+1 agent action"], key: PRNGKeyArray
    ) -> Float[Array, " time+1"]:
        """E_pi[Q_tot] of every step of an episode, estimated from `tb_samples` joint actions each."""
        steps, n, _ = policy.shape
        samples = self.tb_samples or (20 if n <= 2 else 200)

        def estimate(values: Values, policy: Float[Array, "agent action"], key: PRNGKeyArray) -> Float[Array, ""]:
            action = jax.vmap(lambda k, p: policies.sample_many(k, p, samples), out_axes=1)(jax.random.split(key, n), policy)
            return sampled_q(values.k, values.b, values.q, action)

        return jax.vmap(estimate)(values, policy, jax.random.split(key, steps))

    def _minibatches(
        self,
        key: PRNGKeyArray,
        episodes: Episode,
        off_policy: Bool[Array, " episode"],
        target: Float[Array, "time episode"],
    ) -> tuple[CriticData, Int[Array, ""]]:
        """The critic's minibatches by `critic_schedule`, and the number of non-empty ones."""
        inputs = (episodes.state[:-1], episodes.obs[:-1], episodes.action, policies.is_active(episodes.action_mask[:-1]))
        rows = (*inputs, target, jnp.broadcast_to(off_policy, episodes.mask.shape))
        (state, obs, action, is_active, target, off_policy), mask, count = minibatches.make_minibatches(
            key, rows, episodes.mask, self.critic_schedule
        )
        weight = minibatches.weights(mask, self.critic_schedule, lambda m, axis: losses.critic_weights(m, off_policy, self.kappa, axis))
        return CriticData(state=state, obs=obs, action=action, is_active=is_active, target=target, weight=weight), count

    def _values(self, learner: DOPLearner, critic: DecomposedCritic, episodes: Episode, length: Int[Array, ""]) -> Values:
        """Every Q_i(tau, .), k_i and b on the first `length` steps."""

        def at_step(critic: DecomposedCritic, x: tuple[Array, Array, Array]) -> Values:
            state, obs = self._inputs(learner, *x[:2])
            k, b = jax.vmap(critic.mixer)(state)
            return Values(q=jax.vmap(critic.local_q)(state, obs), k=jnp.where(x[2], k, 0), b=b)

        return dynamic_scan.map_steps(at_step, critic, (episodes.state, episodes.obs, policies.is_active(episodes.action_mask)), length)

    def _credit_terms(
        self, learner: DOPLearner, step: TimeStep, action: Action
    ) -> tuple[Float[Array, "agent action"], Float[Array, " agent"], Float[Array, ""]]:
        """Q_i(tau, .), k_i and b, which do not depend on the joint action."""
        del action
        state, obs = self._inputs(learner, step.state, step.obs)
        k, b = learner.critic.mixer(state)
        return learner.critic.local_q(state, obs), jnp.where(policies.is_active(step.action_mask), k, 0), b

    def _ratio(
        self,
        policy: Float[Array, "time agent action"],
        action: Int[Array, "time agent"],
        behaviour_prob: Float[Array, "time agent"],
        mask: Bool[Array, " time"],
    ) -> Float[Array, " time"] | None:
        """The clipped joint ratio of Theorem 7, if the actors use off-policy episodes."""
        if self.actor_episodes != "off_policy":
            return None
        joint = jnp.prod(policies.probability(policy, action) / jnp.where(mask[:, None], behaviour_prob, 1), axis=-1)
        return jnp.minimum(joint, self.ratio_clip)


ALGORITHM = StochasticDOP
