"""QMIX: monotonic value function factorisation (Rashid et al. 2018), dQ_tot/dQ_i >= 0.

    Q_tot(s, a) = |W_2(s)| elu(|W_1(s)| (Q_1, ..., Q_n) + c(s)) + V(s)

The joint argmax consists of the agents' own, while an agent's weight depends on the state and on the others' values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import PRNGKeyArray

from dop.algorithms.base.q_learning import FINE_TUNED, MOVED_FIELDS, QLearning
from dop.errors import check_not_negative, check_positive
from dop.mixers import MonotonicMixer
from dop.networks.gru import GRU
from dop.renamed import moved_into_parts
from dop.types import EnvSpec


@moved_into_parts(**MOVED_FIELDS)
@dataclass(frozen=True, kw_only=True)
class QMIX(QLearning):
    """QMIX (Rashid et al. 2018). Defaults: PyMARL's for SMAC (`qmix.yaml`); presets: the published fine-tuning, and JaxMARL's settings for
    SMAX.

        Q_tot(s, a) = |W_2(s)| elu(|W_1(s)| (Q_1, ..., Q_n) + c(s)) + V(s)
    """

    # Mixer
    embedding: int = 32
    """Hidden units of the mixing network (PyMARL: 32)."""
    hypernet_hidden: int = 64
    """Hidden units of the hypernetworks (PyMARL: 64); 0: linear hypernetworks (Rashid et al. 2018)."""

    @classmethod
    def presets(cls) -> Mapping[str, QMIX]:
        """`default`: PyMARL's. `fine-tuned`: Hu et al. 2021 (PyMARL2's `qmix.yaml`): Adam, larger minibatches, TD(lambda), slower
        annealing of epsilon.

        `jaxmarl`: JaxMARL's `ql_rnn_smax.yaml`. There epsilon is annealed over a tenth of the run (here 30,000 of 300,000 steps), and a
        rollout has 128 steps per environment, across episodes; the target interval of 10 rollouts is 160 episodes here. Its initial scale
        of the mixer's weights is not supported.
        """
        jaxmarl = cls(
            target_interval=160,
            actor=GRU(hidden_size=512),
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
        """Raise ConfigError for unusable hyper-parameters or an unsupported environment."""
        self._check(spec, "qmix")
        check_positive(self, "embedding")
        check_not_negative(self, "hypernet_hidden")

    def _make_mixer(self, key: PRNGKeyArray, spec: EnvSpec) -> MonotonicMixer:
        return MonotonicMixer(spec.state_size, spec.n_agents, key=key, embedding=self.embedding, hypernet_hidden=self.hypernet_hidden)


ALGORITHM = QMIX
