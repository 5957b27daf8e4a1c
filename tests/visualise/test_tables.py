"""What a plot shows as CSV and as LaTeX: every measured value, and means with intervals, by hand."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dop import views
from dop.analysis.statistics import Estimate
from dop.cli.commands import plot as command
from dop.errors import ConfigError, RunError
from dop.storage.records import Record
from dop.visualise import tables
from dop.visualise.report import numbers

RETURN, WON = "test_return_mean", "test_battle_won_mean"


def records(*ends: float, metric: str = RETURN) -> list[Record]:
    """A seed for each end, which four evaluations reach: 0 before learning, then the end three times."""
    return [
        Record(kind="evaluation", seed=seed, iteration=i, env_steps=100 * i, wall_seconds=i, metrics={metric: end if i else 0.0})
        for seed, end in enumerate(ends)
        for i in range(4)
    ]


@pytest.mark.parametrize(
    ("scores", "how", "words"),
    [
        ([], {}, "-"),
        ([0.5], {"fraction": True}, "50%"),
        ([0.25, 0.75], {"fraction": True}, "50% (25%, 75%)"),
        ([1.0, 2.0], {}, "1.5 (1, 2)"),
        ([0.0, 1.0, 1.0], {"fraction": True, "limits": (0, 1)}, "67% [0%, 100%]"),
        ([0.0, 1.0, 1.0], {}, "0.667 [-0.768, 2.1]"),  # 2/3 -+ 1.434
        ([-10.0] * 3, {}, "-10 [-10, -10]"),
        ([-12345.6], {}, "-12,346"),
        ([999.6, 1e12], {}, "5e+11 (1,000, 1e+12)"),
    ],
)
def test_how_a_mean_over_seeds_is_written(scores: list[float], how: dict[str, Any], words: str):
    assert numbers.over_seeds(np.array(scores), **how) == words


def test_how_an_estimate_a_count_and_a_span_are_written():
    assert numbers.estimate(Estimate(0.5, 0.25, 0.75)) == "0.500 [0.250, 0.750]"
    assert numbers.estimate(Estimate(0.5, np.nan, np.nan)) == "0.500"
    assert [numbers.count(n, "seed") for n in (0, 1, 2)] == ["0 seeds", "1 seed", "2 seeds"]
    assert [numbers.span("3", "3"), numbers.span("3", "5")] == ["3", "3 to 5"]


# ---------------------------------------------------------------------------------------------------------------------- csv


def test_csv_has_a_row_for_each_seed_and_record_in_order():
    found = {"a,b": {"vdn (gamma 0.9)": [*reversed(records(0.1, 0.30000000000000004))], "none": []}, "c": {"vdn (gamma 0.9)": []}}
    text = tables.as_csv(found, {"vdn (gamma 0.9)": "vdn", "none": "coma"}, RETURN)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert text.splitlines()[0] == "label,algorithm,environment,seed,env_steps,metric,value"
    assert [(row["seed"], row["env_steps"]) for row in rows] == [(str(seed), str(100 * i)) for seed in range(2) for i in range(4)]
    assert {row["label"] for row in rows} == {"vdn (gamma 0.9)"}
    assert {(row["algorithm"], row["environment"], row["metric"]) for row in rows} == {("vdn", "a,b", RETURN)}
    assert [float(row["value"]) for row in rows] == [0, 0.1, 0.1, 0.1, 0, *[0.30000000000000004] * 3]


def test_csv_has_the_drawn_metric_alone():
    assert tables.as_csv({"a": {"vdn": records(1.0)}}, {"vdn": "vdn"}, "critic_loss").count("\n") == 1


# -------------------------------------------------------------------------------------------------------------------- latex


def test_latex_is_a_table_of_booktabs():
    found = {
        "smax:3m": {"vdn": records(0.0, 1.0, 1.0, metric=WON), "my_own": records(0.25, 0.75, metric=WON)},
        "x": {"vdn": records(0.5, metric=WON), "my_own": []},
    }
    caption = (
        "Greedy win rate at the end of training: mean of the last 3 evaluations, then over seeds; 1 to 3 seeds; "
        r"95\% intervals by Student's t in square brackets; values of fewer than 3 seeds in round brackets."
    )
    made = tables.as_latex(found, WON, fractions=(WON,))
    assert (
        made.replace(caption, "CAPTION")
        == r"""% Needs \usepackage{booktabs} in the preamble.
\begin{table}
  \centering
  \caption{CAPTION}
  \begin{tabular}{lrr}
    \toprule
    Method & smax:3m & x \\
    \midrule
    vdn & $67\%\ [0\%,\ 100\%]$ & $50\%$ \\
    my\_own & $50\%\ (25\%,\ 75\%)$ & -- \\
    \bottomrule
  \end{tabular}
