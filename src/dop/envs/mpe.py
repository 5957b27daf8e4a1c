"""JaxMARL's multi-agent particle environments with cooperative tasks.

Lowe et al., Multi-Agent Actor-Critic for Mixed Cooperative-Competitive Environments (2017); `jaxmarl.environments.mpe`.

    spread             3 agents cover 3 landmarks and avoid each other
    speaker-listener   the speaker sees which of 3 landmarks is the goal and says one of 3 words; the listener hears it and goes there
    reference          2 agents; each knows the other's landmark, moves, and says one of 10 words (5 moves x 10 words: 50 actions)

Dynamics: actions are forces on agents with inertia and friction in a plane, 0.1 s a step. The option `actions` chooses their kind:

    discrete    0 stay, then -x, +x, -y, +y; or a word; on reference move + 5 word
    box         numbers in [-1, 1], which JaxMARL gets as (1 + a) / 2, in [0, 1]: five for the moves above, so that an agent is pushed by
                (a_2 - a_1, a_4 - a_3) / 2 of what a discrete move gives; or the word, 3 numbers that the listener hears; on reference the
                five, then the 10 of the word

Reward: the mean over the agents of their own rewards. On spread that is, with JaxMARL's `local_ratio` of 1/2,

    1/2 * sum over landmarks of -(distance of the nearest agent)  +  1/2 * mean over agents of -(number of agents it collides with)

on speaker-listener both agents have the same reward, -(squared distance of the listener to its landmark); on reference it is the mean over
the agents of -(distance to their landmark).

Observations are padded with zeros, and actions with illegal ones, to the largest agent's. State: the unpadded observations concatenated.
Positions and speeds are unbounded. Nothing terminates: an episode is truncated after exactly `time_limit` steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from dop.envs.common import canvas, jaxmarl
from dop.envs.making.options import one_of, positive_integer
from dop.errors import UnknownNameError
from dop.types import Action, EntityBlocks, EnvSpec, TimeStep

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FAMILY = "mpe"

_TASKS = {"spread": "SimpleSpreadMPE", "speaker-listener": "SimpleSpeakerListenerMPE", "reference": "SimpleReferenceMPE"}
_ACTION_TYPES = {"discrete": "Discrete", "box": "Continuous"}
"""From our names to JaxMARL's."""


_MOVES = ("stay", "left", "right", "down", "up")
"""What pushes an agent nowhere, then to -x, +x, -y, +y."""


def variants() -> tuple[str, ...]:
    return tuple(_TASKS)


def make(variant: str | None, *, time_limit: int = 25, actions: str = "discrete") -> Mpe:
    """The task `variant`, truncated after `time_limit` steps; `actions` are `discrete` or a `box`.

    Raises:
        UnknownNameError: no such task.
        ConfigError: a time limit below 1, or an unknown kind of action.
    """
    if variant not in _TASKS:
        raise UnknownNameError("MPE task", variant or "", _TASKS)
    positive_integer("time_limit", time_limit)
    one_of("actions", actions, tuple(_ACTION_TYPES))
    task = getattr(jaxmarl.import_quietly("jaxmarl.environments.mpe"), _TASKS[variant])
    game = task(max_steps=time_limit, action_type=_ACTION_TYPES[actions])
    spaces = [game.action_space(agent) for agent in game.agents]
    obs_sizes = tuple(game.observation_space(agent).shape[0] for agent in game.agents)
    spec = EnvSpec(
        name=f"{FAMILY}:{variant}",
        version=jaxmarl.version(revision=1),
        agents=tuple(game.agents),
        obs_sizes=obs_sizes,
        action_sizes=tuple(space.shape[0] if actions == "box" else space.n for space in spaces),
        action_kind="box" if actions == "box" else "discrete",
        state_size=sum(obs_sizes),
        time_limit=time_limit,
        obs_entities=_entities(game) if variant == "spread" else (),
        state_entities=(EntityBlocks(kind="agent", start=0, size=obs_sizes[0], count=game.num_agents, agents=True),)
        if variant == "spread"
        else (),
        action_names=_action_names(variant, actions),
        options=(("time_limit", time_limit), ("actions", actions)),
    )
    return Mpe(spec=spec, game=game)


