"""SMAX: JaxMARL's StarCraft-like battles of learning allies against enemies with JaxMARL's heuristic policy.

Rutherford et al., JaxMARL: Multi-Agent RL Environments and Algorithms in JAX (2023); `jaxmarl.environments.smax`.

Dynamics: each unit moves (4 directions), stops, or shoots at one enemy in range; a step is 8 physics steps of 1/16 s. Dead units only stop.
Touching the border of the map kills. The enemies (`HeuristicEnemySMAX`) shoot at allies in range and walk towards allies in sight.

Observation of an ally: for each other ally, then each enemy, if alive and in sight: health, relative position, last movement, last target,
weapon cooldown, unit type (one-hot), 13 numbers; then its own health, position, cooldown and type, 10 numbers. Zeros if dead.

State: the 10 own numbers of every unit, allies first, zeros for the dead. It is SMAX's `world_state` with positions divided by the size of
the map, cooldowns by the longest one and clipped at 0 (a raw cooldown falls without bound while its unit does not shoot), and without two
redundant parts: `unit_teams` is constant, and `unit_types` repeats the one-hot types.

Both stay within [-1, 1], the box that SMAX declares: health and cooldown are fractions, relative positions are divided by the sight range,
movements have length 1. Only collisions (and SMACv2's starts) can put a unit outside of the map, where the next physics step kills it; its
position is clipped.

Reward: `reward_scale` times SMAX's, which is the enemies' mean loss of health, as a fraction, plus 1 for a victory; a won battle returns
`2 * reward_scale`, by default 20 as in SMAC.

The episode terminates when one side is dead and is truncated at the time limit. If the last units of both sides die at once, it is a draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from dop.envs.common import canvas, jaxmarl
from dop.envs.making.options import boolean, one_of, positive, positive_integer
from dop.errors import UnknownNameError
from dop.types import EntityBlocks, EnvSpec, TimeStep

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FAMILY = "smax"

_ATTACK_MODES = ("closest", "random")

_JAXMARL_MAPS = (
    *("3m", "8m", "25m", "5m_vs_6m", "10m_vs_11m", "27m_vs_30m"),
    *("2s3z", "3s5z", "3s5z_vs_3s6z", "3s_vs_5z", "6h_vs_8z"),
    *("smacv2_5_units", "smacv2_10_units", "smacv2_20_units"),
)
_STALKER, _ZEALOT = 2, 3
_OWN_MAPS = {"3s_vs_3z": ((_STALKER,) * 3, (_ZEALOT,) * 3)}
"""Maps of the paper that JaxMARL lacks: the unit types of the allies and of the enemies."""

_MOVES = ("move up", "move right", "move down", "move left", "stop")
"""SMAX's first five actions. Up is where y grows, as in `draw`; the others shoot at one enemy each, in the order of the units."""

_ELSEWHERE = "All maps of SMAC are in the family skirmish, as skirmish:MMM."
_TIME_LIMITS = {"3m": 60}
_DEFAULT_TIME_LIMIT = 100


def variants() -> tuple[str, ...]:
    return (*_JAXMARL_MAPS, *_OWN_MAPS)


def make(
    variant: str | None,
    *,
    time_limit: int | None = None,
    reward_scale: float = 10.0,
    see_enemy_actions: bool = True,
    attack_mode: str = "closest",
) -> Smax:
    """A battle on the map `variant`.

    Args:
        time_limit: steps; by default SMAX's own 100, and 60 on 3m.
        reward_scale: multiplies SMAX's rewards, which sum to 2 when a battle is won.
        see_enemy_actions: whether observations show the last movement and target of enemies in sight.
        attack_mode: how enemies choose a new target: the `closest` in range, or a `random` one.

    Raises:
        UnknownNameError: no such map.
        ConfigError: an option out of range.
    """
    if variant not in variants():
        raise UnknownNameError("SMAX map", variant or "(none given)", variants(), _ELSEWHERE)
    limit = _TIME_LIMITS.get(variant, _DEFAULT_TIME_LIMIT) if time_limit is None else positive_integer("time_limit", time_limit)
    smax = jaxmarl.import_quietly("jaxmarl.environments.smax")
    options = {
        "time_limit": limit,
        "reward_scale": positive("reward_scale", reward_scale),
        "see_enemy_actions": boolean("see_enemy_actions", see_enemy_actions),
        "attack_mode": one_of("attack_mode", attack_mode, _ATTACK_MODES),
    }
    game = smax.HeuristicEnemySMAX(
        scenario=_scenario(variant), max_steps=limit, see_enemy_actions=see_enemy_actions, attack_mode=attack_mode
    )
    return Smax(spec=_spec(variant, game, limit, options), game=game, reward_scale=float(reward_scale))


def _scenario(variant: str) -> Any:
    smax = jaxmarl.import_quietly("jaxmarl.environments.smax")
    if variant not in _OWN_MAPS:
        return smax.map_name_to_scenario(variant)
    allies, enemies = _OWN_MAPS[variant]
    return smax.Scenario(
        unit_types=jnp.array(allies + enemies, jnp.uint8),
        num_allies=len(allies),
        num_enemies=len(enemies),
        smacv2_position_generation=False,
        smacv2_unit_type_generation=False,
    )


