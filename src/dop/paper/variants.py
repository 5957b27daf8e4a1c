"""The methods compared in the paper's figures, by their names in tables and figures."""

from __future__ import annotations

from typing import Any

from dop import algorithms
from dop.types import Algorithm

FIG3 = {
    "dop": ("stochastic-dop", "default"),
    "dop-paper": ("stochastic-dop", "paper"),
    "on-policy-dop": ("stochastic-dop", "on-policy"),
    "undecomposed-dop": ("stochastic-dop", "undecomposed"),
    "coma": ("coma", "default"),
    "coma-as-dop": ("coma", "as-dop"),
    "qmix": ("qmix", "default"),
    "qmix-fine-tuned": ("qmix", "fine-tuned"),
    "qmix-jaxmarl": ("qmix", "jaxmarl"),
    "vdn": ("vdn", "default"),
}
"""Algorithm and preset of each method of Fig. 3."""
RELAXED = {name: (name, "default") for name in ("deterministic-dop", "maddpg", "maac")}
"""Algorithm and preset of each method of Fig. 4 with relaxed actions (points of a simplex)."""
PPO = {
    "mappo": ("mappo", "default"),
    "mappo-jaxmarl": ("mappo", "jaxmarl"),
    "ippo": ("ippo", "default"),
    "ippo-jaxmarl": ("ippo", "jaxmarl"),
}
SMAX_METHODS = {name: (FIG3 | PPO)[name] for name in ("dop", *PPO, "qmix", "vdn", "coma")}
"""Algorithm and preset of each method of the table on SMAX."""
METHODS = FIG3 | RELAXED | PPO


def algorithm_of(variant: str) -> Algorithm[Any, Any]:
    """The algorithm with the preset's settings."""
    name, preset = METHODS[variant]
    return algorithms.algorithms()[name].presets()[preset]
