"""Random smooth functions of joint actions: sums of sines, with closed forms for gradients, and for means and variances under normal noise.

They are Q in Lemma 3 and Theorems 5 and 6, which are about Q near one joint action.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, kw_only=True)
class Waves:
    """f(x) = sum_m amplitude_m sin(phase_m + frequency_m . x), one input per agent."""

    amplitude: Float[np.ndarray, " wave"]
    phase: Float[np.ndarray, " wave"]
    frequency: Float[np.ndarray, "wave input"]

    def __call__(self, x: Float[np.ndarray, "point input"]) -> Float[np.ndarray, " point"]:
        return np.sin(self.phase + x @ self.frequency.T) @ self.amplitude

    def gradient(self, x: Float[np.ndarray, "point input"]) -> Float[np.ndarray, "point input"]:
        return (np.cos(self.phase + x @ self.frequency.T) * self.amplitude) @ self.frequency

    def partial(self, i: int) -> Waves:
        """df / dx_i; waves that do not depend on x_i are dropped."""
        depends = self.frequency[:, i] != 0
        frequency = self.frequency[depends]
        return Waves(amplitude=self.amplitude[depends] * frequency[:, i], phase=self.phase[depends] + np.pi / 2, frequency=frequency)

    def scaled(self, factor: float) -> Waves:
        return Waves(amplitude=factor * self.amplitude, phase=self.phase, frequency=self.frequency)

    def with_zero_input(self, i: int) -> Waves:
        """With x_i = 0."""
        return Waves(amplitude=self.amplitude, phase=self.phase, frequency=self.frequency * (np.arange(self.frequency.shape[1]) != i))

    def conditional_mean(self, i: int, noise: float) -> Waves:
        """E[f(x) | x_i] for other inputs ~ N(0, noise^2): the f_i of the best fit sum_i f_i(x_i), up to a constant."""
        own = self.frequency * (np.arange(self.frequency.shape[1]) == i)
        fade = np.exp(-(noise**2) * ((self.frequency - own) ** 2).sum(axis=1) / 2)
        return Waves(amplitude=fade * self.amplitude, phase=self.phase, frequency=own)

    def mean(self, noise: float) -> float:
        """E[f(x)] for inputs ~ N(0, noise^2)."""
        return float(self.amplitude @ (np.sin(self.phase) * np.exp(-(noise**2) * (self.frequency**2).sum(axis=1) / 2)))

    def variance(self, noise: float) -> float:
        """Var f(x), by 2 sin u sin v = cos(u - v) - cos(u + v)."""
        half = noise**2 / 2
        square, inner = (self.frequency**2).sum(axis=1), self.frequency @ self.frequency.T
        squares = square[:, None] + square
        minus = np.cos(self.phase[:, None] - self.phase) * np.exp(-half * (squares - 2 * inner))
        plus = np.cos(self.phase[:, None] + self.phase) * np.exp(-half * (squares + 2 * inner))
        return max(float(self.amplitude @ (minus - plus) @ self.amplitude / 2) - self.mean(noise) ** 2, 0.0)


def waves(rng: np.random.Generator, dependence: Float[np.ndarray, "wave input"]) -> Waves:
    """Random waves; `dependence` scales the frequency of each input in each wave."""
    count = len(dependence)
    return Waves(
        amplitude=rng.normal(size=count),
        phase=rng.uniform(0, 2 * np.pi, size=count),
        frequency=dependence * rng.normal(size=dependence.shape),
    )


def dense(rng: np.random.Generator, n: int) -> Waves:
    """Every wave depends on every agent's action, with frequencies of order 1 / sqrt(n), like an initial network layer."""
    return waves(rng, np.ones((16, n)) / np.sqrt(n))


def decomposed(rng: np.random.Generator, n: int) -> Waves:
    """sum_i f_i(a_i): two waves for each agent's own action."""
    return waves(rng, np.repeat(np.eye(n), 2, axis=0))
