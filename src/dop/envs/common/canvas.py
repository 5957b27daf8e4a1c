"""Drawing primitives of the environments: scenes, labelled discs and squares. Positions outside of the scene are drawn at its edge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

INK, FAINT = "#333333", "#bbbbbb"


def scene(axes: Axes, low: Sequence[float] | np.ndarray, high: Sequence[float] | np.ndarray) -> None:
    """Axes from `low` to `high` (x, y), of equal aspect and without ticks."""
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal", xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_color(FAINT)


def disc(axes: Axes, centre: np.ndarray, radius: float, colour: str, label: str = "", *, filled: bool = True, alpha: float = 1.0) -> None:
    """A disc with a label in its centre."""
    from matplotlib.patches import Circle  # noqa: PLC0415  # only drawing needs matplotlib

    at = _inside(axes, centre)
    _add(axes, Circle(at, radius), colour, filled=filled, alpha=alpha)
    _label(axes, at, radius, label, filled=filled)


def square(axes: Axes, centre: np.ndarray, radius: float, colour: str, label: str = "", *, filled: bool = True, alpha: float = 1.0) -> None:
    """A square of sides twice `radius`, with a label in its centre."""
    from matplotlib.patches import Rectangle  # noqa: PLC0415  # only drawing needs matplotlib

    at = _inside(axes, centre)
    _add(axes, Rectangle((at[0] - radius, at[1] - radius), 2 * radius, 2 * radius), colour, filled=filled, alpha=alpha)
    _label(axes, at, radius, label, filled=filled)


def _inside(axes: Axes, centre: np.ndarray) -> tuple[float, float]:
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    return float(np.clip(centre[0], left, right)), float(np.clip(centre[1], bottom, top))


def _add(axes: Axes, patch: Patch, colour: str, *, filled: bool, alpha: float) -> None:
    patch.set(facecolor=colour if filled else "none", edgecolor=colour, alpha=alpha, linewidth=1.5)
    axes.add_patch(patch)


def _label(axes: Axes, at: tuple[float, float], radius: float, label: str, *, filled: bool) -> None:
    """A text that fits into a filled shape."""
    if not label:
        return
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    scale = min(axes.get_window_extent().width / (right - left), axes.get_window_extent().height / (top - bottom))
    points = 72 * 2 * radius * scale / axes.figure.dpi
    size = min(8.0, points / (0.7 * max(len(label), 2))) if filled else 8.0
    axes.text(*at, label, ha="center", va="center", fontsize=size, fontweight="bold", color="white" if filled else INK)


def short(agent: str) -> str:
    """A short label for a small disc: the number at the end of the agent's name, or its first letters."""
    number = agent.rpartition("_")[2]
    return number if number.isdecimal() else agent[:3]
