"""Pictures of battles show every unit, its health and shield, and whom it attacks."""

from __future__ import annotations

import functools
from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

import dop
from dop.envs.skirmish import drawing
from dop.envs.skirmish.battle import World
from dop.envs.skirmish.environment import Skirmish


def picture(environment: Skirmish, world: World) -> Axes:
    axes = Figure().subplots()
    environment.draw(axes, world, None, ["#0000ff"] * environment.rules.n_allies)
    return axes


@functools.cache
def unchanged(name: str) -> tuple[Skirmish, World]:
    environment = dop.make(f"skirmish:{name}")
    return environment, jax.jit(lambda key: environment.reset(key)[0])(jax.random.key(0))


def start(name: str, **changes: Any) -> tuple[Skirmish, World]:
    """The start of a battle, with some of the world's arrays changed at some indices: name=((index, value), ...)."""
    environment, world = unchanged(name)
    for field, values in changes.items():
        array = np.array(getattr(world, field))
        for index, value in values:
            array[index] = value
        world = eqx.tree_at(lambda tree, field=field: getattr(tree, field), world, array)
    return environment, world


def widths(axes: Axes, colour: str) -> list[float]:
    """Of bars of this colour, in the order of drawing."""
    return [patch.get_width() for patch in axes.patches if isinstance(patch, Rectangle) and to_hex(patch.get_facecolor()) == colour]


def points(line: Any) -> list[list[float]]:
    return np.asarray(line.get_xydata()).tolist()


def lines(axes: Axes) -> list[Any]:
    return [line for line in axes.lines if len(points(line)) == 2]


def crosses(axes: Axes) -> list[tuple[Any, list[float]]]:
    return [(line.get_marker(), points(line)[0]) for line in axes.lines if len(points(line)) == 1]


@pytest.mark.parametrize("name", ["MMM", "2s_vs_1sc"])
def test_every_living_unit_is_drawn_where_it_stands_with_letter_and_number(name: str):
    environment, world = start(name)
    axes, rules = picture(environment, world), environment.rules
    assert sum(isinstance(patch, Circle) for patch in axes.patches) == rules.n_allies
    expected = set()
    for unit, position in enumerate(np.asarray(world.position)):
        number = unit if unit < rules.n_allies else unit - rules.n_allies
        letter = rules.types[int(world.unit_type[unit])].letter
        expected.add((f"{letter}{number}", *map(float, position)))
    assert {(text.get_text(), *text.get_position()) for text in axes.texts} == expected
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert right - left == top - bottom
    assert all(left < x < right and bottom < y < top for x, y in np.asarray(world.position))
    assert not lines(axes)
    assert not crosses(axes)


def test_the_lengths_of_bars_are_the_fractions_of_health_and_shield():
    environment, world = start("2s_vs_1sc", health=((0, 20.0), (2, 75.0)), shield=((0, 0.0), (1, 40.0)))
    axes, radius = picture(environment, world), environment.rules.facts(world.unit_type).radius
    full = 2 * np.asarray(radius)
    np.testing.assert_allclose(widths(axes, drawing.HEALTH), full * [0.25, 1.0, 0.25], rtol=1e-5)
    np.testing.assert_allclose(widths(axes, drawing.SHIELD), full[:2] * [0.0, 0.5], rtol=1e-5)


def test_lines_go_from_units_to_their_targets_and_are_dotted_from_healers():
    environment, world = start("MMM", target=((0, 12), (9, 1), (12, 0)))
    axes = picture(environment, world)
    radius, position = np.asarray(environment.rules.facts(world.unit_type).radius), np.asarray(world.position)
    drawn = lines(axes)
    assert [line.get_linestyle() for line in drawn] == ["-", ":", "-"]
    for line, (unit, target) in zip(drawn, ((0, 12), (9, 1), (12, 0)), strict=True):
        first, last = np.array(points(line))
        assert np.linalg.norm(first - position[unit]) <= 1.1 * radius[unit]
        assert np.linalg.norm(last - position[target]) < radius[target]
    assert [line.get_alpha() < 0.5 for line in drawn] == [True, False, True], "only the medivac has its target in range"


def test_the_dead_are_crosses_without_lines_from_or_to_them():
    environment, world = start("MMM", health=((0, 0.0), (12, 0.0)), target=((0, 11), (1, 12)))
    axes = picture(environment, world)
    assert crosses(axes) == [("x", list(world.position[0])), ("+", list(world.position[12]))]
    assert len(axes.texts) == 18
    assert not lines(axes)


def test_flying_units_are_above_those_on_the_ground():
    axes = picture(*start("MMM"))
    assert [text.get_text() for text in axes.texts][-2:] == ["V9", "V9"]


def test_walls_and_cliffs_are_shaded():
    axes = picture(*start("2c_vs_64zg"))
    shades = {float(shade) for shade in np.unique(np.asarray(axes.images[0].get_array()))}
    assert shades == {drawing.WALL, drawing.CLIFF, drawing.FLOOR}


def test_outside_of_the_bounds_of_an_open_map_is_wall():
    environment, world = start("MMM")
    axes = picture(environment, world)
    low_x, low_y, high_x, high_y = environment.rules.map.bounds
    floor = axes.patches[0]
    assert isinstance(floor, Rectangle)
    assert (*floor.get_xy(), floor.get_width(), floor.get_height()) == (low_x, low_y, high_x - low_x, high_y - low_y)
    assert to_hex(axes.get_facecolor()) == to_hex(str(drawing.WALL))
