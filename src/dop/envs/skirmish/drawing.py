"""A picture of a battle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dop.envs.common import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dop.envs.skirmish.battle import World
    from dop.envs.skirmish.rules import Facts, Rules

ENEMY = "#666666"
SHIELD, HEALTH, LOST = "#56b4e9", "#3fd43f", "#f4f4f4"
WALL, CLIFF, FLOOR = 0.7, 0.85, 1.0
_MARGIN = 2.0
"""Cells around the units."""
_STEP = 4.0
"""The view moves and grows by steps of so many cells, so that films do not tremble."""
_HALF_SIDE = 0.886
"""Of a square with the area of a disc, in its radii."""
_ROWS = (0.52, 0.72)
"""Where the bars of health and of shield begin, in radii above a unit's middle."""
_HEIGHT = 0.18
_SLACK = 0.1
"""Cells by which a target may have left its attacker's range since the last hit."""


def draw(axes: Axes, rules: Rules, world: World, action: np.ndarray | None, colours: Sequence[str]) -> None:
    """Allies as discs and enemies as grey squares, with the letters of their type and their number, under bars of health and shield.

    Lines with a dot at their end go from living units to their targets: faint while these are out of range, dotted from healers. Dead
    allies are slanted crosses, dead enemies upright ones. Walls are dark, cliffs lighter. The view is a square around all units.
    """
    del action
    facts = rules.facts(world.unit_type)
    position = np.asarray(world.position)
    canvas.scene(axes, *view(position))
    _draw_ground(axes, rules)
    alive = np.asarray(world.health) > 0.0
    order: list[int] = np.argsort(~np.asarray(facts.ground), kind="stable").tolist()
    for unit in order:  # flying units over those on the ground
        colour = colours[unit] if unit < rules.n_allies else ENEMY
        if alive[unit]:
            _draw_unit(axes, rules, facts, world, unit, colour)
        else:
            axes.plot(*position[unit], "x" if unit < rules.n_allies else "+", color=colour, markersize=5, alpha=0.6, zorder=0.5)
    for unit in np.flatnonzero(alive).tolist():
        target = int(world.target[unit])
        if target >= 0 and alive[target]:
            _draw_line(axes, facts, position, unit, target, colours[unit] if unit < rules.n_allies else ENEMY)


def view(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lower left and the upper right corner of a square around all units."""
    low = np.floor((position.min(axis=0) - _MARGIN) / _STEP) * _STEP
    high = np.ceil((position.max(axis=0) + _MARGIN) / _STEP) * _STEP
    middle, half = (low + high) / 2, (high - low).max() / 2
    return middle - half, middle + half


def _draw_unit(axes: Axes, rules: Rules, facts: Facts, world: World, unit: int, colour: str) -> None:
    is_ally = unit < rules.n_allies
    at, radius = np.asarray(world.position[unit]), float(facts.radius[unit])
    label = f"{rules.types[int(world.unit_type[unit])].letter}{unit if is_ally else unit - rules.n_allies}"
    if is_ally:
        canvas.disc(axes, at, radius, colour, label)
    else:
        canvas.square(axes, at, _HALF_SIDE * radius, colour, label)
    _draw_bar(axes, at, radius, _ROWS[0], float(world.health[unit] / facts.health[unit]), HEALTH)
    if facts.shield[unit] > 0.0:
        _draw_bar(axes, at, radius, _ROWS[1], float(world.shield[unit] / facts.shield[unit]), SHIELD)


def _draw_bar(axes: Axes, at: np.ndarray, radius: float, row: float, fraction: float, colour: str) -> None:
    """A bar of which this fraction has the colour."""
    from matplotlib.patches import Rectangle  # noqa: PLC0415  # only drawing needs matplotlib

    corner, height = (float(at[0]) - radius, float(at[1]) + row * radius), _HEIGHT * radius
    axes.add_patch(Rectangle(corner, 2 * radius, height, facecolor=LOST, edgecolor=canvas.INK, linewidth=0.4, zorder=2))
    axes.add_patch(Rectangle(corner, 2 * radius * fraction, height, facecolor=colour, edgecolor="none", zorder=2.1))


def _draw_line(axes: Axes, facts: Facts, position: np.ndarray, unit: int, target: int, colour: str) -> None:
    """From a unit's edge into its target; to the right of the straight way, so that two units that attack each other have two lines."""
    way = position[target] - position[unit]
    distance = float(np.linalg.norm(way))
    ahead = way / max(distance, 1e-6)
    own, other = float(facts.radius[unit]), float(facts.radius[target])
    aside = 0.3 * min(own, other) * np.array([ahead[1], -ahead[0]])
    ends = np.stack([position[unit] + own * ahead, position[target] - 0.6 * other * ahead]) + aside
    in_range = distance - own - other <= float(facts.reach[unit]) + _SLACK
    axes.plot(
        *ends.T,
        ":" if facts.heal[unit] > 0.0 else "-",
        color=colour,
        linewidth=1.2,
        alpha=0.9 if in_range else 0.3,
        marker="o",
        markersize=3,
        markevery=[1],
        markeredgecolor="white",
        markeredgewidth=0.4,
        zorder=3,
    )


def _draw_ground(axes: Axes, rules: Rules) -> None:
    """Shades of cells; what lies outside of the bounds is wall."""
    axes.set_facecolor(str(WALL))
    from matplotlib.patches import Rectangle  # noqa: PLC0415  # only drawing needs matplotlib

    low_x, low_y, high_x, high_y = rules.map.bounds
    if rules.floor is None or rules.cliff is None:
        axes.add_patch(Rectangle((low_x, low_y), high_x - low_x, high_y - low_y, facecolor=str(FLOOR), edgecolor="none", zorder=0))
        return
    shade = np.where(rules.floor, FLOOR, np.where(rules.cliff, CLIFF, WALL)).T
    limits = axes.get_xlim(), axes.get_ylim()
    axes.imshow(shade, cmap="gray", vmin=0.0, vmax=1.0, origin="lower", extent=(0, shade.shape[1], 0, shade.shape[0]), zorder=0)
    axes.set(xlim=limits[0], ylim=limits[1])
