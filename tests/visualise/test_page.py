"""The page of a report: what others wrote cannot become part of it, scores do not depend on who else is there, and no number breaks it."""

from __future__ import annotations

import copy
import itertools
import json
import re
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

import dop
from dop import views
from dop.analysis import compare, marl_eval, statistics
from dop.analysis.playback import Player
from dop.analysis.statistics import interquartile_mean
from dop.cli.commands import report as command
from dop.errors import ConfigError
from dop.storage.records import Record
from dop.training.program import Program
from dop.visualise import credit_figures, curves, film
from dop.visualise.report import html, page, provenance
from dop.visualise.texts import visible
from fake_runs import entry
from workers import small

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</script></style></title></svg></textarea><b onclick=x>",
    "javascript:alert(1)",
    "<!-- ]]> <![CDATA[ -->",
    "&lt;i&gt;&amp;&#60;u&#62;",
    "\x00<b>\x1b[2J\x07",
    "\u202e\u2066reversed",
    "\ud800",
    "{{ 7 * 7 }}{% raw %}",
    "$\\frac$",
    'id="content" href="#x" url(#y) fill: #333333 \'DejaVu Sans\'',
    "_name",
    "名前",
)
ALL = " ".join(HOSTILE)


class Elements(HTMLParser):
    """Every element of a page with the names of its attributes, addresses, and how many scripts and styles there are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.kinds: set[tuple[str, tuple[str, ...]]] = set()
        self.addresses: list[str] = []
        self.code = 0
        self.comments: list[str] = []
        self.text = ""
        self.feed(str(text))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.kinds.add((tag, tuple(sorted(name for name, _ in attrs))))
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")]
        self.code += tag in ("script", "style")

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def handle_data(self, data: str) -> None:
        self.text += data


def make_run(run: Path, where: Path, text: str) -> Path:
    """A copy of a run without its arrays, with `text` in the place of every text that a reader does not have to understand."""
    where.mkdir(parents=True)
    name = "".join(letter for letter in text if letter.isprintable())  # in the places where others are refused
    config = json.loads((run / "config.json").read_text())
    config["algorithm"] = config["environment"] = config["device"] = config["machine"] = text
    config["versions"] = {name: text}
    config["environment_options"] = {text: text}
    config["hyper_parameters"] |= {text: text, "gamma": [text, {text: str(where)}]}
    spec = config["environment_spec"]
    spec |= {"name": name, "version": name, "agents": [text, text + "2"], "types": [text], "metrics": [name], "options": [[name, text]]}
    (where / "config.json").write_text(json.dumps(config))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (where / "metrics.jsonl").write_text("".join(json.dumps(line | {f"test_{name}_mean": 0.5}) + "\n" for line in lines))
    return where


def test_no_text_of_a_run_directory_becomes_part_of_the_page(trained: Path, tmp_path: Path):
    folder = "<b>'\" onload=x {{ 7 * 7 }} $\\frac$"
    pages = {}
    for name, text in (("good", "name"), ("bad", ALL)):
        runs = [make_run(trained, tmp_path / name / f"{place}{folder}", text) for place in range(2)]
        pages[name] = Elements(views.report(runs, out=tmp_path / f"{name}.html", films=False).read_text())
    good, bad = pages["good"], pages["bad"]
    assert bad.kinds == good.kinds
    assert bad.code == good.code
    assert bad.comments == []
    assert all(address.startswith("#") for address in bad.addresses)
    for words in (*HOSTILE[:7], "\\x00<b>\\x1b[2J\\x07", "\\u202e\\u2066reversed", "\\ud800", *HOSTILE[10:], folder):
        assert words in bad.text
    assert "49" not in bad.text.replace("2049", "")


def test_no_name_of_an_agent_becomes_part_of_films_and_their_numbers():
    env, team = dop.make("two-step"), small("vdn")
    (trajectory,) = Player(Program(algorithm=team, environment=env))(team.init(jax.random.key(0), env.spec), jax.random.key(0), 1)
    pages = []
    for text in ("name", ALL):
        spec = copy.copy(env.spec)
        object.__setattr__(spec, "agents", tuple(f"{text}{i}" for i in range(2)))
        many = [replace(trajectory, spec=spec)]
        shown = page.RunRollouts(
            task=text, label=text, run=text, environment=object(), examples={text: many[0]}, many=many, training={0: many, 5: many}
        )
        pages.append(Elements(page._rollouts(shown)))
        next(credit_figures.film(object(), many[0], title=text))
        next(film.film(object(), many[0], title=text))
        film.pixels(credit_figures.episode_figure(object(), many[0], title=text))
    good, bad = pages
    assert bad.kinds == good.kinds
    assert bad.code == good.code == 2  # data, and the style of the time line's drawing
    assert all(address.startswith(("#", "data:image/png")) for address in bad.addresses)


def test_only_one_file_of_the_library_calls_text_safe():
    source = Path(page.__file__).parents[1]
    safe = [path.name for path in source.rglob("*.py") if "Markup(" in path.read_text().replace("Markup()", "")]
    assert safe == ["html.py"]
    assert "|safe" not in (source / "report" / "templates" / "page.html.jinja").read_text().replace(" ", "")


@pytest.mark.parametrize("text", [ALL, "_name", "$\\frac$", "\ud800"])
def test_a_drawing_has_hostile_words_as_words(tmp_path: Path, text: str):
    records = entry().records
    found = marl_eval.merged(compare.compare([entry()]), {text: {text: {text: records}}})
    curves.draw_grid(found, tmp_path / "grid.svg", metric="test_return_mean", title=text, axes_of=("env_steps",))
    curves.draw({text: records}, tmp_path / "curve.svg", title=text)
    for name in ("grid.svg", "curve.svg"):
        words = [element.text or "" for element in ElementTree.parse(tmp_path / name).iter() if element.tag.endswith("}text")]
        assert any(visible(text) in found for found in words)
        assert not {element.tag for element in ElementTree.parse(tmp_path / name).iter() if element.tag.endswith(("}script", "}b", "}img"))}
    drawn = Elements(html.svg(curves.figure({text: records}, title=text), title=text, description=text))
    plain = Elements(html.svg(curves.figure({"x": records}, title="x"), title="x", description="x"))
    assert {tag for tag, _ in drawn.kinds} == {tag for tag, _ in plain.kinds}
    assert {name for _, names in drawn.kinds for name in names} == {name for _, names in plain.kinds for name in names}
    assert visible(text) in drawn.text


def test_ids_of_drawings_are_their_own_and_colours_the_pages():
    first, second = (html.svg(curves.figure({"x": entry().records}, title="x"), title="x", description="x") for _ in range(2))
    ids = [[part.split('"')[0] for part in drawn.split(' id="')[1:]] for drawn in (first, second)]
    assert len(ids[0]) > 20
    assert not set(ids[0]) & set(ids[1])
    for drawn, own in zip((first, second), ids, strict=True):
        assert {part.split('"')[0] for part in drawn.split('href="#')[1:]} <= set(own)
        assert {part.split(")")[0] for part in drawn.split("url(#")[1:]} <= set(own)
        assert "stroke: var(--c0)" in drawn
        assert "#333333" not in drawn


# ------------------------------------------------------------------------------------------------------------------- scores

NO_SHARE: dict[str, Any] = {"metrics": []}


def compared(*more: compare.Entry) -> compare.Comparison:
    return compare.compare([entry("a", (0,), spec=NO_SHARE), entry("b", (0, 1), end=0.5, algorithm="coma", spec=NO_SHARE), *more])


def together(found: compare.Comparison, bounds: dict[str, tuple[float, float]] | None = None) -> str:
    return Elements(page._all_tasks(found, bounds or {})).text


def test_scores_are_as_they_are_or_between_bounds_and_nobody_elses_affair():
    tasks = compared().tasks
    scores = page.scores_of(tasks, ["vdn", "coma"])
    np.testing.assert_allclose(scores["vdn"], [[7.5]])  # the mean of the last three: 5, 7.5, 10
    np.testing.assert_allclose(scores["coma"], [[3.75, 3.75]])
    more = compared(entry("c", (0, 1), end=40.0, algorithm="qmix", spec=NO_SHARE)).tasks
    for label in ("vdn", "coma"):
        np.testing.assert_array_equal(page.scores_of(more, ["vdn", "coma", "qmix"])[label], scores[label])
    scaled = page.scores_of(tasks, ["vdn", "coma"], {"game": (-2.5, 7.5)})
    np.testing.assert_allclose(scaled["vdn"], [[1.0]])
    np.testing.assert_allclose(scaled["coma"], [[0.625, 0.625]])


def test_the_page_says_how_scores_are_made_in_each_case():
    single = together(compared())
    assert "A seed's score is the mean of the last 3 evaluations after learning began, or of all if there are fewer." in single
    assert "On game: greedy return, not scaled." in single
    assert "vdn7.500" in single.replace("\n", "")
    assert "return" in single
    bounded = together(compared(), {"game": (0, 5)})
    assert "On game: greedy return, scaled so that 0 is 0 and 5 is 1. Some scores are beyond the bounds." in bounded
    assert "vdn1.500" in bounded.replace("\n", "")
    assert "beyond" not in together(compared(), {"game": (0, 10)})
    assert "On game: greedy win rate, from 0 to 1." in together(compare.compare([entry("a"), entry("b", algorithm="coma")]))


def test_returns_of_several_tasks_have_a_common_mean_only_with_bounds():
    other = NO_SHARE | {"name": "other"}
    found = compared(entry("c", (0, 1), spec=other), entry("d", (0, 1), end=0.5, algorithm="coma", spec=other))
    without = together(found)
    assert "To have one, say which returns count as 0 and as 1: --bounds 'game=LOW:HIGH' --bounds 'other=LOW:HIGH'." in without
    assert "IQM" not in without
    assert "Probability of improvement" in without  # which compares within a task
    assert "--bounds 'other=LOW:HIGH'." in together(found, {"game": (0, 10)})
    both = together(found, {"game": (0, 10), "other": (0, 20)})
    assert "On game: greedy return, scaled so that 0 is 0 and 10 is 1. On other: greedy return, scaled so that 0 is 0 and 20 is 1." in both
    assert "IQM" in both
    assert "LOW" not in both


@pytest.mark.parametrize(
    ("returns", "bounds", "limits"),
    [((0.5, 3.0), None, (0.5, 3.0)), ((0.5, 3.0), {"game": (0.0, 4.0)}, (0.0, 1.0)), ((-4.0, 8.0), {"game": (0.0, 4.0)}, (-1.0, 2.0))],
)
def test_the_profiles_axis_has_all_scores(monkeypatch: pytest.MonkeyPatch, returns: tuple, bounds: Any, limits: tuple):
    drawn: list[Figure] = []
    monkeypatch.setattr(html, "figure", lambda picture, **_: drawn.append(picture) or "")
    tasks = compare.compare([entry("a", end=1 / 7.5, spec=NO_SHARE), entry("b", end=1 / 7.5, algorithm="coma", spec=NO_SHARE)]).tasks
    for line, value in zip(tasks[0].lines, returns, strict=True):
        for record in line.records:
            record.metrics["test_return_mean"] = value
    scores = page.scores_of(tasks, ["vdn", "coma"], bounds)
    page._profiles(["vdn", "coma"], scores, "score" if bounds else "return")
    (axes,) = drawn[0].axes
    x = np.asarray(axes.lines[0].get_xdata())
    assert (x[0], x[-1]) == limits
    assert axes.get_xlabel() == ("score" if bounds else "return")


def test_bounds_are_typed_as_task_low_high(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = ["--no-films", "--out", str(tmp_path / "page.html")]
    command.run([str(trained), *out, "--bounds", "workers=0:0.5"])
    assert "scaled so that 0 is 0 and 0.5 is 1" in (tmp_path / "page.html").read_text()
    for words, said in (
        (["workers"], "TASK=LOW:HIGH"),
        (["workers=1"], "got 'workers=1'"),
        (["workers=1:x"], "got 'workers=1:x'"),
        (["workers=0.5:0.1"], "two finite numbers, the lower one first; workers has 0.5:0.1"),
        (["workers=0:nan"], "two finite numbers"),
        (["workers=0:1e308"], "two finite numbers"),
        (["workers=0:9"], "a fraction from 0 to 1, so that bounds 0:9 do not fit"),
        (["mill=0:1"], "no task 'mill' to give bounds for. There are: workers"),
        (["workers=0:1", "workers=0:1"], "has bounds twice"),
    ):
        with pytest.raises(ConfigError, match=said):
            command.run([str(trained), *out, *(x for word in words for x in ("--bounds", word))])
    capsys.readouterr()


# ----------------------------------------------------------------------------------------------------------------- extremes


def with_returns(name: str, algorithm: str, *by_seed: list[float], steps: int = 100) -> compare.Entry:
    made = entry(name, tuple(range(len(by_seed))), algorithm=algorithm, spec=NO_SHARE, env_steps=400)
    records = [
        Record(kind="evaluation", seed=seed, iteration=i, env_steps=steps * i, wall_seconds=i, metrics={"test_return_mean": value})
        for seed, values in enumerate(by_seed)
        for i, value in enumerate(values, start=1)
    ]
    return replace(made, records=records)


HUGE, NAN = sys.float_info.max, float("nan")


@pytest.mark.parametrize(
    "by_seed",
    [
        [[HUGE] * 4] * 3,
        [[HUGE, -HUGE, HUGE, -HUGE], [-HUGE] * 4],
        [[1.0, 2.0, HUGE, 3.0], [1.0, 2.0, 3.0, 4.0]],
        [[NAN] * 4, [1.0, 2.0, 3.0, 4.0]],
        [[NAN] * 4],
        [[float("inf"), 1.0]],
        [[1e100, -1e100, 1e100]] * 3,
        [[2.0]],
    ],
    ids=str,
)
def test_no_number_breaks_a_page_or_a_figure(by_seed: list[list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Warnings are errors in this suite."""
    monkeypatch.setattr(statistics, "RESAMPLES", 20)
    found = compare.compare([with_returns("a", "vdn", *by_seed), with_returns("b", "coma", [1.0, 2.0, 3.0], [2.0, 3.0, 4.0])])
    text = Elements(page.build(found, [], [], made="now")).text
    extreme = any(not abs(x) <= 1e100 for values in by_seed for x in values)
    assert any("is not finite, or beyond 1e+100" in remark for remark in found.remarks) == extreme
    assert ("nan" in text or "inf" in text.replace("information", "")) is False
    records = {line.label: line.records for line in found.tasks[0].lines}
    curves.draw(records, tmp_path / "curve.png", title="game")
    curves.draw_grid({"game": records}, tmp_path / "grid.png", metric="test_return_mean", title="")


