"""Fault injection into real trainings: the process's reaction, and whether the run ends bit for bit like one without faults.

python bench/faults.py                              # all faults, 50 kills; half an hour on an idle machine
python bench/faults.py --only kill terminate --kills 10
python bench/faults.py --out docs/results/reliability

A full disk and a read-only directory are mounted (tmpfs), which needs root; without root these two are skipped, as the table says.
The task is tiny, with two seeds and a checkpoint after every chunk, so that most of the time is spent saving.
`tests/storage/test_faults.py` runs each fault once or twice.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp

import dop
from dop.storage.checkpoints import Checkpoints
from dop.storage.surroundings import surroundings

SIZES = {"actor.hidden-size": 4, "replay-capacity": 64, "replay-batch": 4, "episodes-per-iteration": 8, "chunk-iterations": 5}
PROTOCOL = {"eval-interval": 400, "eval-episodes": 4, "checkpoint-interval": 40}
OPTIONS = [f"--{name}={value}" for name, value in (SIZES | PROTOCOL).items()]
TASK = ["vdn", "--env", "matrix-game", "--env-args", "n_agents=2", "n_actions=2", "--seeds=2", "--quiet", *OPTIONS]
GOAL = 1200
"""Environment steps of a run with one fault: 30 chunks with a checkpoint each."""
PATIENCE = 300.0
"""Seconds after which a process counts as hanging."""
MAIN = "from dop.cli import main; main()"
JUMPING_CLOCK = """
import random, time
real, draw = time.time, random.Random(0)
time.time = lambda: real() + draw.choice([-1, 1]) * draw.uniform(0, 1e6)
"""
"""A wall clock that jumps by up to twelve days, forwards or backwards, at every reading."""


@dataclass(kw_only=True)
class Result:
    """Results for one kind of fault."""

    fault: str
    injected: int = 0
    survived: int = 0
    """The process ended as documented, and the run then ended as without the fault."""
    records_lost: int = 0
    """Lost records up to the last checkpoint, over all injections."""
    notes: list[str] = field(default_factory=list)

    def count(self, ok: bool, note: str = "") -> None:
        """Add one injection."""
        self.injected += 1
        self.survived += ok
        if note and (not ok or note not in self.notes):
            self.notes.append(note)


class Bench:
    """A folder for runs, a compilation cache for fast restarts, and reference runs without faults."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self._references: dict[int, Path] = {}

    def start(self, *arguments: object, main: str = MAIN) -> subprocess.Popen[str]:
        """Start `dop ...` in its own process."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path(dop.__file__).parent.parent),
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(self.folder / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        command = [sys.executable, "-c", main, *map(str, arguments)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments: object, main: str = MAIN) -> tuple[int, str]:
        """Run `dop ...`; its exit code and standard error."""
        return wait(self.start(*arguments, main=main))

    def train(self, run: Path, goal: int = GOAL, **start: Any) -> subprocess.Popen[str]:
        """Start or resume a run."""
        if (run / "config.json").exists():
            return self.start("resume", run, "--env-steps", goal, "--quiet", **start)
        return self.start("train", *TASK, "--env-steps", goal, "--run-dir", run, **start)

    def finish(self, run: Path, goal: int = GOAL) -> str:
        """Finish a run. Returns a description of any error, or ''."""
        code, stderr = wait(self.train(run, goal))
        return f"exit {code}: {stderr[-300:]}" if code else self.differs(run, goal)

    def reference(self, goal: int) -> Path:
        """A run to `goal` without faults."""
        if goal not in self._references:
            run = self.folder / f"reference-{goal}"
            code, stderr = wait(self.train(run, goal))
            if code:
                raise RuntimeError(f"The run without faults failed: {stderr}")
            self._references[goal] = run
        return self._references[goal]

    def differs(self, run: Path, goal: int = GOAL) -> str:
        """How a finished run differs from the reference in its arrays or records (except times), or ''."""
        expected = self.reference(goal)
        if records(run) != records(expected):
            return f"{len(records(expected))} records were expected, {len(records(run))} found, or they differ"
        ours, theirs = arrays(run), arrays(expected)
        if ours.keys() != theirs.keys():
            return "other arrays"
        return next((f"{name} differs" for name, array in theirs.items() if not np.array_equal(array, ours[name])), "")


def wait(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and standard error of a process; a hanging one is killed and has code -1000."""
    try:
        _, stderr = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        return -1000, f"hung for {PATIENCE:.0f} s: {process.communicate()[1]}"
    return process.returncode, stderr


