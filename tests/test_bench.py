"""Benchmarks that a machine without an accelerator can only try at toy size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dop

ROOT = Path(__file__).parent.parent


def test_the_benchmark_of_accelerators_runs_at_toy_size():
    environment = {**os.environ, "PYTHONPATH": f"{Path(dop.__file__).parent.parent}:{ROOT / 'bench'}"}
    command = [sys.executable, str(ROOT / "bench" / "gpu.py"), "--toy"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    *_, heads, row = done.stdout.splitlines()
    assert heads.split()[:3] == ["map", "environments", "seeds"]
    name, environments, seeds, rate, *_ = row.split()
    assert (name, environments, seeds) == ("3m", "2", "2")
    assert float(rate.replace(",", "")) > 0