def test_environment_steps_of_any_size_are_drawn(tmp_path: Path):
    found = compare.compare([with_returns("a", "vdn", [1.0, 2.0], steps=10**steps) for steps in (300,)])
    assert "vdn" in Elements(page.build(found, [], [], made="now")).text
    curves.draw({"vdn": found.tasks[0].lines[0].records}, tmp_path / "curve.png", title="game")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_not_finite_is_named():
    found = compare.compare([with_returns("a", "vdn", [9.0, HUGE], [NAN, 2.0], [1.0, 2.0])])
    assert found.remarks[0] == (
        "game, vdn: test_return_mean is not finite, or beyond 1e+100, in evaluations of seeds 0, 1, which are left out."
    )


def test_a_score_is_the_mean_of_the_finite_ones():
    line = compare.compare([with_returns("a", "vdn", [9.0, 1.0, HUGE, 3.0], [NAN] * 3)]).tasks[0].lines[0]
    assert line.by_seed("test_return_mean")[0] == 2.0
    np.testing.assert_array_equal(line.scores("test_return_mean"), [2.0])
    assert interquartile_mean([line.scores("test_return_mean")]).value == 2.0


def test_a_method_without_a_finite_score_takes_no_part():
    found = compare.compare([with_returns("a", "vdn", [NAN] * 4), with_returns("b", "coma", [1.0, 2.0])])
    text = together(found)
    assert "coma" in text
    assert "vdn" not in text
    assert "No method has a finite score" in together(compare.compare([with_returns("a", "vdn", [NAN])]))


