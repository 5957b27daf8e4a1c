"""A custom network: a minimal gated unit (Zhou et al. 2016) as the actor of an existing algorithm.

dop train stochastic-dop --env two-step --env-steps 4000 --actor own_network:Gated --actor.width 16        # in this folder
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

import dop
from dop.errors import check_positive
from dop.networks.layers import Linear


class GatedNetwork(eqx.Module):
    """f = sigmoid(U (x, h)),  n = tanh(V (x, f h)),  h' = (1 - f) h + f n,  output W h'."""

    forget: Linear
    new: Linear
    output: Linear

    def init_state(self) -> Float[Array, " unit"]:
        return jnp.zeros(self.new.out_features)

    def __call__(self, state: Float[Array, " unit"], x: Float[Array, " input"]) -> tuple[Float[Array, " unit"], Float[Array, " output"]]:
        forget = jax.nn.sigmoid(self.forget(jnp.concatenate([x, state])))
        new = jnp.tanh(self.new(jnp.concatenate([x, forget * state])))
        state = (1 - forget) * state + forget * new
        return state, self.output(state)

    def export(self, graph: dop.Graph, state: str, x: str) -> tuple[str, str]:
        """`__call__` with names of ONNX values. Only needed for `dop export`."""
        features = graph.add("Concat", x, state, axis=1)
        forget = graph.add("Sigmoid", graph.linear(features, self.forget.weight, self.forget.bias))
        features = graph.add("Concat", x, graph.add("Mul", forget, state), axis=1)
        new = graph.add("Tanh", graph.linear(features, self.new.weight, self.new.bias))
        kept = graph.add("Mul", graph.add("Sub", graph.constant(np.float32(1)), forget), state)
        state = graph.add("Add", kept, graph.add("Mul", forget, new))
        return state, graph.linear(state, self.output.weight, self.output.bias)


@dataclass(frozen=True, kw_only=True)
class Gated:
    """A minimal gated unit and a linear layer."""

    width: int = 32
    """Units of the hidden state."""

    def check(self) -> None:
        check_positive(self, "width")

    def build(self, inputs: int, outputs: int, *, key: PRNGKeyArray) -> GatedNetwork:
        key_forget, key_new, key_output = jax.random.split(key, 3)
        return GatedNetwork(
            forget=Linear(inputs + self.width, self.width, key=key_forget),
            new=Linear(inputs + self.width, self.width, key=key_new),
            output=Linear(self.width, outputs, key=key_output),
        )


if __name__ == "__main__":
    dop.train(dop.QMIX(actor=Gated(width=16), replay_batch=16), "two-step", env_steps=4000, run_dir=sys.argv[1] if sys.argv[1:] else None)
