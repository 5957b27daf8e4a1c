"""What `dop evaluate` says: means, intervals worked out by hand, every episode as JSON and CSV."""

from __future__ import annotations

import csv
import json
import math
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dop
from dop import api, cli
from dop.analysis.evaluation import Evaluation

FOUND = Evaluation(
    policy="greedy",
    seeds=(3, 7),
    env_steps=(1000, 1010),
    returns=np.array([[1.0, 2.0, 3.0], [4.0, 4.0, 7.0]], np.float32),
    lengths=np.array([[5, 6, 7], [8, 8, 8]], np.int32),
    metrics={"won": np.array([[0.0, 0.0, 1.0], [1.0, 1.0, 1.0]], np.float32)},
)
T_2, T_1 = 4.302653, 12.706205
"""Student's t that 95% lie below in size, with 2 and with 1 degrees of freedom."""


def one(*returns: float) -> Evaluation:
    return Evaluation(
        policy="greedy", seeds=(0,), env_steps=(9,), returns=np.array([returns]), lengths=np.ones((1, len(returns)), int), metrics={}
    )


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["dop", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_means_are_over_episodes():
    assert FOUND.means() == {"test_return_mean": (2, 5), "test_ep_length_mean": (6, 8), "test_won_mean": (pytest.approx(1 / 3), 1)}


def test_intervals_by_hand():
    """Seed 3: standard deviation 1 of 3 episodes; seed 7: sqrt(3); over seeds: means 2 and 5, standard deviation 3 / sqrt(2)."""
    each, over = FOUND.intervals()["test_return_mean"]
    half = T_2 * np.array([1, math.sqrt(3)]) / math.sqrt(3)
    mean = np.array([2, 5])
    np.testing.assert_allclose(each, [mean, mean - half, mean + half], rtol=1e-6)
    np.testing.assert_allclose(over, [3.5, 3.5 - T_1 * 1.5, 3.5 + T_1 * 1.5], rtol=1e-6)


def test_one_value_has_no_interval():
    each, over = one(3.0).intervals()["test_return_mean"]
    assert (each.mean.tolist(), float(over.mean)) == ([3.0], 3.0)
    assert np.isnan([each.low, each.high]).all()
    assert np.isnan([over.low, over.high]).all()
    assert one(3.0).to_json()["metrics"]["test_return_mean"]["seeds"] == [{"seed": 0, "mean": 3.0, "interval": [None, None]}]


def test_what_is_not_finite_is_not_left_out():
    found = one(1.0, math.nan, 3.0)
    assert math.isnan(found.means()["test_return_mean"][0])
    assert np.isnan(np.concatenate([np.ravel(x) for part in found.intervals()["test_return_mean"] for x in part])).all()
    text = json.dumps(found.to_json(), allow_nan=False)
    assert json.loads(text)["episodes"][1]["return"] is None
    assert json.loads(text)["metrics"]["test_return_mean"]["mean"] is None


def test_json_has_every_episode():
    found = json.loads(json.dumps(FOUND.to_json(), allow_nan=False))
    assert found["episodes"][2] == {"seed": 3, "episode": 2, "return": 3.0, "ep_length": 7, "metrics": {"won": 1.0}}
    assert [(row["seed"], row["episode"]) for row in found["episodes"]] == [(3, 0), (3, 1), (3, 2), (7, 0), (7, 1), (7, 2)]
    assert found["metrics"]["test_won_mean"]["seeds"][1] == {"seed": 7, "mean": 1.0, "interval": [1.0, 1.0]}
    assert (found["seeds"], found["env_steps"], found["episodes_per_seed"], found["policy"]) == ([3, 7], [1000, 1010], 3, "greedy")


def test_csv_has_a_row_for_each_episode_and_replaces_what_was_there(tmp_path: Path):
    path = tmp_path / "new" / "folders" / "episodes.csv"
    path.parent.mkdir(parents=True)
    path.write_text("old")
    FOUND.write_csv(path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert rows[4] == {"seed": "7", "episode": "1", "return": "4.0", "ep_length": "8", "won": "1.0"}
    assert list(path.parent.iterdir()) == [path]


def test_names_that_the_table_has_already(tmp_path: Path):
    metrics = {"seed": np.ones((1, 1)), "a,b": np.zeros((1, 1))}
    found = Evaluation(policy="greedy", seeds=(0,), env_steps=(1,), returns=np.ones((1, 1)), lengths=np.ones((1, 1), int), metrics=metrics)
    found.write_csv(tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text() == 'seed,episode,return,ep_length,metrics.seed,"a,b"\n0,0,1.0,1,1.0,0.0\n'


def test_what_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(api, "evaluate_episodes", lambda *_, **chosen: FOUND)
    assert run(monkeypatch, "evaluate", "somewhere") == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "3 greedy episodes per seed; 95% intervals of the mean by Student's t:"
    low, high = 5 - T_2, 5 + T_2
    assert shown[2].split("95%: ") == [
        "  test_return_mean          3.500   (per seed: 2.000, 5.000)   ",
        f"over seeds [-15.559, 22.559]; per seed, over episodes [-0.484, 4.484], [{low:.3f}, {high:.3f}]",
    ]
    monkeypatch.setattr(api, "evaluate_episodes", lambda *_, **chosen: one(1.0))
    assert run(monkeypatch, "evaluate", "somewhere") == 0
    assert "test_return_mean          1.000   95%: over episodes unknown" in capsys.readouterr().out


def test_with_json_nothing_else_reaches_standard_output(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path):
    """Whatever an environment prints, in whichever way."""

    def noisy(*_: object, **chosen: object) -> Evaluation:
        sys.stdout.write("hello from the environment\n")
        os.write(1, b"and from what is written in C\n")
        assert chosen["sampled"] is True
        return FOUND

    monkeypatch.setattr(api, "evaluate_episodes", noisy)
    out = tmp_path / "folder" / "episodes.csv"
    assert run(monkeypatch, "evaluate", "somewhere", "--json", "--sampled", "--csv", out) == 0
    shown = capfd.readouterr()
    assert json.loads(shown.out) == {"run": "somewhere", "seed": 0, **json.loads(json.dumps(FOUND.to_json()))}
    assert "hello from the environment" in shown.err
    assert "written in C" in shown.err
    assert len(out.read_text().splitlines()) == 7


def test_a_run_from_the_command_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], trained: Path):
    assert run(monkeypatch, "evaluate", trained, "--trust", "--episodes", 5, "--json") == 0
    found = json.loads(capfd.readouterr().out)
    assert found["seeds"] == [3, 5]
    assert len(found["episodes"]) == 10
    assert found["episodes"][0].keys() == {"seed", "episode", "return", "ep_length", "metrics"}
    assert found["episodes"][0]["metrics"].keys() == {"worked"}
    expected = dop.evaluate(trained, episodes=5, trust=True)
    assert [each["mean"] for each in found["metrics"]["test_return_mean"]["seeds"]] == pytest.approx(expected["test_return_mean"])


@pytest.mark.parametrize(
    ("place", "words"), [(".", "is a folder, not a file: choose another --csv"), ("file/x.csv", "cannot be written to")]
)
def test_places_where_no_csv_can_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, place: str, words: str
):
    """Found before anything is played."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(api, "evaluate_episodes", lambda *_, **chosen: pytest.fail("it played"))
    assert run(monkeypatch, "evaluate", "somewhere", "--csv", tmp_path / place) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(("at", "words"), [("best", "each at its best"), ("1000", "at a snapshot")])
def test_the_moment_is_said_where_it_is_not_the_newest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], at: str, words: str
):
    def at_a_moment(*_: object, **chosen: object) -> Evaluation:
        return replace(FOUND, at=str(chosen["at"]))

    monkeypatch.setattr(api, "evaluate_episodes", at_a_moment)
    assert run(monkeypatch, "evaluate", "somewhere", "--at", at) == 0
    assert capsys.readouterr().out.startswith(f"3 greedy episodes per seed, {words} (after 1,000, 1,010 steps); 95% intervals")
