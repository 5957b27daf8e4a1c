"""Where a battle starts: as the map says, or drawn as in SMACv2 (Ellis et al. 2023; repository oxwhirl/smacv2, `distributions.py`)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dop.envs.skirmish.maps import RandomTeams
from dop.envs.skirmish.rules import Facts, Rules

_OFFSET = 2.0
"""Distance on each axis, from the middle of the map, of the nearest point at which enemies can surround the allies."""
_GAP = 1.0
"""Distance of allies from the middle line when enemies are their mirror images."""
_ROUNDS = 60
"""Rounds in which units that are created at one point make room for each other."""


def start(rules: Rules, key: PRNGKeyArray) -> tuple[Float[Array, "unit 2"], Int[Array, " unit"]]:
    """Positions and types at the start of an episode. Allies are in SMAC's order of agents: by type, then x, then y."""
    teams = rules.map.random
    if teams is None:
        assert rules.fixed_types is not None
        at = [point for side in (rules.map.allies, rules.map.enemies) for group in side for point in group.at]
        return jnp.clip(jnp.array(at, jnp.float32), *rules.limits), jnp.asarray(rules.fixed_types, jnp.int32)
    k_teams, k_which, k_surround, k_reflect, k_spread = jax.random.split(key, 5)
    unit_type = _draw_teams(rules, teams, k_teams)
    surrounded = jax.random.uniform(k_which) < teams.surrounded
    drawn = jnp.where(surrounded, _surrounded(rules, k_surround), _reflected(rules, k_reflect))
    position = _spread(rules, rules.facts(unit_type), drawn, k_spread)
    allies = jnp.lexsort((position[: rules.n_allies, 1], position[: rules.n_allies, 0], unit_type[: rules.n_allies]))
    order = jnp.concatenate([allies, jnp.arange(rules.n_allies, rules.n_units)])
    return position[order], unit_type[order]


def _draw_teams(rules: Rules, teams: RandomTeams, key: PRNGKeyArray) -> Int[Array, " unit"]:
    """Types of the allies; enemies have the same, and more are drawn likewise. Draws of types that cannot fight alone are repeated."""
    names = [unit.name for unit in rules.types]
    odds = np.zeros(len(names))
    for unit, probability in zip(teams.units, teams.probabilities, strict=True):
        odds[names.index(unit)] = probability
    never_alone = jnp.array([name in teams.never_alone for name in names])

    def draw(key: PRNGKeyArray, count: int) -> Int[Array, " count"]:
        def once(key: PRNGKeyArray) -> Int[Array, " count"]:
            return jax.random.choice(key, len(names), (count,), p=jnp.asarray(odds)).astype(jnp.int32)

        def again(carry: tuple[PRNGKeyArray, Array]) -> tuple[PRNGKeyArray, Array]:
            k_next, k_draw = jax.random.split(carry[0])
            return k_next, once(k_draw)

        k_first, k_rest = jax.random.split(key)

        def lacks_others(carry: tuple[PRNGKeyArray, Array]) -> Array:
            return jnp.all(never_alone[carry[1][: teams.n_enemies]])

        return jax.lax.while_loop(lacks_others, again, (k_rest, once(k_first)))[1]

    k_allies, k_more = jax.random.split(key)
    allies, more = draw(k_allies, teams.n_allies), max(teams.n_enemies - teams.n_allies, 0)
    enemies = [allies[: teams.n_enemies], draw(k_more, more)] if more else [allies[: teams.n_enemies]]
    return jnp.concatenate([allies, *enemies])


def _surrounded(rules: Rules, key: PRNGKeyArray) -> Float[Array, "unit 2"]:
    """All allies in the middle; one to four groups of enemies, each on a diagonal of its own at a random distance."""
    width, height = rules.map.size
    middle = jnp.array([width / 2, height / 2])
    corners = jnp.array([[0.0, 0.0], [0.0, height], [width, height], [width, 0.0]])
    k_groups, k_member, k_distance, k_diagonal = jax.random.split(key, 4)
    n_groups = jax.random.randint(k_groups, (), 1, 5)
    diagonal = jax.random.permutation(k_diagonal, 4)
    nearest = middle + jnp.sign(corners - middle) * _OFFSET
    inwards = jax.random.uniform(k_distance, (4, 1))
    place = (nearest * inwards + corners * (1.0 - inwards))[diagonal]
    group = jnp.sort(jnp.floor(jax.random.uniform(k_member, (rules.map.n_enemies,)) * n_groups).astype(jnp.int32))
    return jnp.concatenate([jnp.tile(middle, (rules.n_allies, 1)), place[group]])


def _reflected(rules: Rules, key: PRNGKeyArray) -> Float[Array, "unit 2"]:
    """Allies uniform in the left half; enemies are their mirror images, more of them uniform in the right half."""
    width, height = rules.map.size
    k_allies, k_more = jax.random.split(key)
    allies = jax.random.uniform(k_allies, (rules.n_allies, 2)) * jnp.array([width / 2 - _GAP, height])
    more = max(rules.map.n_enemies - rules.n_allies, 0)
    images = jnp.array([width, 0.0]) + allies * jnp.array([-1.0, 1.0])
    others = jnp.array([width / 2, 0.0]) + jax.random.uniform(k_more, (more, 2)) * jnp.array([width / 2, height])
    return jnp.concatenate([allies, images[: rules.map.n_enemies], others])


def _spread(rules: Rules, facts: Facts, position: Float[Array, "unit 2"], key: PRNGKeyArray) -> Float[Array, "unit 2"]:
    """The positions after units that overlap have pushed each other apart.

    Units that the bounds hold at one corner have no direction from one to the other, so each is seen a little off its place.
    """
    noise = jax.random.uniform(key, position.shape, minval=-1.0)
    position = position + 0.1 * noise
    room = facts.separation[:, None] + facts.separation[None, :]
    together = (facts.ground[:, None] == facts.ground[None, :]) & ~np.eye(rules.n_units, dtype=bool)

    def push(_: int, at: Float[Array, "unit 2"]) -> Float[Array, "unit 2"]:
        seen = at + 0.01 * noise
        apart = seen[:, None] - seen[None, :]
        distance = jnp.sqrt(jnp.sum(apart**2, axis=-1))
        overlap = jnp.where(together, jnp.maximum(room - distance, 0.0), 0.0)
        moved = at + 0.5 * jnp.sum((overlap / jnp.maximum(distance, 1e-3))[..., None] * apart, axis=1)
        return jnp.clip(moved, *rules.limits)

    return jax.lax.fori_loop(0, _ROUNDS, push, position)
