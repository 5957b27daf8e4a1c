"""The cheap version of `bench/faults.py`: each fault once or twice, in processes of their own."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "faults.py"


def load() -> Any:
    """The program, which is no module of the library."""
    spec = importlib.util.spec_from_file_location("faults", BENCH)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["faults"] = module
    spec.loader.exec_module(module)
    return module


faults = load()
MOUNTS = faults.mounts_work()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return faults.Bench(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("kill", 2),
        ("terminate", 1),
        pytest.param("full-disk", 1, marks=pytest.mark.skipif(not MOUNTS, reason="this process may not mount a file system")),
        pytest.param("damage", 4, marks=pytest.mark.slow),  # tests/training/test_resume.py damages checkpoints in this process
        pytest.param("two-processes", 1, marks=pytest.mark.slow),  # as does tests/training/test_resume.py
        pytest.param("clock", 1, marks=pytest.mark.slow),
        pytest.param(
            "read-only", 1, marks=[pytest.mark.slow, pytest.mark.skipif(not MOUNTS, reason="this process may not mount a file system")]
        ),
    ],
)
def test_fault(bench: Any, name: str, times: int):
    inject, _ = faults.FAULTS[name]
    result = inject(bench, times)
    assert result.injected == times
    assert (result.survived, result.records_lost) == (times, 0), result.notes
