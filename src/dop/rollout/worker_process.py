"""Environments in processes of their own on this machine.

The processes are spawned, not forked: JAX has threads. A pipe carries one byte either way, the number of the group; what is asked and
answered lies in memory that all share, which has no name and so cannot be left behind. A worker has a session of its own: neither Ctrl-C
nor a signal to the trainer's process group reaches it, and it is ended with everything that its environments started. When the trainer is
gone, however it went, the worker closes its environments and goes too.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

import jax

from dop.errors import ConfigError, DopError
from dop.rollout.shared_memory import EnvRunner, SharedBuffers, ending
from dop.rollout.workers import Job, WorkerDiedError, Workers

START_TIMEOUT = 120.0
"""Seconds that a new process may take until it is ready, imports included; more if the job's own time-out is longer."""
GRACE = 3.0
"""Seconds that environments have to close themselves."""
_READY, _DONE, _REFUSED, _RAISED = b"+", b".", b"!", b"?"
"""First byte of what a worker says; after the latter two comes a text."""
_CLOSE = b""
_SPAWN = multiprocessing.get_context("spawn")


class ProcessWorker:
    """A worker in a process of its own; see `dop.rollout.workers.Worker`."""

    def __init__(self, job: Job, buffers: SharedBuffers, memory: Any) -> None:
        del buffers
        self._job, self._ready, self._dismissed, self._ended = job, False, False, False
        self._since = time.monotonic()
        """When it last showed that it is alive, or was first asked for something since."""
        self._done: set[int] = set()
        """Groups that are done and that nobody has waited for yet."""
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(job, theirs, memory), name=f"environments of {job.spec.name}", daemon=True)
        with _no_interrupts():
            self._process.start()
        assert self._process.pid is not None
        self._pid = self._process.pid
        theirs.close()

    def send(self, group: int) -> None:
        # That a dead worker does not take it is found by `receive`.
        with contextlib.suppress(OSError):
            self._pipe.send_bytes(bytes([group]))
        self._since = time.monotonic()

    def receive(self, group: int) -> None:
        if not self._ready:
            self._next(max(START_TIMEOUT, self._job.timeout))
            self._ready = True
        # Once a worker has been replaced, its groups need not be waited for in the order in which they were asked.
        while group not in self._done:
            self._done.add(self._next(self._job.timeout)[1])
        self._done.remove(group)

    def dismiss(self) -> None:
        self._dismissed = True
        with contextlib.suppress(OSError):
            self._pipe.send_bytes(_CLOSE)

    def stop(self) -> None:
        if self._dismissed and not self._ended:
            wait([self._process.sentinel], GRACE)
        self._end()
        self._pipe.close()

    def _end(self) -> None:
        """Kill the process and what it started. It is reaped only after that, so that its number cannot be another's by now."""
        if not self._ended:
            self._ended = True
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)
            self._process.kill()
            self._process.join()

    def _next(self, timeout: float) -> bytes:
        """What it says next, which is good."""
        left = self._since + timeout - time.monotonic()
        if not self._pipe.poll(max(left, 0)):
            raise WorkerDiedError(f"gave no answer for {timeout:g} seconds (--env-timeout)")
        try:
            said = self._pipe.recv_bytes()
        except (EOFError, OSError):
            raise WorkerDiedError(self._ending()) from None
        self._since = time.monotonic()
        if said[:1] == _REFUSED:
            raise ConfigError(said[1:].decode())
        if said[:1] == _RAISED:
            raise WorkerDiedError(f"raised\n\n{said[1:].decode()}")
        return said

    def _ending(self) -> str:
        """What became of a process whose pipe is closed, in words."""
        wait([self._process.sentinel], GRACE)
        self._end()
        code = self._process.exitcode
        hint = "" if self._ready else ', before it was ready (a script must call dop under `if __name__ == "__main__":`)'
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}{hint}"
        return f"ended with exit code {code}{hint}"


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    """What is started inside of this never sees Ctrl-C; for this process it only waits."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(job: Job, pipe: Connection, memory: Any) -> None:
    """The life of a worker's process."""
    os.setsid()
    # Should an environment use JAX, then not the accelerator that the learner is on.
    jax.config.update("jax_platforms", "cpu")
    threading.Thread(target=_follow_parent, daemon=True).start()
    runner = EnvRunner(job.make, job.spec, SharedBuffers.over(job.spec, job.n_slots, memory))
    # The pipe closes where the trainer has gone.
    with contextlib.suppress(EOFError, OSError):
        pipe.send_bytes(_READY)
        try:
            while (message := pipe.recv_bytes()) != _CLOSE:
                runner.run(job.groups[message[0]])
                pipe.send_bytes(_DONE + message)
        except DopError as error:
            pipe.send_bytes(_REFUSED + str(error).encode())
        except Exception as error:
            pipe.send_bytes(_RAISED + ending(error).encode())
    runner.close()


def _follow_parent() -> None:
    """End this process and all that it started soon after the trainer's, whatever the environments are doing."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)


def processes(job: Job, count: int) -> Workers:
    """`count` workers in processes of their own.

    Raises:
        ConfigError: what makes the environments cannot be sent there.
    """
    try:
        pickle.dumps(job.make)
    except Exception as error:  # pickle raises many kinds
        raise ConfigError(
            f"What makes {job.spec.name} cannot be sent to worker processes: {error}. "
            "Give the name of the environment, or a function defined at the top of a module; or use env_workers=0."
        ) from error
    memory = _SPAWN.RawArray("b", SharedBuffers.nbytes(job.spec, job.n_slots))
    buffers = SharedBuffers.over(job.spec, job.n_slots, memory)
    return Workers(job, buffers, count, lambda own, buffers: ProcessWorker(own, buffers, memory))
