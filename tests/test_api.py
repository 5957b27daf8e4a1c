"""The library from Python."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dop
from dop.engine import cpu_threads, records
from dop.engine.runs import RunFolder
from dop.report import curves
from probes import ObservationValue

TINY = dop.StochasticDOP(
    critic_hidden=8, actor_hidden=8, actor_steps=1, replay_capacity=16, on_policy_capacity=16, on_policy_batch=4, off_policy_batch=4
)
PROTOCOL: dict[str, Any] = {"eval_interval": 16, "eval_episodes": 4, "chunk_iterations": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dop.Run:
    """Two seeds of an environment that `dop.make` does not know, stopped by Ctrl-C after the first chunk and resumed."""
    folder = tmp_path_factory.mktemp("run")
    write = records.JsonLines.write

    def write_and_interrupt(self: records.JsonLines, *found: records.Record) -> None:
        write(self, *found)
        if found[0].kind == "train":
            os.kill(os.getpid(), signal.SIGINT)

    draw = curves.draw

    def draw_methods(found: dict[str, Any], path: Path, *, title: str) -> None:
        assert list(found) == ["stochastic-dop"]  # not the name of a folder
        draw(found, path, title=title)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "draw", draw_methods)
        patch.setattr(records.JsonLines, "write", write_and_interrupt)
        stopped = dop.train(TINY, ObservationValue(), env_steps=32, seeds=[1, 5], run_dir=folder, quiet=True, **PROTOCOL)
    assert not stopped.outcome.finished
    assert stopped.outcome.env_steps == (24, 24)
    return dop.resume(folder, environment=ObservationValue(), quiet=True)


def test_train_with_an_environment_of_ones_own(run: dop.Run):
    assert run.outcome.finished
    assert run.outcome.env_steps == (32, 32)
    names = {f"test_{name}" for name in ("return_mean", "return_std", "return_min", "return_max", "ep_length_mean")}
    assert {name: len(values) for name, values in run.outcome.evaluation.items()} == dict.fromkeys(names, 2)
    assert run.curve.is_file()


def test_records_are_those_on_the_disk(run: dop.Run):
    assert run.records == records.read(run.path / "metrics.jsonl")
    assert [(r.kind, r.seed, r.env_steps) for r in run.records if r.seed == 5] == [
        ("evaluation", 5, 16),
        ("train", 5, 24),
        ("train", 5, 32),
        ("evaluation", 5, 32),
    ]
    last = {r.seed: r.metrics["test_return_mean"] for r in run.records if r.kind == "evaluation"}
    np.testing.assert_allclose(run.outcome.evaluation["test_return_mean"], [last[1], last[5]])


def test_an_environment_of_ones_own_must_be_given_again(run: dop.Run):
    with pytest.raises(dop.DopError, match="probe:ObservationValue"):
        dop.resume(run.path)


def test_resuming_a_finished_run_changes_nothing(run: dop.Run):
    before = run.records
    again = dop.resume(run.path, environment=ObservationValue(), quiet=True)
    assert again.outcome == run.outcome
    assert again.records == before


def test_evaluation_repeats_itself_and_changes_nothing(run: dop.Run):
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    first = dop.evaluate(run.path, episodes=8, seed=2, environment=ObservationValue())
    assert first["test_ep_length_mean"] == (1.0, 1.0)
    assert first == dop.evaluate(run.path, episodes=8, seed=2, environment=ObservationValue())
    assert before == {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}


def test_every_episode_of_an_evaluation_is_told(run: dop.Run):
    chosen: dict[str, Any] = {"episodes": 8, "seed": 2, "environment": ObservationValue()}
    found = dop.evaluate_episodes(run.path, **chosen)
    assert (found.policy, found.seeds, found.env_steps) == ("greedy", (1, 5), run.outcome.env_steps)
    assert found.returns.shape == found.lengths.shape == (2, 8)
    assert found.means() == dop.evaluate(run.path, **chosen)
    np.testing.assert_allclose(found.means()["test_return_mean"], np.mean(found.returns, axis=1), rtol=1e-6)
    assert set(found.returns.ravel()) <= {-1.0, 1.0}  # of this game


def test_sampled_episodes_say_so(run: dop.Run):
    chosen: dict[str, Any] = {"episodes": 4, "seed": 2, "environment": ObservationValue(), "sampled": True}
    found = dop.evaluate_episodes(run.path, **chosen)
    assert found.policy == "sampled"
    assert found.means() == dop.evaluate(run.path, **chosen)


def test_evaluation_needs_episodes(run: dop.Run):
    with pytest.raises(dop.ConfigError, match="episodes must be positive, got 0"):
        dop.evaluate(run.path, episodes=0)


def test_train_by_name_and_quietly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    options = {"n_agents": 2, "n_actions": 2}
    run = dop.train(TINY, "matrix-game", env_steps=16, environment_options=options, quiet=True, **PROTOCOL)
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "")
    assert run.path.parent == Path("runs/matrix-game/stochastic-dop")
    config = RunFolder(run.path).read_config()
    assert config.environment_options == options
    assert config.protocol == dop.Protocol(env_steps=16, seeds=(0,), threads=cpu_threads.in_use(), **PROTOCOL)
    assert dop.StochasticDOP(**config.hyper_parameters) == TINY


@pytest.mark.parametrize("seeds", [0, [], [1, 1], [-1]])
def test_impossible_seeds(tmp_path: Path, seeds: Any):
    with pytest.raises(dop.ConfigError, match="seeds must be different non-negative numbers"):
        dop.train(TINY, ObservationValue(), seeds=seeds, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_unknown_names(tmp_path: Path):
    with pytest.raises(dop.UnknownNameError, match="Did you mean 'matrix-game'"):
        dop.train(TINY, "matrixgame", run_dir=tmp_path / "run")
    with pytest.raises(dop.UnknownNameError, match=r"no SMAX map '3mm'\. Did you mean '3m'"):
        dop.make("smax:3mm")
