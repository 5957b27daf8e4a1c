"""Tables of agents by actions in figures, with the names and numbers that fit without overlap."""

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
"""Longest name of a row or column, in letters."""
_SIZES = (6, 5)
"""Font sizes of cells in points; the first that fits is used."""


def cut(text: str, letters: int) -> str:
    """`text`, shortened to so many letters: its beginning and its end, since names often differ in a final number."""
    text = visible(text)
    if len(text) <= letters:
        return text
    head = letters // 2
    return f"{text[:head]}…{text[len(text) - max(letters - head - 1, 0) :]}"


def letters_in(inches: float, size: float) -> int:
    """How many letters of a font of `size` points fit into a line of so many inches."""
    return max(1, int(72 * inches / (_LETTER * size)))


def name_agents(axes: Axes, spec: EnvSpec) -> None:
    """Label one row per agent."""
    size = min(7.0, 50 * _inches(axes)[1] / spec.n_agents)
    axes.set_yticks(range(spec.n_agents), [cut(name, _LONGEST) for name in spec.agents], fontsize=size)


def name_actions(axes: Axes, spec: EnvSpec, *, below: str) -> None:
    """Label one column per action: with the names that all agents share, else with the numbers that fit."""
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
    """Write `texts(row, column)` into the cells, in white where they are `dark`, if every text fits.

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
    """Two significant digits, without a leading 0."""
    return f"{value:.2g}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.2g}"


def own_name(spec: EnvSpec, agent: int, action: int) -> str:
    """An action's name and a line break if agents' action names differ and columns have none; else the empty text."""
    differ = len(set(spec.action_names)) > 1 and action < spec.action_sizes[agent]
    return f"{visible(spec.action_name(agent, action))}\n" if differ else ""


def _inches(axes: Axes) -> tuple[float, float]:
    """The approximate width and height of the axes; a layout's labels and margins about cancel."""
    extent, dpi = axes.get_window_extent(), axes.figure.dpi
    return extent.width / dpi, extent.height / dpi
