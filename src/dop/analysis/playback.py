"""Playing a trained team and keeping everything: what environments were in, what agents saw and did, and what the critic says of it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from dop.analysis.credit import Judged, judge
from dop.envs.making import foreign
from dop.rollout.program import HostProgram
from dop.training.program import Program
from dop.types import AssignsCredit, Choice, EnvSpec, HostEnvironment, Learner, TimeStep


@dataclass(frozen=True, kw_only=True, eq=False)
class Take:
    """One greedy episode of T steps. All arrays are NumPy's, with time first; what is called T + 1 also has what came of the last step."""

    spec: EnvSpec
    states: PyTree
    """The environment's own states, T + 1. None if it keeps them to itself (`HostEnvironment`)."""
    pictures: tuple[np.ndarray, ...]
    """Its own pictures, T + 1, where a `HostEnvironment` draws itself; else none."""
    steps: TimeStep
    """What the agents saw, T + 1."""
    actions: np.ndarray
    judged: Judged | None
    """What the critic says, T; None if the algorithm does not assign credit."""

    @property
    def length(self) -> int:
        return len(self.actions)

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


class Player:
    """Plays greedy episodes of one program; what is compiled serves for any of its learners."""

    def __init__(self, program: Program | HostProgram) -> None:
        self.program = program
        self._decide = jax.jit(functools.partial(_decide, program))
        if isinstance(program, Program):
            self._episodes = jax.jit(jax.vmap(functools.partial(_episode, program), in_axes=(None, 0)))

    def __call__(self, learner: Learner, key: PRNGKeyArray, episodes: int) -> list[Take]:
        """Episodes of the team of `learner`; the same key gives the same ones."""
        keys = jax.random.split(key, episodes)
        if isinstance(self.program, HostProgram):
            source = self.program.environment
            with contextlib.closing(foreign.made(source.make, source.spec.name)) as environment:
                return [_host_episode(environment, self.program, self._decide, learner, key) for key in keys]
        played = jax.tree.map(np.asarray, self._episodes(learner, keys))
        return [_cut(self.program.spec, jax.tree.map(lambda x, i=i: x[i], played)) for i in range(episodes)]


def best_and_worst(takes: Sequence[Take]) -> dict[str, Take]:
    """Examples by return: the best and the worst, or the only one if all earned the same."""
    ordered = sorted(takes, key=lambda take: take.undiscounted_return)
    worst, best = ordered[0], ordered[-1]
    return {"best": best, "worst": worst} if worst.undiscounted_return < best.undiscounted_return else {"best": worst}


class _Frames(eqx.Module):
    """An episode as it is played, to the time limit."""

    states: PyTree
    steps: TimeStep
    actions: Any
    judged: Judged | None


def _episode(program: Program, learner: Learner, key: PRNGKeyArray) -> _Frames:
    """Play to the time limit, whenever the episode ends."""
    environment, algorithm = program.environment, program.algorithm
    spec = environment.spec
    key_reset, key_steps = jax.random.split(key)
    state, step = environment.reset(key_reset)

    def advance(carry: tuple, key: PRNGKeyArray) -> tuple[tuple, _Frames]:
        state, step, memory = carry
        key_act, key_env, key_judge = jax.random.split(key, 3)
        choice, judged, memory = _decide(program, learner, memory, step, key_act, key_judge)
        state, step = environment.step(key_env, state, choice.action)
        return (state, step, memory), _Frames(states=state, steps=step, actions=choice.action, judged=judged)

    carry = (state, step, algorithm.initial_memory(spec))
    _, frames = jax.lax.scan(advance, carry, jax.random.split(key_steps, spec.time_limit))
    states, steps = jax.tree.map(lambda x, rest: jnp.concatenate([x[None], rest]), (state, step), (frames.states, frames.steps))
    return _Frames(states=states, steps=steps, actions=frames.actions, judged=frames.judged)


def _decide(
    program: Program | HostProgram, learner: Learner, memory: PyTree, step: TimeStep, key_act: PRNGKeyArray, key_judge: PRNGKeyArray
) -> tuple[Choice, Judged | None, PyTree]:
    """What the team does at one step, and what its critic says of that."""
    algorithm = program.algorithm
    choice, after = algorithm.act(learner, memory, step, key_act, explore=False)
    judged = None
    if isinstance(algorithm, AssignsCredit):
        judged = judge(algorithm, learner, memory, step, choice.action, key_judge, program.spec.action_kind)
    return choice, judged, after


def _host_episode(
    environment: HostEnvironment, program: HostProgram, decide: Callable[..., Any], learner: Learner, key: PRNGKeyArray
) -> Take:
    """The same with an environment that is stepped on the host."""
    key_seed, key_steps = jax.random.split(key)
    steps = [environment.reset(int(jax.random.bits(key_seed, dtype=np.uint32)))]
    pictures, actions, judged = [environment.render()], [], []
    memory = program.algorithm.initial_memory(environment.spec)
    while not (steps[-1].terminated or steps[-1].truncated) and len(actions) < environment.spec.time_limit:
        key_act, key_judge = jax.random.split(jax.random.fold_in(key_steps, len(actions)))
        choice, said, memory = decide(learner, memory, steps[-1], key_act, key_judge)
        actions.append(np.asarray(choice.action))
        judged.append(jax.tree.map(np.asarray, said))
        steps.append(environment.step(actions[-1]))
        pictures.append(environment.render())
    drawn = [picture for picture in pictures if picture is not None]
    return Take(
        spec=environment.spec,
        states=None,
        pictures=tuple(drawn) if len(drawn) == len(pictures) else (),
        steps=_stack(steps),
        actions=np.stack(actions),
        judged=None if judged[0] is None else _stack(judged),
    )


def _stack(records: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *x: np.stack(x), *records)


def _cut(spec: EnvSpec, frames: _Frames) -> Take:
    """An episode without what came after its end."""
    ended = frames.steps.terminated | frames.steps.truncated
    length = int(np.argmax(ended)) if ended.any() else spec.time_limit
    states, steps = jax.tree.map(lambda x: x[: length + 1], (frames.states, frames.steps))
    actions, judged = jax.tree.map(lambda x: x[:length], (frames.actions, frames.judged))
    return Take(spec=spec, states=states, pictures=(), steps=steps, actions=actions, judged=judged)
