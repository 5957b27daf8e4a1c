"""App. D.2, discrete actions by Gumbel-Softmax: as temperature -> 0, some a has pi(a | tau) > 1 - epsilon, and "is almost fixed".

Both halves of the argument are measured: that one sample puts nearly all its weight on one action, and that every sample has the same
one.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from dop.paper.theorems.claims import Claim

LEFT_OVER = 0.01
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
    """Whether a low temperature makes one action almost sure, in each sample and from sample to sample. Gumbel noise is sampled."""
    rng = np.random.default_rng(seed)
    logits, noise = rng.normal(size=(count, 5)), rng.gumbel(size=(samples, count, 5))
    decided, same = [], []
    for temperature in TEMPERATURES:
        found = relaxed_actions(logits, temperature, noise)
        sure = found > 1 - LEFT_OVER
        decided.append(float(sure.any(axis=-1).mean()))
        same.append(float(np.median(sure.mean(axis=0).max(axis=-1))))
    at = ", ".join(f"{t:g}" for t in TEMPERATURES)
    return [
        Claim(
            name="App. D.2, one sample",
            claim=f"at a low temperature some a has pi(a | tau) > 1 - {LEFT_OVER}",
            measured=f"in {', '.join(f'{fraction:.1%}' for fraction in decided)} of samples (temperature {at})",
            holds=decided[-1] > 1 - LEFT_OVER,
            note="random logits of 5 actions",
        ),
        Claim(
            name="App. D.2, the action is almost fixed",
            claim=f"it is the same a in more than 1 - {LEFT_OVER} of samples",
            measured=f"median over policies {', '.join(f'{fraction:.1%}' for fraction in same)} (temperature {at})",
            holds=same[-1] > 1 - LEFT_OVER,
            note="a sample's largest entry is drawn from softmax(logits) at every temperature: actions stay as random as the policy",
        ),
    ]
