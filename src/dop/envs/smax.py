"""SMAX: StarCraft-like battles of JaxMARL, the allies learning, the enemies led by JaxMARL's heuristic.

Rutherford et al., JaxMARL: Multi-Agent RL Environments and Algorithms in JAX (2023); `jaxmarl.environments.smax`.

Dynamics: each unit moves (4 directions), stops, or shoots at one enemy in range; a step is 8 physics steps of 1/16 s. The dead can only stop.
Touching the border of the map kills. The enemies (`HeuristicEnemySMAX`) shoot at whom they reach and walk towards whom they see.

Observation of an ally: for each other ally, then each enemy, if alive and in sight: health, relative position, last movement, last target,
weapon cooldown, unit type (one-hot), 13 numbers; then its own health, position, cooldown and type, 10 numbers. Zeros if dead.

State: the 10 own numbers of every unit, allies first. This is SMAX's `world_state` with positions divided by the size of the map and
cooldowns by the weapon's (clipped to [0, 1]: raw ones fall without end while a unit does not shoot), less two parts that say nothing more:
`unit_teams` is constant, `unit_types` repeats the one-hot types. It comes out of the observations, which end in the same numbers.

Both stay within [-1, 1], the box that SMAX declares: health and cooldown are fractions, what is in sight is nearer than the range of sight
that it is divided by, movements have length 1. Only collisions (and SMACv2's starts) can put a unit outside of the map, where the next
physics step kills it; its position is clipped.

Reward: `reward_scale` times SMAX's, which is the enemies' mean loss of health, as a fraction, plus 1 for a victory; a won battle returns
`2 * reward_scale`, so 20 by default, SMAC's own scale.

The episode terminates when one side is dead and is truncated at the time limit. All dead at once is a draw, not a victory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dop.envs import _jaxmarl
from dop.envs._options import positive, positive_integer
from dop.errors import ConfigError, UnknownNameError
from dop.types import EnvSpec, TimeStep

FAMILY = "smax"

AttackMode = Literal["closest", "random"]

_JAXMARL_MAPS = (
    *("3m", "8m", "25m", "5m_vs_6m", "10m_vs_11m", "27m_vs_30m"),
    *("2s3z", "3s5z", "3s5z_vs_3s6z", "3s_vs_5z", "6h_vs_8z"),
    *("smacv2_5_units", "smacv2_10_units", "smacv2_20_units"),
)
_STALKER, _ZEALOT = 2, 3
_OWN_MAPS = {"3s_vs_3z": ((_STALKER,) * 3, (_ZEALOT,) * 3)}
"""Maps of the paper that JaxMARL lacks: the unit types of the allies and of the enemies."""

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
    attack_mode: AttackMode = "closest",
) -> Smax:
    """A battle on the map `variant`.

    Args:
        time_limit: steps; by default SMAX's own 100, and 60 on 3m.
        reward_scale: multiplies SMAX's rewards, which sum to 2 when a battle is won.
        see_enemy_actions: whether observations show the last movement and target of enemies in sight.
        attack_mode: whom the enemies shoot at when a new target is due: the closest in range, or a random one.

    Raises:
        UnknownNameError: no such map.
        ConfigError: an option that cannot work.
    """
    if variant not in variants():
        raise UnknownNameError("SMAX map", variant or "", variants())
    if attack_mode not in get_args(AttackMode):
        raise ConfigError(f"attack_mode is {attack_mode!r}; it must be one of {', '.join(get_args(AttackMode))}.")
    limit = _TIME_LIMITS.get(variant, _DEFAULT_TIME_LIMIT) if time_limit is None else positive_integer("time_limit", time_limit)
    smax = _jaxmarl.import_quietly("jaxmarl.environments.smax")
    game = smax.HeuristicEnemySMAX(
        scenario=_scenario(variant), max_steps=limit, see_enemy_actions=bool(see_enemy_actions), attack_mode=attack_mode
    )
    return Smax(spec=_spec(variant, game, limit), game=game, reward_scale=positive("reward_scale", reward_scale))


def _scenario(variant: str) -> Any:
    smax = _jaxmarl.import_quietly("jaxmarl.environments.smax")
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


def _spec(variant: str, game: Any, time_limit: int) -> EnvSpec:
    return EnvSpec(
        name=f"{FAMILY}:{variant}",
        version=_jaxmarl.version(revision=1),
        agents=tuple(game.agents),
        obs_sizes=(game.obs_size,) * game.num_allies,
        action_sizes=(game.num_ally_actions,) * game.num_allies,
        state_size=len(game.own_features) * (game.num_allies + game.num_enemies),
        time_limit=time_limit,
        obs_bound=1.0,
        metrics=("battle_won",),
    )


class SmaxState(eqx.Module):
    """A battle between two steps."""

    game: Any
    """JaxMARL's state of `HeuristicEnemySMAX`: the battle, and what the heuristic remembers."""
    enemy_obs: Float[Array, "enemy obs"]
    """What the enemies see. Kept, since JaxMARL's own step computes the observations of all units a second time for it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Smax:
    """An `Environment` around JaxMARL's `HeuristicEnemySMAX`; see the module for what it observes and rewards."""

    spec: EnvSpec
    game: Any
    """`jaxmarl.environments.smax.HeuristicEnemySMAX`; everything in it is constant."""
    reward_scale: float

    def reset(self, key: PRNGKeyArray) -> tuple[SmaxState, TimeStep]:
        _, start = self.game.reset(key)  # what it observes is the allies' only; XLA drops it for that of all units
        unit_obs = self._stack(self.game.get_all_unit_obs(start))
        return SmaxState(game=start, enemy_obs=unit_obs[self.spec.n_agents :]), self._time_step(start, unit_obs, jnp.zeros(()))

    def step(self, key: PRNGKeyArray, state: SmaxState, action: Int[Array, " agent"]) -> tuple[SmaxState, TimeStep]:
        """What `HeuristicEnemySMAX.step_env` does, key for key, with the enemies' observations taken from `state`."""
        k_battle, k_enemy = jax.random.split(key)
        enemy_actions, enemy_memory = self.game.get_enemy_actions(k_enemy, state.game.enemy_policy_state, state.enemy_obs)
        joint_action = jnp.concatenate([action, jnp.stack([enemy_actions[enemy] for enemy in self.game.enemy_agents])])
        decoded = self.game._decode_discrete_actions(joint_action)
        obs, battle, rewards, _, _ = self.game.step_env_no_decode(k_battle, state.game.state, decoded)
        game = state.game.replace(state=battle, enemy_policy_state=enemy_memory)
        unit_obs = self._stack(obs)
        reward = self.reward_scale * rewards[self.spec.agents[0]]
        return SmaxState(game=game, enemy_obs=unit_obs[self.spec.n_agents :]), self._time_step(game, unit_obs, reward)

    def _stack(self, obs: dict[str, Float[Array, " obs"]]) -> Float[Array, "unit obs"]:
        return jnp.stack([obs[unit] for unit in self.game.all_agents])

    def _time_step(self, game: Any, unit_obs: Float[Array, "unit obs"], reward: Float[Array, ""]) -> TimeStep:
        n, battle = self.spec.n_agents, game.state
        bounded = jnp.clip(unit_obs, -1.0, 1.0)
        legal = self.game.get_avail_actions(game)
        ally_alive, enemy_alive = jnp.any(battle.unit_alive[:n]), jnp.any(battle.unit_alive[n:])
        terminated = ~(ally_alive & enemy_alive)
        return TimeStep(
            obs=bounded[:n],
            state=bounded[:, -len(self.game.own_features) :].flatten(),
            legal=jnp.stack([legal[ally] for ally in self.spec.agents]).astype(bool),
            reward=reward,
            terminated=terminated,
            truncated=~terminated & (battle.step >= self.spec.time_limit),
            metrics=(ally_alive & ~enemy_alive).astype(jnp.float32)[None],
        )
