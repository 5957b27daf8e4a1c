"""COMA: counterfactual multi-agent policy gradients (Foerster et al. 2018), a baseline of DOP's Fig. 3.

A centralised critic Q_i(s, o_i, (a_-i, .)) evaluates each of an agent's actions, given the others'. The per-agent credit is the
counterfactual advantage over the agent's policy:

    A_i(s, a) = Q(s, a) - sum_x pi_i(x | tau_i) Q(s, (a_-i, x))

Eq. 2 of the DOP paper omits pi from this sum by mistake: only with the weights pi does the advantage have mean zero. This is the aristocrat
utility of a critic without decomposition, so the actors' loss is stochastic DOP's with k_i = 1. The critic is fitted to TD(lambda) targets
of the newest episodes. There is no off-policy learning.

Unlike in PyMARL, the critic does not observe the last joint action, and the actors' gradient uses the critic after its steps.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from dop import losses, policies
from dop.algorithms.base.actor_critic import MOVED_FIELDS, ActorCritic, ActorCriticLearner, Batch, Values
from dop.learning import dynamic_scan, minibatches
from dop.learning.gradient_step import Loss
from dop.networks.critics import ConcatCounterfactualCritic, counterfactual_critic, counterfactual_layout
from dop.networks.inputs import InputLayout
from dop.networks.mlp import MLP
from dop.networks.protocols import NetworkConfig
from dop.networks.split_critics import CounterfactualCritic
from dop.networks.teams import recurrent
from dop.renamed import moved_into_parts
from dop.types import Action, EnvSpec, Episode, Metrics, ReplayBuffer, TimeStep, Traced

Critic: TypeAlias = CounterfactualCritic | ConcatCounterfactualCritic
COMALearner = ActorCriticLearner[Critic]


class CriticData(eqx.Module):
    """Minibatches of the critic; two leading axes: minibatch, row."""

    state: Float[Array, "minibatch row state"]
    obs: Float[Array, "minibatch row agent obs"]
    action: Int[Array, "minibatch row agent"]
    is_active: Bool[Array, "minibatch row agent"]
    target: Float[Array, "minibatch row agent"]
    weight: Float[Array, "minibatch row"]


@moved_into_parts(**MOVED_FIELDS)
@dataclass(frozen=True, kw_only=True)
class COMA(ActorCritic[Critic]):
    """COMA (Foerster et al. 2018). Defaults: its authors' settings for SMAC (PyMARL's `coma.yaml`); preset `as-dop`: stochastic DOP's.

    A_i(s, a) = Q(s, a) - sum_x pi_i(x | tau_i) Q(s, (a_-i, x))
    """

    # Critic
    td_lambda: Traced[float] = 0.8
    """lambda of the TD(lambda) target."""
    target_interval: Traced[int] = 200
    """Period of the target critic's update, in units of `target_unit` (PyMARL: 200)."""
    target_unit: Literal["iterations", "critic_steps"] = "critic_steps"
    """Unit of `target_interval`; checked at the end of each iteration."""
    critic_schedule: minibatches.Schedule = "backwards"
    """Critic steps per iteration: one per timestep, forwards or backwards (PyMARL), one per shuffled minibatch, or one in all."""
    critic: NetworkConfig = MLP(hidden_size=128)
    """Network of the critic; feed-forward (PyMARL: 128 units)."""
    critic_lr: Traced[float] = 5e-4
    """Learning rate of the critic (PyMARL: 5e-4)."""
    normalise_state: bool = False
    """Normalise the global state by the running mean and variance of the on-policy episodes. PyMARL: no."""

    # Actors
    policy_gradient: Literal["expected", "sampled"] = "sampled"
    """Gradient from the sampled actions (published), or in expectation over each agent's own actions."""
    actor_steps: int = 1
    """Gradient steps of the actors per iteration (PyMARL: 1)."""
    actor_batch: int | None = None
    """Episodes per gradient step of the actors, in turns, out of those of the update. None: all (PyMARL)."""
    actor_lr: Traced[float] = 5e-4
    """Learning rate of the actors (PyMARL: 5e-4)."""
    scale_advantage: bool = False
    """Divide the advantages by their root mean square over available actions. PyMARL: no."""
    actor_ema_decay: Traced[float] = 0.0
    """Decay per iteration of the actors' exponential moving average, used for greedy evaluation. 0: the newest actors (PyMARL)."""
    entropy_bonus: Traced[float] = 0.0
    """Weight of the policy entropy in the actors' objective. PyMARL: 0."""

    # Exploration
    epsilon_start: Traced[float] = 0.5
    """Probability of a uniform action at the start, in [0, 1] (PyMARL: 0.5)."""
    epsilon_end: Traced[float] = 0.01
    """Probability of a uniform action after annealing, in [0, 1] (PyMARL: 0.01)."""
    epsilon_anneal_steps: Traced[int] = 100_000
    """Environment steps of the linear annealing of epsilon (PyMARL: 100,000)."""
    epsilon_in: Literal["behaviour", "policy"] = "policy"
    """Mix epsilon into the behaviour policy only, or also into the learned policy (PyMARL)."""

    # Data
    episodes_per_iteration: int = 8
    """Parallel environments, with one episode each per iteration (PyMARL: 8)."""
    on_policy_batch: int = 8
    """Newest episodes per update of critic and actors (PyMARL: 8)."""

    # Optimisation
    max_grad_norm: Traced[float] = 10.0
    """Maximum global norm of the gradient; larger ones are clipped (PyMARL: 10)."""

    @property
    def replay_capacity(self) -> int:
        return max(self.on_policy_batch, self.episodes_per_iteration)

    @property
    def warmup_episodes(self) -> int:
        return self.on_policy_batch

    @classmethod
    def presets(cls) -> Mapping[str, COMA]:
        """`default`: PyMARL's settings; `as-dop`: stochastic DOP's, so that only the critic differs from On-Policy DOP."""
        as_dop = {field: getattr(ActorCritic, field) for field in ActorCritic.__dataclass_fields__}
        return {"default": cls(), "as-dop": cls(**as_dop)}

    def check(self, spec: EnvSpec) -> None:
        """Raise ConfigError for unusable hyper-parameters or an unsupported environment."""
        self._check(spec, "coma")

    def sample(self, replay: ReplayBuffer, key: PRNGKeyArray) -> Batch:
        del key
        latest = replay.latest(self.on_policy_batch)
        return Batch(on_policy=latest, actor=latest)

    def _make_critic(self, key: PRNGKeyArray, spec: EnvSpec) -> Critic:
        return counterfactual_critic(self.critic, spec, key=key)

    def _critic_layout(self, spec: EnvSpec) -> InputLayout:
        return counterfactual_layout(spec)

    def _update_critic(self, learner: COMALearner, batch: Batch, key: PRNGKeyArray) -> tuple[COMALearner, Metrics, Int[Array, ""]]:
        episodes = recurrent.time_first(batch.on_policy)
        target = self.critic_targets(learner, episodes)
        rows = (episodes.state[:-1], episodes.obs[:-1], episodes.action, policies.is_active(episodes.action_mask[:-1]), target)
        (state, obs, action, is_active, targets), mask, count = minibatches.make_minibatches(key, rows, episodes.mask, self.critic_schedule)
        weight = minibatches.weights(mask, self.critic_schedule)
        data = CriticData(state=state, obs=obs, action=action, is_active=is_active, target=targets, weight=weight)

        def loss(critic: Critic, rows: CriticData) -> Loss:
            q = jax.vmap(critic)(*self._inputs(learner, rows.state, rows.obs), rows.action)
            # Rows of weight 0 and inactive agents have arbitrary values.
            error = jnp.where((rows.weight[:, None] > 0) & rows.is_active, losses.gather_actions(q, rows.action) - rows.target, 0)
            return minibatches.squared_error(error, rows.weight[:, None] * losses.equal_shares(rows.is_active, axis=-1))

        full_batch = self.critic_schedule == "full"
        critic, optimiser, metrics = minibatches.fit(
            loss, self._critic_optimiser, learner.critic, learner.critic_optimiser, data, count, full_batch=full_batch
        )
        metrics["target_mean"] = losses.masked_mean(target, episodes.mask)
        return replace(learner, critic=critic, critic_optimiser=optimiser), metrics, jnp.where(full_batch, 1, count)

    def critic_targets(self, learner: COMALearner, episodes: Episode) -> Float[Array, "time episode agent"]:
        """TD(lambda) of every step and agent, from the target critic's values of the joint action. Axes: time, episode, agent."""
        q = self._values(learner, learner.target, episodes, recurrent.max_length(episodes) + 1).q
        return jax.vmap(self._targets, in_axes=(1, 1), out_axes=1)(episodes, q)

    def _targets(self, episode: Episode, q: Float[Array, "time+1 agent action"]) -> Float[Array, "time agent"]:
        """The targets of one episode."""
        q_taken = losses.agreed(losses.gather_actions(q, recurrent.actions(episode)), policies.is_active(episode.action_mask))
        of_agent = functools.partial(recurrent.lambda_return, episode, gamma=self.gamma, lambda_=self.td_lambda)
        return jax.vmap(of_agent, in_axes=1, out_axes=1)(q_taken[1:])

    def _values(self, learner: COMALearner, critic: Critic, episodes: Episode, length: Int[Array, ""]) -> Values:
        """Every Q_i(s, o_i, (a_-i, .)) on the first `length` steps, given the others' recorded actions."""
        action = jax.vmap(recurrent.actions, in_axes=1, out_axes=1)(episodes)

        def at_step(critic: Critic, x: tuple[Array, Array, Array]) -> Float[Array, "episode agent action"]:
            state, obs, action = x
            return jax.vmap(critic)(*self._inputs(learner, state, obs), action)

        q = dynamic_scan.map_steps(at_step, critic, (episodes.state, episodes.obs, action), length)
        return Values(q=q, k=policies.is_active(episodes.action_mask).astype(q.dtype))

    def _credit_terms(
        self, learner: COMALearner, step: TimeStep, action: Action
    ) -> tuple[Float[Array, "agent action"], Float[Array, " agent"], None]:
        """Each agent's value is the team's: k_i = 1 for active agents, and there is no b."""
        q = learner.critic(*self._inputs(learner, step.state, step.obs), action)
        return q, policies.is_active(step.action_mask).astype(q.dtype), None


ALGORITHM = COMA
