"""COMA: counterfactual multi-agent policy gradients (Foerster et al. 2018), the baseline of DOP's Fig. 3.

A centralised critic Q_i(s, o_i, (a_-i, .)) answers for each agent what each of its actions would be worth, given what the others did. An
agent is paid by its action's advantage over what its policy would get anyway, the others' actions unchanged:

    A_i(s, a) = Q(s, a) - sum_x pi_i(x | tau_i) Q(s, (a_-i, x))

(Eq. 2 of the DOP paper leaves pi out of this sum by a slip: only weighted by pi does the advantage average to zero.) That is the aristocrat
utility of a critic that is not decomposed, so the actors' loss is stochastic DOP's with k_i = 1. The critic learns TD(lambda) targets from
the newest episodes only: there is no off-policy learning.

Other than in PyMARL, the critic does not see the last joint action, and the actors use the critic after its steps, not during them.
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
from dop.algorithms.base.actor_critic import FORMERLY, ActorCritic, ActorCriticLearner, Batch, Values
from dop.learning import dynamic_scan, minibatches
from dop.learning.gradient_step import Loss
from dop.networks.critics import OwnCounterfactualCritic, counterfactual_critic
from dop.networks.mlp import MLP
from dop.networks.protocols import NetworkConfig
from dop.networks.split_critics import CounterfactualCritic
from dop.networks.teams import recurrent
from dop.renamed import moved
from dop.types import Action, EnvSpec, Episode, Metrics, ReplayBuffer, TimeStep

Critic: TypeAlias = CounterfactualCritic | OwnCounterfactualCritic
COMALearner = ActorCriticLearner[Critic]


class CriticData(eqx.Module):
    """Rows for the critic's regression; two leading axes: minibatch, row."""

    state: Float[Array, "minibatch row state"]
    obs: Float[Array, "minibatch row agent obs"]
    action: Int[Array, "minibatch row agent"]
    is_active: Bool[Array, "minibatch row agent"]
    target: Float[Array, "minibatch row agent"]
    weight: Float[Array, "minibatch row"]


