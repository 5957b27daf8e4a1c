"""Tables of agents by actions in figures: names and numbers as far as there is room for them, so that none run together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dop.types import EnvSpec
from dop.visualise.texts import visible

INK = "#333333"
_LETTER = 0.6
"""Width of a letter, as a fraction of the size of its font."""
_LONGEST = 18
"""Letters of a name beside or below a table."""
_SIZES = (6, 5)
"""Of the font in cells, in points, the first that fits."""


def cut(text: str, letters: int) -> str:
    """`text`, or as many letters of it: its beginning and its end, since names often differ in a number at their end."""
    text = visible(text)
    if len(text) <= letters:
        return text
    head = letters // 2
    return f"{text[:head]}…{text[len(text) - max(letters - head - 1, 0) :]}"


def letters_in(inches: float, size: float) -> int:
    """How many letters of a font of `size` points stand side by side."""
    return max(1, int(72 * inches / (_LETTER * size)))


def name_agents(axes: Axes, spec: EnvSpec) -> None:
    """One row per agent, called by its name."""
    size = min(7.0, 50 * _inches(axes)[1] / spec.n_agents)
    axes.set_yticks(range(spec.n_agents), [cut(name, _LONGEST) for name in spec.agents], fontsize=size)


def name_actions(axes: Axes, spec: EnvSpec, *, below: str) -> None:
    """One column per action, called by the names that all agents share; else by numbers, as many as there is room for."""
    names = spec.action_names[0] if len(set(spec.action_names)) == 1 else ()
    axes.tick_params(axis="x", labelsize=7)
    axes.set_xlabel(below, fontsize=8, color=INK)
    width = 72 * _inches(axes)[0] / spec.action_size
    if not names or width < 8:
        axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
        return
    texts = [cut(name, _LONGEST) for name in names]
    flat = max(map(len, texts)) * _LETTER * 7 < width - 4
    axes.set_xticks(range(len(texts)), texts, rotation=0 if flat else 90)


def write_cells(axes: Axes, texts: Callable[[int, int], str], shape: tuple[int, int], dark: Float[np.ndarray, "agent action"]) -> bool:
    """Write `texts(row, column)` into the cells, white where they are `dark`, in a font in which every one fits; nothing if there is none.

    Returns:
        Whether anything was written.
    """
    written = {(row, column): texts(row, column) for row in range(shape[0]) for column in range(shape[1])}
    width, height = (72 * inches / cells for inches, cells in zip(_inches(axes), reversed(shape), strict=True))
    lines = [line for text in written.values() for line in text.split("\n")]
    longest, most = max(map(len, lines)), max(text.count("\n") + 1 for text in written.values())
    size = next((size for size in _SIZES if longest * _LETTER * size + 3 <= width and most * 1.3 * size <= height), None)
    if size is None:
        return False
    for (row, column), text in written.items():
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color="white" if dark[row, column] else INK)
    return True


def short_number(value: float) -> str:
    """Two digits, without the 0 before the point."""
    return f"{value:.2g}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.2g}"


def own_name(spec: EnvSpec, agent: int, action: int) -> str:
    """An action's name and a line's end, where the agents' names differ, so that columns cannot have them; else nothing."""
    differ = len(set(spec.action_names)) > 1 and action < spec.action_sizes[agent]
    return f"{visible(spec.action_name(agent, action))}\n" if differ else ""


def _inches(axes: Axes) -> tuple[float, float]:
    """About how wide and high the axes will be: what a layout takes for labels, it gains from the margins."""
    extent, dpi = axes.get_window_extent(), axes.figure.dpi
    return extent.width / dpi, extent.height / dpi