def test_a_method_that_has_played_fewer_tasks_or_others_changes_nothing_of_the_rest(monkeypatch: pytest.MonkeyPatch):
    asked: list[dict[str, list[list[float]]]] = []
    scores_of = page.scores_of

    def kept(*arguments: Any) -> Any:
        found = scores_of(*arguments)
        asked.append({label: [own.tolist() for own in of_tasks] for label, of_tasks in found.items()})
        return found

    monkeypatch.setattr(page, "scores_of", kept)
    monkeypatch.setattr(statistics, "RESAMPLES", 20)
    two, three = NO_SHARE | {"name": "two"}, NO_SHARE | {"name": "three"}
    pair = [
        *(entry(f"a{i}", spec=spec, end=0.5 * i) for i, spec in enumerate((NO_SHARE, two), 1)),
        *(entry(f"b{i}", spec=spec, algorithm="coma") for i, spec in enumerate((NO_SHARE, two))),
    ]
    alone = together(compare.compare(pair))
    beside = together(compare.compare([*pair, entry("c", spec=NO_SHARE, algorithm="qmix"), entry("d", spec=three, algorithm="qmix")]))
    assert asked[0] == asked[1] == {"vdn": [[3.75, 3.75], [7.5, 7.5]], "coma": [[7.5, 7.5], [7.5, 7.5]]}
    assert asked[2].keys() == {"qmix"}
    assert "are shown together" in beside
    assert "are shown together" not in alone


