"""Workers that are Ray actors, in the cluster of RAY_ADDRESS, or in a new one on this machine.

Commands and results are sent as arrays, since there is no shared memory. The other machines need the same Python packages, and the
environment. Ray spreads the actors over them. Needs `pip install 'dop-marl[ray]'`.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from dop.errors import ConfigError, DopError, MissingExtraError
from dop.rollout.env_runner import EnvRunner, end_reason
from dop.rollout.shared_memory import SharedBuffers
from dop.rollout.worker_process import GRACE, START_TIMEOUT
from dop.rollout.workers import Job, WorkerDiedError, Workers

Rows: TypeAlias = dict[str, np.ndarray]


class Failure(NamedTuple):
    """The failure of an environment: it violated its spec (`refused`), or raised."""

    refused: bool
    text: str


class Actor:
    """The remote part of a worker: an environment runner with its own buffers.

    Args:
        path: the trainer's module search path; entries that do not exist on this machine are harmless.
        job: pickled, so that it is loaded after `path` is set.
    """

    def __init__(self, path: list[str], job: bytes) -> None:
        sys.path.extend(place for place in path if place not in sys.path)
        loaded: Job = pickle.loads(job)  # noqa: S301  # from the trainer, as this class is
        self._buffers = SharedBuffers.over(loaded.spec, loaded.n_slots, bytearray(SharedBuffers.nbytes(loaded.spec, loaded.n_slots)))
        self._runner = EnvRunner(loaded.make, loaded.spec, self._buffers)

    def run(self, slots: np.ndarray, commands: Rows) -> Rows | Failure:
        """As `EnvRunner.run`; returns the results of these slots. Exceptions return as text, since not all can be pickled."""
        self._buffers.write(slots, commands)
        try:
            self._runner.run(slots.tolist())
        except DopError as error:
            return Failure(refused=True, text=str(error))
        except Exception as error:
            return Failure(refused=False, text=end_reason(error))
        return self._buffers.results(slots)

    def close(self) -> None:
        self._runner.close()


class RayWorker:
    """A worker that is a Ray actor; see `dop.rollout.workers.Worker`."""

    def __init__(self, ray: Any, job: Job, buffers: SharedBuffers) -> None:
        self._ray, self._buffers, self._timeout = ray, buffers, job.timeout
        self._slots = [np.array(group, np.int64) for group in job.groups]
        remote = ray.remote(Actor).options(num_cpus=0, scheduling_strategy="SPREAD", max_restarts=0)
        self._actor = remote.remote([place or str(Path.cwd()) for place in sys.path], ray.cloudpickle.dumps(job))
        self._since = time.monotonic() + max(START_TIMEOUT - job.timeout, 0)
        """Start of the time-out: the last result, or the first command after it; at first delayed by the time to start."""
        self._pending: dict[int, Any] = {}
        self._closing: Any = None

    def send(self, group: int) -> None:
        slots = self._slots[group]
        self._pending[group] = self._actor.run.remote(slots, self._buffers.commands(slots))
        self._since = max(self._since, time.monotonic())

    def receive(self, group: int) -> None:
        errors = self._ray.exceptions
        try:
            answer = self._ray.get(self._pending.pop(group), timeout=max(self._since + self._timeout - time.monotonic(), 0))
        except errors.GetTimeoutError:
            raise WorkerDiedError(f"gave no answer for {self._timeout:g} seconds (--env-timeout)") from None
        except errors.RayError as error:
            raise WorkerDiedError(f"was lost by Ray: {error}") from None
        self._since = time.monotonic()
        if isinstance(answer, Failure):
            raise ConfigError(answer.text) if answer.refused else WorkerDiedError(f"raised\n\n{answer.text}")
        self._buffers.write(self._slots[group], answer)

    def dismiss(self) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._closing = self._actor.close.remote()

    def stop(self) -> None:
        if self._closing is not None:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.get(self._closing, timeout=GRACE)
            self._closing = None
        self._ray.kill(self._actor)


class RayWorkers(Workers):
    """Workers that are Ray actors, and their cluster if it was started for them."""

    def __init__(self, job: Job, count: int) -> None:
        ray = _ray()
        self._ray, self._owns_cluster = ray, not ray.is_initialized()
        if self._owns_cluster:
            _connect(ray)
        buffers = SharedBuffers.over(job.spec, job.n_slots, bytearray(SharedBuffers.nbytes(job.spec, job.n_slots)))
        super().__init__(job, buffers, count, lambda own, buffers: RayWorker(ray, own, buffers))

    def close(self) -> None:
        try:
            super().close()
        finally:
            if self._owns_cluster:
                self._owns_cluster = False
                self._ray.shutdown()


def _ray() -> Any:
    try:
        import ray  # noqa: PLC0415  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError as error:
        raise MissingExtraError("ray", "ray", "--env-workers ray:N") from error
    return ray


def _connect(ray: Any) -> None:
    """Connect to the cluster of RAY_ADDRESS, which Ray reads by itself, or to a new one on this machine, which ends with the run."""
    own: dict[str, Any] = {}
    if "RAY_ADDRESS" not in os.environ:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        own = {"address": "local", "include_dashboard": False}
    on_sigterm = signal.getsignal(signal.SIGTERM)
    with warnings.catch_warnings():
        # Ray forks only to start a program, which is safe with JAX's threads.
        warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called", category=RuntimeWarning)
        ray.init(log_to_driver=False, logging_level="error", **own)
    # Ray installs its own handler, which would end the trainer before it has saved.
    if callable(on_sigterm) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)
