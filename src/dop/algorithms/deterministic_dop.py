"""Deterministic DOP (Wang et al., Algorithm 2, Sec. 4.2, App. G.2): feed-forward actors and a linearly decomposed critic.

    Q_tot(tau, a) = sum_i k_i(s) Q_i(tau, a_i) + b(s)                                            (Eq. 4)

    critic   (r + gamma Q_tot'(tau', pi'(tau')) - Q_tot(tau, a))^2                               (Eq. 12)
    actors   ascend  sum_i k_i grad pi_i(tau_i) grad_{a_i} Q_i(tau, a_i) at a_i = pi_i(tau_i)        (Eq. 13)

Eq. 13 is the gradient of Q_tot(tau, pi(tau)). With a decomposed critic, each agent's part depends on its own term only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from dop import policies
from dop.algorithms.base.deterministic import Deterministic
from dop.algorithms.base.off_policy import MOVED_FIELDS, Loss, OffPolicyLearner, Rows
from dop.mixers import LinearMixer
from dop.networks.critics import action_critic, action_layout
from dop.networks.inputs import InputLayout
from dop.networks.layers import PerAgent
from dop.networks.teams.feed_forward import Team
from dop.renamed import moved_into_parts
from dop.types import EnvSpec, Sharing, TimeStep, Transition


class DecomposedActionCritic(eqx.Module):
    """Local critics of vector actions, and the mixer that combines them into Q_tot (Fig. 2)."""

    local: PerAgent[Any]
    mixer: LinearMixer
    local_inputs: bool = eqx.field(static=True)

    def local_q(
        self, state: Float[Array, " state"], obs: Float[Array, "agent obs"], action: Float[Array, "agent action"]
    ) -> Float[Array, " agent"]:
        """Q_i(tau, a_i) of every agent."""
        local = obs if self.local_inputs else obs[:, :0]
        ids = jnp.arange(self.local.n_agents)
        return self.local.map(lambda net, *x: net(*x), state, local, action, ids, in_axes=(None, 0, 0, 0))

    def total(
        self,
        state: Float[Array, " state"],
        obs: Float[Array, "agent obs"],
        action: Float[Array, "agent action"],
        is_active: Bool[Array, " agent"] | None = None,
    ) -> Float[Array, ""]:
        """Q_tot(tau, a) (Eq. 4) over the active agents; by default all."""
        k, b = self.mixer(state)
        q = self.local_q(state, obs, action)
        return jnp.sum(k * (q if is_active is None else jnp.where(is_active, q, 0))) + b


@moved_into_parts(**MOVED_FIELDS)
@dataclass(frozen=True, kw_only=True)
class DeterministicDOP(Deterministic[DecomposedActionCritic]):
    """Deterministic DOP (Wang et al., Algorithm 2). Presets `paper` and `paper-5e-3`: the two learning rates of App. G.2.

    Q_tot(tau, a) = sum_i k_i(s) Q_i(tau, a_i) + b(s)                                          (Eq. 4)
    gradient      = E[sum_i k_i(s) grad pi_i(tau_i) grad_{a_i} Q_i(tau, a_i)]                  (Eq. 13)
    """

    # Critic
    critic_inputs: Literal["state", "state_obs_id"] = "state_obs_id"
    """Inputs of a local critic besides its agent's action: global state and agent id (paper), or also the agent's observation."""

    # Actors
    share_parameters: Sharing = "all"
    """Actors and local critics: one network for all agents, with the agent id as input, one per type, or per agent (paper)."""

    # Critic
    mixer_bias: bool = True
    """Add the bias b(s) to Q_tot (Eq. 4)."""

    @classmethod
    def presets(cls) -> Mapping[str, DeterministicDOP]:
        """`default`; `paper`: the text of App. G.2 with a learning rate of 5e-4 and one network per agent, but two environments where the
        paper has one, at the same ratio of steps; `paper-5e-3`: the same with the other learning rate."""
        paper = {"critic_inputs": "state", "share_parameters": "none", "logit_penalty": 0.0}
        return {"default": cls(), "paper": cls(**paper), "paper-5e-3": cls(**paper, critic_lr=5e-3, actor_lr=5e-3)}

    def check(self, spec: EnvSpec) -> None:
        """Raise ConfigError for unusable hyper-parameters or an unsupported environment."""
        self._check(spec)

    def _make_critic(self, key: PRNGKeyArray, spec: EnvSpec) -> DecomposedActionCritic:
        key_local, key_mixer = jax.random.split(key)
        local_inputs = self.critic_inputs == "state_obs_id"
        obs_size = spec.obs_size if local_inputs else 0

        def make(key: PRNGKeyArray) -> Any:
            return action_critic(self.critic, spec, obs_size, key=key)

        return DecomposedActionCritic(
            local=PerAgent(make, spec.groups(self.share_parameters), key=key_local),
            mixer=LinearMixer(spec.state_size, spec.n_agents, key=key_mixer, bias=self.mixer_bias),
            local_inputs=local_inputs,
        )

    def _critic_layout(self, spec: EnvSpec) -> InputLayout:
        return action_layout(spec, local_inputs=self.critic_inputs == "state_obs_id")

    def _values(
        self,
        critic: DecomposedActionCritic,
        state: Float[Array, " state"],
        obs: Float[Array, "agent obs"],
        action: Float[Array, "agent action"],
        is_active: Bool[Array, " agent"],
    ) -> Float[Array, " value"]:
        return critic.total(state, obs, action, is_active)[None]

    def _actor_objective(
        self, critic: DecomposedActionCritic, step: Transition, action: Float[Array, "agent action"], own: Float[Array, "agent action"]
    ) -> Array:
        """Q_tot(tau, pi(tau)), whatever the joint action from the replay."""
        del action
        return critic.total(step.state, step.obs, own, policies.is_active(step.action_mask))

    def _credit_terms(
        self, critic: DecomposedActionCritic, step: TimeStep, action: Float[Array, "agent action"], own: Float[Array, "agent action"]
    ) -> tuple[Float[Array, " agent"], Float[Array, " agent"], Float[Array, ""]]:
        """Q_i does not depend on the other agents' actions."""
        del action
        k, b = critic.mixer(step.state)
        return critic.local_q(step.state, step.obs, own), jnp.where(policies.is_active(step.action_mask), k, 0), b

    def _actor_loss(self, actor: Team, learner: OffPolicyLearner[DecomposedActionCritic], rows: Rows) -> Loss:
        loss, metrics = super()._actor_loss(actor, learner, rows)
        k, _ = jax.vmap(learner.critic.mixer)(rows.step.state)
        return loss, metrics | {"k_min": rows.mean(jnp.min(k, axis=-1)), "k_max": rows.mean(jnp.max(k, axis=-1))}


ALGORITHM = DeterministicDOP
