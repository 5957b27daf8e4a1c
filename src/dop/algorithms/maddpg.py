"""MADDPG (Lowe et al. 2017) for a team that shares its reward: reactive actors, a critic of the joint action.

    critic   (r + gamma Q'(s', pi'(o')) - Q(s, a))^2
    actors   each agent i up the gradient of Q(s, (pi_i(o_i), a_-i)) through its own action; the others' are those of the replay

Their critics are one each, since their agents' rewards differ; a team needs one, and can have both here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from dop import policies
from dop.algorithms.base.deterministic import Deterministic
from dop.algorithms.base.off_policy import FORMERLY
from dop.networks.critics import OwnJointCritic, joint_critic
from dop.networks.layers import PerAgent
from dop.networks.mlp import MLP
from dop.networks.split_critics import JointCritic
from dop.renamed import moved
from dop.types import EnvSpec, Sharing, TimeStep, Transition

JointCritics = PerAgent[JointCritic | OwnJointCritic]


@moved(**FORMERLY)
@dataclass(frozen=True, kw_only=True)
class MADDPG(Deterministic[JointCritics]):
    """MADDPG. The defaults are those of deterministic DOP, but for the critic; preset `published`: Lowe et al.'s settings."""

    # Actors
    share_parameters: Sharing = "all"
    """One network for all actors, told apart by the agent id, and one critic for the team; one of both for each type of agent; or one each.
    All critics are of the same team reward."""

    @classmethod
    def presets(cls) -> Mapping[str, MADDPG]:
        """`default`; `published`: Lowe et al. 2017 and their code: Adam 0.01, batches of 1024, gamma 0.95, 64 units, networks for each
        agent, an update every 100 steps. The delay of the actors is the DOP paper's, which gives it to all its baselines."""
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
        """Raise ConfigError for hyper-parameters, or an environment, that cannot work."""
        self._check(spec)

    def _make_critic(self, key: PRNGKeyArray, spec: EnvSpec) -> JointCritics:
        def make(key: PRNGKeyArray) -> JointCritic | OwnJointCritic:
            return joint_critic(self.critic, spec, key=key)

        return PerAgent(make, spec.groups(self.share_parameters), key=key)

    def _values(
        self,
        critic: JointCritics,
        state: Float[Array, " state"],
        obs: Float[Array, "agent obs"],
        action: Float[Array, "agent action"],
        is_active: Bool[Array, " agent"],
    ) -> Float[Array, " value"]:
        """Q(s, a) by every agent's critic; what is not there does 0."""
        del obs, is_active
        return critic.map(lambda net, *x: net(*x), state, action, in_axes=(None, None))

    def _climbed(
        self, critic: JointCritics, step: Transition, taken: Float[Array, "agent action"], own: Float[Array, "agent action"]
    ) -> Array:
        """The sum over agents of Q(s, (own_i, a_-i)), each by its own critic: agent i's action is in the i-th term alone."""
        return jnp.sum(self._deviations(critic, step.state, taken, own))

    def _deviations(
        self, critic: JointCritics, state: Float[Array, " state"], taken: Float[Array, "agent action"], own: Float[Array, "agent action"]
    ) -> Float[Array, " agent"]:
        """Q(s, (own_i, a_-i)) of every agent, each by its own critic."""
        values = critic.map(lambda net, *x: net.deviations(*x), state, taken, own, in_axes=(None, None, None))
        return jnp.diagonal(values)

    def _credit_terms(
        self, critic: JointCritics, step: TimeStep, taken: Float[Array, "agent action"], own: Float[Array, "agent action"]
    ) -> tuple[Float[Array, " agent"], Float[Array, " agent"], None]:
        """Each agent's value is the whole team's."""
        q = self._deviations(critic, step.state, taken, own)
        return q, policies.is_active(step.action_mask).astype(q.dtype), None


ALGORITHM = MADDPG
