"""App. D.2, discrete actions by Gumbel-Softmax: as temperature -> 0, some a has pi(a | tau) > 1 - epsilon, and "is almost fixed".

Both halves of the argument are measured: whether a sample has nearly all its weight on one action, and whether all samples agree on it.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from dop.paper.theorems.claims import Claim

EPSILON = 0.01
"""App. D.2's epsilon."""
TEMPERATURES = (1.0, 0.1, 1e-6)


def relaxed_actions(
    logits: Float[np.ndarray, "policy action"], temperature: float, noise: Float[np.ndarray, "sample policy action"]
) -> Float[np.ndarray, "sample policy action"]:
    """Gumbel-Softmax: softmax((logits + noise) / temperature)."""
    scaled = (logits + noise) / temperature
    weight = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return weight / weight.sum(axis=-1, keepdims=True)


def claims(seed: int, count: int, samples: int = 2000) -> list[Claim]:
    """Whether one action is almost certain at low temperature, within each sample and across samples. Gumbel noise is sampled."""
    rng = np.random.default_rng(seed)
    logits, noise = rng.normal(size=(count, 5)), rng.gumbel(size=(samples, count, 5))
    within, across = [], []
    for temperature in TEMPERATURES:
        found = relaxed_actions(logits, temperature, noise)
        certain = found > 1 - EPSILON
        within.append(float(certain.any(axis=-1).mean()))
        across.append(float(np.median(certain.mean(axis=0).max(axis=-1))))
    at = ", ".join(f"{t:g}" for t in TEMPERATURES)
    return [
        Claim(
            name="App. D.2, one sample",
            claim=f"at a low temperature some a has pi(a | tau) > 1 - {EPSILON}",
            measured=f"in {', '.join(f'{fraction:.1%}' for fraction in within)} of samples (temperature {at})",
            holds=within[-1] > 1 - EPSILON,
            note="random logits of 5 actions",
        ),
        Claim(
            name="App. D.2, the action is almost fixed",
            claim=f"it is the same a in more than 1 - {EPSILON} of samples",
            measured=f"median over policies {', '.join(f'{fraction:.1%}' for fraction in across)} (temperature {at})",
            holds=across[-1] > 1 - EPSILON,
            note="a sample's largest entry is drawn from softmax(logits) at every temperature: actions stay as random as the policy",
        ),
    ]
