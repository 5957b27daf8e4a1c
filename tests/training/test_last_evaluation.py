"""The evaluation of the finished policy is a record like the others: what a run prints at its end is what everything else shows."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dop
from dop.analysis import compare, marl_eval
from dop.storage import records
from dop.storage.records import Record
from fake_runs import entry
from probes import ObservationValue
from test_api import TINY

MEASURED: dict[str, Any] = {"eval_interval": 20, "eval_episodes": 4, "chunk_iterations": 2}
"""Steps rise by 8 from 16 on, so that evaluations are due at 24, 40, 64 ..., and a run to 32 ends where none is."""


def train(folder: Path, env_steps: int) -> dop.Run:
    return dop.train(TINY, ObservationValue(), env_steps=env_steps, seeds=[1, 5], run_dir=folder, quiet=True, **MEASURED)


def resume(folder: Path, env_steps: int | None = None) -> dop.Run:
    return dop.resume(folder, environment=ObservationValue(), env_steps=env_steps, quiet=True)


def said(run: dop.Run) -> list[Record]:
    """Its records, without their times."""
    return [replace(record, wall_seconds=0.0) for record in run.records]


def evaluated_at(run: dop.Run) -> list[int]:
    return [record.env_steps for record in run.records if record.kind == "evaluation" and record.seed == 5]


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> dop.Run:
    return train(tmp_path_factory.mktemp("runs") / "short", 32)


@pytest.fixture
def copy(short: dop.Run, tmp_path: Path) -> Path:
    return Path(shutil.copytree(short.path, tmp_path / "copy"))


def test_the_last_evaluation_is_recorded_and_is_what_was_printed(short: dop.Run):
    assert evaluated_at(short) == [16, 24, 32]
    last = {r.seed: r.metrics["test_return_mean"] for r in short.records if r.env_steps == 32 and r.kind == "evaluation"}
    assert short.outcome.evaluation["test_return_mean"] == (last[1], last[5])
    data = marl_eval.as_json(compare.gather([short.path]), [])
    (methods,) = [methods for tasks in data.values() for methods in tasks.values()]
    (runs,) = methods.values()
    assert [runs[f"seed_{place}"]["absolute_metrics"]["return"] for place in (0, 1)] == [[last[1]], [last[5]]]


def test_a_run_that_ends_where_an_evaluation_is_due_has_it_once(tmp_path: Path):
    run = train(tmp_path / "run", 40)
    assert evaluated_at(run) == [16, 24, 40]
    again = resume(run.path)
    assert again.outcome == run.outcome
    assert said(again) == said(run)


def test_resuming_a_finished_run_changes_nothing(short: dop.Run, copy: Path):
    again = resume(copy)
    assert again.outcome == short.outcome
    assert said(again) == said(short)


def test_a_run_that_goes_on_has_the_records_of_one_that_was_never_stopped(copy: Path, tmp_path: Path):
    longer, whole = resume(copy, env_steps=56), train(tmp_path / "whole", 56)
    assert evaluated_at(whole) == [16, 24, 40, 56]
    assert said(longer) == said(whole)
    assert longer.outcome.evaluation == whole.outcome.evaluation


def test_a_run_that_was_killed_before_its_last_evaluation_makes_it_up(short: dop.Run, copy: Path):
    metrics = copy / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(line for line in lines if '"env_steps": 32' not in line or '"train"' in line))
    assert records.read(metrics) != short.records
    assert said(resume(copy)) == said(short)


# ---------------------------------------------------------------------------------------------------------------------- scores


def with_evaluations(*returns: float, seed: int = 0) -> compare.Entry:
    """A run whose first evaluation is of the untrained policy."""
    made = [
        Record(kind="evaluation", seed=seed, iteration=i, env_steps=100 * i, wall_seconds=i, metrics={"test_return_mean": value})
        for i, value in enumerate(returns)
    ]
    return replace(entry(f"run-{seed}", (seed,), spec={"metrics": []}), records=made)


@pytest.mark.parametrize(
    ("returns", "score", "remark"),
    [
        ((-50, 1, 2, 3, 4), 3.0, None),  # (2 + 3 + 4) / 3
        ((-50, 1, 2, 3), 2.0, None),
        ((-50, 1, 2), 1.5, "seed 0 has only 2"),
        ((-50, 1), 1.0, "seed 0 has only one"),
        ((-50, np.nan, 2, 4), 3.0, None),
        ((-50, 1.7e308, 1.7e308, 1.7e308), np.nan, None),  # beyond statistics.LARGEST, which counts as not finite
    ],
)
def test_a_score_is_of_learned_policies_and_says_where_there_are_too_few(returns: tuple[float, ...], score: float, remark: str | None):
    found = compare.compare([with_evaluations(*returns)])
    line = found.tasks[0].lines[0]
    np.testing.assert_allclose(line.by_seed("test_return_mean")[0], score)
    few = [said for said in found.remarks if "a score is the mean of the last 3 evaluations" in said]
    assert len(few) == (remark is not None)
    assert remark is None or remark in few[0]


def test_a_run_that_was_only_evaluated_untrained_has_no_score_and_says_so():
    found = compare.compare([with_evaluations(7.0)])
    assert found.tasks[0].lines[0].by_seed("test_return_mean") == {}
    assert "seed 0 has none, and no score" in " ".join(found.remarks)
