"""Worker processes: the same results for all kinds of workers; dead and hanging workers are replaced; no process is left behind."""

from __future__ import annotations

import functools
import importlib.util
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import dop
import python_environments
from dop.rollout.shared_memory import RESET, STEP, SharedBuffers
from dop.rollout.worker_process import processes
from dop.rollout.worker_ray import RayWorkers
from dop.rollout.workers import Job, Workers, local

SLOTS = 3
GROUPS = ((0, 1), (2,))
TESTS = Path(__file__).parent.parent


def job(timeout: float = 60.0, **options: Any) -> Job:
    make = functools.partial(dop.make, "python_environments:make", **options)
    made: Any = make()
    return Job(make=make, spec=made.spec, n_slots=SLOTS, groups=GROUPS, timeout=timeout)  # pyright: ignore[reportArgumentType]


def execute(workers: Workers, command: int, value: int) -> list[int]:
    """Execute a command in all slots, both groups at once; returns the lost slots."""
    workers.buffers.command[:] = command
    workers.buffers.seed[:] = value + np.arange(SLOTS)
    workers.buffers.action[:] = value
    for group in range(len(GROUPS)):
        workers.send(group)
    return sorted(slot for group in range(len(GROUPS)) for slot in workers.receive(group).tolist())


def episode(workers: Workers, steps: int = 3) -> list[dict[str, np.ndarray]]:
    """All results of a reset and some steps."""
    seen = []
    for t in range(steps + 1):
        assert execute(workers, STEP if t else RESET, t) == []
        seen.append({name: array.copy() for name, array in workers.buffers.time_steps().items()})
    return seen


needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="an extra that is not installed")


@pytest.fixture
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    kind, count, options = request.param
    made = processes(job(**options), count) if kind == "processes" else RayWorkers(job(**options), count)
    yield made
    made.close()
    made.close()
    assert not [child for child in psutil.Process().children(recursive=True) if "resource_tracker" not in " ".join(child.cmdline())]


def assert_same_as_local(workers: Workers) -> None:
    local_workers = local(job())
    for one, other in zip(episode(workers), episode(local_workers), strict=True):
        for name, array in one.items():
            np.testing.assert_array_equal(array, other[name], err_msg=name)
    local_workers.close()


@pytest.mark.parametrize("workers", [("processes", 2, {})], indirect=True)
def test_processes_give_the_same_results_as_a_local_worker(workers: Workers):
    assert_same_as_local(workers)
    children = psutil.Process().children()
    assert sum("spawn_main" in " ".join(child.cmdline()) for child in children) == 2
    assert {os.getsid(child.pid) for child in children if "spawn_main" in " ".join(child.cmdline())}.isdisjoint({os.getsid(0)})


def assert_replaced(workers: Workers, flag: Path, log: pytest.LogCaptureFixture, troubles: dict[str, str]) -> None:
    """One worker has all slots: a failure in one environment loses all of them, including those of the other group."""
    try:
        for trouble, words in troubles.items():
            assert execute(workers, RESET, 0) == []
            assert execute(workers, STEP, 1) == []
            flag.write_text(trouble)
            assert execute(workers, STEP, 1) == [0, 1, 2]
            assert words in log.text
            workers.completed(np.arange(SLOTS))
        assert not flag.exists()
        episode(workers)
    finally:
        workers.close()


def test_dead_and_hanging_workers_are_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    workers = processes(job(timeout=10.0, flag=str(tmp_path / "flag"), time_limit=9), 1)
    hangs = "gave no answer for 10 seconds (--env-timeout)"
    quits = "python_environments:Walk: step raised: SystemExit at"
    troubles = {"exit": "ended with exit code 7", "hang": hangs, "raise": "the walk fell over", "quit": quits}
    assert_replaced(workers, tmp_path / "flag", caplog, troubles)


def test_groups_continue_after_a_death(tmp_path: Path):
    """As in collection: the group that noticed the death starts new episodes before the other group is received."""
    flag = tmp_path / "flag"
    workers = processes(job(flag=str(flag), time_limit=9), 1)
    try:
        for noticed, other in ((0, 1), (1, 0)):
            assert execute(workers, RESET, 0) == []
            assert execute(workers, STEP, 1) == []
            flag.write_text("exit")
            workers.send(noticed)
            workers.send(other)
            assert workers.receive(noticed).tolist() == list(GROUPS[noticed])
            workers.buffers.command[:] = RESET
            workers.send(noticed)
            assert workers.receive(noticed).tolist() == []
            workers.buffers.command[list(GROUPS[noticed])] = STEP
            workers.send(noticed)
            assert workers.receive(other).tolist() == list(GROUPS[other])
            workers.send(other)
            assert workers.receive(other).tolist() == []
            assert workers.receive(noticed).tolist() == []
    finally:
        workers.close()


