"""A picture of a battle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dop.envs.common import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dop.envs.skirmish.battle import World
    from dop.envs.skirmish.rules import Rules

ENEMY = "#666666"
SHIELD, HEALTH, LOST = "#2a7fff", "#2ca02c", "#dddddd"


def draw(axes: Axes, rules: Rules, world: World, action: np.ndarray | None, colours: Sequence[str]) -> None:
    """Units as discs with the letters of their type and their number, under bars of shield and health; enemies are grey.

    Lines go from living units to their targets, dotted from healers; dead units are crosses; walls and cliffs are shaded.
    """
    del action
    low_x, low_y, high_x, high_y = rules.map.bounds
    canvas.scene(axes, (low_x, low_y), (high_x, high_y))
    _draw_ground(axes, rules)
    facts = rules.facts(world.unit_type)
    alive, position, target = np.asarray(world.health) > 0.0, np.asarray(world.position), np.asarray(world.target)
    radius, heals = np.asarray(facts.radius), np.asarray(facts.heal) > 0.0
    for unit, at in enumerate(position):
        is_ally = unit < rules.n_allies
        colour = colours[unit] if is_ally else ENEMY
        if not alive[unit]:
            axes.plot(*at, "x", color=colour, markersize=5, alpha=0.5, zorder=1)
            continue
        if target[unit] >= 0 and alive[target[unit]]:
            ends = position[[unit, target[unit]]]
            axes.plot(ends[:, 0], ends[:, 1], ":" if heals[unit] else "-", color=colour, linewidth=0.8, alpha=0.7, zorder=1)
        letter = rules.types[int(world.unit_type[unit])].letter
        number = unit if is_ally else unit - rules.n_allies
        canvas.disc(axes, at, float(radius[unit]), colour, f"{letter}{number}")
        _draw_bars(axes, at, float(radius[unit]), float(world.health[unit] / facts.health[unit]), _fraction(world, facts, unit))


def _fraction(world: World, facts: object, unit: int) -> float | None:
    """The part of its shield that a unit has; None if its type has none."""
    full = float(facts.shield[unit])  # pyright: ignore[reportAttributeAccessIssue]
    return float(world.shield[unit]) / full if full else None


def _draw_bars(axes: Axes, at: np.ndarray, radius: float, health: float, shield: float | None) -> None:
    left, width = at[0] - radius, 2 * radius
    for row, (part, colour) in enumerate(((health, HEALTH), (shield, SHIELD))):
        if part is None:
            continue
        y = at[1] + radius + 0.12 + 0.16 * row
        axes.plot([left, left + width], [y, y], color=LOST, linewidth=1.6, solid_capstyle="butt", zorder=3)
        axes.plot([left, left + part * width], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt", zorder=4)


def _draw_ground(axes: Axes, rules: Rules) -> None:
    if rules.floor is None or rules.cliff is None:
        return
    shade = np.where(rules.floor, 1.0, np.where(rules.cliff, 0.85, 0.7)).T
    axes.imshow(shade, cmap="gray", vmin=0.0, vmax=1.0, origin="lower", extent=(0, shade.shape[1], 0, shade.shape[0]), zorder=0)
