"""MAPPO: PPO with a centralised critic (Yu et al. 2022, The surprising effectiveness of PPO in cooperative multi-agent games).

The actors are decentralised. The critic sees the global state and gives the team's value V(s); with `critic_inputs="state_and_obs"` it also
sees each agent's own observation, and gives a value per agent (the paper's agent-specific global state, AS). The paper's feature
normalisation, Huber loss and pruning of features are not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from jaxtyping import PRNGKeyArray

from dop.algorithms.base.ppo import PPO
from dop.networks import value_critics
from dop.networks.gru import GRU
from dop.networks.inputs import InputLayout
from dop.networks.value_critics import AgentValues, StateValue
from dop.types import EnvSpec


@dataclass(frozen=True, kw_only=True)
class MAPPO(PPO):
    """MAPPO, PPO with a critic of the global state (Yu et al. 2022). Preset `jaxmarl`: JaxMARL's settings for SMAX, with whole episodes
    in the place of 128 steps.

    A_t = sum_l (gamma lambda)^l delta_{t+l},   delta_t = r_t + gamma V(s_{t+1}) - V(s_t)
    """

    # Critic
    critic_inputs: Literal["state", "state_and_obs"] = "state"
    """What the critic sees: the global state, for one value of the team, or also own observation and agent id, for a value per agent."""

    @classmethod
    def presets(cls) -> Mapping[str, MAPPO]:
        """`default`, and `jaxmarl`: JaxMARL's settings for SMAX (baselines/MAPPO/config/mappo_homogenous_rnn_smax.yaml)."""
        network = GRU(hidden_size=128)
        jaxmarl = cls(
            actor=network,
            critic=network,
            actor_lr=2e-3,
            critic_lr=2e-3,
            normalise_value=False,
            entropy_bonus=0.0,
            max_grad_norm=0.25,
            episodes_per_iteration=128,
            lr_anneal_steps=10_000_000,
        )
        return {"default": cls(), "jaxmarl": jaxmarl}

    def check(self, spec: EnvSpec) -> None:
        """Raise ConfigError for unusable hyper-parameters or an unsupported environment."""
        self._check(spec, "mappo")

    def _critic_layout(self, spec: EnvSpec) -> InputLayout:
        return value_critics.state_layout(spec) if self.critic_inputs == "state" else value_critics.agent_layout(spec, sees_state=True)

    def _make_critic(self, key: PRNGKeyArray, spec: EnvSpec) -> StateValue | AgentValues:
        if self.critic_inputs == "state":
            return value_critics.state_value(self.critic, spec, key=key)
        return value_critics.agent_values(self.critic, spec, sees_state=True, sharing=self.share_parameters, key=key)


ALGORITHM = MAPPO
