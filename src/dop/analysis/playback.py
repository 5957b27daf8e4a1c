"""Playing a trained team and keeping everything: what environments were in, what agents saw and did, and what the critic says of it."""

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
"""Of all episodes, of those that `best_and_worst` chooses, or of none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory:
    """One greedy episode of T steps. All arrays are NumPy's, with time first; what is called T + 1 also has what came of the last step."""

    spec: EnvSpec
    states: PyTree
    """The environment's own states, T + 1. None if it keeps them to itself (`PythonEnvironment`)."""
    pictures: tuple[np.ndarray, ...]
    """Its own pictures, T + 1, where a `PythonEnvironment` draws itself; else none."""
    steps: TimeStep
    """What the agents saw, T + 1."""
    actions: np.ndarray
    credit_estimate: CreditEstimate | None
    """What the critic says, T, NaN of agents that are inactive; None if the algorithm does not assign credit."""

    @property
    def length(self) -> int:
        return len(self.actions)

    @property
    def active(self) -> Bool[np.ndarray, "time agent"]:
        """Who is there to act, step by step (`active_agents`)."""
        return active_agents(self.spec, self.steps)[: self.length]

    @property
    def undiscounted_return(self) -> float:
        return float(np.sum(self.steps.reward))

    @property
    def metrics(self) -> dict[str, float]:
        """The environment's own figures at the end, for example `battle_won`."""
        return dict(zip(self.spec.metrics, self.steps.metrics[-1].tolist(), strict=True))

    def state(self, t: int) -> PyTree:
        """The environment's state after `t` steps."""
        return jax.tree.map(lambda x: x[t], self.states)


def active_agents(spec: EnvSpec, steps: TimeStep) -> Bool[np.ndarray, "*time agent"]:
    """Who is neither dead, nor gone, nor yet to come.

    Inactive is who has no legal action; and, since SMAC and SMAX let the dead do one thing, who has one alone of several numbered actions
    and sees nothing but zeros.
    """
    action_mask = np.sum(steps.action_mask, axis=-1)
    idle = (action_mask == 1) & (np.array(spec.action_sizes) > 1) & (spec.action_kind == "discrete")
    return np.asarray((action_mask > 0) & ~(idle & ~np.any(steps.obs, axis=-1)))


class Player:
    """Plays greedy episodes of one program; what is compiled serves for any of its learners."""

    def __init__(self, program: Program | PythonProgram) -> None:
        self.program = program
        self._decide = jax.jit(functools.partial(_decide, program))
        if isinstance(program, Program):
            self._episodes = jax.jit(jax.vmap(functools.partial(_episode, program), in_axes=(None, 0)))

    def __call__(self, learner: Learner, key: PRNGKeyArray, episodes: int, *, pictures: Pictures = "all") -> list[Trajectory]:
        """Episodes of the team of `learner`; the same key gives the same ones.

        Args:
            pictures: of which episodes those that an environment outside JAX draws are kept.
        """
        keys = jax.random.split(key, episodes)
        if isinstance(self.program, PythonProgram):
            return self._host_episodes(self.program, learner, keys, pictures)
        played = jax.tree.map(np.asarray, self._episodes(learner, keys))
        return [_cut(self.program.spec, jax.tree.map(lambda x, i=i: x[i], played)) for i in range(episodes)]

    def _host_episodes(self, program: PythonProgram, learner: Learner, keys: PRNGKeyArray, pictures: Pictures) -> list[Trajectory]:
        """In one environment outside JAX, one after another; of what are no examples, pictures are not kept, since they are large."""
        source, trajectories = program.environment, []
        with contextlib.ExitStack() as stack:
            if pictures != "none":
                stack.enter_context(drawn_pictures.wanted())
            environment = stack.enter_context(contextlib.closing(foreign.made(source.make, source.spec.name)))
            camera = _Camera(environment, on=pictures != "none")
            for key in keys:
                trajectories.append(_host_episode(environment, program, self._decide, learner, key, camera))
                if pictures == "examples":
                    shown = [id(trajectory) for trajectory in best_and_worst(trajectories).values()]
                    trajectories = [
                        trajectory if id(trajectory) in shown or not trajectory.pictures else replace(trajectory, pictures=())
                        for trajectory in trajectories
                    ]
        return trajectories


class _Camera:
    """Asks an environment outside JAX for its pictures, until it gives something that is none, which is told once."""

    def __init__(self, environment: PythonEnvironment, *, on: bool) -> None:
        self._environment, self._on = environment, on
        self._pictures: list[np.ndarray] = []

    def shoot(self) -> None:
        """Take a picture of now."""
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

    def develop(self) -> tuple[np.ndarray, ...]:
        """The pictures since the last time."""
        taken, self._pictures = self._pictures, []
        return tuple(taken)


