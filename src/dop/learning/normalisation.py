"""Standardising inputs by running moments."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num


class RunningMeanVar(eqx.Module):
    """Mean and variance of each feature over all examples seen, merged batch by batch (Chan et al. 1979)."""

    count: Float[Array, ""]
    mean: Float[Array, " feature"]
    variance: Float[Array, " feature"]

    @classmethod
    def start(cls, size: int) -> RunningMeanVar:
        return cls(count=jnp.zeros(()), mean=jnp.zeros(size), variance=jnp.ones(size))

    def update(self, x: Num[Array, "*batch feature"], mask: Bool[Array, "*batch"]) -> RunningMeanVar:
        """Take in the examples that `mask` marks; what stands on the others does not matter."""
        rows = x.reshape(-1, x.shape[-1]).astype(self.mean.dtype)
        counts = mask.reshape(-1, 1)
        n = jnp.sum(counts, dtype=self.count.dtype)
        safe_n = jnp.maximum(n, 1)
        mean = jnp.sum(jnp.where(counts, rows, 0), axis=0) / safe_n
        variance = jnp.sum(jnp.where(counts, (rows - mean) ** 2, 0), axis=0) / safe_n
        total = jnp.maximum(self.count + n, 1)
        share = n / total
        return RunningMeanVar(
            count=self.count + n,
            mean=self.mean + share * (mean - self.mean),
            variance=(1 - share) * self.variance + share * variance + share * (1 - share) * (mean - self.mean) ** 2,
        )

    @property
    def scale(self) -> Float[Array, " feature"]:
        """What a feature is divided by to have a standard deviation of 1 and keep its zero. Of one that is constant, but for rounding, its
        size; 1 where nothing but zeros was seen."""
        deviation, size = jnp.sqrt(self.variance), jnp.abs(self.mean)
        return jnp.where(deviation > 1e-3 * size, deviation, jnp.where(size > 0, size, 1))

    def normalise(self, x: Num[Array, "*batch feature"], *, floor: float = 0.02, limit: float = 5.0) -> Float[Array, "*batch feature"]:
        """(x - mean) / (standard deviation + floor), cut to [-limit, limit]. The floor keeps nearly constant features from exploding."""
        return jnp.clip((x - self.mean) / (jnp.sqrt(self.variance) + floor), -limit, limit)
