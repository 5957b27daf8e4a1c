"""Collection of whole episodes in Python environments, the counterpart of `dop.training.collect`. Only `step` leaves the device.

A collector has `n_envs` environments per seed; each is an environment slot, a row of the shared-memory buffers. Slots form groups:
inference for one group, in one jitted call, overlaps environment stepping of another (double buffering). The agents' carry stays on the
device. All randomness of an episode comes from the key of the call and the episode's own seed, so that it depends neither on other
episodes nor on the workers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, DTypeLike, Float32, Int, PRNGKeyArray, PyTree, Shaped, UInt32

from dop.devices import compilation, parallel
from dop.envs.making.seeding import mixed
from dop.rollout.shared_memory import IDLE, RESET, STEP
from dop.rollout.workers import Workers
from dop.training import compiled
from dop.training.collect import EpisodeSummary, episode_shape
from dop.types import Algorithm, EnvSpec, Episode, Learner, PolicyOutput, TimeStep
from dop.types.traced import with_values


class Played(NamedTuple):
    """NumPy arrays; leading axes: seed, episode."""

    episodes: Episode
    """The last episode of every environment slot: all episodes, if there are no more than slots."""
    summary: EpisodeSummary
    dropped: Int[np.ndarray, " seed"]
    """Number of episodes lost with their worker and replaced by others."""


class Collector:
    """Parallel environments that play episodes for all seeds, with or without exploration.

    Args:
        workers: step the environments.
        groups: indices of the collector's groups among the workers', each laid out as by `slots_of`.
        n_envs: environments per seed.
    """

    def __init__(
        self,
        algorithm: Algorithm[Any, Any],
        spec: EnvSpec,
        workers: Workers,
        groups: Sequence[int],
        *,
        n_envs: int,
        explore: bool,
        devices: Mesh,
    ) -> None:
        self._algorithm, self._spec, self._workers, self._explore, self._devices = algorithm, spec, workers, explore, devices
        parts = np.array_split(np.arange(n_envs), len(groups))
        self._n_envs = n_envs
        self._groups = [_Group(number, part, workers, algorithm, spec, devices) for number, part in zip(groups, parts, strict=True)]
        self._act: Callable[..., Any] | None = None
        self._values: PyTree = None
        """Those of the algorithm, on the devices."""

    def play(
        self, learner: Learner, key: PRNGKeyArray, episode_seeds: Int[np.ndarray, "seed episode"], dtype: DTypeLike = np.float32
    ) -> Played:
        """Play one episode for each of `episode_seeds`, distributed over the slots; `learner` and `key` have a leading seed axis."""
        if self._values is None:
            self._values = parallel.place(compiled.values_of(self._algorithm, len(episode_seeds)), self._devices)
        leaves, tree = jax.tree.flatten((learner, self._values))
        if self._act is None:
            act = _act(compiled.without_values(self._algorithm), self._spec, tree, explore=self._explore)
            self._act = parallel.over_seeds(act, self._devices, donate=True, options=compilation.ONE_THREAD)
        rollout_buffer = _RolloutBuffer(self._spec, self._n_envs, episode_seeds, dtype)
        key_data = jax.random.key_data(key)
        for group in self._groups:
            group.begin(rollout_buffer)
        under_way = self._groups
        while under_way:
            under_way = [group for group in under_way if group.advance(rollout_buffer, self._act, leaves, key_data)]
        return rollout_buffer.played()


def slots_of(n_seeds: int, n_envs: int, groups: int, first: int) -> list[tuple[int, ...]]:
    """The slots of a collector's groups, from `first` on, ordered by group, then seed, then environment."""
    ends = first + np.cumsum([n_seeds * len(part) for part in np.array_split(np.arange(n_envs), groups)])
    return [tuple(range(start, end)) for start, end in zip([first, *ends[:-1]], ends, strict=True)]


def _act(algorithm: Algorithm[Any, Any], spec: EnvSpec, tree: Any, *, explore: bool) -> Callable[..., tuple[PolicyOutput, PyTree]]:
    """The policy of one seed's agents in the environments of a group.

    The learner, and the values of the algorithm, are passed as a list, which is faster to flatten.
    """

    def act(
        carry: PyTree,
        leaves: list[Array],
        key_data: UInt32[Array, " word"],
        step: TimeStep,
        seed: UInt32[Array, " env"],
        t: Int[Array, " env"],
    ) -> tuple[PolicyOutput, PyTree]:
        (learner, values), key = jax.tree.unflatten(tree, leaves), jax.random.wrap_key_data(key_data)
        seed_algorithm, first = with_values(algorithm, values), algorithm.initial_carry(spec)

        def act_in_env(carry: PyTree, step: TimeStep, seed: UInt32[Array, ""], t: Int[Array, ""]) -> tuple[PolicyOutput, PyTree]:
            carry = jax.tree.map(lambda new, old: jnp.where(t == 0, new, old), first, carry)
            key_step = jax.random.fold_in(jax.random.fold_in(key, seed), t)
            return seed_algorithm.act(learner, carry, step, key_step, explore=explore)

        return jax.vmap(act_in_env)(carry, step, seed, t)

    return act


