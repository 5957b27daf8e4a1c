"""Workers that step Python environments: in this process, in worker processes, or in Ray actors.

Environment slots are divided evenly among the workers, and into groups: `send` starts the commands of a group, `receive` waits for the
results, so that inference for one group overlaps environment stepping of another.

A worker that dies or hangs is replaced by a new one, with new environments; `receive` then returns the slots whose episodes were lost. Five
deaths of a worker in a row, without a finished episode, end the run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Int

from dop.errors import DopError, RunError
from dop.rollout.env_runner import EnvRunner, Maker, end_reason
from dop.rollout.shared_memory import SharedBuffers
from dop.types import EnvSpec

MAX_DEATHS = 5
"""Deaths of a worker in a row that end the run."""


class WorkerDiedError(Exception):
    """A worker has died or hangs; the message says how it ended."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """The environments and slots of a worker, without the buffers. It can be pickled if `make` can."""

    make: Maker
    spec: EnvSpec
    n_slots: int
    """Number of slots of all workers."""
    groups: tuple[tuple[int, ...], ...]
    """The worker's own slots of each group."""
    timeout: float
    """Most seconds of a group's steps or resets."""


class Worker(Protocol):
    """Executes the commands of its slots. Groups are executed in the order of `send`, and may be received in another order."""

    def send(self, group: int) -> None:
        """Start executing the commands of the worker's slots in `group`."""
        ...

    def receive(self, group: int) -> None:
        """Wait until the results are in the buffers.

        Raises:
            WorkerDiedError: the worker died, or did not answer in time.
            DopError: an environment violated its spec, or could not be made; another worker would fail, too.
        """
        ...

    def dismiss(self) -> None:
        """Request it to close its environments and to end."""
        ...

    def stop(self) -> None:
        """End it and everything that it started: after a grace period if it was dismissed, else at once. It may be called twice."""
        ...


class LocalWorker:
    """Steps its environments in this process, in `receive`. Any exception but `DopError` counts as its death; it has no time-out."""

    def __init__(self, job: Job, buffers: SharedBuffers) -> None:
        self._job, self._runner = job, EnvRunner(job.make, job.spec, buffers)

    def send(self, group: int) -> None:
        """Does nothing: `receive` executes the commands."""

    def receive(self, group: int) -> None:
        try:
            self._runner.run(self._job.groups[group])
        except DopError:
            raise
        except Exception as error:
            raise WorkerDiedError(f"raised\n\n{end_reason(error)}") from error

    def dismiss(self) -> None:
        self._runner.close()

    def stop(self) -> None:
        self._runner.close()


class Workers:
    """Shared buffers and the workers that use them.

    Args:
        job: the common job; its groups hold the slots of all workers.
        buffers: of all slots.
        count: number of workers; at most the number of slots in a training group, or some would be idle.
        make_worker: makes a worker from its own job.
    """

    def __init__(self, job: Job, buffers: SharedBuffers, count: int, make_worker: Callable[[Job, SharedBuffers], Worker]) -> None:
        self.buffers, self.groups, self._make_worker = buffers, job.groups, make_worker
        self._owner = _owners(job.groups, job.n_slots, count)
        self._jobs = [_own_job(job, self._owner, worker) for worker in range(count)]
        self._slots = [[np.array(own.groups[group], np.int64) for own in self._jobs] for group in range(len(job.groups))]
        self._sent: list[set[int]] = [set() for _ in job.groups]
        self._lost: list[set[int]] = [set() for _ in job.groups]
        """Workers that were replaced while a group was running, not yet reported by `receive`."""
        self._deaths = [0] * count
        self._workers: list[Worker] = []
        try:
            for own in self._jobs:
                self._workers.append(make_worker(own, buffers))
        except BaseException:
            self.close()
            raise

    def send(self, group: int) -> None:
        """Start executing the commands of the slots in `group`."""
        for number, slots in enumerate(self._slots[group]):
            if self.buffers.command[slots].any():
                self._sent[group].add(number)
                self._workers[number].send(group)

    def receive(self, group: int) -> Int[np.ndarray, " some"]:
        """Wait for the results of `group`. Returns its slots whose environments, and so their episodes, were lost.

        Raises:
            DopError: an environment violated its spec, or a worker died too often; the message has its own traceback.
        """
        sent, self._sent[group] = self._sent[group], set()
        lost, self._lost[group] = self._lost[group], set()
        for number in sorted(sent - lost):
            try:
                self._workers[number].receive(group)
            except WorkerDiedError as death:
                self._replace(number, death)
                lost.add(number)
        return np.concatenate([np.zeros(0, np.int64), *(self._slots[group][number] for number in sorted(lost))])

    def completed(self, slots: Int[np.ndarray, " some"]) -> None:
        """Report finished episodes in these slots, which resets their workers' counts of deaths."""
        for number in set(self._owner[slots].tolist()):
            self._deaths[number] = 0

    def close(self) -> None:
        """End all workers. Closing twice is allowed."""
        workers, self._workers = self._workers, []
        try:
            for worker in workers:
                worker.dismiss()
        finally:
            for worker in workers:
                worker.stop()

    def _replace(self, number: int, death: WorkerDiedError) -> None:
        self._workers[number].stop()
        self._deaths[number] += 1
        name = self._jobs[number].spec.name
        if self._deaths[number] >= MAX_DEATHS:
            raise RunError(
                f"{name}: environment worker {number} died {MAX_DEATHS} times in a row; the last time it {death}\n"
                "Training stopped; `dop resume` continues from the newest checkpoint."
            ) from None  # the message includes it
        logging.getLogger("dop").warning("%s: environment worker %d is replaced, its episodes are dropped: it %s", name, number, death)
        for sent, lost in zip(self._sent, self._lost, strict=True):
            if number in sent:
                lost.add(number)
        self._workers[number] = self._make_worker(self._jobs[number], self.buffers)


def _owners(groups: Sequence[Sequence[int]], n_slots: int, count: int) -> Int[np.ndarray, " slot"]:
    """Each slot's worker: assigned round-robin, group after group, so that every group and the whole are divided evenly."""
    owner = np.zeros(n_slots, np.int64)
    ordered = [slot for group in groups for slot in group]
    owner[ordered] = np.arange(len(ordered)) % count
    return owner


def _own_job(job: Job, owner: Int[np.ndarray, " slot"], worker: int) -> Job:
    groups = tuple(tuple(slot for slot in group if owner[slot] == worker) for group in job.groups)
    return Job(make=job.make, spec=job.spec, n_slots=job.n_slots, groups=groups, timeout=job.timeout)


def local(job: Job) -> Workers:
    """One worker, in this process."""
    return Workers(job, SharedBuffers.over(job.spec, job.n_slots, bytearray(SharedBuffers.nbytes(job.spec, job.n_slots))), 1, LocalWorker)
