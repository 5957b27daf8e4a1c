"""IPPO: independent PPO (de Witt et al. 2020, Is independent learning all you need in the StarCraft multi-agent challenge?).

Each agent learns from a critic of its own observations, V_i(o_i), as if it were alone: there is no centralised information, in training
either. By default all agents share the parameters of one actor and one critic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import PRNGKeyArray

from dop.algorithms.base.ppo import PPO
from dop.networks import value_critics
from dop.networks.gru import GRU
from dop.networks.inputs import InputLayout
from dop.networks.value_critics import AgentValues
from dop.types import EnvSpec


@dataclass(frozen=True, kw_only=True)
class IPPO(PPO):
    """IPPO, PPO of each agent with a critic of its own observations (de Witt et al. 2020). Preset `jaxmarl`: JaxMARL's settings for SMAX,
    with whole episodes in the place of 128 steps, and separate networks for actors and critic.

    A_it = sum_l (gamma lambda)^l delta_i,t+l,   delta_it = r_t + gamma V_i(o_i,t+1) - V_i(o_it)
    """

    @classmethod
    def presets(cls) -> Mapping[str, IPPO]:
        """`default`, and `jaxmarl`: JaxMARL's settings for SMAX (baselines/IPPO/config/ippo_rnn_smax.yaml)."""
        network = GRU(hidden_size=128)
        jaxmarl = cls(
            actor=network,
            critic=network,
            actor_lr=4e-3,
            critic_lr=4e-3,
            normalise_value=False,
            clip=0.05,
            max_grad_norm=0.25,
            episodes_per_iteration=128,
            lr_anneal_steps=10_000_000,
        )
        return {"default": cls(), "jaxmarl": jaxmarl}

    def check(self, spec: EnvSpec) -> None:
        """Raise ConfigError for unusable hyper-parameters or an unsupported environment."""
        self._check(spec, "ippo")

    def _critic_layout(self, spec: EnvSpec) -> InputLayout:
        return value_critics.agent_layout(spec, sees_state=False)

    def _make_critic(self, key: PRNGKeyArray, spec: EnvSpec) -> AgentValues:
        return value_critics.agent_values(self.critic, spec, sees_state=False, sharing=self.share_parameters, key=key)


ALGORITHM = IPPO