def best_and_worst(trajectories: Sequence[Trajectory]) -> dict[str, Trajectory]:
    """Examples by return: the best and the worst, of equal ones the first, or the only one if all earned the same."""
    best = max(trajectories, key=lambda trajectory: trajectory.undiscounted_return)
    worst = min(trajectories, key=lambda trajectory: trajectory.undiscounted_return)
    return {"best": best, "worst": worst} if worst.undiscounted_return < best.undiscounted_return else {"best": worst}


class _Frames(eqx.Module):
    """An episode as it is played, to the time limit."""

    states: PyTree
    steps: TimeStep
    actions: Any
    credit_estimate: CreditEstimate | None


def _episode(program: Program, learner: Learner, key: PRNGKeyArray) -> _Frames:
    """Play to the time limit, whenever the episode ends."""
    environment, algorithm = program.environment, program.algorithm
    spec = environment.spec
    key_reset, key_steps = jax.random.split(key)
    state, step = environment.reset(key_reset)

    def advance(carry: tuple, key: PRNGKeyArray) -> tuple[tuple, _Frames]:
        state, step, carry = carry
        key_act, key_env, key_credit = jax.random.split(key, 3)
        choice, credit_estimate, carry = _decide(program, learner, carry, step, key_act, key_credit)
        state, step = environment.step(key_env, state, choice.action)
        return (state, step, carry), _Frames(states=state, steps=step, actions=choice.action, credit_estimate=credit_estimate)

    carry = (state, step, algorithm.initial_carry(spec))
    _, frames = jax.lax.scan(advance, carry, jax.random.split(key_steps, spec.time_limit))
    states, steps = jax.tree.map(lambda x, rest: jnp.concatenate([x[None], rest]), (state, step), (frames.states, frames.steps))
    return _Frames(states=states, steps=steps, actions=frames.actions, credit_estimate=frames.credit_estimate)


def _decide(
    program: Program | PythonProgram, learner: Learner, carry: PyTree, step: TimeStep, key_act: PRNGKeyArray, key_credit: PRNGKeyArray
) -> tuple[PolicyOutput, CreditEstimate | None, PyTree]:
    """What the team does at one step, and what its critic says of that."""
    algorithm = program.algorithm
    choice, after = algorithm.act(learner, carry, step, key_act, explore=False)
    credit_estimate = None
    if isinstance(algorithm, AssignsCredit):
        credit_estimate = estimate_credit(algorithm, learner, carry, step, choice.action, key_credit, program.spec.action_kind)
    return choice, credit_estimate, after


def _host_episode(
    environment: PythonEnvironment, program: PythonProgram, decide: Callable[..., Any], learner: Learner, key: PRNGKeyArray, camera: _Camera
) -> Trajectory:
    """The same with an environment that is stepped on the host."""
    key_seed, key_steps = jax.random.split(key)
    steps = [environment.reset(int(jax.random.bits(key_seed, dtype=np.uint32)))]
    actions, credit_estimate = [], []
    camera.shoot()
    carry = program.algorithm.initial_carry(environment.spec)
    while not (steps[-1].terminated or steps[-1].truncated) and len(actions) < environment.spec.time_limit:
        key_act, key_credit = jax.random.split(jax.random.fold_in(key_steps, len(actions)))
        choice, said, carry = decide(learner, carry, steps[-1], key_act, key_credit)
        actions.append(np.asarray(choice.action))
        credit_estimate.append(jax.tree.map(np.asarray, said))
        steps.append(environment.step(actions[-1]))
        camera.shoot()
    spec, seen = environment.spec, _stack(steps)
    return Trajectory(
        spec=spec,
        states=None,
        pictures=camera.develop(),
        steps=seen,
        actions=np.stack(actions),
        credit_estimate=None if credit_estimate[0] is None else _while_active(_stack(credit_estimate), active_agents(spec, seen)[:-1]),
    )


def _while_active(credit_estimate: CreditEstimate | None, active: Bool[np.ndarray, "time agent"]) -> CreditEstimate | None:
    """NaN in the place of what a critic says of an agent that is inactive."""

    def known(x: np.ndarray) -> np.ndarray:
        of_agents = x.ndim >= active.ndim
        return np.where(active.reshape(active.shape + (1,) * (x.ndim - active.ndim)), x, np.nan) if of_agents else x

    return jax.tree.map(known, credit_estimate)


def _stack(records: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *x: np.stack(x), *records)


def _cut(spec: EnvSpec, frames: _Frames) -> Trajectory:
    """An episode without what came after its end."""
    ended = frames.steps.terminated | frames.steps.truncated
    length = int(np.argmax(ended)) if ended.any() else spec.time_limit
    states, steps = jax.tree.map(lambda x: x[: length + 1], (frames.states, frames.steps))
    actions, credit_estimate = jax.tree.map(lambda x: x[:length], (frames.actions, frames.credit_estimate))
    credit_estimate = _while_active(credit_estimate, active_agents(spec, steps)[:-1])
    return Trajectory(spec=spec, states=states, pictures=(), steps=steps, actions=actions, credit_estimate=credit_estimate)