@moved(**FORMERLY)
@dataclass(frozen=True, kw_only=True)
class COMA(ActorCritic[Critic]):
    """COMA. The defaults are its authors' settings for SMAC (PyMARL's `coma.yaml`); preset `as-dop`: those of stochastic DOP's default."""

    # Critic
    td_lambda: float = 0.8
    """lambda of the TD(lambda) target."""
    target_interval: int = 200
    """The critic becomes the target critic every so many `target_unit`s."""
    target_unit: Literal["iterations", "critic_steps"] = "critic_steps"
    """What `target_interval` counts; checked at the end of an iteration."""
    critic_schedule: minibatches.Schedule = "backwards"
    """Critic steps an iteration: one per timestep, in order or backwards (PyMARL), one per shuffled minibatch of that size, or one."""
    critic: NetworkConfig = MLP(hidden_size=128)
    """Network of the critic: features to values of the actions, without a hidden state."""
    normalise_state: bool = False
    """Standardise the global state by running moments over the on-policy episodes. PyMARL does not."""

    # Actors
    policy_gradient: Literal["expected", "sampled"] = "sampled"
    """From the actions taken (as published), or in expectation over each agent's own actions, whose values the critic has all at hand."""
    actor_steps: int = 1
    """Gradient steps of the actors per iteration."""
    scale_advantage: bool = False
    """Divide the advantages by their root mean square over legal actions. PyMARL does not."""
    actor_ema_decay: float = 0.0
    """Greedy play uses a running average of the actors with this decay per iteration. 0: the newest (PyMARL)."""
    entropy_bonus: float = 0.0
    """Weight of the policy's entropy in the actors' objective. PyMARL: none."""

    # Exploration
    epsilon_end: float = 0.01
    """Share of uniform actions at the end."""
    epsilon_anneal_steps: int = 100_000
    """Environment steps over which epsilon falls linearly."""
    epsilon_in: Literal["behaviour", "policy"] = "policy"
    """Mix epsilon only into what acts, or into the policy itself, in the learner too (PyMARL)."""

    # Data
    episodes_per_iteration: int = 8
    """Parallel environments; each plays one episode before every update."""
    on_policy_batch: int = 8
    """The newest episodes, which critic and actors learn from."""

    # Optimisation
    max_grad_norm: float = 10.0
    """Gradients are clipped to this joint norm."""

    @property
    def replay_capacity(self) -> int:
        return max(self.on_policy_batch, self.episodes_per_iteration)

    @property
    def warmup_episodes(self) -> int:
        return self.on_policy_batch

    @classmethod
    def presets(cls) -> Mapping[str, COMA]:
        """`default`: PyMARL's; `as-dop`: what stochastic DOP's default has, so that only the critic differs from On-Policy DOP."""
        as_dop = {field: getattr(ActorCritic, field) for field in ActorCritic.__dataclass_fields__}
        return {"default": cls(), "as-dop": cls(**as_dop)}

    def check(self, spec: EnvSpec) -> None:
        """Raise ConfigError for hyper-parameters, or an environment, that cannot work."""
        self._check(spec, "coma")

    def sample(self, replay: ReplayBuffer, key: PRNGKeyArray) -> Batch:
        del key
        latest = replay.latest(self.on_policy_batch)
        return Batch(on_policy=latest, actor=latest)

    def _make_critic(self, key: PRNGKeyArray, spec: EnvSpec) -> Critic:
        return counterfactual_critic(self.critic, spec, key=key)

    def _update_critic(self, learner: COMALearner, batch: Batch, key: PRNGKeyArray) -> tuple[COMALearner, Metrics, Int[Array, ""]]:
        episodes = recurrent.time_first(batch.on_policy)
        target = self.critic_targets(learner, episodes)
        rows = (episodes.state[:-1], episodes.obs[:-1], episodes.action, policies.is_active(episodes.action_mask[:-1]), target)
        (state, obs, action, is_active, targets), mask, count = minibatches.make_minibatches(key, rows, episodes.mask, self.critic_schedule)
        weight = minibatches.weights(mask, self.critic_schedule)
        data = CriticData(state=state, obs=obs, action=action, is_active=is_active, target=targets, weight=weight)

        def loss(critic: Critic, rows: CriticData) -> Loss:
            q = jax.vmap(critic)(*self._inputs(learner, rows.state, rows.obs), rows.action)
            # Rows without weight may hold anything, and so may agents that are not there.
            error = jnp.where((rows.weight[:, None] > 0) & rows.is_active, losses.gather_actions(q, rows.action) - rows.target, 0)
            return minibatches.squared_error(error, rows.weight[:, None] * losses.equal_shares(rows.is_active, axis=-1))

        at_once = self.critic_schedule == "full"
        critic, optimiser, metrics = minibatches.fit(
            loss, self._critic_optimiser, learner.critic, learner.critic_optimiser, data, count, at_once=at_once
        )
        metrics["target_mean"] = losses.masked_mean(target, episodes.mask)
        return replace(learner, critic=critic, critic_optimiser=optimiser), metrics, jnp.where(at_once, 1, count)

    def critic_targets(self, learner: COMALearner, episodes: Episode) -> Float[Array, "time episode agent"]:
        """TD(lambda) of every step and agent, by the target critic's values of what was done. Axes: time, episode, agent."""
        q = self._values(learner, learner.target, episodes, recurrent.longest(episodes) + 1).q
        return jax.vmap(self._targets, in_axes=(1, 1), out_axes=1)(episodes, q)

    def _targets(self, episode: Episode, q: Float[Array, "time+1 agent action"]) -> Float[Array, "time agent"]:
        """The targets of one episode."""
        q_taken = losses.agreed(losses.gather_actions(q, recurrent.actions(episode)), policies.is_active(episode.action_mask))
        of_agent = functools.partial(recurrent.lambda_return, episode, gamma=self.gamma, lambda_=self.td_lambda)
        return jax.vmap(of_agent, in_axes=1, out_axes=1)(q_taken[1:])

    def _values(self, learner: COMALearner, critic: Critic, episodes: Episode, length: Int[Array, ""]) -> Values:
        """Every Q_i(s, o_i, (a_-i, .)) on the first `length` steps, the others' actions being those taken."""
        action = jax.vmap(recurrent.actions, in_axes=1, out_axes=1)(episodes)

        def at_step(critic: Critic, x: tuple[Array, Array, Array]) -> Float[Array, "episode agent action"]:
            state, obs, action = x
            return jax.vmap(critic)(*self._inputs(learner, state, obs), action)

        q = dynamic_scan.map_steps(at_step, critic, (episodes.state, episodes.obs, action), length)
        return Values(q=q, k=policies.is_active(episodes.action_mask).astype(q.dtype))

    def _credit_terms(
        self, learner: COMALearner, step: TimeStep, action: Action
    ) -> tuple[Float[Array, "agent action"], Float[Array, " agent"], None]:
        """Each agent's values are the whole team's."""
        q = learner.critic(*self._inputs(learner, step.state, step.obs), action)
        return q, policies.is_active(step.action_mask).astype(q.dtype), None


ALGORITHM = COMA
