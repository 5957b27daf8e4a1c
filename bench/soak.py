"""A long training: memory, open files and threads, minute by minute, and whether they stay flat.

python bench/soak.py                    # two hours of SMAX 3m with evaluations and checkpoints
python bench/soak.py --minutes 5 --settle 2
python bench/soak.py --out docs/results/reliability

Flat means: after the minutes in which everything is compiled and the replay fills, resident memory stays within 2% of what it then is, and
no open file and no thread is added. The training is a process of its own, watched from outside, every five seconds. A checkpoint on its way
holds copies, files and threads for a moment, so that the least of a minute's looks counts; what leaks raises it. The most is told as well.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

import dop
from dop.storage.run_directory import surroundings

MAIN = "from dop.cli import main; main()"
TASK = ["train", "stochastic-dop", "--env", "smax:3m", "--env-steps", "2000000000", "--quiet"]
PROTOCOL = ["--eval-interval", "10000", "--checkpoint-interval", "20000"]
BAND = 0.02
LOOK = 5.0
"""Seconds between looks."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One look at the process, or the least of several."""

    minute: float
    resident: int
    """Bytes."""
    files: int
    threads: int


def look(process: psutil.Process, start: float) -> Sample:
    """Now."""
    with process.oneshot():
        return Sample(
            minute=round((time.monotonic() - start) / 60, 2),
            resident=process.memory_info().rss,
            files=process.num_fds(),
            threads=process.num_threads(),
        )


def least(looks: list[Sample]) -> Sample:
    """Of everything, and when the last look was."""
    return Sample(
        minute=looks[-1].minute,
        resident=min(look.resident for look in looks),
        files=min(look.files for look in looks),
        threads=min(look.threads for look in looks),
    )


def verdict(samples: list[Sample], settle: float) -> tuple[bool, str]:
    """Whether all is flat from `settle` minutes on, and in words."""
    first, *later = [sample for sample in samples if sample.minute >= settle]
    grown = max((abs(sample.resident / first.resident - 1) for sample in later), default=0.0)
    files = max(sample.files for sample in (first, *later)) - first.files
    threads = max(sample.threads for sample in (first, *later)) - first.threads
    flat = grown <= BAND and files <= 0 and threads <= 0
    return flat, (
        f"from minute {first.minute:.0f} to {samples[-1].minute:.0f}: resident memory {first.resident / 1e9:.3f} GB, "
        f"then within {grown:.2%} of it ({BAND:.0%} allowed); open files {first.files} {files:+d}, threads {first.threads} {threads:+d}: "
        f"{'flat' if flat else 'NOT FLAT'}"
    )


class Watched(NamedTuple):
    """A training that was watched until it was told to stop."""

    samples: list[Sample]
    """The least of every minute."""
    peak: int
    """The most resident memory of all looks after `settle` minutes, in bytes."""
    exit_code: int
    seconds_to_exit: float
    """After SIGTERM."""


def watch(run: Path, minutes: float, settle: float) -> Watched:
    """Train for so long, looking all the time."""
    environment = {**os.environ, "PYTHONPATH": str(Path(dop.__file__).parent.parent)}
    command = [sys.executable, "-c", MAIN, *TASK, *PROTOCOL, "--run-dir", str(run)]
    samples, peak = [], 0
    with subprocess.Popen(command, env=environment) as process:
        start, watched = time.monotonic(), psutil.Process(process.pid)
        try:
            while time.monotonic() - start < 60 * minutes and process.poll() is None:
                looks = []
                while len(looks) < 60 / LOOK and process.poll() is None:
                    looks.append(look(watched, start))
                    time.sleep(LOOK)
                samples.append(least(looks))
                if samples[-1].minute >= settle:
                    peak = max(peak, *(look.resident for look in looks))
                print(samples[-1], flush=True)
        finally:
            before = time.monotonic()
            process.send_signal(signal.SIGTERM)
            code = process.wait()
    return Watched(samples, peak, code, time.monotonic() - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--settle", type=float, default=10, help="minutes before memory is held to be settled")
    parser.add_argument("--out", type=Path, help="folder for soak.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        watched = watch(run, options.minutes, options.settle)
        if not watched.samples or watched.samples[-1].minute < options.settle:
            sys.exit(f"the training ended, with exit code {watched.exit_code}, before the {options.settle:g} minutes of settling were over")
        evaluations = (run / "metrics.jsonl").read_text().count('"kind": "evaluation"')
        steps = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["env_steps"]
        size = sum(path.stat().st_size for path in (run / "checkpoints").rglob("*") if path.is_file())
    flat, words = verdict(watched.samples, options.settle)
    words += f"; at most {watched.peak / 1e9:.3f} GB, while it saved"
    about = f"{steps:,} environment steps, {evaluations} evaluations, checkpoints of {size / 1e6:.0f} MB at the end"
    print(f"{about}\n{words}\nSIGTERM: exit {watched.exit_code} after {watched.seconds_to_exit:.1f} s")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        told = {"date": datetime.date.today().isoformat(), "result": words, "training": about}
        ended = {"exit_code": watched.exit_code, "seconds_to_exit": watched.seconds_to_exit}
        content = {"about": told | ended | surroundings(), "samples": [asdict(sample) for sample in watched.samples]}
        (options.out / "soak.json").write_text(json.dumps(content, indent=1) + "\n")
    sys.exit(0 if flat and watched.exit_code == 0 else 1)


if __name__ == "__main__":
    main()
