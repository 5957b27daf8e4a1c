"""VDN: value-decomposition networks (Sunehag et al. 2018). The team's value is the sum of the agents', Q_tot = sum_i Q_i(tau_i, a_i)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import PRNGKeyArray

from dop.algorithms.base.q_learning import FINE_TUNED, QLearning
from dop.mixers import SumMixer
from dop.types import EnvSpec


@dataclass(frozen=True, kw_only=True)
class VDN(QLearning):
    """VDN. The defaults are PyMARL's for SMAC (`vdn.yaml`)."""

    @classmethod
    def presets(cls) -> Mapping[str, VDN]:
        """`default`: PyMARL's; `fine-tuned`: Hu et al. 2021 (PyMARL2's `vdn.yaml`), as for QMIX."""
        return {"default": cls(), "fine-tuned": cls(**FINE_TUNED)}

    def check(self, spec: EnvSpec) -> None:
        """Raise ConfigError for hyper-parameters, or an environment, that cannot work."""
        self._check(spec, "vdn")

    def _make_mixer(self, key: PRNGKeyArray, spec: EnvSpec) -> SumMixer:
        del key, spec
        return SumMixer()


ALGORITHM = VDN
