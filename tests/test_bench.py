"""Benchmarks that a machine without an accelerator can only try at toy size."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import dop

ROOT = Path(__file__).parent.parent


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a benchmark by its name."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    return importlib.import_module


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


def test_the_benchmark_of_skirmish_compares_its_speed_with_smax(bench, capsys):
    bench("skirmish").main(["speed", "--maps", "3m", "--environments", "2", "--turns", "1", "--steps", "4"])
    *_, heads, smax, skirmish = capsys.readouterr().out.splitlines()
    assert heads.split()[:3] == ["environment", "parallel", "steps/s"]
    assert smax.split()[:2] == ["smax:3m", "2"]
    name, parallel, rate, ratio, *_ = skirmish.split()
    assert (name, parallel) == ("skirmish:3m", "2")
    assert float(rate.replace(",", "")) > 0 and float(ratio) > 0


def test_the_benchmark_of_skirmish_keeps_results_and_plays_only_what_is_missing(bench, capsys, tmp_path):
    command = ["scripted", "--maps", "3m", "--episodes", "2", "--out", str(tmp_path)]
    bench("skirmish").main(command)
    first = capsys.readouterr().out.splitlines()[-2:]
    assert [line.split()[:5] for line in first] == [["3m", "hard", policy, won, bounds] for policy, won, bounds in _TWO_EPISODES]
    kept = (tmp_path / "scripted.jsonl").read_text()
    bench("skirmish").main(command)
    assert capsys.readouterr().out.splitlines()[-2:] == first
    assert (tmp_path / "scripted.jsonl").read_text() == kept


_TWO_EPISODES = [("random", "0%", "-"), ("attack-closest", "100%", "-")]
"""Policy, win rate and the interval, which two episodes do not have."""
