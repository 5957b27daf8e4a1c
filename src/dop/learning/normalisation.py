"""Normalisation of inputs and targets by running mean and variance."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num


class RunningMeanVar(eqx.Module):
    """Running mean and variance of each feature, merged batch by batch (Chan et al. 1979)."""

    count: Float[Array, ""]
    mean: Float[Array, " feature"]
    variance: Float[Array, " feature"]

    @classmethod
    def start(cls, size: int) -> RunningMeanVar:
        return cls(count=jnp.zeros(()), mean=jnp.zeros(size), variance=jnp.ones(size))

    def update(self, x: Num[Array, "*batch feature"], mask: Bool[Array, "*batch"]) -> RunningMeanVar:
        """Merge the examples in the mask; the others are ignored."""
        rows = x.reshape(-1, x.shape[-1]).astype(self.mean.dtype)
        valid = mask.reshape(-1, 1)
        n = jnp.sum(valid, dtype=self.count.dtype)
        safe_n = jnp.maximum(n, 1)
        mean = jnp.sum(jnp.where(valid, rows, 0), axis=0) / safe_n
        variance = jnp.sum(jnp.where(valid, (rows - mean) ** 2, 0), axis=0) / safe_n
        total = jnp.maximum(self.count + n, 1)
        fraction = n / total
        return RunningMeanVar(
            count=self.count + n,
            mean=self.mean + fraction * (mean - self.mean),
            variance=(1 - fraction) * self.variance + fraction * variance + fraction * (1 - fraction) * (mean - self.mean) ** 2,
        )

    @property
    def scale(self) -> Float[Array, " feature"]:
        """The divisor that gives a feature a standard deviation of 1 and keeps its zero. For a constant feature (up to rounding) its
        magnitude; 1 if it is always zero."""
        deviation, size = jnp.sqrt(self.variance), jnp.abs(self.mean)
        return jnp.where(deviation > 1e-3 * size, deviation, jnp.where(size > 0, size, 1))

    def normalise(self, x: Num[Array, "*batch feature"], *, floor: float = 0.02, limit: float = 5.0) -> Float[Array, "*batch feature"]:
        """(x - mean) / (standard deviation + floor), clipped to [-limit, limit]. The floor bounds nearly constant features."""
        return jnp.clip((x - self.mean) / (jnp.sqrt(self.variance) + floor), -limit, limit)

    def normalise_target(self, x: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """(x - mean) / scale of the one feature, without limits, so that `denormalise` inverts it."""
        return (x - self.mean[0]) / self.scale[0]

    def denormalise(self, x: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """scale x + mean of the one feature: a normalised target in its own units."""
        return self.scale[0] * x + self.mean[0]
