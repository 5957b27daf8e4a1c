"""Results as marl-eval has them: its documented layout out, the same and other libraries' in, all on the same axes.

The released package (id-marl-eval 0.0.4) cannot be installed: its source archive lacks a file that its setup reads. The layout is therefore
checked against its README, and by doing with the data what its documentation says that it does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dop import views
from dop.errors import ConfigError, RunError
from dop.report import compare, marl_eval
from made_up import entry


def comparison() -> compare.Comparison:
    spec = {"name": "smax:3M", "metrics": ["battle_won"]}
    entries = [entry("a", (0, 1), spec=spec), entry("b", (0, 4), algorithm="coma", end=0.5, spec=spec), entry("c", spec={"name": "mill"})]
    for e in entries[:2]:
        for record in e.records:
            record.metrics["test_battle_won_mean"] = record.metrics.pop("test_won_mean")
    del entries[1].records[-1]  # stopped one evaluation early
    return compare.compare(entries)


def check_layout(found: Any) -> None:
    """What marl-eval's README asks for."""
    for environment, tasks in found.items():
        assert environment == environment.lower()
        lengths = set()
        for task, methods in tasks.items():
            assert task == task.lower()
            for runs in methods.values():
                for steps in runs.values():
                    *names, last = steps
                    assert last == "absolute_metrics"
                    assert names == [f"step_{place}" for place in range(len(names))]
                    lengths.add(len(names))
                    for name in names:
                        assert isinstance(steps[name]["step_count"], int)
                        metrics = {key: value for key, value in steps[name].items() if key not in ("step_count", "elapsed_time")}
                        assert metrics.keys() == steps[last].keys()
                        assert all(isinstance(value, list) and np.isfinite(np.mean(value)) for value in metrics.values())
        assert len(lengths) == 1


def test_what_is_written_is_in_the_layout_with_everybodys_names():
    said: list[str] = []
    found = json.loads(json.dumps(marl_eval.as_json(comparison(), said), allow_nan=False))
    check_layout(found)
    assert list(found) == ["smax", "mill"]
    assert list(found["smax"]["3m"]) == ["vdn", "coma"]
    assert list(found["smax"]["3m"]["coma"]) == ["seed_0", "seed_4"]
    run = found["smax"]["3m"]["vdn"]["seed_1"]
    assert run["step_1"] == {"step_count": 200, "elapsed_time": 2, "win_rate": [0.5], "return": [5.0]}
    assert len(run) == 4  # the run that stopped early has three, and the absolute metrics
    assert run["absolute_metrics"] == {"win_rate": [1.0], "return": [10.0]}  # of its own last evaluation
    assert "won" in found["mill"]["mill"]["vdn"]["seed_0"]["step_0"]
    assert said == ["smax: the data have only the first 3 evaluations of each run, as many as all have; some have 4."]


def test_what_was_written_comes_back(tmp_path: Path):
    path = tmp_path / "ours.json"
    path.write_text(json.dumps(marl_eval.as_json(comparison(), [])))
    found = marl_eval.read(path)
    assert {task: list(methods) for task, methods in found.items()} == {"smax:3m": ["vdn", "coma"], "mill": ["vdn"]}
    assert found["smax:3m"]["vdn"][1].metrics == {"test_battle_won_mean": 0.5, "test_return_mean": 5.0}
    assert [record.env_steps for record in found["mill"]["vdn"] if record.seed == 1] == [100, 200, 300, 400]


def test_mavas_percentages_and_lists_of_episodes_are_understood(tmp_path: Path):
    theirs = {"step_count": 10, "win_rate": [50.0], "mean_episode_return": [1.0, 3.0], "steps_per_second": [7.0]}
    path = tmp_path / "mava.json"
    path.write_text(json.dumps({"smax": {"3m": {"rec_ippo": {"seed_0": {"step_0": theirs, "absolute_metrics": {}}}}}}))
    (record,) = marl_eval.read(path)["smax:3m"]["rec_ippo"]
    assert record.metrics == {"test_battle_won_mean": 0.5, "test_return_mean": 2.0, "test_steps_per_second_mean": 7.0}
    assert np.isnan(record.wall_seconds)


def test_a_file_has_percentages_or_shares_for_all_of_its_runs(tmp_path: Path):
    """A run whose best is one game in 200 has not won half of them. One without the metric has none afterwards."""
    runs = {
        name: {"step_0": {"step_count": 0, "return": [1.0], **rate}}
        for name, rate in {"good": {"win_rate": [80]}, "poor": {"win_rate": [0.5]}, "mute": {}}.items()
    }
    path = tmp_path / "mava.json"
    path.write_text(json.dumps({"smax": {"3m": {"ippo": runs}}}))
    good, poor, mute = (record.metrics for record in marl_eval.read(path)["smax:3m"]["ippo"])
    assert (good["test_battle_won_mean"], poor["test_battle_won_mean"], mute) == (0.8, 0.005, {"test_return_mean": 1.0})