def test_a_fraction_is_one_whatever_is_not_finite():
    for values in ([NAN, 0.5, 1.0], [0.5, NAN, 1.0]):
        made = entry(seeds=(0,))
        for record, value in zip(made.records, values, strict=False):
            record.metrics["test_won_mean"] = value
        assert compare.compare([made]).tasks[0].metric == "test_won_mean"


def test_a_configuration_without_a_version_is_damaged(trained: Path, tmp_path: Path):
    shutil.copy(trained / "metrics.jsonl", tmp_path)
    config = json.loads((trained / "config.json").read_text())
    del config["environment_spec"]["version"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(dop.RunError, match="is damaged"):
        views.report([tmp_path], out=tmp_path / "page.html", films=False)


# ----------------------------------------------------------------------------------------------------- intervals and tables


def rows_of(text: str) -> dict[str, list[str]]:
    """The cells of each row of a piece of the page, by its first cell."""
    parts = [[Elements(cell).text.strip() for cell in row.split("<td>")] for row in text.split("<tr>")[1:]]
    return {first.split("\n")[-1]: [cell.split("\n")[0] for cell in cells] for first, *cells in parts}


def of_task(*ends: float, bounds: tuple[float, float] | None = None, fraction: bool = False) -> tuple[str, list[str]]:
    """The caption of a task's table, and its only row; every seed has one of these scores, as a return or as a fraction."""
    made = with_returns("a", "vdn", *([end] * 3 for end in ends))
    if fraction:
        made = entry("a", tuple(range(len(ends))))
        for record in made.records:
            record.metrics["test_won_mean"] = ends[record.seed]
    found = compare.compare([made])
    drawn = str(page._task(found, found.tasks[0], bounds))
    caption = Elements(drawn.split('class="soft caption"')[1].split("</p>", maxsplit=1)[0]).text
    return caption, rows_of(drawn.split("<tbody>")[1])["vdn"]


def test_a_fractions_interval_ends_at_0_and_100_percent():
    # Values 0, 1, 1: 2/3 -+ 1.434.
    caption, row = of_task(0.0, 1.0, 1.0, fraction=True)
    assert row[:2] == ["3", "67% [0%, 100%]"]
    assert "95% interval by Student's t, cut: a greedy win rate to 0% and 100%" in caption


@pytest.mark.parametrize(
    ("bounds", "shown"),
    [(None, "0.667 [-0.768, 2.1]"), ((0, 2), "0.667 [0, 2]"), ((-9, 9), "0.667 [-0.768, 2.1]"), ((0.5, 2), "0.667 [-0.768, 2.1]")],
)
def test_returns_are_cut_to_their_bounds_unless_a_seed_is_outside(bounds: tuple[float, float] | None, shown: str):
    caption, row = of_task(0.0, 1.0, 1.0, bounds=bounds)
    assert row[:2] == ["3", shown]
    assert ("cut: returns to" in caption) == (bounds in ((0, 2), (-9, 9)))


def test_two_seeds_show_their_values_and_one_shows_itself():
    caption, row = of_task(1.0, 2.0)
    assert row[:2] == ["2", "1.5 (1, 2)"]
    assert "Fewer than 3 seeds have no interval: their own values are in round brackets." in caption
    assert "95%" not in caption
    caption, row = of_task(1.0)
    assert row[:2] == ["1", "1"]
    assert caption.endswith("Fewer than 3 seeds have no interval.")
    assert "Fewer" not in of_task(1.0, 2.0, 4.0)[0]


@pytest.mark.parametrize(("seeds", "words"), [(1, "One line: one seed."), (2, "thin: single seeds."), (3, "band, from 3 seeds on: 95%")])
def test_the_words_above_curves_say_what_is_drawn(seeds: int, words: str):
    found = compare.compare([with_returns("a", "vdn", *[[1.0, 2.0]] * seeds)])
    assert words in page._line_words(found.tasks[0])


def test_iqm_mean_median_and_optimality_gap_stand_side_by_side(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 20)
    two = NO_SHARE | {"name": "two"}
    found = compare.compare([with_returns("a", "vdn", [0.0] * 3, [4.0] * 3, [8.0] * 3), entry("b", (0, 1), spec=two)])
    # game: 0, 0.4, 0.8 of (0, 10); two: 7.5 twice, of (0, 5) 1.5. Of all five, 0 and a 1.5 go: (0.4 + 0.8 + 1.5) / 3 = 0.9.
    drawn = str(page._all_tasks(found, {"game": (0, 10), "two": (0, 5)}))
    header = re.findall(r'scope="col">([^<]*)<', drawn)
    assert header[:7] == ["method", "IQM", "mean", "median", "optimality gap", "seeds per task", "tasks"]
    assert rows_of(drawn)["vdn"] == ["0.900", "0.950", "0.950", "0.300", "2 to 3", "2"]  # two seeds on one task: no interval
    text = Elements(drawn).text
    assert "optimality gap is the mean shortfall of scores from 1" in text
    assert "On two: greedy return, scaled so that 0 is 0 and 5 is 1." in text
    unscaled = str(page._all_tasks(compared(), {}))
    assert "optimality gap</th>" not in unscaled
    assert rows_of(unscaled)["coma"] == ["3.750", "3.750", "3.750", "2", "1"]


def test_a_caption_lies_outside_of_what_scrolls_and_names_the_table():
    drawn = str(html.table("A caption", ("a", "b"), [["x", "y"]]))
    assert drawn.index("A caption") < drawn.index('class="scroll"')
    name = drawn.split(' id="')[1].split('"', maxsplit=1)[0]
    assert drawn.count(f'aria-labelledby="{name}"') == 2
    assert str(html.table("A caption", ("a",), [])).split(' id="')[1].split('"')[0] != name


def test_what_is_the_same_of_all_runs_is_said_once():
    same = str(provenance.origin(compare.compare([entry("a"), entry("b", algorithm="coma")])))
    assert same.count("cpu; here") == 1
    assert "machine</th>" not in same
    differ = str(provenance.origin(compare.compare([entry("a"), entry("b", algorithm="coma", machine="there")])))
    assert [differ.count(words) for words in ("cpu; here", "cpu; there", "machine</th>", "versions</th>")] == [1, 1, 1, 0]
    assert "machine</th>" in str(provenance.origin(compare.compare([entry("a")])))


@pytest.mark.parametrize(("methods", "columns"), [(6, 7), (7, 2)])
def test_values_of_many_methods_are_in_one_column(methods: int, columns: int):
    entries = [entry(str(i), algorithm=f"m{i}", gamma=0.9 if i else 0.5) for i in range(methods)]
    drawn = str(provenance.hyper_parameters(compare.compare(entries)))
    assert drawn.count('scope="col"') == columns
    assert rows_of(drawn)["gamma"][0].startswith("0.5")
    assert ("0.9: m1, m2, m3, m4, m5, m6" in drawn) == (columns == 2)


# ------------------------------------------------------------------------------------------------------------------ colours

# Machado, Oliveira and Fernandes 2009, severity 1, in linear RGB.
SEEN_BY = {
    "most people": np.eye(3),
    "protanopes": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranopes": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "tritanopes": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    x, y, z = np.cbrt(TO_XYZ @ np.clip(rgb, 0, 1) / (0.9505, 1, 1.089))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one: str, other: str) -> float:
    low, high = sorted(float(TO_XYZ[1] @ linear(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("viewer", SEEN_BY)
def test_lines_colours_differ_for_everybody_and_stand_out(viewer: str, scheme: int):
    palette = dict(re.findall(r"--(\w+): (#\w{6})", str(html.own_file("page.css")).split(":root")[1 + scheme]))
    lines = [palette[f"c{i}"] for i in range(len(curves.COLOURS))]
    seen = [lab(SEEN_BY[viewer] @ linear(colour)) for colour in lines]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 12
    assert min(contrast(line, palette["card"]) for line in lines) > 2.95