class _RolloutBuffer:
    """The rollout buffer: transitions of running episodes, a row per environment, and summaries, a row per episode, seeds first."""

    def __init__(self, spec: EnvSpec, n_envs: int, episode_seeds: Int[np.ndarray, "seed episode"], dtype: DTypeLike) -> None:
        self.n_seeds, self.n_episodes = episode_seeds.shape
        self.n_envs, self.time_limit = n_envs, spec.time_limit
        self.episode_seeds = episode_seeds
        self._episodes = jax.tree.map(lambda x: np.zeros((self.n_seeds * n_envs, *x.shape), x.dtype), episode_shape(spec, dtype))
        self._return = np.zeros(episode_seeds.size, np.float32)
        self._length = np.zeros(episode_seeds.size, np.int32)
        self._metrics = np.zeros((episode_seeds.size, len(spec.metrics)), np.float32)
        self.dropped = np.zeros(self.n_seeds, np.int32)

    def started(self, buffer_row: Int[np.ndarray, " row"], episode: Int[np.ndarray, " row"], answer: dict[str, np.ndarray]) -> None:
        """Store the resets of new episodes, and clear their rows."""
        for array in jax.tree.leaves(self._episodes):
            array[buffer_row] = 0
        self._return[episode] = 0
        for name in ("obs", "state", "action_mask"):
            getattr(self._episodes, name)[buffer_row, 0] = answer[name]

    def chosen(
        self,
        buffer_row: Int[np.ndarray, " row"],
        t: Int[np.ndarray, " row"],
        action: Shaped[np.ndarray, "row ..."],
        probability: Float32[np.ndarray, "row agent"],
    ) -> None:
        """Store the actions of step `t` and their behaviour probabilities."""
        self._episodes.action[buffer_row, t] = action
        self._episodes.behaviour_prob[buffer_row, t] = probability

    def stepped(
        self,
        buffer_row: Int[np.ndarray, " row"],
        episode: Int[np.ndarray, " row"],
        t: Int[np.ndarray, " row"],
        answer: dict[str, np.ndarray],
    ) -> None:
        """Store the results of step `t`."""
        for name in ("obs", "state", "action_mask"):
            getattr(self._episodes, name)[buffer_row, t + 1] = answer[name]
        self._episodes.reward[buffer_row, t] = answer["reward"]
        self._episodes.terminated[buffer_row, t] = answer["terminated"]
        self._episodes.mask[buffer_row, t] = True
        self._return[episode] += answer["reward"]
        self._length[episode] = t + 1
        self._metrics[episode] = answer["metrics"]

    def finished(self, buffer_row: Int[np.ndarray, " row"], action: Shaped[np.ndarray, "row ..."]) -> None:
        """Store the actions after the last step."""
        self._episodes.final_action[buffer_row] = action

    def played(self) -> Played:
        """All episodes and summaries, with a leading seed axis."""

        def split_seeds(x: np.ndarray) -> np.ndarray:
            return x.reshape(self.n_seeds, len(x) // self.n_seeds, *x.shape[1:])  # not -1: there may be no metrics

        summary = EpisodeSummary(undiscounted_return=self._return, length=self._length, metrics=self._metrics)  # pyright: ignore[reportArgumentType]
        return Played(*jax.tree.map(split_seeds, (self._episodes, summary)), dropped=self.dropped)


class _Group:
    """Environment slots that are stepped together. A row is one environment of one seed."""

    def __init__(
        self, number: int, envs: Int[np.ndarray, " env"], workers: Workers, algorithm: Algorithm[Any, Any], spec: EnvSpec, devices: Mesh
    ) -> None:
        self._number, self._workers = number, workers
        self._slots = np.array(workers.groups[number])
        n_seeds = len(self._slots) // len(envs)
        self._of_seed, self._env_slot = (x.ravel() for x in np.meshgrid(np.arange(n_seeds), envs, indexing="ij"))
        self._buffers = workers.buffers.rows(slice(self._slots[0], self._slots[-1] + 1))
        self._seed, self._t = np.zeros(len(self._slots), np.uint32), np.zeros(len(self._slots), np.int32)
        grid = (n_seeds, len(envs))
        view: dict[str, Any] = {name: x.reshape(*grid, *x.shape[1:]) for name, x in self._buffers.time_steps().items()}
        self._seen = (TimeStep(**view), self._seed.reshape(grid), self._t.reshape(grid))
        """Inputs of `act`: views with axes seed and environment."""
        carry = jax.tree.map(lambda x: jnp.broadcast_to(x, (*grid, *x.shape)).copy(), algorithm.initial_carry(spec))
        self._carry = parallel.place(carry, devices)
        self._episode = self._env_slot.copy()
        """Index of each row's current episode among its seed's."""
        self._attempt = np.zeros_like(self._env_slot)
        """Number of times that episode was lost."""
        self._command = np.full(len(self._slots), IDLE, np.int8)

    def begin(self, rollout_buffer: _RolloutBuffer) -> None:
        """Start the first episode of every environment."""
        self._episode[:] = self._env_slot
        self._attempt[:] = 0
        self._command[:] = IDLE
        self._start(np.flatnonzero(self._episode < rollout_buffer.n_episodes), rollout_buffer)
        self._send(self._command)

    def advance(
        self, rollout_buffer: _RolloutBuffer, act: Callable[..., Any], learner: list[Array], key_data: UInt32[Array, "seed word"]
    ) -> bool:
        """Receive and store the results, compute actions, and send the next commands; False when all episodes are finished."""
        self._receive(rollout_buffer)
        ended = self._write(rollout_buffer)
        output, self._carry = act(self._carry, learner, key_data, *self._seen)
        action, probability = (np.asarray(x).reshape(len(ended), *x.shape[2:]) for x in (output.action, output.behaviour_prob))
        self._next_commands(rollout_buffer, ended, action, probability)
        self._send(self._command)
        return bool(self._command.any())

    def _start(self, rows: Int[np.ndarray, " row"], rollout_buffer: _RolloutBuffer) -> None:
        drawn = rollout_buffer.episode_seeds[self._of_seed[rows], self._episode[rows]]
        self._seed[rows] = [_seed(int(seed), int(attempt)) for seed, attempt in zip(drawn, self._attempt[rows], strict=True)]
        self._command[rows] = RESET

    def _send(self, command: Int[np.ndarray, " row"]) -> None:
        self._buffers.command[:] = command
        self._buffers.seed[:] = self._seed
        self._workers.send(self._number)

    def _receive(self, rollout_buffer: _RolloutBuffer) -> None:
        """Wait for all results; lost episodes restart, from other seeds, until all rows have results."""
        while len(slots := self._workers.receive(self._number)):
            rows = np.flatnonzero(np.isin(self._slots, slots) & (self._command != IDLE))
            np.add.at(rollout_buffer.dropped, self._of_seed[rows], 1)
            self._attempt[rows] += 1
            self._start(rows, rollout_buffer)
            self._send(np.where(np.isin(np.arange(len(self._slots)), rows), RESET, IDLE))

    def _write(self, rollout_buffer: _RolloutBuffer) -> Bool[np.ndarray, " row"]:
        """Store the results, and return which episodes have ended."""
        t, buffer_row, episode = self._t, self._buffer_rows(rollout_buffer), self._of_seed * rollout_buffer.n_episodes + self._episode
        begun, stepped = np.flatnonzero(self._command == RESET), np.flatnonzero(self._command == STEP)
        if len(begun):
            rollout_buffer.started(buffer_row[begun], episode[begun], self._buffers.time_steps(begun))
            t[begun] = 0
        ended = np.zeros(len(t), bool)
        if len(stepped):
            answer = self._buffers.time_steps(stepped)
            rollout_buffer.stepped(buffer_row[stepped], episode[stepped], t[stepped], answer)
            t[stepped] += 1
            ended[stepped] = answer["terminated"] | answer["truncated"] | (t[stepped] >= rollout_buffer.time_limit)
        return ended

    def _next_commands(
        self,
        rollout_buffer: _RolloutBuffer,
        ended: Bool[np.ndarray, " row"],
        action: Shaped[np.ndarray, "row ..."],
        probability: Float32[np.ndarray, "row agent"],
    ) -> None:
        """Command a step in episodes that continue, and the next episode, if any, in the other rows."""
        buffer_row = self._buffer_rows(rollout_buffer)
        continuing = np.flatnonzero((self._command != IDLE) & ~ended)
        rollout_buffer.chosen(buffer_row[continuing], self._t[continuing], action[continuing], probability[continuing])
        self._buffers.action[continuing] = action[continuing]
        self._command[continuing] = STEP
        if ended.any():
            rows = np.flatnonzero(ended)
            rollout_buffer.finished(buffer_row[rows], action[rows])
            self._workers.completed(self._slots[rows])
            self._command[rows] = IDLE
            self._episode[rows] += rollout_buffer.n_envs
            self._attempt[rows] = 0
            self._start(rows[self._episode[rows] < rollout_buffer.n_episodes], rollout_buffer)

    def _buffer_rows(self, rollout_buffer: _RolloutBuffer) -> Int[np.ndarray, " row"]:
        return self._of_seed * rollout_buffer.n_envs + self._env_slot


def _seed(drawn: int, attempt: int) -> int:
    """The seed of an attempt at an episode: `drawn` for the first, another one below 2**31 for each further attempt."""
    return drawn if attempt == 0 else mixed(drawn, attempt)
