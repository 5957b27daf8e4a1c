"""The training loop: collect, add, sample, update.

`Learning` is the part that does not depend on where episodes come from, and `Driver` runs it for all seeds of a run. `Program` adds
collection in JAX environments; `dop.rollout.program` is the counterpart for Python environments.

`RunState` is all that a run needs to resume; evaluations, records and checkpoints take place between chunks, on the host.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from dop import envs
from dop.devices import compilation, parallel
from dop.errors import ConfigError
from dop.learning.normalisation import RunningMeanVar
from dop.learning.replay import Replay, allocate, size_in_bytes
from dop.storage import config
from dop.training import compiled, non_finite
from dop.training.collect import EpisodeSummary, collect, episode_shape, storage_dtype
from dop.types import Algorithm, Environment, EnvSpec, Episode, Learner, Metrics, Samples, Scheduled

MAX_PARALLEL_EPISODES = 1000
"""Maximum number of parallel episodes per seed in `play`, which bounds memory for any number of episodes."""


class RunState(eqx.Module):
    """The state of one seed's run, as saved in checkpoints."""

    learner: Learner
    replay: Replay[Episode]
    iteration: Int[Array, ""]
    key: PRNGKeyArray
    """Advances with every iteration."""
    eval_key: PRNGKeyArray
    """Constant: evaluations fold the iteration into it and do not affect training."""
    rewards: RunningMeanVar | None = None
    """Running mean and variance of all collected rewards, if rewards are normalised."""


