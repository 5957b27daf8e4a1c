"""Greedy episodes of a trained team, recorded in full: states, observations, actions and credit estimates."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, PRNGKeyArray, PyTree

from dop.analysis.credit import CreditEstimate, estimate_credit
from dop.envs.making import foreign
from dop.envs.python.base import drawn_pictures
from dop.rollout.program import PythonProgram
from dop.training.program import Program
from dop.types import AssignsCredit, EnvSpec, Learner, PolicyOutput, PythonEnvironment, TimeStep

Pictures: TypeAlias = Literal["all", "examples", "none"]
"""Keep pictures of all episodes, of those that `best_and_worst` chooses, or of none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory:
    """One greedy episode of T steps. All arrays are NumPy's, with time first; those of length T + 1 include the end of the last step."""

    spec: EnvSpec
    states: PyTree
    """The environment's states, T + 1. None for a `PythonEnvironment`, whose state is not accessible."""
    pictures: tuple[np.ndarray, ...]
    """Rendered frames, T + 1, of a `PythonEnvironment` that renders; else none."""
    steps: TimeStep
    """Time steps, T + 1."""
    actions: np.ndarray
    credit_estimate: CreditEstimate | None
    """Credit estimates, T, NaN for inactive agents; None if the algorithm does not assign credit."""

    @property
    def length(self) -> int:
        return len(self.actions)

    @property
    def active(self) -> Bool[np.ndarray, "time agent"]:
        """Active agents, step by step (`active_agents`)."""
        return active_agents(self.spec, self.steps)[: self.length]

    @property
    def undiscounted_return(self) -> float:
        return float(np.sum(self.steps.reward))

    @property
    def metrics(self) -> dict[str, float]:
        """The environment's metrics at the end, for example `battle_won`."""
        return dict(zip(self.spec.metrics, self.steps.metrics[-1].tolist(), strict=True))

    def state(self, t: int) -> PyTree:
        """The environment's state after `t` steps."""
        return jax.tree.map(lambda x: x[t], self.states)


def active_agents(spec: EnvSpec, steps: TimeStep) -> Bool[np.ndarray, "*time agent"]:
    """Agents that are neither dead, nor gone, nor not yet spawned.

    An agent without an available action is inactive. So is one with a single available action out of several numbered ones and an
    observation of zeros, since dead agents of SMAC and SMAX have one.
    """
    action_mask = np.sum(steps.action_mask, axis=-1)
    idle = (action_mask == 1) & (np.array(spec.action_sizes) > 1) & (spec.action_kind == "discrete")
    return np.asarray((action_mask > 0) & ~(idle & ~np.any(steps.obs, axis=-1)))


class Player:
    """Plays greedy episodes of one program; compiled once for all of its learners."""

    def __init__(self, program: Program | PythonProgram) -> None:
        self.program = program
        self._act = jax.jit(functools.partial(_act_greedily, program))
        if isinstance(program, Program):
            self._episodes = jax.jit(jax.vmap(functools.partial(_episode, program), in_axes=(None, 0)))

    def __call__(self, learner: Learner, key: PRNGKeyArray, episodes: int, *, pictures: Pictures = "all") -> list[Trajectory]:
        """Episodes of the team of `learner`; the same key gives the same episodes.

        Args:
            pictures: the episodes whose frames are kept (Python environments).
        """
        keys = jax.random.split(key, episodes)
        if isinstance(self.program, PythonProgram):
            return self._python_episodes(self.program, learner, keys, pictures)
        played = jax.tree.map(np.asarray, self._episodes(learner, keys))
        return [_cut(self.program.spec, jax.tree.map(lambda x, i=i: x[i], played)) for i in range(episodes)]

    def _python_episodes(self, program: PythonProgram, learner: Learner, keys: PRNGKeyArray, pictures: Pictures) -> list[Trajectory]:
        """Episodes of a Python environment, one after another. Frames are large, so only examples may keep theirs."""
        source, trajectories = program.environment, []
        with contextlib.ExitStack() as stack:
            if pictures != "none":
                stack.enter_context(drawn_pictures.wanted())
            environment = stack.enter_context(contextlib.closing(foreign.made(source.make, source.spec.name)))
            recorder = _Recorder(environment, on=pictures != "none")
            for key in keys:
                trajectories.append(_play_python_episode(environment, program, self._act, learner, key, recorder))
                if pictures == "examples":
                    shown = [id(trajectory) for trajectory in best_and_worst(trajectories).values()]
                    trajectories = [
                        trajectory if id(trajectory) in shown or not trajectory.pictures else replace(trajectory, pictures=())
                        for trajectory in trajectories
                    ]
        return trajectories


class _Recorder:
    """Collects the frames of a Python environment. The first invalid frame ends that, with a warning."""

    def __init__(self, environment: PythonEnvironment, *, on: bool) -> None:
        self._environment, self._on = environment, on
        self._pictures: list[np.ndarray] = []

    def capture(self) -> None:
        """Render the current state."""
        if not self._on:
            return
        given = self._environment.render()
        if (fault := drawn_pictures.fault(given)) is None:
            self._pictures.append(np.array(given))
            return
        self._on, self._pictures = False, []
        logging.getLogger("dop").warning(
            "%s draws no picture, and a table of actions is shown in its place: render gave %s; it should give an array of uint8 with the "
            "shape (height, width, 3). docs/own-environment.md says how an environment draws itself.",
            *(self._environment.spec.name, fault),
        )

    def take_frames(self) -> tuple[np.ndarray, ...]:
        """The frames since the last call."""
        frames, self._pictures = self._pictures, []
        return tuple(frames)


