"""The data file and the figure."""

from __future__ import annotations

import dataclasses
import datetime
import json

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dop.paper.theorems.claims import ROUNDING, TEAMS
from dop.paper.theorems.deterministic.theorem_5 import DELTA, DELTAS, FIGURE_TEAM
from dop.paper.theorems.measurements import Measurements
from dop.paper.theorems.stochastic.theorem_2 import STEP_SIZES
from dop.storage.surroundings import surroundings
from dop.visualise.curves import COLOURS


def as_json(measured: Measurements, *, seed: int, problems: int) -> str:
    """The claims and the data of the figure."""
    changes = measured.theorem_2_changes
    quantiles = np.quantile(changes, (0, 0.05, 0.5, 0.95, 1), axis=1)
    data = {
        "about": {"seed": seed, "problems": problems, "date": datetime.date.today().isoformat(), **surroundings()},
        "claims": [dataclasses.asdict(claim) for claim in measured.claims],
        "theorem_2": {
            "step": STEP_SIZES,
            **{f"change_{name}": list(row) for name, row in zip(("least", "5%", "median", "95%", "most"), quantiles, strict=True)},
            "falls": list((changes < -ROUNDING).mean(axis=1)),
        },
        "theorem_3": {"n": TEAMS, "median_var_g1_over_var_g2": measured.theorem_3_ratios},
        "theorem_5": {"n": FIGURE_TEAM, "delta": DELTAS, "median_largest_error": measured.theorem_5_errors},
        "theorem_5_bound": {"n": TEAMS, "delta": DELTA, "largest_error_over_bound": measured.theorem_5_errors_over_bound},
        "theorem_6": {"n": TEAMS, "mean_var_g1_over_mean_var_g2": measured.theorem_6_ratios},
    }
    return json.dumps(data, indent=1) + "\n"


def figure(measured: Measurements) -> Figure:
    """Theorem 3's ratio against n, Theorem 2's change of J against the step; Theorem 6's ratio, Theorem 5's error against delta."""
    picture = Figure(figsize=(11, 8.4), layout="constrained", facecolor="white")
    (left, right), (below_left, below_right) = picture.subplots(2, 2)
    draw_ratios(left, measured.theorem_3_ratios, "Theorem 3: variance ratio, median")
    draw_changes(right, measured.theorem_2_changes)
    draw_ratios(below_left, measured.theorem_6_ratios, "Theorem 6: variance ratio")
    draw_errors(below_right, measured.theorem_5_errors)
    return picture


def draw_ratios(axes: Axes, ratios: dict[str, list[float]], title: str) -> None:
    for (setting, ratio), colour in zip(ratios.items(), COLOURS, strict=False):
        axes.plot(TEAMS, ratio, label=setting, color=colour, marker="o", markersize=3)
    axes.plot(TEAMS, TEAMS, label="n", color="black", linestyle="--", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="agents n", ylabel="Var(g1) / Var(g2)", title=title)
    axes.set_xticks((2, 5, 10, 20), labels=("2", "5", "10", "20"))
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8)


def draw_changes(axes: Axes, changes: Float[np.ndarray, "step case"]) -> None:
    least, low, median, high = np.quantile(changes, (0, 0.05, 0.5, 0.95), axis=1)
    axes.fill_between(STEP_SIZES, low, high, color=COLOURS[0], alpha=0.2, linewidth=0, label="5% to 95%")
    axes.plot(STEP_SIZES, median, color=COLOURS[0], label="median")
    axes.plot(STEP_SIZES, least, color=COLOURS[1], label="least")
    axes.axhline(0, color="black", linestyle="--", linewidth=1)
    axes.set(
        xscale="log", xlabel="step: largest change of a probability, before projection", ylabel="change of J", title="Theorem 2: one update"
    )
    axes.set_yscale("symlog", linthresh=1e-4)
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def draw_errors(axes: Axes, errors: dict[str, list[float]]) -> None:
    for (name, curve), colour in zip(errors.items(), COLOURS, strict=False):
        axes.plot(DELTAS, curve, label=name, color=colour)
    axes.set(xscale="log", yscale="log", xlabel="delta", ylabel="largest |Q_tot - Q|, median")
    axes.set_title(f"Theorem 5: error around pi, n = {FIGURE_TEAM}")
    axes.legend(frameon=False, fontsize=8)
