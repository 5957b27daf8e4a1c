"""QMIX: monotonic value function factorisation (Rashid et al. 2018). The team's value never decreases with an agent's, dQ_tot/dQ_i >= 0.

    Q_tot(s, a) = |W_2(s)| elu(|W_1(s)| (Q_1, ..., Q_n) + c(s)) + V(s)

so that the joint argmax is each agent's own, while an agent's share depends on the state and on the others' values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import PRNGKeyArray

from dop.algorithms.base.q_learning import FINE_TUNED, QLearning
from dop.errors import check_not_negative, check_positive
from dop.mixers import MonotonicMixer
from dop.types import EnvSpec


@dataclass(frozen=True, kw_only=True)
class QMIX(QLearning):
    """QMIX. The defaults are PyMARL's for SMAC (`qmix.yaml`); presets: the published fine-tuning, and JaxMARL's settings for SMAX."""

    embedding: int = 32
    """Units of the mixing network's hidden layer."""
    hypernet_hidden: int = 64
    """Units of the hidden layer of the networks that give the mixing weights; 0: none, as first published."""

    @classmethod
    def presets(cls) -> Mapping[str, QMIX]:
        """`default`: PyMARL's. `fine-tuned`: Hu et al. 2021 (PyMARL2's `qmix.yaml`): Adam, larger batches, TD(lambda), slower epsilon.

        `jaxmarl`: JaxMARL's `ql_rnn_smax.yaml`. There epsilon falls over a tenth of the run (30,000 of 300,000 steps here) and the unit of
        collection is 128 steps of each environment, across episodes; the target interval of 10 such is 160 episodes here. Its initial scale
        of the mixer's weights is not offered.
        """
        jaxmarl = cls(
            target_interval=160,
            agent_hidden=512,
            epsilon_anneal_steps=30_000,
            episodes_per_iteration=16,
            updates_per_iteration=8,
            optimiser="radam",
            lr=5e-5,
            optimiser_eps=1e-8,
            embedding=64,
            hypernet_hidden=256,
        )
        return {"default": cls(), "fine-tuned": cls(**FINE_TUNED), "jaxmarl": jaxmarl}

    def check(self, spec: EnvSpec) -> None:
        """Raise ConfigError for hyper-parameters, or an environment, that cannot work."""
        self._check(spec, "qmix")
        check_positive(self, "embedding")
        check_not_negative(self, "hypernet_hidden")

    def _make_mixer(self, key: PRNGKeyArray, spec: EnvSpec) -> MonotonicMixer:
        return MonotonicMixer(spec.state_size, spec.n_agents, key=key, embedding=self.embedding, hypernet_hidden=self.hypernet_hidden)


ALGORITHM = QMIX