def lines(run: Path) -> int:
    """The number of complete records."""
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def records(run: Path, until: float = float("inf")) -> list[dict[str, Any]]:
    """The records of iterations up to `until`, without times."""
    path = run / "metrics.jsonl"
    complete = path.read_bytes().rpartition(b"\n")[0].splitlines() if path.exists() else []
    found = [json.loads(line) for line in complete]
    return [
        {name: value for name, value in record.items() if not name.endswith("_seconds")} for record in found if record["iteration"] <= until
    ]


def newest(run: Path) -> int:
    """Iteration of the newest checkpoint, or -1."""
    return max(Checkpoints(run / "checkpoints").iterations(), default=-1)


def arrays(run: Path) -> dict[str, np.ndarray]:
    """All arrays of the newest checkpoint."""
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as orbax:
        return orbax.restore((run / "checkpoints" / str(newest(run)) / "state").absolute())


def wait_for_records(process: subprocess.Popen[str], run: Path, more: int = 2) -> bool:
    """Wait until the process has written `more` records. Returns False if it ended before."""
    before, until = lines(run), time.monotonic() + PATIENCE
    while lines(run) < before + more and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    return process.poll() is None


# ------------------------------------------------------------------------------------------------------------------- faults


def kill(bench: Bench, times: int) -> Result:
    """`kill -9` at random times: every fifth at any time after the process start, the others during training and saving."""
    result, run, long_goal = Result(fault="kill -9 at a random time"), bench.folder / "killed", 10_000_000
    saving, start_seconds, saved = 0, 5.0, -1
    for attempt in range(times):
        before = time.monotonic()
        process = bench.train(run, long_goal)
        if attempt % 5 == 4:
            time.sleep(bench.random.uniform(0, start_seconds))
        elif wait_for_records(process, run):
            start_seconds = time.monotonic() - before
            time.sleep(bench.random.uniform(0, 1.5))
        process.send_signal(signal.SIGKILL)
        code, stderr = wait(process)
        half_saved = list((run / "checkpoints").glob("*.tmp"))
        saving += bool(half_saved)
        ok = code == -signal.SIGKILL and newest(run) >= saved
        saved = newest(run)
        result.count(ok, "" if ok else f"exit {code}, newest checkpoint {newest(run)} after {saved}: {stderr[-300:]}")
    goal = 40 * (saved // 5 + 2)
    wrong = bench.finish(run, goal)
    kept, expected = records(run, saved), records(bench.reference(goal), saved)
    result.records_lost = len(expected) - len(kept)
    if wrong:
        result.survived = 0
    result.notes += [f"{saving} of them during a save; the run then finished at {goal} steps {wrong or 'with equal arrays and records'}"]
    return result


def terminate(bench: Bench, times: int) -> Result:
    """SIGTERM, as sent by preemption: the process saves and exits 0."""
    result, seconds = Result(fault="SIGTERM during training"), []
    run = bench.folder / "terminated"
    for _ in range(times):
        process = bench.train(run, 10_000_000)
        if wait_for_records(process, run):
            time.sleep(bench.random.uniform(0, 0.5))
        before = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code, stderr = wait(process)
        seconds.append(time.monotonic() - before)
        last = max(record["iteration"] for record in records(run))
        result.count(
            code == 0 and newest(run) == last, f"exit {code}, saved {newest(run)}, last record {last}: {stderr[-300:]}" if code else ""
        )
        result.records_lost += last > newest(run)
    goal = 8 * newest(run) + 40
    wrong = bench.finish(run, goal)
    if wrong:
        result.survived = 0
    result.notes += [f"saved and exited within {max(seconds):.1f} s; then {wrong or 'equal arrays and records'}"]
    return result


def full_disk(bench: Bench, times: int) -> Result:
    """The run's disk is filled during training, and cleared after the process has ended."""
    result = Result(fault="full disk (tmpfs)")
    for attempt in range(times):
        with mounted(bench.folder / f"small-{attempt}", "size=16m") as disk:
            run, filler = disk / "run", disk / "filler"
            process = bench.train(run)
            started = wait_for_records(process, run)
            time.sleep(bench.random.uniform(0, 0.5))
            while process.poll() is None:  # repeatedly, since deleting an old checkpoint makes room for a new one
                fill(filler)
                time.sleep(0.01)
            code, stderr = wait(process)
            reported = code == 2 and stderr.count("dop train: ") == 1 and "Traceback" not in stderr
            filler.unlink()
            wrong = bench.finish(run)
            result.count(started and reported and not wrong, f"exit {code}, {stderr[-500:]} then {wrong}" if not reported or wrong else "")
    result.notes += ["exit 2 and a one-line error; after freeing space it resumes to equal arrays and records"]
    return result


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def damage(bench: Bench, times: int) -> Result:
    """Damage to files of the newest checkpoint: the run resumes from the older one and names the damaged one."""
    result, reference = Result(fault="checkpoint file truncated, bit-flipped, missing, extra"), bench.reference(GOAL)
    inflict: dict[str, Callable[[Path], object]] = {
        "truncated": lambda path: os.truncate(path, bench.random.randrange(path.stat().st_size)),
        "flipped": lambda path: flip(path, bench.random),
        "missing": lambda path: path.unlink(),
        "extra": lambda path: path.with_name("extra").write_bytes(b"x"),
    }
    for attempt in range(times):
        kind = list(inflict)[attempt % len(inflict)]
        run = bench.folder / f"damaged-{attempt}"
        shutil.copytree(reference, run)
        damaged = newest(run)
        path = bench.random.choice(sorted(path for path in (run / "checkpoints" / str(damaged)).rglob("*") if path.is_file()))
        inflict[kind](path)
        code, stderr = bench.run("resume", run, "--quiet")
        named = f"Checkpoint {damaged} of" in stderr and code == 0
        wrong = bench.differs(run)
        result.count(named and not wrong, "" if named and not wrong else f"{kind} {path.name}: exit {code}, {stderr[-300:]} {wrong}")
        shutil.rmtree(run)
    result.notes += ["the damaged checkpoint is named, the older one used, and the run ends with equal arrays and records"]
    return result


def flip(path: Path, draw: random.Random) -> None:
    """Change one bit."""
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def two_processes(bench: Bench, times: int) -> Result:
    """A second process on a run in training."""
    result = Result(fault="second process on a run directory")
    for attempt in range(times):
        run = bench.folder / f"shared-{attempt}"
        first = bench.train(run, 10_000_000)
        started = wait_for_records(first, run)
        code, stderr = bench.run("resume", run, "--quiet")
        refused = code == 2 and "is being trained by another process" in stderr and "Traceback" not in stderr
        first.send_signal(signal.SIGTERM)
        first_code, first_stderr = wait(first)
        wrong = bench.finish(run, 8 * newest(run) + 40) if first_code == 0 else first_stderr[-300:]
        result.count(started and refused and not wrong, "" if refused and not wrong else f"exit {code}, {stderr[-300:]} {wrong}")
    result.notes += ["the second is refused with exit 2; the first continues and ends with equal arrays and records"]
    return result


def clock(bench: Bench, times: int) -> Result:
    """The wall clock jumps by days at every reading."""
    result = Result(fault="clock that jumps")
    for attempt in range(times):
        run = bench.folder / f"jumpy-{attempt}"
        code, stderr = wait(bench.train(run, GOAL // 2, main=JUMPING_CLOCK + MAIN))
        resumed, more = wait(bench.train(run, GOAL, main=JUMPING_CLOCK + MAIN))
        seconds = [json.loads(line)["wall_seconds"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        wrong = bench.differs(run) if code == resumed == 0 else (stderr + more)[-300:]
        ok = not wrong and seconds == sorted(seconds) and seconds[-1] < PATIENCE
        result.count(ok, wrong)
    result.notes += ["equal arrays and records; times in the records are monotonic"]
    return result


def read_only(bench: Bench, times: int) -> Result:
    """The run directory is read-only: evaluation works, training is refused, nothing changes."""
    result = Result(fault="read-only run directory")
    for attempt in range(times):
        with mounted(bench.folder / f"read-only-{attempt}", "size=64m") as disk:
            run = disk / "run"
            shutil.copytree(bench.reference(GOAL), run)
            before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            evaluated, evaluation_stderr = bench.run("evaluate", run, "--episodes", 4)
            code, stderr = bench.run("resume", run, "--env-steps", 2 * GOAL, "--quiet")
            new_code, new_stderr = bench.run("train", *TASK, "--run-dir", disk / "new", "--env-steps", GOAL)
            refused = code == new_code == 2 and "Read-only file system" in stderr and "Read-only file system" in new_stderr
            same = before == {path: path.stat().st_mtime_ns for path in run.rglob("*")}
            ok = evaluated == 0 and refused and same and "Traceback" not in stderr + new_stderr
            result.count(
                ok,
                ""
                if ok
                else f"evaluate {evaluated} {evaluation_stderr[-300:]} resume {code} {stderr[-300:]} train {new_code} {new_stderr[-300:]}",
            )
    result.notes += ["evaluation works; resuming or starting a run is refused with exit 2 and changes nothing"]
    return result


def mounts_work() -> bool:
    """Whether this process may mount file systems."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False).returncode == 0
        if done:
            subprocess.run(["umount", folder], check=True)
    return done


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """Mount a file system in memory."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


FAULTS: dict[str, tuple[Callable[[Bench, int], Result], int]] = {
    "kill": (kill, 50),
    "terminate": (terminate, 5),
    "full-disk": (full_disk, 5),
    "damage": (damage, 12),
    "two-processes": (two_processes, 2),
    "clock": (clock, 2),
    "read-only": (read_only, 1),
}
MOUNTED = ("full-disk", "read-only")


def table(results: list[Result]) -> str:
    """The results as a Markdown table."""
    rows = ["| fault | injected | survived | records lost | |", "|---|---|---|---|---|"]
    return "\n".join(rows + [f"| {r.fault} | {r.injected} | {r.survived} | {r.records_lost} | {'; '.join(r.notes)} |" for r in results])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--times", type=int, help="injections of every fault except kills; default: depends on the fault")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for faults.md and faults.json")
    options = parser.parse_args()
    results, can_mount = [], mounts_work()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options.seed)
        for name in options.only:
            inject, times = FAULTS[name]
            if name in MOUNTED and not can_mount:
                results.append(Result(fault=name, notes=["skipped: this process may not mount a file system"]))
                continue
            start = time.monotonic()
            results.append(inject(bench, options.kills if name == "kill" else options.times or times))
            print(f"{name}: {time.monotonic() - start:.0f} s, {asdict(results[-1])}", flush=True)
    print(table(results))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        about = {"date": datetime.date.today().isoformat(), "seed": options.seed, **surroundings()}
        (options.out / "faults.json").write_text(json.dumps({"about": about, "results": [asdict(r) for r in results]}, indent=1) + "\n")
        (options.out / "faults.md").write_text(table(results) + "\n")
    if any(r.survived < r.injected or r.records_lost for r in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
