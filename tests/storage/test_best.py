"""Moments of a run: each seed's best evaluation, the newest checkpoint, snapshots by their environment steps."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dop
from dop import views
from dop.storage import records
from dop.storage.checkpoints import flatten
from dop.storage.snapshots import Snapshots, score
from dop.training.trainer import checked_at
from helpers import assert_trees_equal


def learner(*numbers: float) -> Any:
    return {"w": jnp.array([[number, -number] for number in numbers]), "key": jax.vmap(jax.random.key)(jnp.arange(len(numbers)))}


def test_each_seed_has_its_own_best(tmp_path: Path):
    snapshots = Snapshots(tmp_path)
    snapshots.keep_best(learner(1, 2, 3), [0, 1, 2])
    snapshots.keep_best(learner(4, 5, 6), [1])
    found = snapshots.restore_best(jax.eval_shape(lambda: learner(0, 0, 0)))
    np.testing.assert_array_equal(found["w"][:, 0], [1, 5, 3])
    assert snapshots.steps == []


def test_the_best_goes_back_with_the_run(tmp_path: Path):
    snapshots, like = Snapshots(tmp_path), jax.eval_shape(lambda: learner(0))
    for iteration in (10, 20, 30):
        snapshots.keep_best(learner(iteration), [0])
        snapshots.save_best(iteration, copies=2)
    snapshots.keep_best(learner(99), [0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best-000000000020.npz", "best-000000000030.npz", "best.npz"]
    assert snapshots.rewind_best(20)
    assert float(snapshots.restore_best(like)["w"][0, 0]) == 20
    assert not snapshots.rewind_best(15)
    assert not snapshots.best.exists()


def test_what_is_better():
    """The win rate counts before the return; what is not a number is worst."""
    won = ["test_won_mean"]
    assert score({"test_won_mean": 0.5, "test_return_mean": 1.0}, won) > score({"test_won_mean": 0.4, "test_return_mean": 9.0}, won)
    assert score({"test_won_mean": 0.5, "test_return_mean": 2.0}, won) > score({"test_won_mean": 0.5, "test_return_mean": 1.0}, won)
    assert score({"test_won_mean": 9.0, "test_return_mean": 1.0}, []) < score({"test_won_mean": 1.0, "test_return_mean": 2.0}, [])
    assert score({"test_return_mean": math.nan}, []) < score({"test_return_mean": -1e9}, [])


def test_more_moments_are_kept_if_asked_for(tmp_path: Path):
    snapshots = Snapshots(tmp_path, 3)
    for step in range(7):
        snapshots.save(step, {"w": jnp.zeros(1)})
    assert (len(snapshots.steps), snapshots.steps[0], snapshots.steps[-1]) == (3, 0, 6)
    with pytest.raises(dop.ConfigError, match="snapshots must be at least 2, the first moment and the last, got 1"):
        dop.TrainConfig(snapshots=1).check()


@pytest.mark.parametrize(("at", "expected"), [("best", "best"), ("latest", "latest"), ("400", 400), (400, 400), (np.int64(400), 400)])
def test_moments_that_may_be_named(at: Any, expected: Any):
    assert checked_at(at) == expected


@pytest.mark.parametrize("at", ["bst", "", "-1", -1, 1.5, True, None, "1e3", ["best"]])
def test_moments_that_may_not(at: Any):
    with pytest.raises(dop.ConfigError, match="at must be best, latest, or the environment steps of a snapshot; got"):
        checked_at(at)


# ------------------------------------------------------------------------------------------------------------- of a whole run


def best_steps(run: Path) -> list[int]:
    """By seed, by the run's records alone."""
    found = [record for record in records.read(run / "metrics.jsonl") if record.kind == "evaluation"]
    steps = []
    for seed in (3, 5):
        own = [record for record in found if record.seed == seed]
        steps.append(max(own, key=lambda r: (r.metrics["test_worked_mean"], r.metrics["test_return_mean"], r.env_steps)).env_steps)
    return steps


def test_the_best_is_the_best_evaluation_of_each_seed(trained: Path):
    found = dop.evaluate_episodes(trained, at="best", episodes=4, trust=True)
    assert list(found.env_steps) == best_steps(trained)
    assert found.to_json()["at"] == "best"
    assert [views.load(trained, at="best", run_seed=seed, trust=True).env_steps for seed in (3, 5)] == best_steps(trained)


def test_a_snapshot_is_named_by_its_steps(trained: Path):
    steps = Snapshots(trained / "snapshots").steps
    first = dop.evaluate_episodes(trained, at=steps[0], episodes=4, trust=True)
    assert first.env_steps == (steps[0], steps[0])
    team = views.load(trained, at=str(steps[1]), trust=True)
    assert (team.env_steps, team.moment) == (steps[1], steps[1])
    assert team.title.endswith(f"on workers, snapshot after {steps[1]:,} steps")
    assert_trees_equal(flatten(team.learner), flatten(views.load(trained, trust=True).at(steps[1])))


def test_without_a_word_it_is_the_newest_checkpoint(trained: Path):
    newest = dop.evaluate(trained, episodes=4, trust=True)
    steps = views.load(trained, trust=True).env_steps
    assert newest == dop.evaluate(trained, at="latest", episodes=4, trust=True) == dop.evaluate(trained, at=steps, episodes=4, trust=True)


def test_a_moment_that_is_not_kept_is_answered_with_those_that_are(trained: Path):
    steps = Snapshots(trained / "snapshots").steps
    there = ", ".join(map(str, steps))
    with pytest.raises(dop.RunError, match=f"no snapshot at 7 environment steps. It has: {there}. Name one of them, best or latest"):
        dop.evaluate(trained, at=7, trust=True)
    with pytest.raises(dop.ConfigError, match="at must be best, latest"):
        views.render(trained, at="newest", trust=True)


def test_credit_films_and_files_say_which_moment_they_are_of(trained: Path, tmp_path: Path):
    steps = Snapshots(trained / "snapshots").steps
    few: dict[str, Any] = {"episodes": 2, "training_episodes": 1, "films": False}
    data = json.loads(views.credit(trained, at=steps[1], out=tmp_path / "c", trust=True, **few)["data"].read_text())
    assert (data["env_steps"], data["at"]) == (steps[1], str(steps[1]))
    assert views.render(trained, at=steps[1], episodes=2, out=tmp_path / "f", trust=True).keys() == {"training"}


def test_a_run_without_a_best_is_told_so(trained: Path, tmp_path: Path):
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    (run / "snapshots" / "best.npz").unlink()
    with pytest.raises(dop.RunError, match=r"no snapshots/best.npz. It is written at the next evaluation: `dop resume`"):
        dop.evaluate(run, at="best", trust=True)
    (run / "snapshots" / "best.npz").write_bytes(b"PK")
    with pytest.raises(dop.RunError, match=r"best.npz cannot be read"):
        dop.evaluate(run, at="best", trust=True)
