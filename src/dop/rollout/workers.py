"""Workers: who steps environments outside JAX. One kind steps them in this process, one in processes of their own, one on other machines.

Slots are divided evenly among the workers, and gathered in groups: `send` asks a group's workers to do what the board says, `receive` waits
until they have, so that one group can be stepped while somebody thinks about another.

A worker that dies or hangs is replaced by a new one, with new environments; `receive` then says which slots have lost their episodes. Five
deaths of a worker in a row, without one episode that came to its end, are too many.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Int

from dop.errors import DopError, RunError
from dop.rollout.shared_memory import EnvRunner, Maker, SharedBuffers, ending
from dop.types import EnvSpec

DEATHS = 5
"""In a row, and the run ends."""


class WorkerDiedError(Exception):
    """A worker that can do no more; the message says how it ended."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker is to do. It can be pickled if `make` can; the board does not travel with it."""

    make: Maker
    spec: EnvSpec
    n_slots: int
    """Of the whole board."""
    groups: tuple[tuple[int, ...], ...]
    """The worker's own slots of each group."""
    timeout: float
    """Seconds that a group's steps or resets may take."""


class Worker(Protocol):
    """Some environments, somewhere. What was sent is done in order; it may be waited for in another."""

    def send(self, group: int) -> None:
        """Have done what the board asks of the worker's slots in `group`."""
        ...

    def receive(self, group: int) -> None:
        """Wait until it is done and the board has the answers.

        Raises:
            WorkerDiedError: the worker died, or did not answer in time.
            DopError: an environment broke its promises, or could not be made; another worker would do no better.
        """
        ...

    def dismiss(self) -> None:
        """Ask it to close its environments and to end."""
        ...

    def stop(self) -> None:
        """See to its end and that of everything that it started: a moment after it was dismissed, else at once. Twice is allowed."""
        ...


class LocalWorker:
    """Steps its environments in this process, when asked for the answers. It dies by any exception that is no `DopError`, and cannot be
    timed."""

    def __init__(self, job: Job, buffers: SharedBuffers) -> None:
        self._job, self._runner = job, EnvRunner(job.make, job.spec, buffers)

    def send(self, group: int) -> None:
        """Nothing happens before `receive`."""

    def receive(self, group: int) -> None:
        try:
            self._runner.run(self._job.groups[group])
        except DopError:
            raise
        except Exception as error:
            raise WorkerDiedError(f"raised\n\n{ending(error)}") from error

    def dismiss(self) -> None:
        self._runner.close()

    def stop(self) -> None:
        self._runner.close()


class Workers:
    """A board and those who work on it.

    Args:
        job: what each is to do; its groups hold the slots of all of them together.
        board: of all slots.
        count: how many workers; at most as many as there are slots in a training group, or some would have nothing to do.
        hire: makes one.
    """

    def __init__(self, job: Job, buffers: SharedBuffers, count: int, hire: Callable[[Job, SharedBuffers], Worker]) -> None:
        self.buffers, self.groups, self._hire = buffers, job.groups, hire
        self._owner = _owners(job.groups, job.n_slots, count)
        self._jobs = [_share(job, self._owner, worker) for worker in range(count)]
        self._slots = [[np.array(own.groups[group], np.int64) for own in self._jobs] for group in range(len(job.groups))]
        self._asked: list[set[int]] = [set() for _ in job.groups]
        self._lost: list[set[int]] = [set() for _ in job.groups]
        """Workers that were replaced while a group was under way, of whom nobody has been told yet."""
        self._deaths = [0] * count
        self._workers: list[Worker] = []
        try:
            for own in self._jobs:
                self._workers.append(hire(own, buffers))
        except BaseException:
            self.close()
            raise

    def send(self, group: int) -> None:
        """Have done what the board asks of the slots in `group`."""
        for number, slots in enumerate(self._slots[group]):
            if self.buffers.command[slots].any():
                self._asked[group].add(number)
                self._workers[number].send(group)

    def receive(self, group: int) -> Int[np.ndarray, " some"]:
        """Wait for the answers of `group`. What comes back are its slots whose environments were lost, and their episodes with them.

        Raises:
            DopError: an environment broke its promises, or a worker died too often; the message has its own traceback.
        """
        asked, self._asked[group] = self._asked[group], set()
        lost, self._lost[group] = self._lost[group], set()
        for number in sorted(asked - lost):
            try:
                self._workers[number].receive(group)
            except WorkerDiedError as death:
                self._replace(number, death)
                lost.add(number)
        return np.concatenate([np.zeros(0, np.int64), *(self._slots[group][number] for number in sorted(lost))])

    def completed(self, slots: Int[np.ndarray, " some"]) -> None:
        """Episodes in these slots came to their ends: their workers' deaths so far are forgotten."""
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
        if self._deaths[number] >= DEATHS:
            raise RunError(
                f"{name}: environment worker {number} died {DEATHS} times in a row; the last time it {death}\n"
                "Training stopped; `dop resume` goes on from the newest checkpoint."
            ) from None  # which the message has
        logging.getLogger("dop").warning("%s: environment worker %d is replaced, its episodes are dropped: it %s", name, number, death)
        for asked, lost in zip(self._asked, self._lost, strict=True):
            if number in asked:
                lost.add(number)
        self._workers[number] = self._hire(self._jobs[number], self.buffers)


def _owners(groups: Sequence[Sequence[int]], n_slots: int, count: int) -> Int[np.ndarray, " slot"]:
    """Each slot's worker: dealt like cards, group after group, so that every group and the whole are divided evenly."""
    owner = np.zeros(n_slots, np.int64)
    dealt = [slot for group in groups for slot in group]
    owner[dealt] = np.arange(len(dealt)) % count
    return owner


def _share(job: Job, owner: Int[np.ndarray, " slot"], worker: int) -> Job:
    groups = tuple(tuple(slot for slot in group if owner[slot] == worker) for group in job.groups)
    return Job(make=job.make, spec=job.spec, n_slots=job.n_slots, groups=groups, timeout=job.timeout)


def local(job: Job) -> Workers:
    """One worker, in this process."""
    return Workers(job, SharedBuffers.over(job.spec, job.n_slots, bytearray(SharedBuffers.nbytes(job.spec, job.n_slots))), 1, LocalWorker)