\end{table}
"""
    )


def test_returns_are_no_percentages_and_minus_is_a_minus():
    found = tables.as_latex({"mill": {"vdn": records(-10.0, -10.0, -10.0)}}, RETURN)
    assert r"vdn & $-10\ [-10,\ -10]$ \\" in found
    assert "; 3 seeds; 95" in found
    assert r"vdn & $2{,}000\ (1{,}000,\ 3{,}000)$" in tables.as_latex({"mill": {"vdn": records(1000.0, 3000.0)}}, RETURN)
    assert "round" not in found


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("50% & $x_1^2$ #{~}", r"50\% \& \$x\_1\textasciicircum{}2\$ \#\{\textasciitilde{}\}"),
        (r"\input{secret}", r"\textbackslash{}input\{secret\}"),
        ("[a]*", "{[}a{]}{*}"),
        ("two\nlines\x00", r"two lines\textbackslash{}x00"),
        ("plain-name (gamma 0.9)", "plain-name (gamma 0.9)"),
    ],
)
def test_names_mean_nothing_to_latex(text: str, escaped: str):
    assert tables.escaped(text) == escaped
    assert f"    {escaped} & $1$" in tables.as_latex({"a": {text: records(1.0)}}, RETURN)


# ------------------------------------------------------------------------------------------------------------------ command


def test_dop_plot_writes_what_it_draws(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    others = tmp_path / "theirs.json"
    steps = {f"step_{i}": {"step_count": 400 * i, "return": [i / 4], "elapsed_time": i} for i in range(5)}
    others.write_text(json.dumps({"workers": {"workers": {"ippo": {"r": steps}}}}))
    monkeypatch.chdir(tmp_path)
    command.run([str(trained), "--others", "theirs.json", "--csv", "all.csv", "--latex", "end.tex", "--smooth", "800", "--seed-lines"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.csv", "end.tex", "theirs.json"]  # no figure but where one is asked for
    rows = list(csv.DictReader((tmp_path / "all.csv").read_text().splitlines()))
    measured = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    expected = {(r["seed"], r["env_steps"]): r[RETURN] for r in measured if r["kind"] == "evaluation"}
    own = {(int(r["seed"]), int(r["env_steps"])): float(r["value"]) for r in rows if r["label"] == "stochastic-dop"}
    assert own == expected  # never smoothed
    theirs = [row for row in rows if row["label"] == "ippo (theirs)"]
    assert {row["algorithm"] for row in theirs} == {"ippo"}
    assert len(rows) == len(expected) + 5
    assert r"ippo (theirs) & $0.75$" in (tmp_path / "end.tex").read_text()
    assert "csv:" in capsys.readouterr().out


def test_smoothing_changes_the_figure_alone(trained: Path, tmp_path: Path):
    drawn = {}
    for smooth in (0, 1, 800):
        made, _ = views.plot([trained], out=tmp_path / "f.svg", csv=tmp_path / "f.csv", latex=tmp_path / "f.tex", smooth=smooth)
        drawn[smooth] = [made[name].read_text() for name in ("figure", "csv", "latex")]
    assert drawn[0][0] != drawn[800][0]
    assert "smoothed over the last 800 environment steps" in drawn[800][0]
    assert "smoothed" not in drawn[0][0]
    assert drawn[0][1:] == drawn[1][1:] == drawn[800][1:]


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"smooth": -1}, ConfigError, "smooth must not be negative, got -1"),
        ({"smooth": 0.5}, ConfigError, "smooth must be a whole number, got 0.5"),
        ({"smooth": True}, ConfigError, "smooth must be a whole number, got True"),
        ({"smooth": "9"}, ConfigError, "smooth must be a whole number, got '9'"),
        ({"seed_lines": "no"}, ConfigError, "seed_lines must be True or False, got 'no'"),
        ({"metric": "test_returns_mean"}, RunError, r"no record has test_returns_mean\. There are: .*Did you mean 'test_return_mean'\?"),
        ({"metric": "xyz"}, RunError, r"no record has xyz\. There are: [^?]*$"),
        ({"csv": "."}, RunError, "is a folder, not a file: choose another --csv"),
        ({"latex": "/dev/null/t.tex"}, RunError, "cannot be written to, because of /dev/null: choose another --latex"),
        ({"latex": "t.csv"}, ConfigError, "t.csv would be overwritten"),
        ({"csv": 5}, ConfigError, "csv must be a path, got 5"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    asked: dict[str, Any], error: type[Exception], words: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    usual: dict[str, Any] = {"out": "f.png", "csv": "t.csv"}
    with pytest.raises(error, match=words):
        views.plot([trained], **(usual | asked))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["csv", "latex"])
def test_tables_are_not_written_over_a_run(option: str, trained: Path):
    asked: dict[str, Any] = {option: trained / "metrics.jsonl"}
    with pytest.raises(RunError, match=f"is part of the run .*: choose another --{option}"):
        views.plot([trained], **asked)