def test_violations_of_the_spec_end_the_run_immediately():
    workers = processes(job(wrong=True), 1)
    try:
        with pytest.raises(dop.ConfigError, match=r"reset of the episode with seed \d gave obs\[0, 0\] = nan"):
            execute(workers, RESET, 0)
    finally:
        workers.close()


def test_makers_that_cannot_be_pickled():
    walk = python_environments.Walk()
    with pytest.raises(dop.ConfigError, match=r"cannot be sent to worker processes: .*lambda.*function defined at the top of a module"):
        processes(Job(make=lambda: walk, spec=walk.spec, n_slots=1, groups=((0,),), timeout=1.0), 1)


def test_slots_are_divided_evenly():
    class Idle:
        def __init__(self, own: Job, buffers: SharedBuffers) -> None:
            slot_counts.append([len(group) for group in own.groups])

        def dismiss(self) -> None: ...

        def stop(self) -> None: ...

    slot_counts: list[list[int]] = []
    groups = ((0, 1, 2), (3, 4, 5), (6, 7, 8, 9))
    spec = python_environments.Walk().spec
    buffers = SharedBuffers.over(spec, 10, bytearray(SharedBuffers.nbytes(spec, 10)))
    make_worker: Any = Idle
    Workers(Job(make=python_environments.Walk, spec=spec, n_slots=10, groups=groups, timeout=1.0), buffers, 2, make_worker).close()
    assert sorted(slot_counts) == [[1, 2, 2], [2, 1, 2]]


PARENT = """
    import functools, sys, time
    import dop, psutil
    from dop.rollout.worker_process import processes
    from test_workers import RESET, STEP, execute, job

    if __name__ == "__main__":
        workers = processes(job(sleep=float(sys.argv[1])), 1)
        try:
            execute(workers, RESET, 0)
            print(*(child.pid for child in psutil.Process().children()), flush=True)
            while True:
                execute(workers, STEP, 0)
        finally:
            workers.close()
"""


def test_no_process_is_left_behind_when_the_trainer_is_stopped(tmp_path: Path):
    """By Ctrl-C, which reaches it as an exception, by SIGTERM, and by SIGKILL, while its environments hang."""
    script = tmp_path / "parent.py"
    script.write_text(textwrap.dedent(PARENT))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS / "rollout"), os.environ.get("PYTHONPATH", "")])}
    ends = ((signal.SIGINT, "0.01"), (signal.SIGTERM, "0.01"), (signal.SIGKILL, "1000"))
    parents = [
        subprocess.Popen([sys.executable, script, sleep], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _, sleep in ends
    ]
    for parent, (number, _) in zip(parents, ends, strict=True):
        assert parent.stdout is not None
        children = [int(word) for word in parent.stdout.readline().split()]
        assert children
        parent.send_signal(number)
        parent.wait(timeout=60)
        parent.stdout.close()
        eventually(lambda children=children: not [pid for pid in children if psutil.pid_exists(pid)])


def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
@needs_ray
@pytest.mark.parametrize("workers", [("ray", 2, {})], indirect=True)
def test_ray_gives_the_same_results_as_a_local_worker(workers: Workers):
    assert_same_as_local(workers)


@pytest.mark.slow
@needs_ray
def test_ray_replaces_dead_workers(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    workers = RayWorkers(job(timeout=5.0, flag=str(tmp_path / "flag"), time_limit=9), 1)
    troubles = {
        "kill": "was lost by Ray",
        "hang": "gave no answer for 5 seconds",
        "raise": "ValueError: the walk fell over",
        "quit": "step raised: SystemExit at",
    }
    assert_replaced(workers, tmp_path / "flag", caplog, troubles)


@pytest.mark.slow
@needs_ray
def test_ray_leaves_sigterm_to_the_trainer():
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        workers = RayWorkers(job(), 1)
        os.kill(os.getpid(), signal.SIGTERM)
        workers.close()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]


def test_a_missing_ray_is_an_error_with_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(dop.MissingExtraError, match=r"--env-workers ray:N needs ray.*pip install 'dop-marl\[ray\]'"):
        RayWorkers(job(), 1)
