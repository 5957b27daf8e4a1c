"""Processor seconds of records: those of training alone, summed over the processes that trained the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import pytest

import dop
from dop.devices import compilation
from dop.storage import manifest
from dop.storage.run_directory import RunFolder
from dop.training import trainer
from dop.training.program import Driver
from probes import ObservationValue
from test_api import TINY

SECONDS = {"start": 10.0, "chunk": 1.0, "evaluate": 100.0}
MEASURED: dict[str, Any] = {"eval_interval": 16, "eval_episodes": 4, "chunk_iterations": 2}


_now = 0.0


def time_passes(seconds: float) -> None:
    global _now  # noqa: PLW0603
    _now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes in the driver's calls alone."""

    def timed(name: str, call: Any) -> Any:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            time_passes(SECONDS[name])
            return call(*arguments, **named)

        return wrapped

    for name in SECONDS:
        monkeypatch.setattr(Driver, name, timed(name, getattr(Driver, name)))
    monkeypatch.setattr(trainer.time, "process_time", lambda: _now)


def train(folder: Path, env_steps: int) -> dop.Run:
    return dop.train(TINY, ObservationValue(), env_steps=env_steps, seeds=[1, 5], run_dir=folder, quiet=True, **MEASURED)


def resume(folder: Path, env_steps: int) -> dop.Run:
    return dop.resume(folder, environment=ObservationValue(), env_steps=env_steps, quiet=True)


def seconds(run: dop.Run) -> list[tuple[str, float | None]]:
    return [(record.kind, record.processor_seconds) for record in run.records if record.seed == 5]


def test_training_counts_and_evaluations_do_not(tmp_path: Path) -> None:
    found = seconds(train(tmp_path / "run", 48))
    chunks = [value for kind, value in found if kind == "train"]
    assert found[0] == ("evaluation", 10.0)
    assert chunks == [10.0 + k for k in range(1, len(chunks) + 1)]
    assert len(chunks) >= 3
    assert {value for kind, value in found if kind == "evaluation"} <= {10.0, *chunks}


def test_a_resumed_run_has_the_seconds_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", 64)
    train(tmp_path / "run", 32)
    assert seconds(resume(tmp_path / "run", 64)) == seconds(whole)


def test_after_a_checkpoint_without_them_they_are_unknown(tmp_path: Path) -> None:
    folder = RunFolder(train(tmp_path / "run", 32).path)
    for meta in folder.checkpoints.glob("*/meta.json"):
        meta.write_text(json.dumps({name: value for name, value in json.loads(meta.read_text()).items() if name != "processor_seconds"}))
        (meta.parent / manifest.NAME).unlink()
        manifest.write(meta.parent)
    before = len(seconds(train(tmp_path / "other", 32)))
    found = seconds(resume(folder.path, 64))
    assert found[0] == ("evaluation", 10.0)
    assert {value for _, value in found[before:]} == {None}


def test_compilation_counts_apart_and_happens_once() -> None:
    """The clock of this file does not advance by itself; tracing advances it here."""
    traced = 0

    def double(x: jax.Array) -> jax.Array:
        nonlocal traced
        traced += 1
        time_passes(5.0)
        return 2 * x

    before = compilation.spent()
    function = compilation.CompiledFirst(jax.jit(double))
    assert [float(function(jax.numpy.float32(x))) for x in (1, 2)] == [2, 4]
    assert compilation.spent() - before == 5.0
    assert traced == 1
