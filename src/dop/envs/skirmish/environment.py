"""The environment: SMAC's steps, rewards and ends around a battle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from dop.envs.skirmish import battle, drawing, observation, starts
from dop.envs.skirmish.battle import NOBODY, Orders, World
from dop.envs.skirmish.observation import DIRECTIONS, FIRST_MOVE, FIRST_TARGET, Shown, View
from dop.envs.skirmish.rules import LOOPS_PER_SECOND, Facts, Rules
from dop.types import EnvSpec, TimeStep

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOVES = ("no-op", "stop", "move north", "move south", "move east", "move west")
LEAST_DELAY, MOST_DELAY = -1.0, 2.0
"""SC2 adds a random number of game loops between these to every cooldown: -1/16 to 1/8 of a second at normal speed."""


@dataclass(frozen=True, kw_only=True)
class Rewards:
    """SMAC's rewards; its options of the same names.

    A step's reward is the health and shields that enemies lost (less what they regained), plus `reward_death_value` per enemy killed. With
    `reward_only_positive` its absolute value counts, as in SMAC, or with random teams its positive part, as in SMACv2; without, the same
    sum of the allies, times `reward_negative_scale`, is taken off. The end adds `reward_win` or `reward_defeat`.
    """

    reward_sparse: bool = False
    """Only 1 for a victory and -1 for a defeat."""
    reward_only_positive: bool = True
    reward_death_value: float = 10.0
    reward_win: float = 200.0
    reward_defeat: float = 0.0
    reward_negative_scale: float = 0.5
    reward_scale: bool = True
    """Divide by the largest return without regeneration, and multiply by `reward_scale_rate`."""
    reward_scale_rate: float = 20.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Skirmish:
    """An `Environment`. The metric `battle_won` is SMAC's; `dead_allies` and `dead_enemies` count the fallen."""

    rules: Rules
    shown: Shown = field(default_factory=Shown)
    rewards: Rewards = field(default_factory=Rewards)
    name: str
    version: str
    options: tuple[tuple[str, Any], ...] = ()

    @cached_property
    def view(self) -> View:
        return View(self.rules, self.shown)

    @cached_property
    def spec(self) -> EnvSpec:
        view, n = self.view, self.rules.n_allies
        world = jax.eval_shape(self._start, jax.random.key(0))
        obs, state = jax.eval_shape(lambda world: self._seen(self.rules.facts(world.unit_type), world)[1:], world)
        types = self.rules.fixed_types
        return EnvSpec(
            name=self.name,
            version=self.version,
            agents=tuple(f"ally_{i}" for i in range(n)),
            types=() if types is None else tuple(self.rules.types[i].name for i in types[:n]),
            obs_sizes=(obs.shape[1],) * n,
            action_sizes=(view.n_actions,) * n,
            state_size=state.shape[0],
            time_limit=self.rules.time_limit,
            obs_bound=self._bound(),
            metrics=("battle_won", "dead_allies", "dead_enemies"),
            obs_entities=view.obs_entities(),
            state_entities=view.state_entities(obs.shape[1]),
            action_names=tuple(self._action_names(i) for i in range(n)),
            options=self.options,
        )

    def _bound(self) -> float:
        """1, or more where an ally's cooldown can exceed SMAC's scale of it, as in SMAC: a colossus reaches 36 of 24 game loops.

        A cooldown counts down by 1 in the loop of the shot.
        """
        allies = [unit for unit in self.rules.types if unit.name in self.rules.map.ally_types and unit.hits]
        largest = [(unit.cooldown * LOOPS_PER_SECOND + MOST_DELAY - 1.0) / unit.max_cooldown for unit in allies]
        return max([1.0, *(math.ceil(100.0 * cooldown) / 100.0 for cooldown in largest)])

    def _action_names(self, ally: int) -> tuple[str, ...]:
        """No-op, stop, moves and targets. Where types are drawn, a number may mean an enemy or, for a healer, an ally."""
        width, n, enemies = self.view.n_actions - FIRST_TARGET, self.rules.n_allies, self.rules.n_units - self.rules.n_allies
        attack = [f"attack enemy {j}" if j < enemies else f"unused {j}" for j in range(width)]
        heal = [f"heal ally {j}" if j < n else f"unused {j}" for j in range(width)]
        types = self.rules.fixed_types
        if types is not None:
            return (*MOVES, *(heal if self.rules.types[types[ally]].heal else attack))
        if not self.rules.ally_heals:
            return (*MOVES, *attack)
        return (*MOVES, *(" or ".join(sorted({a, h})) for a, h in zip(attack, heal, strict=True)))

    def _start(self, key: PRNGKeyArray) -> World:
        return battle.start(self.rules, *starts.start(self.rules, key))

    def reset(self, key: PRNGKeyArray) -> tuple[World, TimeStep]:
        world = self._start(key)
        no = jnp.zeros((), bool)
        return world, self._time_step(self.rules.facts(world.unit_type), world, jnp.zeros(()), won=no)

    def step(self, key: PRNGKeyArray, state: World, action: Int[Array, " agent"]) -> tuple[World, TimeStep]:
        facts = self.rules.facts(state.unit_type)
        delay = jax.random.uniform(key, (self.rules.n_units,), minval=LEAST_DELAY, maxval=MOST_DELAY)
        world = battle.fight(self.rules, state, self._orders(facts, action), delay)
        world = World(**{**vars(world), "last_action": action.astype(jnp.int32), "steps": state.steps + 1})
        won, lost = self._outcome(facts, world)
        return world, self._time_step(facts, world, self._reward(facts, state, world, won, lost), won=won)

    def _orders(self, facts: Facts, action: Int[Array, " ally"]) -> Orders:
        n = self.rules.n_allies
        number = action - FIRST_TARGET
        target = jnp.where(facts.heal[:n] > 0.0, number, n + number)
        move = action[:, None] - FIRST_MOVE == np.arange(len(DIRECTIONS))
        return Orders(
            target=jnp.where(number >= 0, target, NOBODY).astype(jnp.int32),
            direction=move.astype(jnp.float32) @ jnp.asarray(DIRECTIONS),
        )

    def _outcome(self, facts: Facts, world: World) -> tuple[Bool[Array, ""], Bool[Array, ""]]:
        """Whether the battle is won, or is lost; if both sides fall at once, neither. A side of which only medivacs are left has fallen."""
        n = self.rules.n_allies
        fighting = world.alive & facts.fights
        ours, theirs = jnp.any(fighting[:n]), jnp.any(fighting[n:])
        return ours & ~theirs, ~ours & theirs

    def _reward(self, facts: Facts, before: World, after: World, won: Bool[Array, ""], lost: Bool[Array, ""]) -> Float[Array, ""]:
        n, rewards = self.rules.n_allies, self.rewards
        if rewards.reward_sparse:
            return self._scaled(facts, won.astype(jnp.float32) - lost)
        loss = before.health + before.shield - after.health - after.shield
        died = (before.alive & ~after.alive) * rewards.reward_death_value
        reward = jnp.sum((loss + died)[n:])
        if rewards.reward_only_positive:
            reward = jnp.abs(reward) if self.rules.map.random is None else jnp.maximum(reward, 0.0)
        else:
            reward -= rewards.reward_negative_scale * jnp.sum((loss + died)[:n])
        return self._scaled(facts, reward + won * rewards.reward_win + lost * rewards.reward_defeat)

    def _scaled(self, facts: Facts, reward: Float[Array, ""]) -> Float[Array, ""]:
        if not self.rewards.reward_scale:
            return reward
        enemies = slice(self.rules.n_allies, None)
        most = jnp.sum(facts.health[enemies] + facts.shield[enemies] + self.rewards.reward_death_value) + self.rewards.reward_win
        return reward * self.rewards.reward_scale_rate / most

    def _seen(self, facts: Facts, world: World) -> tuple[Bool[Array, "ally action"], Float[Array, "ally obs"], Float[Array, " state"]]:
        seen = observation.look(facts, world)
        mask = self.view.mask(facts, seen, world)
        obs = self.view.obs(facts, seen, world, mask)
        return mask, obs, self.view.state(facts, world, obs)

    def _time_step(self, facts: Facts, world: World, reward: Float[Array, ""], *, won: Bool[Array, ""]) -> TimeStep:
        n, alive = self.rules.n_allies, world.alive
        mask, obs, state = self._seen(facts, world)
        fighting = alive & facts.fights
        terminated = ~(jnp.any(fighting[:n]) & jnp.any(fighting[n:]))
        dead = [jnp.sum(~alive[:n]), jnp.sum(~alive[n:])]
        return TimeStep(
            obs=obs,
            state=state,
            action_mask=mask,
            reward=reward,
            terminated=terminated,
            truncated=~terminated & (world.steps >= self.rules.time_limit),
            metrics=jnp.stack([won, *dead]).astype(jnp.float32),
        )

    def draw(self, axes: Axes, state: World, action: np.ndarray | None, colours: Sequence[str]) -> None:
        """The battlefield; see `drawing.draw`."""
        drawing.draw(axes, self.rules, state, action, colours)


def option_fields() -> dict[str, Any]:
    """SMAC's options of observations and rewards, with their defaults."""
    return {each.name: each.default for group in (Shown, Rewards) for each in fields(group)}


def grouped(options: dict[str, Any]) -> tuple[Shown, Rewards]:
    """The options of `option_fields` as their two records."""
    shown = {name: options[name] for name in Shown.names()}
    return Shown(**shown), Rewards(**{name: value for name, value in options.items() if name not in shown})


def as_options(shown: Shown, rewards: Rewards) -> tuple[tuple[str, Any], ...]:
    """Both records as options."""
    return tuple({**asdict(shown), **asdict(rewards)}.items())