def _entities(game: Any) -> tuple[EntityBlocks, ...]:
    """Spread: after an agent's velocity and position those of the landmarks and of the others, relative to it, and what the others say."""
    others, landmarks = game.num_agents - 1, game.num_landmarks
    return (
        EntityBlocks(kind="landmark", start=4, size=2, count=landmarks),
        EntityBlocks(kind="agent", start=4 + 2 * landmarks, size=2, count=others),
        EntityBlocks(kind="agent", start=4 + 2 * landmarks + 2 * others, size=game.dim_c, count=others),
    )


def _action_names(variant: str, actions: str) -> tuple[tuple[str, ...], ...]:
    """For each agent, those of its discrete actions, or of the components of its box."""
    if variant == "spread":
        return (_MOVES,) * 3
    words = tuple(f"say {word}" for word in range(3 if variant == "speaker-listener" else 10))
    if variant == "speaker-listener":
        return words, _MOVES
    both = (*_MOVES, *words) if actions == "box" else tuple(f"{move} + {word}" for word in words for move in _MOVES)
    return (both,) * 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Mpe:
    """An `Environment` around one of JaxMARL's MPE tasks. Its state is JaxMARL's."""

    spec: EnvSpec
    game: Any
    """A `jaxmarl.environments.mpe.SimpleMPE`; everything in it is constant."""

    def reset(self, key: PRNGKeyArray) -> tuple[PyTree, TimeStep]:
        obs, state = self.game.reset(key)
        return state, self._time_step(state, obs, jnp.zeros(()))

    def step(self, key: PRNGKeyArray, state: PyTree, action: Action) -> tuple[PyTree, TimeStep]:
        obs, next_state, rewards, _, _ = self.game.step_env(key, state, self._actions(action))
        return next_state, self._time_step(next_state, obs, jnp.mean(jnp.stack([rewards[agent] for agent in self.spec.agents])))

    def draw(self, axes: Axes, state: Any, action: np.ndarray | None, colours: Sequence[str]) -> None:
        """Agents as discs, landmarks as rings; a goal is a filled disc in the colour of the agent that must reach it."""
        del action
        canvas.scene(axes, (-1.6, -1.6), (1.6, 1.6))
        agents, n = self.spec.agents, len(self.spec.agents)
        # A single goal is the last agent's, the listener's; otherwise each agent has its own. A shared landmark shows the later agent.
        goals: list[int] = [] if state.goal is None else np.atleast_1d(state.goal).tolist()
        goal_colours = dict(zip(goals, colours[n - len(goals) :], strict=True))
        for landmark, radius in enumerate(self.game.rad[n:]):
            colour = goal_colours.get(landmark, "#666666")
            canvas.disc(axes, state.p_pos[n + landmark], float(radius), colour, filled=landmark in goal_colours, alpha=0.5)
        for agent, name in enumerate(agents):
            canvas.disc(axes, state.p_pos[agent], float(self.game.rad[agent]), colours[agent], canvas.short(name), alpha=0.85)
        words = [f"{canvas.short(name)} says {int(np.argmax(word))}" for name, word in zip(agents, state.c, strict=True) if np.any(word)]
        axes.set_xlabel("   ".join(words), fontsize=8)

    def _actions(self, action: Action) -> dict[str, Array]:
        """The actions in JaxMARL's form."""
        named = zip(self.spec.agents, self.spec.action_sizes, action, strict=True)
        if self.spec.action_kind == "discrete":
            return {agent: number for agent, _, number in named}
        return {agent: (1.0 + vector[:size]) / 2.0 for agent, size, vector in named}

    def _time_step(self, state: Any, obs: dict[str, Float[Array, "..."]], reward: Float[Array, ""]) -> TimeStep:
        own = [obs[agent] for agent in self.spec.agents]
        return TimeStep(
            obs=jnp.stack([jnp.pad(o, (0, self.spec.obs_size - o.shape[0])) for o in own]),
            state=jnp.concatenate(own),
            action_mask=self._action_mask(),
            reward=reward,
            terminated=jnp.zeros((), bool),
            truncated=state.step >= self.spec.time_limit,  # JaxMARL's own `done` comes a step late
            metrics=jnp.zeros((0,)),
        )

    def _action_mask(self) -> Bool[Array, "agent action"]:
        return jnp.asarray(np.arange(self.spec.action_size) < np.array(self.spec.action_sizes)[:, None])
