"""VDN: value-decomposition networks (Sunehag et al. 2018), Q_tot(tau, a) = sum_i Q_i(tau_i, a_i)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import PRNGKeyArray

from dop.algorithms.base.q_learning import FINE_TUNED, MOVED_FIELDS, QLearning
from dop.mixers import SumMixer
from dop.renamed import moved_into_parts
from dop.types import EnvSpec


@moved_into_parts(**MOVED_FIELDS)
@dataclass(frozen=True, kw_only=True)
class VDN(QLearning):
    """VDN (Sunehag et al. 2018). Defaults: PyMARL's for SMAC (`vdn.yaml`); preset: the published fine-tuning.

    Q_tot(tau, a) = sum_i Q_i(tau_i, a_i)
    """

    @classmethod
    def presets(cls) -> Mapping[str, VDN]:
        """`default`: PyMARL's; `fine-tuned`: Hu et al. 2021 (PyMARL2's `vdn.yaml`), as for QMIX."""
        return {"default": cls(), "fine-tuned": cls(**FINE_TUNED)}

    def check(self, spec: EnvSpec) -> None:
        """Raise ConfigError for unusable hyper-parameters or an unsupported environment."""
        self._check(spec, "vdn")

    def _make_mixer(self, key: PRNGKeyArray, spec: EnvSpec) -> SumMixer:
        del key, spec
        return SumMixer()


ALGORITHM = VDN
