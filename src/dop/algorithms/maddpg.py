"""MADDPG (Lowe et al. 2017) with a shared team reward: feed-forward actors and a critic of the joint action.

    critic   (r + gamma Q'(s', pi'(o')) - Q(s, a))^2
    actors   ascend the gradient of Q(s, (pi_i(o_i), a_-i)) through agent i's own action; a_-i is from the replay

Lowe et al. have one critic per agent, since their agents' rewards differ. With a team reward one is enough; `share_parameters` selects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from dop import policies
from dop.algorithms.base.deterministic import Deterministic
from dop.algorithms.base.off_policy import MOVED_FIELDS
from dop.networks.critics import ConcatJointCritic, joint_critic, joint_layout
from dop.networks.inputs import InputLayout
from dop.networks.layers import PerAgent
from dop.networks.mlp import MLP
from dop.networks.split_critics import JointCritic
from dop.renamed import moved_into_parts
from dop.types import EnvSpec, Sharing, TimeStep, Transition

JointCritics = PerAgent[JointCritic | ConcatJointCritic]


@moved_into_parts(**MOVED_FIELDS)
@dataclass(frozen=True, kw_only=True)
class MADDPG(Deterministic[JointCritics]):
    """MADDPG (Lowe et al. 2017). Defaults: those of deterministic DOP, except for the critic; preset `published`: Lowe et al.'s settings.

    gradient of actor i = E[grad pi_i(o_i) grad_{a_i} Q(s, a)] at a_i = pi_i(o_i)
    """

    # Actors
    share_parameters: Sharing = "all"
    """Actors and critics: one network for all agents, with the agent id as input, one per type, or per agent (published)."""

    @classmethod
    def presets(cls) -> Mapping[str, MADDPG]:
        """`default`; `published`: Lowe et al. 2017 and their code: Adam with 0.01, minibatches of 1024, gamma 0.95, 64 units, one network
        per agent, an update every 100 steps. The policy delay is the DOP paper's, which applies it to all baselines."""
        published = cls(
            gamma=0.95,
            critic=MLP(hidden_size=64),
            share_parameters="none",
            episodes_per_iteration=8,
            critic_lr=0.01,
            actor_lr=0.01,
            optimiser="adam",
            optimiser_eps=1e-8,
            max_grad_norm=0.5,
            replay_capacity=40_000,
            replay_batch=1024,
        )
        return {"default": cls(), "published": published}

    def check(self, spec: EnvSpec) -> None:
        """Raise ConfigError for unusable hyper-parameters or an unsupported environment."""
        self._check(spec)

    def _make_critic(self, key: PRNGKeyArray, spec: EnvSpec) -> JointCritics:
        def make(key: PRNGKeyArray) -> JointCritic | ConcatJointCritic:
            return joint_critic(self.critic, spec, key=key)

        return PerAgent(make, spec.groups(self.share_parameters), key=key)

    def _critic_layout(self, spec: EnvSpec) -> InputLayout:
        return joint_layout(spec)

    def _values(
        self,
        critic: JointCritics,
        state: Float[Array, " state"],
        obs: Float[Array, "agent obs"],
        action: Float[Array, "agent action"],
        is_active: Bool[Array, " agent"],
    ) -> Float[Array, " value"]:
        """Q(s, a) by every agent's critic; inactive agents have action 0."""
        del obs, is_active
        return critic.map(lambda net, *x: net(*x), state, action, in_axes=(None, None))

    def _actor_objective(
        self, critic: JointCritics, step: Transition, action: Float[Array, "agent action"], own: Float[Array, "agent action"]
    ) -> Array:
        """The sum over agents of Q(s, (own_i, a_-i)), each by its own critic: only term i depends on own_i."""
        return jnp.sum(self._deviations(critic, step.state, action, own))

    def _deviations(
        self, critic: JointCritics, state: Float[Array, " state"], action: Float[Array, "agent action"], own: Float[Array, "agent action"]
    ) -> Float[Array, " agent"]:
        """Q(s, (own_i, a_-i)) of every agent, each by its own critic."""
        values = critic.map(lambda net, *x: net.deviations(*x), state, action, own, in_axes=(None, None, None))
        return jnp.diagonal(values)

    def _credit_terms(
        self, critic: JointCritics, step: TimeStep, action: Float[Array, "agent action"], own: Float[Array, "agent action"]
    ) -> tuple[Float[Array, " agent"], Float[Array, " agent"], None]:
        """Each agent's value is the team's: k_i = 1 for active agents, and there is no b."""
        q = self._deviations(critic, step.state, action, own)
        return q, policies.is_active(step.action_mask).astype(q.dtype), None


ALGORITHM = MADDPG
