"""A long training: memory, open files and threads per minute, and whether they stay constant.

python bench/soak.py                    # two hours of SMAX 3m with evaluations and checkpoints
python bench/soak.py --minutes 5 --settle 2
python bench/soak.py --out docs/results/reliability

Flat means: after compilation and filling of the replay, resident memory stays within 2% of its value, and no open file and no thread is
added. The training runs in its own process, sampled every five seconds. Saving a checkpoint briefly holds copies, files and threads, so
the minimum over each minute counts; leaks raise it. The peak is reported too.
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
from dop.storage.surroundings import surroundings

MAIN = "from dop.cli import main; main()"
TASK = ["train", "stochastic-dop", "--env", "smax:3m", "--env-steps", "2000000000", "--quiet"]
PROTOCOL = ["--eval-interval", "10000", "--checkpoint-interval", "20000"]
TOLERANCE = 0.02
SAMPLE_INTERVAL = 5.0
"""Seconds between samples."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One sample of the process, or the minimum of several."""

    minute: float
    resident: int
    """Bytes."""
    files: int
    threads: int


def sample(process: psutil.Process, start: float) -> Sample:
    """Sample the process now."""
    with process.oneshot():
        return Sample(
            minute=round((time.monotonic() - start) / 60, 2),
            resident=process.memory_info().rss,
            files=process.num_fds(),
            threads=process.num_threads(),
        )


def minimum(samples_of_minute: list[Sample]) -> Sample:
    """The minimum of each quantity, at the time of the last sample."""
    return Sample(
        minute=samples_of_minute[-1].minute,
        resident=min(sample.resident for sample in samples_of_minute),
        files=min(sample.files for sample in samples_of_minute),
        threads=min(sample.threads for sample in samples_of_minute),
    )


def verdict(samples: list[Sample], settle: float) -> tuple[bool, str]:
    """Whether everything is flat after `settle` minutes, and a description."""
    first, *later = [sample for sample in samples if sample.minute >= settle]
    grown = max((abs(sample.resident / first.resident - 1) for sample in later), default=0.0)
    files = max(sample.files for sample in (first, *later)) - first.files
    threads = max(sample.threads for sample in (first, *later)) - first.threads
    flat = grown <= TOLERANCE and files <= 0 and threads <= 0
    return flat, (
        f"from minute {first.minute:.0f} to {samples[-1].minute:.0f}: resident memory {first.resident / 1e9:.3f} GB, "
        f"then within {grown:.2%} ({TOLERANCE:.0%} allowed); open files {first.files} {files:+d}, threads {first.threads} {threads:+d}: "
        f"{'flat' if flat else 'NOT FLAT'}"
    )


class Soak(NamedTuple):
    """Measurements of a training until it was stopped."""

    samples: list[Sample]
    """The minimum of every minute."""
    peak: int
    """Peak resident memory after `settle` minutes, in bytes."""
    exit_code: int
    seconds_to_exit: float
    """Seconds from SIGTERM to exit."""


def watch(run: Path, minutes: float, settle: float) -> Soak:
    """Train for `minutes`, sampling the process."""
    environment = {**os.environ, "PYTHONPATH": str(Path(dop.__file__).parent.parent)}
    command = [sys.executable, "-c", MAIN, *TASK, *PROTOCOL, "--run-dir", str(run)]
    samples, peak = [], 0
    with subprocess.Popen(command, env=environment) as process:
        start, watched = time.monotonic(), psutil.Process(process.pid)
        try:
            while time.monotonic() - start < 60 * minutes and process.poll() is None:
                samples_of_minute = []
                while len(samples_of_minute) < 60 / SAMPLE_INTERVAL and process.poll() is None:
                    samples_of_minute.append(sample(watched, start))
                    time.sleep(SAMPLE_INTERVAL)
                samples.append(minimum(samples_of_minute))
                if samples[-1].minute >= settle:
                    peak = max(peak, *(sample.resident for sample in samples_of_minute))
                print(samples[-1], flush=True)
        finally:
            before = time.monotonic()
            process.send_signal(signal.SIGTERM)
            code = process.wait()
    return Soak(samples, peak, code, time.monotonic() - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--settle", type=float, default=10, help="minutes before memory must be constant")
    parser.add_argument("--out", type=Path, help="folder for soak.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        watched = watch(run, options.minutes, options.settle)
        if not watched.samples or watched.samples[-1].minute < options.settle:
            sys.exit(f"the training ended, with exit code {watched.exit_code}, before the {options.settle:g} minutes of --settle")
        evaluations = (run / "metrics.jsonl").read_text().count('"kind": "evaluation"')
        steps = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["env_steps"]
        size = sum(path.stat().st_size for path in (run / "checkpoints").rglob("*") if path.is_file())
    flat, description = verdict(watched.samples, options.settle)
    description += f"; at most {watched.peak / 1e9:.3f} GB, during saving"
    about = f"{steps:,} environment steps, {evaluations} evaluations, checkpoints of {size / 1e6:.0f} MB at the end"
    print(f"{about}\n{description}\nSIGTERM: exit {watched.exit_code} after {watched.seconds_to_exit:.1f} s")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        outcome = {"date": datetime.date.today().isoformat(), "result": description, "training": about}
        ended = {"exit_code": watched.exit_code, "seconds_to_exit": watched.seconds_to_exit}
        content = {"about": outcome | ended | surroundings(), "samples": [asdict(sample) for sample in watched.samples]}
        (options.out / "soak.json").write_text(json.dumps(content, indent=1) + "\n")
    sys.exit(0 if flat and watched.exit_code == 0 else 1)


if __name__ == "__main__":
    main()
