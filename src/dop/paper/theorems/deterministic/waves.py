"""Random smooth functions of joint actions: sums of sines, whose gradients, and whose means and variances under normal noise, are formulas.

Lemma 3 and Theorems 5 and 6 are about Q near one joint action; there these functions are Q.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, kw_only=True)
class Waves:
    """f(x) = sum_m amplitude_m sin(angle_m + frequency_m . x), one input an agent."""

    amplitude: Float[np.ndarray, " wave"]
    angle: Float[np.ndarray, " wave"]
    frequency: Float[np.ndarray, "wave input"]

    def __call__(self, x: Float[np.ndarray, "point input"]) -> Float[np.ndarray, " point"]:
        return np.sin(self.angle + x @ self.frequency.T) @ self.amplitude

    def gradient(self, x: Float[np.ndarray, "point input"]) -> Float[np.ndarray, "point input"]:
        return (np.cos(self.angle + x @ self.frequency.T) * self.amplitude) @ self.frequency

    def slope(self, i: int) -> Waves:
        """df / dx_i; waves that do not know x_i are dropped."""
        knows = self.frequency[:, i] != 0
        frequency = self.frequency[knows]
        return Waves(amplitude=self.amplitude[knows] * frequency[:, i], angle=self.angle[knows] + np.pi / 2, frequency=frequency)

    def scaled(self, factor: float) -> Waves:
        return Waves(amplitude=factor * self.amplitude, angle=self.angle, frequency=self.frequency)

    def without(self, i: int) -> Waves:
        """With x_i = 0."""
        return Waves(amplitude=self.amplitude, angle=self.angle, frequency=self.frequency * (np.arange(self.frequency.shape[1]) != i))

    def given(self, i: int, noise: float) -> Waves:
        """E[f(x) | x_i] where the other inputs are N(0, noise^2): of the best sum of f_i(x_i), the f_i, up to a constant."""
        own = self.frequency * (np.arange(self.frequency.shape[1]) == i)
        fade = np.exp(-(noise**2) * ((self.frequency - own) ** 2).sum(axis=1) / 2)
        return Waves(amplitude=fade * self.amplitude, angle=self.angle, frequency=own)

    def mean(self, noise: float) -> float:
        """E[f(x)], all inputs being N(0, noise^2)."""
        return float(self.amplitude @ (np.sin(self.angle) * np.exp(-(noise**2) * (self.frequency**2).sum(axis=1) / 2)))

    def variance(self, noise: float) -> float:
        """Var f(x), by 2 sin u sin v = cos(u - v) - cos(u + v)."""
        half = noise**2 / 2
        square, inner = (self.frequency**2).sum(axis=1), self.frequency @ self.frequency.T
        squares = square[:, None] + square
        minus = np.cos(self.angle[:, None] - self.angle) * np.exp(-half * (squares - 2 * inner))
        plus = np.cos(self.angle[:, None] + self.angle) * np.exp(-half * (squares + 2 * inner))
        return max(float(self.amplitude @ (minus - plus) @ self.amplitude / 2) - self.mean(noise) ** 2, 0.0)


def waves(rng: np.random.Generator, knows: Float[np.ndarray, "wave input"]) -> Waves:
    """Random waves of the inputs that `knows` says, weighted by it."""
    count = len(knows)
    return Waves(
        amplitude=rng.normal(size=count), angle=rng.uniform(0, 2 * np.pi, size=count), frequency=knows * rng.normal(size=knows.shape)
    )


def dense(rng: np.random.Generator, n: int) -> Waves:
    """Every wave has every agent's action, at frequencies of order 1 / sqrt(n), as a layer of a network at its start."""
    return waves(rng, np.ones((16, n)) / np.sqrt(n))


def decomposed(rng: np.random.Generator, n: int) -> Waves:
    """sum_i f_i(a_i): two waves for each agent, of its action alone."""
    return waves(rng, np.repeat(np.eye(n), 2, axis=0))
