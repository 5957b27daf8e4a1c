"""Results as marl-eval has them: what is written is read by the released package, other libraries' files come in, all on the same axes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dop import views
from dop.analysis import compare, marl_eval
from dop.errors import ConfigError, RunError
from dop.views import plotting
from fake_runs import entry


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
    assert list(found["smax"]["3m"]["coma"]) == ["seed_0", "seed_1"]
    run = found["smax"]["3m"]["vdn"]["seed_1"]
    assert run["step_1"] == {"step_count": 200, "elapsed_time": 2, "win_rate": [0.5], "return": [5.0]}
    assert len(run) == 4  # the run that stopped early has three, and the absolute metrics
    assert run["absolute_metrics"] == {"win_rate": [1.0], "return": [10.0]}  # of its own last evaluation
    assert "won" in found["mill"]["mill"]["vdn"]["seed_0"]["step_0"]
    assert said == [
        "smax: in the data, seed_0 and so on are coma's seeds 0, 4 on smax:3M.",
        "smax: the data have only the first 3 evaluations of each run; some runs have 4.",
    ]


def on(task: str, *more: Any, **how: Any) -> compare.Entry:
    return entry(*more, spec={"name": task, "metrics": []}, **how)


def spoilt(made: compare.Entry, metric: str = "test_won_mean") -> compare.Entry:
    """Without a finite `metric` in its second evaluation."""
    made.records[1].metrics[metric] = math.nan
    return made


def short(made: compare.Entry, evaluations: int) -> compare.Entry:
    """Stopped early."""
    return replace(made, records=[record for record in made.records if record.iteration <= evaluations])


CASES: dict[str, tuple[list[compare.Entry], dict[str, int], list[str]]] = {
    "the same seeds": ([on("smax:3m", "a"), on("smax:3m", "b", algorithm="coma")], {"vdn": 2, "coma": 2}, []),
    "other seeds": ([on("smax:3m", "a"), on("smax:3m", "b", (5, 6), algorithm="coma")], {"vdn": 2, "coma": 2}, ["coma's seeds 5, 6 on"]),
    "fewer seeds": (
        [on("smax:3m", "a", (0, 1, 2)), on("smax:3m", "b", algorithm="coma")],
        {"vdn": 2, "coma": 2},
        ["the data lack vdn's seeds 2 on smax:3m; another method or task has only 2"],
    ),
    "one seed": ([on("smax:3m", "a", (0, 1, 2)), on("smax:3m", "b", (4,), algorithm="coma")], {"vdn": 1, "coma": 1}, ["lack", "coma's"]),
    "fewer seeds on another task": (
        [on("smax:3m", "a", (0, 1, 2)), on("smax:8m", "b", (1, 2))],
        {"vdn": 2},
        ["the data lack vdn's seeds 2 on smax:3m", "vdn's seeds 1, 2 on smax:8m"],
    ),
    "commas and brackets": (
        [on("smax:3m", "a"), on("smax:3m", "b", gamma=0.5, eval_interval=200)],
        {"vdn_gamma_0.9_eval_interval_10000": 2, "vdn_gamma_0.5_eval_interval_200": 2},
        ["vdn (gamma 0.9, eval_interval 10000) is called", "vdn (gamma 0.5, eval_interval 200) is called"],
    ),
    "capitals and slashes": (
        [on("smax:3m", str(i), algorithm=name) for i, name in enumerate(("QMIX", "qmix", "a/b", "a,b", "extra", "step_count", "  "))],
        dict.fromkeys(("qmix", "qmix_2", "a_b", "a_b_2", "extra_", "steps_count", "unnamed"), 2),
        ["qmix is called qmix_2", "a/b is called a_b in", "a,b is called a_b_2", "extra is called extra_", "steps_count", "unnamed"],
    ),
    "tasks whose names differ in capitals alone": ([on("smax:3m", "a"), on("SMAX:3M", "b")], {"vdn": 2}, ["3M is called 3m_2"]),
    "a task with a dot and a colon": ([on("smax:mpe2.spread_v3:x", "a")], {"vdn": 2}, []),
    "an environment of marl-eval's own name": ([on("extra:x", "a")], {"vdn": 2}, ["extra is called extra_"]),
    "another version": (
        [entry("a", spec={"name": "smax", "metrics": []}), entry("b", spec={"name": "smax", "version": "2", "metrics": []})],
        {"vdn": 2},
        ["smax (version 1) is called smax_version_1", "smax (version 2) is called smax_version_2"],
    ),
    "a method without runs on all tasks": (
        [on("smax:3m", "a"), on("smax:3m", "b", algorithm="coma"), on("smax:8m", "c")],
        {"vdn": 2},
        ["smax: the data lack coma, which have no runs on some of its tasks"],
    ),
    "a metric that one lacks": (
        [spoilt(on("smax:3m", "a")), on("smax:8m", "b")],
        {"vdn": 2},
        ["the data lack test_won_mean: vdn, seed 0, has none that is finite after 200 steps of smax:3m."],
    ),
    "fewer evaluations": ([on("smax:3m", "a"), short(on("smax:8m", "b"), 3)], {"vdn": 2}, ["first 3 evaluations of each run"]),
    "one evaluation": ([short(on("smax:3m", "a", (0,)), 1)], {"vdn": 1}, []),
}


@pytest.mark.parametrize("case", CASES)
def test_the_released_reader_reads_what_is_written_and_nothing_goes_unsaid(case: str, capsys: pytest.CaptureFixture[str]):
    """id-marl-eval 0.0.4, which the Makefile installs: its pipeline, its matrices and its own diagnosis."""
    theirs = pytest.importorskip("marl_eval.utils.data_processing_utils", reason="make installs id-marl-eval")
    diagnosis = pytest.importorskip("marl_eval.utils.diagnose_data_errors")
    entries, shapes, remarks = CASES[case]
    said: list[str] = []
    found = json.loads(json.dumps(marl_eval.as_json(compare.compare(entries), said), allow_nan=False))
    check_layout(found)
    assert len(said) == len(remarks), said
    assert all(words in remark for words, remark in zip(remarks, said, strict=True)), said
    for environment, tasks in found.items():
        processed = theirs.data_process_pipeline(json.loads(json.dumps(found)), ["return"])
        last, every = theirs.create_matrices_for_rliable(processed, environment, ["return"])
        assert {name: array.shape for name, array in last["mean_norm_return"].items()} == {
            name: (count, len(tasks)) for name, count in shapes.items()
        }
        evaluations = len(next(iter(next(iter(next(iter(tasks.values())).values())).values()))) - 1
        assert all(array.shape[2] == evaluations for array in every["mean_norm_return"].values())
        checked = diagnosis.DiagnoseData(found).check_data()[environment]
        # It wants times among the absolute metrics too, where its own logger writes none.
        assert all(good for name, good in checked.items() if name != "valid_metrics")
    assert "issue related to the format" not in capsys.readouterr().out


def test_the_numbers_are_the_ones_that_the_released_reader_has():
    theirs = pytest.importorskip("marl_eval.utils.data_processing_utils", reason="make installs id-marl-eval")
    entries = [on("smax:3m", "a", (7, 9)), on("smax:8m", "b", (0, 1), end=0.5)]
    data = marl_eval.as_json(compare.compare(entries), [])
    last, every = theirs.create_matrices_for_rliable(theirs.data_process_pipeline(data, []), "smax", [])
    np.testing.assert_array_equal(last["mean_return"]["vdn"], [[10.0, 5.0]] * 2)
    np.testing.assert_array_equal(every["mean_return"]["vdn"][0], [[2.5, 5.0, 7.5, 10.0], [1.25, 2.5, 3.75, 5.0]])


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (
            [on("smax:3m", "a"), on("smax:8m", "b", algorithm="coma")],
            r"No method has runs on all tasks of smax \(smax:3m: vdn; smax:8m: coma\)",
        ),
        ([spoilt(spoilt(on("smax:3m", "a")), "test_return_mean")], "No metric is a finite number in all evaluations of smax"),
    ],
)
def test_what_has_nothing_in_common_is_refused(entries: list[compare.Entry], words: str):
    with pytest.raises(RunError, match=words):
        marl_eval.as_json(compare.compare(entries), [])


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
    (record,) = marl_eval.read(path, "percent")["smax:3m"]["rec_ippo"]
    assert record.metrics == {"test_battle_won_mean": 0.5, "test_return_mean": 2.0, "test_steps_per_second_mean": 7.0}
    assert np.isnan(record.wall_seconds)


def with_rates(path: Path, *rates: float, key: str = "win_rate", task: str = "3m") -> Path:
    runs = {f"r{i}": {"step_0": {"step_count": 0, "return": [1.0], key: [rate]}} for i, rate in enumerate(rates)}
    path.write_text(json.dumps({"smax": {task: {"ippo": runs | {"mute": {"step_0": {"step_count": 0, "return": [1.0]}}}}}}))
    return path


@pytest.mark.parametrize(
    ("scale", "rates", "expected"),
    [
        (None, (0.78125,), (0.78125,)),
        (None, (0.78125, 90.0), (0.78125, 90.0)),
        ("percent", (0.78125,), (0.0078125,)),
        ("percent", (0.78125, 90.0, 100.0), (0.0078125, 0.9, 1.0)),
        ("fraction", (0.78125, 1.0), (0.78125, 1.0)),
    ],
)
def test_win_rates_have_the_scale_that_is_stated_whatever_else_is_in_the_file(tmp_path: Path, scale: Any, rates: Any, expected: Any):
    *found, mute = marl_eval.read(with_rates(tmp_path / "f.json", *rates), scale)["smax:3m"]["ippo"]
    assert tuple(record.metrics["test_battle_won_mean"] for record in found) == expected
    assert mute.metrics == {"test_return_mean": 1.0}


@pytest.mark.parametrize(
    ("scale", "rate", "words"),
    [
        ("fraction", 90.0, "win_rate 90 in smax:3m, ippo, which is beyond 0 to 1.*--others-scale percent"),
        ("fraction", -0.5, "win_rate -0.5 in .* beyond 0 to 1, a fraction's range.$"),
        ("percent", 101.0, "win_rate 101 in .* beyond 0 to 100, a percent's range.$"),
    ],
)
def test_win_rates_beyond_their_scale_are_refused(tmp_path: Path, scale: Any, rate: float, words: str):
    with pytest.raises(RunError, match=words):
        marl_eval.read(with_rates(tmp_path / "f.json", 0.5, rate), scale)


@pytest.mark.parametrize(
    ("scale", "values", "wrong"),
    [("percent", [150.0, 50.0], 150), ("percent", [-1.0, 50.0], -1), ("fraction", [0.5, 1.5, 0.1], 1.5), ("percent", [40.0, 60.0], None)],
)
def test_every_value_of_a_list_has_its_scale_not_their_mean_alone(scale: Any, values: list[float], wrong: float | None, tmp_path: Path):
    path = tmp_path / "f.json"
    steps = {f"step_{i}": {"step_count": i, "win_rate": each} for i, each in enumerate(([0.5], values))}
    path.write_text(json.dumps({"smax": {"3m": {"ippo": {"r7": steps}}}}))
    if wrong is None:
        assert marl_eval.read(path, scale)["smax:3m"]["ippo"][1].metrics["test_battle_won_mean"] == 0.5
        return
    with pytest.raises(RunError, match=f"r7 has win_rate {wrong} in smax:3m, ippo, which is beyond 0 to"):
        marl_eval.read(path, scale)
    assert marl_eval.read(path)["smax:3m"]["ippo"][1].metrics["test_battle_won_mean"] == pytest.approx(np.mean(values))


def test_dop_plot_guesses_no_scale(tmp_path: Path):
    first, second = with_rates(tmp_path / "mava.json", 0.78125), with_rates(tmp_path / "benchmarl.json", 0.5)
    many = with_rates(tmp_path / "many.json", 0.5, 90.0)
    out = tmp_path / "f.svg"
    won: dict[str, Any] = {"metric": "test_battle_won_mean"}
    for others in ([first], [many]):
        with pytest.raises(RunError, match=r"does not say whether its win_rate.*--others-scale percent, or --others-scale fraction"):
            views.plot([], out=out, others=others, **won)
    with pytest.raises(ConfigError, match="2 files of others and 3 scales"):
        views.plot([], out=out, others=[first, second], others_scale=("percent", "percent", "percent"), **won)
    views.plot([], out=out, others=[first], metric="test_return_mean")  # no win rate is drawn
    views.plot([], out=out, others=[with_rates(tmp_path / "none.json", 0.0)], **won)  # 0 is 0
    views.plot([], out=out, others=[first, many], others_scale=["percent"], **won)
    read = plotting._read_others([first, second], ["percent", "fraction"], won["metric"], compare.Comparison(tasks=()))
    assert [found["smax:3m"]["ippo"][0].metrics["test_battle_won_mean"] for found in read.values()] == [0.0078125, 0.5]


def test_an_own_fraction_of_a_task_has_a_scale_too(tmp_path: Path):
    others = with_rates(tmp_path / "f.json", 80.0, key="won", task="x")
    ours = compare.compare([entry("a", spec={"name": "smax:x"})])
    with pytest.raises(RunError, match="does not say whether its won, up to 80"):
        plotting._read_others([others], [], "test_won_mean", ours)
    assert plotting._read_others([others], ["percent"], "test_won_mean", ours)["f"]["smax:x"]["ippo"][0].metrics["test_won_mean"] == 0.8


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
        ('{"smax": {"3m": {"a": {"run": {"step_0": {"step_count": 1, "return": ["x"]}}}}}}', "items that are not numbers"),
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
    assert remarks == ["workers: in the data, seed_0 and so on are stochastic-dop's seeds 3, 5 on workers."]
    check_layout(json.loads(written["data"].read_text()))
    if name.endswith("svg"):
        assert "ippo (theirs)" in written["figure"].read_text()
        assert ">Greedy return<" in written["figure"].read_text()
        before = written["figure"].read_bytes()
        views.plot([trained], out=written["figure"], others=[other])
        assert written["figure"].read_bytes() == before
        _, remarks = views.plot([trained], out=written["figure"], others=[other], axes=("env_steps", "wall_seconds"))
        assert remarks == ["ippo (theirs) is left out: it has no elapsed_time."]
        _, remarks = views.plot([trained], out=written["figure"], others=[other], axes=("processor_seconds", "env_steps"))
        assert remarks == ["ippo (theirs) is left out: it has no processor_seconds."]


def test_dop_plot_refuses_what_it_cannot_do(trained: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="nothing to write"):
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


@pytest.mark.parametrize("values", [["nan"], ["1"], [True], [[1.0, 2.0]], [{}]])
def test_lists_of_other_things_than_numbers_are_refused(values: list[Any], tmp_path: Path):
    path = tmp_path / "others.json"
    path.write_text(json.dumps({"e": {"t": {"m": {"r": {"step_0": {"step_count": 1, "return": values}}}}}}))
    with pytest.raises(RunError, match="has a list with items that are not numbers"):
        marl_eval.read(path)


def untrained(one: Any) -> Any:
    """A run that has its first evaluation only, which is before learning."""
    return replace(one, records=[replace(record, iteration=0) for record in one.records if record.iteration == 1])


def test_a_team_that_was_evaluated_untrained_has_no_final_score():
    compared = compare.compare([entry("a", (0, 1)), untrained(entry("b", (0, 1), algorithm="coma"))])
    with pytest.raises(RunError, match="coma on game has a run without an evaluation after learning began"):
        marl_eval.as_json(compared, [])


@pytest.mark.parametrize(("shift", "told"), [(0, False), (20, False), (60, True)])
def test_evaluations_after_other_steps_are_said(shift: int, told: bool):
    other = entry("b", (0, 1), algorithm="coma")
    other = replace(other, records=[replace(record, env_steps=record.env_steps + shift) for record in other.records])
    said: list[str] = []
    marl_eval.as_json(compare.compare([entry("a", (0, 1)), other]), said)
    assert any("coma and vdn were not evaluated after the same environment steps" in remark for remark in said) == told
