"""Worker processes on this machine.

The processes are spawned, not forked: JAX has threads. A pipe carries one byte either way, the index of the group; commands and results
are in anonymous shared memory, which cannot be left behind. A worker has its own session: neither Ctrl-C nor a signal to the trainer's
process group reaches it, and it is killed with everything that its environments started. When the trainer has ended, for whatever reason,
the worker closes its environments and ends, too.
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
from dop.rollout.env_runner import EnvRunner, end_reason
from dop.rollout.shared_memory import SharedBuffers
from dop.rollout.workers import Job, WorkerDiedError, Workers

START_TIMEOUT = 120.0
"""Seconds for a new process to start, imports included; more if the job's own time-out is longer."""
GRACE = 3.0
"""Seconds for environments to close."""
_READY, _DONE, _REFUSED, _RAISED = b"+", b".", b"!", b"?"
"""First byte of a worker's messages; a text follows the last two."""
_CLOSE = b""
_SPAWN = multiprocessing.get_context("spawn")


class ProcessWorker:
    """A worker process; see `dop.rollout.workers.Worker`."""

    def __init__(self, job: Job, buffers: SharedBuffers, memory: Any) -> None:
        del buffers
        self._job, self._ready, self._dismissed, self._ended = job, False, False, False
        self._since = time.monotonic()
        """Start of the time-out: the last message, or the first command after it."""
        self._done: set[int] = set()
        """Groups that are done but not yet received."""
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(job, theirs, memory), name=f"environments of {job.spec.name}", daemon=True)
        with _no_interrupts():
            self._process.start()
        assert self._process.pid is not None
        self._pid = self._process.pid
        theirs.close()

    def send(self, group: int) -> None:
        # `receive` reports a dead worker.
        with contextlib.suppress(OSError):
            self._pipe.send_bytes(bytes([group]))
        self._since = time.monotonic()

    def receive(self, group: int) -> None:
        if not self._ready:
            self._next_message(max(START_TIMEOUT, self._job.timeout))
            self._ready = True
        # After a worker's replacement, groups may be received in another order than they were sent.
        while group not in self._done:
            self._done.add(self._next_message(self._job.timeout)[1])
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
        """Kill the process and everything that it started. It is reaped only afterwards, so that its process id cannot be reused before."""
        if not self._ended:
            self._ended = True
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)
            self._process.kill()
            self._process.join()

    def _next_message(self, timeout: float) -> bytes:
        """The next message, unless it reports a failure."""
        left = self._since + timeout - time.monotonic()
        if not self._pipe.poll(max(left, 0)):
            raise WorkerDiedError(f"gave no answer for {timeout:g} seconds (--env-timeout)")
        try:
            message = self._pipe.recv_bytes()
        except (EOFError, OSError):
            raise WorkerDiedError(self._exit_text()) from None
        self._since = time.monotonic()
        if message[:1] == _REFUSED:
            raise ConfigError(message[1:].decode())
        if message[:1] == _RAISED:
            raise WorkerDiedError(f"raised\n\n{message[1:].decode()}")
        return message

    def _exit_text(self) -> str:
        """How a process with a closed pipe ended."""
        wait([self._process.sentinel], GRACE)
        self._end()
        code = self._process.exitcode
        hint = "" if self._ready else ', before it was ready (a script must call dop under `if __name__ == "__main__":`)'
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}{hint}"
        return f"ended with exit code {code}{hint}"


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    """Block Ctrl-C for processes started inside; in this process it is delivered afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(job: Job, pipe: Connection, memory: Any) -> None:
    """Main function of a worker process."""
    os.setsid()
    # An environment that uses JAX must not use the learner's accelerator.
    jax.config.update("jax_platforms", "cpu")
    threading.Thread(target=_follow_parent, daemon=True).start()
    runner = EnvRunner(job.make, job.spec, SharedBuffers.over(job.spec, job.n_slots, memory))
    # The pipe closes when the trainer has ended.
    with contextlib.suppress(EOFError, OSError):
        pipe.send_bytes(_READY)
        try:
            while (message := pipe.recv_bytes()) != _CLOSE:
                runner.run(job.groups[message[0]])
                pipe.send_bytes(_DONE + message)
        except DopError as error:
            pipe.send_bytes(_REFUSED + str(error).encode())
        except Exception as error:
            pipe.send_bytes(_RAISED + end_reason(error).encode())
    runner.close()


def _follow_parent() -> None:
    """End this process and everything that it started soon after the trainer's end, even if environments hang."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)


def processes(job: Job, count: int) -> Workers:
    """`count` worker processes.

    Raises:
        ConfigError: the maker of the environments cannot be pickled.
    """
    try:
        pickle.dumps(job.make)
    except Exception as error:  # pickle raises many kinds
        raise ConfigError(
            f"The maker of {job.spec.name} cannot be sent to worker processes: {error}. "
            "Give the name of the environment, or a function defined at the top of a module; or use env_workers=0."
        ) from error
    memory = _SPAWN.RawArray("b", SharedBuffers.nbytes(job.spec, job.n_slots))
    buffers = SharedBuffers.over(job.spec, job.n_slots, memory)
    return Workers(job, buffers, count, lambda own, buffers: ProcessWorker(own, buffers, memory))