def test_two_files_of_the_same_name_are_both_drawn(tmp_path: Path):
    for place, name in enumerate(("one", "two")):
        (tmp_path / name).mkdir()
        steps = {"step_0": {"step_count": 0, "return": [place]}, "step_1": {"step_count": 5, "return": [place]}}
        (tmp_path / name / "results.json").write_text(json.dumps({"mill": {"mill": {"ippo": {"r": steps}}}}))
    others = [tmp_path / "one" / "results.json", tmp_path / "two" / "results.json"]
    views.plot([], out=tmp_path / "f.svg", others=[*others, others[0]])
    drawn = (tmp_path / "f.svg").read_text()
    assert [drawn.count(f"ippo ({other})") for other in others] == [1, 1]


def test_lines_of_others_stand_on_the_same_axes():
    others = {"benchmarl": {"SMAX:3m": {"qmix": comparison().tasks[0].lines[0].records}, "vmas:balance": {"qmix": []}}}
    found = marl_eval.merged(comparison(), others)
    assert list(found) == ["smax:3M", "mill", "vmas:balance"]
    assert [label for label, kept in found["smax:3M"].items() if kept] == ["vdn", "coma", "qmix (benchmarl)"]
    assert len({tuple(own) for own in found.values()}) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "expected an object of environments"),
        ('{"smax": {"3m": []}}', "object of smax:3m: algorithms"),
        ('{"smax": {"3m": {"a": {"run": {"step_0": {"return": [1]}}}}}}', "smax:3m, a, run, step_0 has no number step_count"),
        ('{"smax": {"3m": {"a": {"run": {"step_0": {"step_count": NaN}}}}}}', "step_0 has no number step_count"),
        ('{"smax": {"3m": {"a": {"run": {"step_0": {"step_count": 1, "return": ["x"]}}}}}}', "other things than numbers"),
    ],
)
def test_other_files_are_refused_with_the_place(tmp_path: Path, content: str, words: str):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(RunError, match=words):
        marl_eval.read(path)
    with pytest.raises(RunError, match="cannot be read"):
        marl_eval.read(tmp_path / "none.json")


@pytest.mark.parametrize(("name", "start"), [("f.pdf", b"%PDF"), ("f.svg", b"<?xml"), ("f.png", b"\x89PNG")])
def test_dop_plot_draws_runs_and_others(trained: Path, tmp_path: Path, name: str, start: bytes):
    other = tmp_path / "theirs.json"
    timeless = {"workers": {"workers": {"ippo": {"r": {f"s{i}": {"step_count": 400 * i, "return": [i / 4]} for i in range(5)}}}}}
    other.write_text(json.dumps(timeless))
    written, remarks = views.plot([trained], out=tmp_path / "out" / name, data=tmp_path / "ours.json", others=[other])
    assert written["figure"].read_bytes().startswith(start)
    assert remarks == []
    check_layout(json.loads(written["data"].read_text()))
    if name.endswith("svg"):
        assert "ippo (theirs)" in written["figure"].read_text()
        assert ">Greedy return<" in written["figure"].read_text()
        before = written["figure"].read_bytes()
        views.plot([trained], out=written["figure"], others=[other])
        assert written["figure"].read_bytes() == before
        _, remarks = views.plot([trained], out=written["figure"], others=[other], axes=("env_steps", "wall_seconds"))
        assert remarks == ["ippo (theirs) is left out: it has no elapsed_time."]


def test_dop_plot_refuses_what_it_cannot_do(trained: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="nothing to do"):
        views.plot([trained])
    with pytest.raises(ConfigError, match="name run directories"):
        views.plot([], out=tmp_path / "f.png")
    with pytest.raises(ConfigError, match=r"\.pdf, \.svg or \.png, but .*f\.gif ends otherwise"):
        views.plot([trained], out=tmp_path / "f.gif")
    with pytest.raises(ConfigError, match="axes must have env_steps"):
        views.plot([trained], out=tmp_path / "f.png", axes=())
    with pytest.raises(RunError, match=r"no record has test_wins_mean\. There are: .*test_return_mean"):
        views.plot([trained], out=tmp_path / "f.png", metric="test_wins_mean")
    with pytest.raises(RunError, match="is a folder, not a file"):
        views.plot([trained], data=tmp_path)
    assert not list(tmp_path.iterdir())
