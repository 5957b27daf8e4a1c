"""Learning in Python environments: the counterpart of `dop.training.program.Program`.

Collection is on the host (`dop.rollout.collector`). Learning from the episodes is the same jitted code: add, sample, update.

An environment's internal state cannot be saved. Every iteration plays whole episodes, whose seeds come from the key of the run's state: a
resumed run starts new episodes where it was saved, with the same seeds as an uninterrupted run.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, PRNGKeyArray

from dop import envs
from dop.envs.making import foreign
from dop.envs.validation.repeats import all_start_alike
from dop.errors import ConfigError
from dop.rollout.collector import Collector, Played, slots_of
from dop.rollout.env_runner import Maker
from dop.rollout.worker_process import processes
from dop.rollout.worker_ray import RayWorkers
from dop.rollout.workers import Job, Workers, local
from dop.storage import config
from dop.training.collect import EpisodeSummary
from dop.training.program import Driver, Learning, RunState
from dop.types import Algorithm, EnvSpec, Episode, Learner, Metrics


@dataclass(frozen=True)
class Source:
    """A Python environment that can be made several times."""

    spec: EnvSpec
    make: Maker
    """Makes another instance."""
    seeded: bool = False
    """Whether a seed is among the options of its maker."""


class PythonProgram(Learning):
    """Learning in a Python environment."""

    environment: Source = eqx.field(static=True)

    @property
    def spec(self) -> EnvSpec:
        return self.environment.spec

    def drive(self) -> PythonDriver:
        return PythonDriver(self)

    def check(self) -> None:
        """Validate a new environment in a short episode; later results are validated as they arrive.

        Raises:
            ConfigError: the first mismatch, by name; or there are more workers than environments.
        """
        n_envs, (_, count) = self.algorithm.episodes_per_iteration * len(self.train_config.seeds), self.train_config.workers
        if count > n_envs:
            raise ConfigError(
                f"env_workers={self.train_config.env_workers} are more than the {n_envs} environments that run at once "
                f"(episodes_per_iteration x seeds): use at most {n_envs}."
            )
        source = self.environment
        with contextlib.closing(foreign.made(source.make, self.spec.name)) as environment:
            envs.validate(environment)
        if source.seeded and all_start_alike(lambda: foreign.made(source.make, self.spec.name)):
            logging.getLogger("dop").warning(
                "%s: a seed is among its options, and episodes with other seeds start the same in new environments. If that seed "
                "determines all random draws, all environments play copies of each other: use the seed of reset(seed). "
                "Run `dop check-env` for details.",
                self.spec.name,
            )


class PythonDriver(Driver):
    """The driver of a `PythonProgram`.

    There are separate environments for training and evaluation, as many of each as an iteration has episodes. The same workers make them
    when they are first needed.
    """

    def __init__(self, program: PythonProgram) -> None:
        super().__init__(program)
        self._source = program.environment
        self._n_envs = program.algorithm.episodes_per_iteration
        self._dropped = np.zeros(len(self.program.train_config.seeds), np.int32)
        """Number of lost episodes since the last report."""
        self._warned = False
        """Whether missing metrics have been reported."""

    def collect(self, state: RunState) -> tuple[PRNGKeyArray, Episode, EpisodeSummary]:
        keys, keys_collect = self._call("collection_keys", state)
        played = self._play(self._training, state.learner, keys_collect, self._n_envs)
        return keys, played.episodes, played.summary

    def chunk(self, state: RunState) -> tuple[RunState, Metrics]:
        state, metrics = super().chunk(state)
        dropped, self._dropped = self._dropped, np.zeros_like(self._dropped)
        return state, metrics | {"episodes_dropped": jnp.asarray(dropped)}

    def play(self, learner: Learner, keys: PRNGKeyArray, episodes: int, *, sampled: bool) -> EpisodeSummary:
        summary = self._play(self._sampling if sampled else self._evaluating, learner, keys, episodes).summary
        self._warn_missing_metrics()
        return summary

    def _warn_missing_metrics(self) -> None:
        """Warn, after the first evaluation, of metrics that no episode has had."""
        if not self._warned:
            self._warned = True
            given = np.any(self._workers.buffers.appeared, axis=0).tolist()
            for name in (name for name, has in zip(self.program.spec.metrics, given, strict=True) if not has):
                logging.getLogger("dop").warning(
                    "%s: the metric %s has not been in the environment's infos so far, and is reported as 0; `dop check-env` lists the "
                    "available ones.",
                    *(self.program.spec.name, name),
                )

    def close(self) -> None:
        """Close all environments; if they are needed again, new ones are made."""
        if "_workers" in vars(self):
            self._workers.close()
        for name in ("_workers", "_training", "_evaluating", "_sampling"):
            vars(self).pop(name, None)

    def _play(self, collector: Collector, learner: Learner, keys: PRNGKeyArray, episodes: int) -> Played:
        played = collector.play(learner, keys, _episode_seeds(keys, episodes), self.program.episode.obs.dtype)
        self._dropped += played.dropped
        return played

    @functools.cached_property
    def _training(self) -> Collector:
        return self._collector(self.program.algorithm, 0, explore=True)

    @functools.cached_property
    def _evaluating(self) -> Collector:
        return self._collector(self.program.algorithm, 1, explore=False)

    @functools.cached_property
    def _sampling(self) -> Collector:
        return self._collector(self.program.sampling, 1, explore=True)

    def _collector(self, algorithm: Algorithm[Any, Any], half: int, *, explore: bool) -> Collector:
        """A collector in the training environments, the first half of the workers' groups, or in those for evaluation, the second."""
        groups = np.split(np.arange(len(self._workers.groups)), 2)[half].tolist()
        return Collector(algorithm, self.program.spec, self._workers, groups, n_envs=self._n_envs, explore=explore, devices=self.devices)

    @functools.cached_property
    def _workers(self) -> Workers:
        kind, count = self.program.train_config.workers
        n_seeds = len(self.program.train_config.seeds)
        # A local worker cannot step while the policy acts: one group suffices.
        halves = 1 if kind == "local" else min(2, self._n_envs)
        training = slots_of(n_seeds, self._n_envs, halves, 0)
        evaluating = slots_of(n_seeds, self._n_envs, halves, n_seeds * self._n_envs)
        job = Job(
            make=self._source.make,
            spec=self.program.spec,
            n_slots=2 * n_seeds * self._n_envs,
            groups=(*training, *evaluating),
            timeout=self.program.train_config.env_timeout,
        )
        return _make_workers(kind, job, count)


def _make_workers(kind: config.WorkerKind, job: Job, count: int) -> Workers:
    """Workers of one of the three kinds."""
    if kind == "local":
        return local(job)
    return processes(job, count) if kind == "processes" else RayWorkers(job, count)


def _episode_seeds(keys: PRNGKeyArray, episodes: int) -> Int[np.ndarray, "seed episode"]:
    """The seeds of episodes: for each seed's key, numbers below 2**31, which every environment accepts."""
    words = np.asarray(jax.random.key_data(keys))
    return np.stack([np.random.SeedSequence(w.tolist()).generate_state(episodes) >> 1 for w in words])
