"""JaxMARL's registered environments, as of 0.2.0: how a team plays those that it can, and why the others are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Active = Bool[Array, " agent"]


def _never(before: Any, after: Any, actions: Mapping[str, Array]) -> Bool[Array, ""]:
    del before, after, actions
    return jnp.zeros((), bool)


def _all_observations(game: Any, state: Any, own: Sequence[Float[Array, " own"]]) -> Float[Array, " state"]:
    del game, state
    return jnp.concatenate(own)


@dataclass(frozen=True, kw_only=True)
class Task:
    """How one environment of JaxMARL is played. `game` is the environment, `state` its state."""

    cls: str
    """Its class in `jaxmarl.environments`."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Values of its options where JaxMARL's own defaults do not suit a team."""
    fixed: tuple[str, ...] = ()
    """Options among the defaults that cannot be changed."""
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The values of options of which JaxMARL checks none."""
    loose: tuple[str, ...] = ()
    """Options that its class takes as keywords of any name, where it ignores the names that it does not know."""
    team: Callable[[Any], list[str]] = lambda game: game.agents
    """The names of the agents that learn; the others ignore their actions."""
    limit: Callable[[Any], int] = lambda game: game.max_steps
    """The number of steps after which it ends at the latest."""
    limit_option: str | None = "max_steps"
    """Its option that sets this limit; None if the limit follows from other options."""
    ended: Callable[[Any, Any, Mapping[str, Array]], Bool[Array, ""]] = _never
    """Whether a step (state before, state after, actions) ends the task itself. Only consulted at the limit."""
    legal: Callable[[Any, Any], Mapping[str, Array]] | None = None
    """The available actions (game, state) by agent; None: all."""
    active: Callable[[Any, Any], Active] | None = None
    """Which agents (game, state) still act; None: all."""
    highest: Callable[[Any], tuple[float, ...] | None] | None = None
    """The largest value of each channel of the observed images (game), by which they are divided; None: observations stay as they are."""
    whole: Callable[[Any, Any, Sequence[Float[Array, " own"]]], Float[Array, " state"]] = _all_observations
    """The global state (game, state, the team's observations)."""
    shared: bool = True
    """Whether all agents of the team get the same reward."""
    shaped: bool = False
    """Whether its infos have a `shaped_reward` for each agent."""
    metrics: Mapping[str, Callable[[Any], Float[Array, ""]]] = field(default_factory=dict)
    """Further metrics by name, of the state."""
    action_names: tuple[str, ...] | Callable[[Any], tuple[str, ...]] = ()
    """The names of an agent's actions, or of the components of its box; or a function (game) that returns them."""
    obs_bound: float | None = None
    """See `EnvSpec`."""

    def names(self, game: Any) -> tuple[str, ...]:
        """`action_names` of this game."""
        return self.action_names(game) if callable(self.action_names) else self.action_names


# ------------------------------------------------------------------------------------------------------------------------ Hanabi


def _hanabi_limit(game: Any) -> int:
    """The longest game: each turn draws a card or spends a hint token, each draw returns one token at most, and when the deck is empty
    each player has one more turn."""
    draws = int(game.deck_size) - game.num_agents * game.hand_size
    return 2 * draws + game.max_info_tokens + game.num_agents


def _over(before: Any, after: Any, actions: Mapping[str, Array]) -> Bool[Array, ""]:
    del before, actions
    return after.terminal


def _hanabi_actions(game: Any) -> tuple[str, ...]:
    cards, others = range(game.hand_size), range(1, game.num_agents)
    return (
        *(f"discard card {card}" for card in cards),
        *(f"play card {card}" for card in cards),
        *(f"hint colour {colour} to player +{player}" for player in others for colour in game.color_map),
        *(f"hint rank {rank + 1} to player +{player}" for player in others for rank in range(game.num_ranks)),
        "no-op",
    )


# ------------------------------------------------------------------------------------------------------------------------ JaxNav


def _moving(game: Any, state: Any) -> Active:
    """The robots that have not crashed. If `evaporating`, those that arrived have left as well."""
    return ~(state.term | state.goal_reached | state.move_term) if game.evaporating else ~state.move_term


def _all_arrived_or_crashed(before: Any, after: Any, actions: Mapping[str, Array]) -> Bool[Array, ""]:
    """An evaporating robot that arrived or crashed earlier was `done` before."""
    del actions
    return jnp.all(before.done | after.goal_reached | after.move_term)


def _map_and_robots(game: Any, state: Any, own: Sequence[Float[Array, " own"]]) -> Float[Array, " state"]:
    """The part of `get_world_state` that is the same for all robots, then their observations. There it has a robot's index in front of it
    and the robot's observation behind it."""
    rows = game.get_world_state(state)
    return jnp.concatenate([rows[0, game.num_agents : rows.shape[1] - len(own[0])], *own])


def _jaxnav_actions(game: Any) -> tuple[str, ...]:
    if game._act_type != "Discrete":  # JaxMARL has no public name for it
        return "speed", "turn"
    return tuple(f"speed {speed} turn {turn}" for speed in (0, 0.5, 1) for turn in (0.5, 0.25, 0, -0.25, -0.5))


# -------------------------------------------------------------------------------------------------------------------- Overcooked

_INGREDIENTS, _COOKING = 3.0, 20.0
"""Most ingredients in one place, and the longest time to cook."""


def _overcooked_highest(game: Any) -> tuple[float, ...]:
    """Layers 16 and 18 count onions in pots and soups, layer 20 is the time to cook."""
    return tuple({16: _INGREDIENTS, 18: _INGREDIENTS, 20: _COOKING}.get(layer, 1.0) for layer in range(game.obs_shape[2]))


def _overcooked_v2_highest(game: Any) -> tuple[float, ...] | None:
    """In the order of `get_obs_default`: the agent, the others, objects, piles, items, the recipe, the time to cook, a delivery."""
    if game.observation_type != "default":
        return None  # features, not an image
    n = game.layout.num_ingredients
    items = (1.0, 1.0, *(_INGREDIENTS,) * n)
    agent, ones = (*(1.0,) * 5, *items), (1.0,) * (6 + n)
    return (*agent, *agent, *ones, *items, *items, _COOKING, *(1.0,) * game.indicate_successful_delivery)


def _one_observation(game: Any, state: Any, own: Sequence[Float[Array, " own"]]) -> Float[Array, " state"]:
    """Each cook sees the whole kitchen."""
    del game, state
    return own[0]


def _kitchen(game: Any, state: Any, own: Sequence[Float[Array, " own"]]) -> Float[Array, " state"]:
    """Each cook sees the whole kitchen, if it has no `agent_view_size` and no ingredients under other names."""
    partial = game.agent_view_size or game.op_ingredient_permutations or game.observation_type != "default"
    return (_all_observations if partial else _one_observation)(game, state, own)


# ------------------------------------------------------------------------------------------------------------------- other tasks


def _told(before: Any, after: Any, actions: Mapping[str, Array]) -> Bool[Array, ""]:
    """Whether the prisoner in the room claimed that all have been there."""
    del after
    return jnp.stack(list(actions.values()))[before.agent_in_room] == 2  # TELL


_PUSHES = ("stay", "left", "right", "down", "up")
_PHYSICS = (
    *("rad", "moveable", "silent", "collide", "mass", "accel", "max_speed", "u_noise", "c_noise"),
    *("damping", "contact_force", "contact_margin"),
)
"""Keywords that JaxMARL's `SimpleMPE` looks for."""
_HUNT: dict[str, Any] = {"team": lambda game: game.adversaries, "action_names": _PUSHES, "loose": ("max_steps", "dt", *_PHYSICS)}

TASKS: dict[str, Task] = {
    "switch_riddle": Task(
        cls="SwitchRiddle",
        limit_option=None,
        ended=_told,
        action_names=("nothing", "switch light", "tell"),
        obs_bound=1.0,
    ),
    "overcooked": Task(
        cls="Overcooked",
        highest=_overcooked_highest,
        whole=_one_observation,
        shaped=True,
        action_names=("up", "down", "right", "left", "stay", "interact"),
    ),
    "overcooked_v2": Task(
        cls="OvercookedV2",
        highest=_overcooked_v2_highest,
        whole=_kitchen,
        shaped=True,
        action_names=("right", "down", "left", "up", "stay", "interact"),
    ),
    "hanabi": Task(
        cls="Hanabi",
        limit=_hanabi_limit,
        limit_option=None,
        ended=_over,
        legal=lambda game, state: game.get_legal_moves(state),
        action_names=_hanabi_actions,
        obs_bound=1.0,
    ),
    "jaxnav": Task(
        cls="JaxNav",
        defaults={"act_type": "Discrete"},
        choices={"act_type": ("Discrete", "Continuous")},
        ended=_all_arrived_or_crashed,
        active=_moving,
        whole=_map_and_robots,
        shared=False,
        metrics={
            "arrived": lambda state: jnp.mean(state.goal_reached, dtype=jnp.float32),
            "crashed": lambda state: jnp.mean(state.move_term, dtype=jnp.float32),
        },
        action_names=_jaxnav_actions,
    ),
    "coin_game": Task(
        cls="CoinGame",
        defaults={"shared_rewards": True},
        fixed=("shared_rewards",),
        limit=lambda game: game.num_inner_steps * game.num_outer_steps,
        limit_option=None,
        action_names=("right", "left", "up", "down", "stay"),
        obs_bound=1.0,
    ),
    "MPE_simple_v3": Task(cls="SimpleMPE", action_names=_PUSHES, loose=_PHYSICS),
    "MPE_simple_facmac_v1": Task(cls="SimpleFacmacMPE", **_HUNT),
    "MPE_simple_facmac_3a_v1": Task(cls="SimpleFacmacMPE3a", limit_option=None, **_HUNT),
    "MPE_simple_facmac_6a_v1": Task(cls="SimpleFacmacMPE6a", limit_option=None, **_HUNT),
    "MPE_simple_facmac_9a_v1": Task(cls="SimpleFacmacMPE9a", limit_option=None, **_HUNT),
}

_OPPOSED = "is competitive: what one side gains the other loses, and a team learns from one reward."
_GENERAL_SUM = "is a general-sum game: each agent has a payoff of its own, and a team learns from one reward."
_ROBOTARIUM = "needs jaxrobotarium, another package. Wrap it in a class with spec, reset and step (see dop.Environment)."
_ROBOTARIUM_TASKS = (
    *("navigation", "discovery", "material_transport", "warehouse"),
    *("arctic_transport", "foraging", "rware", "predator_prey"),
)

REFUSED: dict[str, str] = {
    "MPE_simple_spread_v3": "has a family of its own: use the name mpe:spread.",
    "MPE_simple_speaker_listener_v4": "has a family of its own: use the name mpe:speaker-listener.",
    "MPE_simple_reference_v3": "has a family of its own: use the name mpe:reference.",
    "HeuristicEnemySMAX": "has a family of its own: use the name smax:MAP, for example smax:2s3z.",
    "SMAX": "is a battle of two learning sides; use the name smax:MAP, for example smax:2s3z, where the enemies follow a script.",
    "LearnedPolicyEnemySMAX": "needs a trained policy of the enemies; use smax:MAP, for example smax:2s3z, where they follow a script.",
    **{
        robot: f"has a family of its own: use the name mabrax:{robot}."
        for robot in ("ant_4x2", "halfcheetah_6x1", "hopper_3x1", "humanoid_9|8", "walker2d_2x3")
    },
    **dict.fromkeys(("MPE_simple_tag_v3", "MPE_simple_world_comm_v3", "MPE_simple_crypto_v3"), _OPPOSED),
    **dict.fromkeys(("MPE_simple_push_v3", "MPE_simple_adversary_v3"), _OPPOSED),
    **dict.fromkeys(("storm", "storm_2p", "storm_np"), _GENERAL_SUM),
    **{f"JaxRobotarium_{task}": _ROBOTARIUM for task in _ROBOTARIUM_TASKS},
}
"""The end of a sentence that begins with the name."""
