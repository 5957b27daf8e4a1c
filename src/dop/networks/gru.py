"""A recurrent network with a GRU (Wang et al., App. G.1)."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import PRNGKeyArray

from dop.errors import check_positive, check_types
from dop.networks.layers import GRUCell
from dop.networks.recurrent import RecurrentNetwork


@dataclass(frozen=True)
class GRU:
    """Recurrent network: linear layer, GRU, linear layer (App. G.1)."""

    hidden_size: int = 64
    """Hidden units of the GRU and of the layer before it."""

    def check(self) -> None:
        """Raise ConfigError for an invalid size."""
        check_types(self)
        check_positive(self, "hidden_size")

    def build(self, inputs: int, outputs: int, *, key: PRNGKeyArray) -> RecurrentNetwork[GRUCell]:
        """The network, its parameters drawn from `key`."""
        return RecurrentNetwork(GRUCell, inputs, outputs, self.hidden_size, key=key)


NETWORK = GRU