def best_and_worst(trajectories: Sequence[Trajectory]) -> dict[str, Trajectory]:
    """Examples by return: the best and the worst, the first of equal ones; only the best if all returns are equal."""
    best = max(trajectories, key=lambda trajectory: trajectory.undiscounted_return)
    worst = min(trajectories, key=lambda trajectory: trajectory.undiscounted_return)
    return {"best": best, "worst": worst} if worst.undiscounted_return < best.undiscounted_return else {"best": worst}


class _Frames(eqx.Module):
    """An episode up to the time limit."""

    states: PyTree
    steps: TimeStep
    actions: Any
    credit_estimate: CreditEstimate | None


def _episode(program: Program, learner: Learner, key: PRNGKeyArray) -> _Frames:
    """Play up to the time limit, past the end of the episode."""
    environment, algorithm = program.environment, program.algorithm
    spec = environment.spec
    key_reset, key_steps = jax.random.split(key)
    state, step = environment.reset(key_reset)

    def advance(carry: tuple, key: PRNGKeyArray) -> tuple[tuple, _Frames]:
        state, step, carry = carry
        key_act, key_env, key_credit = jax.random.split(key, 3)
        output, credit_estimate, carry = _act_greedily(program, learner, carry, step, key_act, key_credit)
        state, step = environment.step(key_env, state, output.action)
        return (state, step, carry), _Frames(states=state, steps=step, actions=output.action, credit_estimate=credit_estimate)

    carry = (state, step, algorithm.initial_carry(spec))
    _, frames = jax.lax.scan(advance, carry, jax.random.split(key_steps, spec.time_limit))
    states, steps = jax.tree.map(lambda x, rest: jnp.concatenate([x[None], rest]), (state, step), (frames.states, frames.steps))
    return _Frames(states=states, steps=steps, actions=frames.actions, credit_estimate=frames.credit_estimate)


def _act_greedily(
    program: Program | PythonProgram, learner: Learner, carry: PyTree, step: TimeStep, key_act: PRNGKeyArray, key_credit: PRNGKeyArray
) -> tuple[PolicyOutput, CreditEstimate | None, PyTree]:
    """The team's greedy actions at one step, and their credit estimate."""
    algorithm = program.algorithm
    output, after = algorithm.act(learner, carry, step, key_act, explore=False)
    credit_estimate = None
    if isinstance(algorithm, AssignsCredit):
        credit_estimate = estimate_credit(algorithm, learner, carry, step, output.action, key_credit, program.spec.action_kind)
    return output, credit_estimate, after


def _play_python_episode(
    environment: PythonEnvironment,
    program: PythonProgram,
    act: Callable[..., Any],
    learner: Learner,
    key: PRNGKeyArray,
    recorder: _Recorder,
) -> Trajectory:
    """One episode of a Python environment."""
    key_seed, key_steps = jax.random.split(key)
    steps = [environment.reset(int(jax.random.bits(key_seed, dtype=np.uint32)))]
    actions, credit_estimate = [], []
    recorder.capture()
    carry = program.algorithm.initial_carry(environment.spec)
    while not (steps[-1].terminated or steps[-1].truncated) and len(actions) < environment.spec.time_limit:
        key_act, key_credit = jax.random.split(jax.random.fold_in(key_steps, len(actions)))
        output, estimate, carry = act(learner, carry, steps[-1], key_act, key_credit)
        actions.append(np.asarray(output.action))
        credit_estimate.append(jax.tree.map(np.asarray, estimate))
        steps.append(environment.step(actions[-1]))
        recorder.capture()
    spec, seen = environment.spec, _stack(steps)
    return Trajectory(
        spec=spec,
        states=None,
        pictures=recorder.take_frames(),
        steps=seen,
        actions=np.stack(actions),
        credit_estimate=None if credit_estimate[0] is None else _while_active(_stack(credit_estimate), active_agents(spec, seen)[:-1]),
    )


def _while_active(credit_estimate: CreditEstimate | None, active: Bool[np.ndarray, "time agent"]) -> CreditEstimate | None:
    """Credit estimates with NaN for inactive agents."""

    def known(x: np.ndarray) -> np.ndarray:
        of_agents = x.ndim >= active.ndim
        return np.where(active.reshape(active.shape + (1,) * (x.ndim - active.ndim)), x, np.nan) if of_agents else x

    return jax.tree.map(known, credit_estimate)


def _stack(records: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *x: np.stack(x), *records)


def _cut(spec: EnvSpec, frames: _Frames) -> Trajectory:
    """An episode, cut at its end."""
    ended = frames.steps.terminated | frames.steps.truncated
    length = int(np.argmax(ended)) if ended.any() else spec.time_limit
    states, steps = jax.tree.map(lambda x: x[: length + 1], (frames.states, frames.steps))
    actions, credit_estimate = jax.tree.map(lambda x: x[:length], (frames.actions, frames.credit_estimate))
    credit_estimate = _while_active(credit_estimate, active_agents(spec, steps)[:-1])
    return Trajectory(spec=spec, states=states, pictures=(), steps=steps, actions=actions, credit_estimate=credit_estimate)