class Learning(eqx.Module):
    """The training loop of one seed, without the collection of episodes. Pure and constant during a run."""

    algorithm: Algorithm[Any, Any] = eqx.field(static=True)
    train_config: config.TrainConfig = eqx.field(static=True, default=config.TrainConfig(), kw_only=True)

    @property
    @abstractmethod
    def spec(self) -> EnvSpec:
        """The spec of the environment."""

    @abstractmethod
    def drive(self) -> Driver:
        """The driver of all seeds."""

    @abstractmethod
    def check(self) -> None:
        """Raise ConfigError if the environment differs from its spec, or does not support the `TrainConfig`."""

    @property
    def episode(self) -> Episode:
        """Shapes and types of an episode in the replay."""
        return episode_shape(self.spec, storage_dtype(self.spec, self.train_config.precision))

    @property
    def replay_bytes(self) -> int:
        """Memory of one seed's replay."""
        return size_in_bytes(self.episode, self.algorithm.replay_capacity)

    @property
    def warmup_iterations(self) -> int:
        """Number of collections without learning at the start."""
        return -(-self.algorithm.warmup_episodes // self.algorithm.episodes_per_iteration)

    def start(self, key: PRNGKeyArray) -> RunState:
        """The initial state of a run."""
        key_init, key_run, key_eval = jax.random.split(key, 3)
        return RunState(
            learner=self.algorithm.init(key_init, self.spec),
            replay=allocate(self.episode, self.algorithm.replay_capacity),
            iteration=jnp.zeros((), jnp.int32),
            key=key_run,
            eval_key=key_eval,
            rewards=RunningMeanVar.start(1) if self.train_config.normalise_rewards else None,
        )

    def collection_keys(self, state: RunState) -> tuple[PRNGKeyArray, PRNGKeyArray]:
        """The run's next key, and the key of the next collection."""
        key, key_collect = jax.random.split(state.key)
        return key, key_collect

    def evaluation_key(self, state: RunState) -> PRNGKeyArray:
        """The key of an evaluation at this iteration."""
        return jax.random.fold_in(state.eval_key, state.iteration)

    def add(self, state: RunState, key: PRNGKeyArray, episodes: Episode, summary: EpisodeSummary) -> tuple[RunState, Metrics]:
        """Add episodes to the replay, count their steps and report them; `key` is the first of `collection_keys`."""
        found = non_finite.of_episodes(episodes)
        if self.train_config.on_non_finite == "skip":
            episodes, found["emptied_episodes"] = non_finite.emptied(episodes)
        learner = eqx.tree_at(lambda x: x.env_steps, state.learner, state.learner.env_steps + jnp.sum(summary.length))
        rewards = None if state.rewards is None else state.rewards.update(episodes.reward[..., None], episodes.mask)
        state = replace(state, learner=learner, replay=state.replay.add(episodes), key=key, rewards=rewards)
        return state, self.report(summary) | found

    def rewarded(self, state: RunState) -> Replay[Episode]:
        """The replay with scaled rewards, for the algorithm. Stored and reported rewards are the environment's."""
        scale = self.train_config.reward_scale
        if scale == 1 and state.rewards is None:
            return state.replay
        if state.rewards is not None:
            scale = scale / state.rewards.scale[0]
        return eqx.tree_at(lambda replay: replay.items.reward, state.replay, state.replay.items.reward * scale)

    def learn(self, state: RunState, key: PRNGKeyArray, episodes: Episode, summary: EpisodeSummary) -> tuple[RunState, Metrics]:
        """One iteration: add, sample, update."""
        state, report = self.add(state, key, episodes, summary)
        key, key_sample, key_update = jax.random.split(state.key, 3)
        batch = self.algorithm.sample(self.rewarded(state), key_sample)
        learner, metrics = self.algorithm.update(state.learner, batch, key_update)
        report |= non_finite.of_update(metrics)
        if self.train_config.on_non_finite == "skip":
            learner, report["skipped_updates"] = non_finite.undone_if_bad(state.learner, learner, metrics)
        return replace(state, learner=learner, iteration=state.iteration + 1, key=key), report | metrics

    @property
    def sampling(self) -> Algorithm[Any, Any]:
        """The algorithm that plays sampled episodes: with its stochastic policy if it has one, else with its exploration."""
        return self.algorithm.sampling() if isinstance(self.algorithm, Samples) else self.algorithm

    def over_iterations(self, learner: Learner, metrics: Metrics) -> Metrics:
        """The metrics of a chunk from those of its iterations (leading axis), with the schedules of its last `learner`."""
        schedules = self.algorithm.schedules(learner) if isinstance(self.algorithm, Scheduled) else {}
        return non_finite.over_iterations(metrics, ignore_nan=self.train_config.on_non_finite == "skip") | schedules

    def report(self, summary: EpisodeSummary) -> Metrics:
        """Means over episodes, under PyMARL's names, and standard deviation (divisor n), minimum and maximum of returns."""
        named = dict(zip((f"{name}_mean" for name in self.spec.metrics), summary.metrics.T, strict=True))
        values: dict[str, Float[Array, " episode"]] = {
            "return_mean": summary.undiscounted_return,
            "ep_length_mean": summary.length.astype(jnp.float32),
            **named,
        }
        returns = summary.undiscounted_return
        spread = {"return_std": jnp.std(returns), "return_min": jnp.min(returns), "return_max": jnp.max(returns)}
        return jax.tree.map(jnp.mean, values) | spread

    def evaluation_report(self, summary: EpisodeSummary) -> Metrics:
        """`report` of an evaluation."""
        return {f"test_{name}": value for name, value in self.report(summary).items()}


class Driver(ABC):
    """All seeds of a run in parallel, for a `Trainer`: collection and learning in turns, each a compiled call.

    Arrays of states, metrics and keys have a leading seed axis.
    """

    def __init__(self, program: Learning) -> None:
        self.program = program
        self.devices = parallel.mesh(len(program.train_config.seeds), program.train_config.devices)
        self._functions = compiled.functions_of(program, self.devices)
        self._values = parallel.place(compiled.values_of(program.algorithm, len(program.train_config.seeds)), self.devices)

    def _call(self, name: str, *arguments: Any, donate: bool = False, options: Mapping[str, bool | int] | None = None, **fixed: Any) -> Any:
        """A compiled method of the program over all seeds, with the values of the algorithm; see `compiled.Functions.method`."""
        return self._functions.method(name, donate=donate, options=options, **fixed)(*arguments, self._values)

    @abstractmethod
    def collect(self, state: RunState) -> tuple[PRNGKeyArray, Episode, EpisodeSummary]:
        """The next key, and the episodes of one iteration: the arguments of `Learning.add` and `Learning.learn` after the state."""

    @abstractmethod
    def play(self, learner: Learner, keys: PRNGKeyArray, episodes: int, *, sampled: bool) -> EpisodeSummary:
        """Episodes with the given keys, greedy or by `Learning.sampling`; axes: seed, episode."""

    @abstractmethod
    def close(self) -> None:
        """Close environments and worker processes. Closing twice is allowed."""

    def start(self, keys: PRNGKeyArray, prepare: Callable[[RunState], RunState] = lambda state: state) -> RunState:
        """A new state, after `prepare` and the warm-up."""
        state = prepare(self._call("start", keys, options=compilation.ONCE))
        for _ in range(self.program.warmup_iterations):
            state, _ = self._call("add", state, *self.collect(state), donate=True)
        return state

    def chunk(self, state: RunState) -> tuple[RunState, Metrics]:
        """`TrainConfig.iterations_per_chunk` iterations, and their mean metrics. `state` is donated."""
        reports = []
        for _ in range(self.program.train_config.iterations_per_chunk):
            state, report = self._call("learn", state, *self.collect(state), donate=True)
            reports.append(report)
        stacked = jax.tree.map(lambda *x: np.stack(x, axis=1), *jax.device_get(reports))
        return state, self._call("over_iterations", state.learner, stacked)

    def evaluate(self, state: RunState) -> Metrics:
        """Metrics of `TrainConfig.eval_episodes` greedy episodes, which do not affect training."""
        summary = self.play(state.learner, self._call("evaluation_key", state), self.program.train_config.eval_episodes, sampled=False)
        return self._call("evaluation_report", summary)


class Program(Learning):
    """Learning in a JAX environment, whose rollouts are compiled."""

    environment: Environment = eqx.field(static=True)

    @property
    def spec(self) -> EnvSpec:
        return self.environment.spec

    def drive(self) -> CompiledDriver:
        return CompiledDriver(self)

    def check(self) -> None:
        """Compare the environment's time steps with its spec, by shapes alone.

        Raises:
            ConfigError: the first difference, by name; or `env_workers` is set, which JAX environments do not use.
        """
        if self.train_config.workers[0] != "local":
            raise ConfigError(
                f"env_workers={self.train_config.env_workers} is for Python environments; {self.spec.name} is written in JAX and is "
                "stepped inside the compiled program. Leave env_workers out."
            )
        envs.validate(self.environment)

    def warm_up(self, state: RunState) -> RunState:
        """Collect `warmup_episodes` without learning."""

        def body(state: RunState, _: None) -> tuple[RunState, None]:
            return self.add(state, *self._collect(state))[0], None

        return jax.lax.scan(body, state, length=self.warmup_iterations)[0]

    def chunk(self, state: RunState, iterations: int) -> tuple[RunState, Metrics]:
        """`iterations` iterations of learning, and their mean metrics."""
        state, metrics = jax.lax.scan(lambda s, _: self.learn(s, *self._collect(s)), state, length=iterations)
        return state, self.over_iterations(state.learner, metrics)

    def evaluate(self, state: RunState, episodes: int) -> Metrics:
        """Metrics of greedy episodes, in separate environments."""
        return self.evaluation_report(self.play(state.learner, self.evaluation_key(state), episodes))

    def play(self, learner: Learner, key: PRNGKeyArray, episodes: int, *, sampled: bool = False) -> EpisodeSummary:
        """Parallel episodes, greedy or by `sampling`."""
        return self.rollout(learner, key, sampled, episodes=episodes, sampled=sampled)[1]

    def rollout(
        self, learner: Learner, key: PRNGKeyArray, explore: bool | Bool[Array, ""], *, episodes: int, sampled: bool = False
    ) -> tuple[Episode, EpisodeSummary]:
        """Parallel episodes of the algorithm, or of `sampling`, with or without exploration."""
        algorithm = self.sampling if sampled else self.algorithm
        return collect(algorithm, self.environment, learner, key, episodes=episodes, explore=explore, dtype=self.episode.obs.dtype)

    def _collect(self, state: RunState) -> tuple[PRNGKeyArray, Episode, EpisodeSummary]:
        """The arguments of `add` and `learn` after the state."""
        key, key_collect = self.collection_keys(state)
        return key, *self.rollout(state.learner, key_collect, True, episodes=self.algorithm.episodes_per_iteration)


class CompiledDriver(Driver):
    """The driver of a `Program`.

    On a CPU one compiled rollout, of an iteration's episodes, serves training and greedy evaluation.
    """

    def collect(self, state: RunState) -> tuple[PRNGKeyArray, Episode, EpisodeSummary]:
        keys, keys_collect = self._call("collection_keys", state)
        return keys, *self._rollout(state.learner, keys_collect, self.program.algorithm.episodes_per_iteration, explore=True, sampled=False)

    def play(self, learner: Learner, keys: PRNGKeyArray, episodes: int, *, sampled: bool) -> EpisodeSummary:
        """In batches of equal size, the first with `keys` themselves; surplus episodes of the last are dropped."""
        size = self._batch_size(episodes)
        later = (jax.vmap(jax.random.fold_in, (0, None))(keys, batch) for batch in range(1, -(-episodes // size)))
        rollouts = (
            self._rollout(learner, parallel.place(each, self.devices), size, explore=sampled, sampled=sampled) for each in (keys, *later)
        )
        played = [jax.device_get(summary) for _, summary in rollouts]
        return jax.tree.map(lambda *x: np.concatenate(x, axis=1)[:, :episodes], *played)

    def close(self) -> None:
        """Nothing to close."""

    def _batch_size(self, episodes: int) -> int:
        """The number of parallel episodes when so many are to be played."""
        if self.devices.devices.flat[0].platform == "cpu":
            return self.program.algorithm.episodes_per_iteration
        return -(-episodes // -(-episodes // MAX_PARALLEL_EPISODES))

    def _rollout(
        self, learner: Learner, keys: PRNGKeyArray, episodes: int, *, explore: bool, sampled: bool
    ) -> tuple[Episode, EpisodeSummary]:
        """So many parallel episodes of each seed, by the algorithm or by `Learning.sampling`."""
        flags = np.full(len(self.program.train_config.seeds), explore)
        return self._call("rollout", learner, keys, flags, options=compilation.LIGHT, episodes=episodes, sampled=sampled)