def _spec(variant: str, game: Any, time_limit: int, options: dict[str, Any]) -> EnvSpec:
    allies, enemies, seen, own = game.num_allies, game.num_enemies, len(game.unit_features), len(game.own_features)
    attacks = tuple(range(len(_MOVES), len(_MOVES) + enemies))
    return EnvSpec(
        name=f"{FAMILY}:{variant}",
        version=jaxmarl.version(revision=1),
        agents=tuple(game.agents),
        obs_sizes=(game.obs_size,) * game.num_allies,
        action_sizes=(game.num_ally_actions,) * game.num_allies,
        types=_types(variant, game),
        state_size=len(game.own_features) * (game.num_allies + game.num_enemies),
        time_limit=time_limit,
        obs_bound=1.0,
        metrics=("battle_won",),
        obs_entities=(
            EntityBlocks(kind="ally", start=0, size=seen, count=allies - 1),
            EntityBlocks(kind="enemy", start=seen * (allies - 1), size=seen, count=enemies, actions=attacks),
        ),
        state_entities=(
            EntityBlocks(kind="ally", start=0, size=own, count=allies, agents=True),
            EntityBlocks(kind="enemy", start=own * allies, size=own, count=enemies, actions=attacks),
        ),
        action_names=((*_MOVES, *(f"attack enemy {i}" for i in range(game.num_enemies))),) * game.num_allies,
        options=tuple(options.items()),
    )


def _types(variant: str, game: Any) -> tuple[str, ...]:
    """The unit type of each ally; empty on maps that draw the types for each battle."""
    scenario = _scenario(variant)
    if scenario.smacv2_unit_type_generation:
        return ()
    return tuple(game.unit_type_names[int(unit)] for unit in scenario.unit_types[: game.num_allies])


@dataclass(frozen=True, kw_only=True, eq=False)
class Smax:
    """An `Environment` around JaxMARL's `HeuristicEnemySMAX`; its state is JaxMARL's. The module's docstring describes observations and
    rewards."""

    spec: EnvSpec
    game: Any
    """`jaxmarl.environments.smax.HeuristicEnemySMAX`; everything in it is constant."""
    reward_scale: float

    def reset(self, key: PRNGKeyArray) -> tuple[PyTree, TimeStep]:
        obs, state = self.game.reset(key)
        return state, self._time_step(state, obs, jnp.zeros(()))

    def step(self, key: PRNGKeyArray, state: PyTree, action: Int[Array, " agent"]) -> tuple[PyTree, TimeStep]:
        actions = dict(zip(self.spec.agents, action, strict=True))
        obs, next_state, rewards, _, _ = self.game.step_env(key, state, actions)
        return next_state, self._time_step(next_state, obs, self.reward_scale * rewards[self.spec.agents[0]])

    def draw(self, axes: Axes, state: Any, action: np.ndarray | None, colours: Sequence[str]) -> None:
        """Units as discs, paler with less health, enemies grey; lines from allies to their targets; dead units as crosses. Only the middle
        of the map is shown."""
        battle, game, n = state.state, self.game, len(self.spec.agents)
        canvas.scene(axes, (0.15 * game.map_width, 0.15 * game.map_height), (0.85 * game.map_width, 0.85 * game.map_height))
        health = battle.unit_health / np.asarray(game.unit_type_health)[battle.unit_types]
        radius = np.asarray(game.unit_type_radiuses)[battle.unit_types]
        for unit, position in enumerate(battle.unit_positions):
            colour = colours[unit] if unit < n else "#666666"
            letter = game.unit_type_shorthands[int(battle.unit_types[unit])]
            if battle.unit_alive[unit]:
                label = f"{letter}{unit if unit < n else unit - n}"
                canvas.disc(axes, position, 1.6 * float(radius[unit]), colour, label, alpha=0.35 + 0.65 * float(health[unit]))
            else:
                axes.plot(*position, "x", color=colour, markersize=6, alpha=0.6)
        moves = game.num_movement_actions
        for unit, number in enumerate(() if action is None else action):
            if number >= moves and battle.unit_alive[unit]:
                ends = battle.unit_positions[[unit, n + int(number) - moves]]
                axes.plot(ends[:, 0], ends[:, 1], color=colours[unit], linewidth=1, alpha=0.7, zorder=0)

    def _time_step(self, state: Any, obs: dict[str, Float[Array, "..."]], reward: Float[Array, ""]) -> TimeStep:
        agents, battle = self.spec.agents, state.state
        action_mask = self.game.get_avail_actions(state)
        ally_alive = jnp.any(battle.unit_alive[: len(agents)])
        enemy_alive = jnp.any(battle.unit_alive[len(agents) :])
        terminated = ~(ally_alive & enemy_alive)
        return TimeStep(
            obs=jnp.clip(jnp.stack([obs[agent] for agent in agents]), -1.0, 1.0),
            state=self._scale(obs["world_state"]),
            action_mask=jnp.stack([action_mask[agent] for agent in agents]).astype(bool),
            reward=reward,
            terminated=terminated,
            truncated=~terminated & (battle.step >= self.spec.time_limit),
            metrics=(ally_alive & ~enemy_alive).astype(jnp.float32)[None],
        )

    def _scale(self, world_state: Float[Array, " world_state"]) -> Float[Array, " state"]:
        """Keep each unit's own numbers: health, x, y, weapon cooldown, then the one-hot type."""
        game = self.game
        n_units, n_features = len(game.all_agents), len(game.own_features)
        longest_cooldown = jnp.max(game.unit_type_weapon_cooldowns) + 2 * game.time_per_step  # SMAX draws up to two physics steps more
        unit = jnp.ones(n_features).at[1:4].set(jnp.array([game.map_width, game.map_height, longest_cooldown]))
        return jnp.clip(world_state[: n_units * n_features].reshape(n_units, n_features) / unit, 0.0, 1.0).flatten()
