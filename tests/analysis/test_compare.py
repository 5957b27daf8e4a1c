"""What may be merged and compared, what is kept apart, and that nothing of it goes unsaid."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dop import views
from dop.analysis import compare
from dop.errors import RunError
from dop.loggers.jsonl import JsonLines
from dop.visualise.curves import COLOURS
from dop.visualise.report import html
from fake_runs import entry
from logged import opened


def lines(comparison: compare.Comparison) -> dict[str, dict[str, list[int]]]:
    return {task.title: {line.label: line.seeds for line in task.lines} for task in comparison.tasks}


def test_seeds_of_the_same_method_are_one_line():
    found = compare.compare([entry("a", (0, 1)), entry("b", (2,))])
    assert lines(found) == {"game": {"vdn": [0, 1, 2]}}
    assert found.remarks == []
    assert found.tasks[0].metric == "test_won_mean"
    np.testing.assert_allclose(found.tasks[0].lines[0].scores("test_won_mean"), [0.75] * 3)  # the mean of 0.5, 0.75 and 1


def test_a_seed_that_is_there_twice_counts_once_and_is_named():
    found = compare.compare([entry("a", (0, 1)), entry("b", (1, 2), end=0.0)])
    assert lines(found) == {"game": {"vdn": [0, 1, 2]}}
    np.testing.assert_allclose(found.tasks[0].lines[0].scores("test_won_mean"), [0.75, 0.75, 0.0])
    assert found.remarks == ["vdn: seed 1 is in a and in b; only the first counts."]
    assert "was given twice" in compare.compare([entry("a"), entry("a")]).remarks[0]


def test_other_versions_and_options_of_an_environment_are_other_tasks_and_named():
    found = compare.compare([entry("a"), entry("b", spec={"version": "2"}), entry("c", spec={"options": [["size", 4]]})])
    titles = ["game (version 1, size 3)", "game (version 2, size 3)", "game (version 1, size 4)"]
    assert [task.title for task in found.tasks] == titles
    assert found.remarks == [f"game differs between runs and is shown separately: {'; '.join(titles)}."]


@pytest.mark.parametrize(
    ("change", "label", "remark"),
    [
        ({"gamma": 0.5}, "vdn (gamma 0.5)", None),
        ({"eval_episodes": 8}, "vdn (eval_episodes 8)", "eval_episodes differs, so these lines were not evaluated alike"),
        ({"env_steps": 300}, "vdn (env_steps 300)", "env_steps differs"),
        ({"machine": "there"}, None, "different machines (here; there): wall-clock times are not comparable"),
    ],
)
def test_what_differs_is_another_line_or_named_or_both(change: dict[str, Any], label: str | None, remark: str | None):
    found = compare.compare([entry("a", (0,)), entry("b", (1,), **change)])
    assert len(found.labels) == (1 if label is None else 2)
    assert label is None or label in found.labels
    assert ([] if remark is None else [True]) == [remark in said for said in found.remarks if remark]


def test_tasks_may_be_measured_in_ways_of_their_own():
    found = compare.compare([entry("a"), entry("b", spec={"name": "other"}, env_steps=300)])
    assert found.labels == ["vdn"]
    assert found.remarks == []


def test_many_differences_are_numbered_and_listed():
    one, two = entry("a"), entry("b", eval_interval=7, eval_episodes=8, env_steps=300, gamma=0.1)
    found = compare.compare([one, two])
    assert found.labels == ["vdn (setting 1)", "vdn (setting 2)"]
    assert found.remarks[:2] == [
        f"vdn (setting {i}) is {of.name}: gamma {of.config.hyper_parameters['gamma']}, "
        + ", ".join(f"{name} {of.measured[name]}" for name in ("env_steps", "eval_interval", "eval_episodes"))
        + "."
        for i, of in ((1, one), (2, two))
    ]
    assert compare.hyper_parameters(found)["vdn (setting 2)"] == {"env_steps": 300, "eval_interval": 7, "eval_episodes": 8, "gamma": 0.1}


def test_an_unfinished_seed_is_named():
    assert "not finished (seed 0 at 400 of 900" in compare.compare([entry(seeds=(0,), env_steps=900)]).remarks[0]


# -------------------------------------------------------------------------------------------------------------- on the disk


def test_runs_are_found_in_folders_and_broken_ones_are_named(trained: Path, tmp_path: Path):
    for name in ("good", "damaged", "young"):
        (tmp_path / name).mkdir()
        for file in ("config.json", "metrics.jsonl"):
            shutil.copy(trained / file, tmp_path / name)
    (tmp_path / "damaged" / "config.json").write_text('{"format": 1')
    (tmp_path / "young" / "metrics.jsonl").write_text("")
    found = compare.gather([tmp_path])
    assert lines(found) == {"workers": {"stochastic-dop": [3, 5]}}
    assert [("damaged" in said, "no evaluation yet" in said) for said in found.remarks] == [(True, False), (False, True)]
    with pytest.raises(RunError, match="is damaged"):
        compare.gather([tmp_path / "damaged"])
    with pytest.raises(RunError, match="no evaluation yet"):
        compare.gather([tmp_path / "young"])
    with pytest.raises(RunError, match="contains none"):
        compare.gather([tmp_path / "good" / "nothing"])
    with pytest.raises(RunError, match="nothing to compare"):
        compare.gather([])


@pytest.mark.parametrize("change", [{"environment_spec": {}}, {"environment_spec": {"name": "w", "metrics": 7}}, {"versions": ["jax"]}])
def test_what_only_a_comparison_reads_of_a_configuration_is_checked(trained: Path, tmp_path: Path, change: dict[str, Any]):
    shutil.copy(trained / "metrics.jsonl", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(json.loads((trained / "config.json").read_text()) | change))
    with pytest.raises(RunError, match="is damaged"):
        compare.gather([tmp_path])


class Outline(HTMLParser):
    """Tags that are open, headings, ids and addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.levels: list[int] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.bare: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag not in ("meta", "img", "input", "br", "path", "use", "rect"):
            self.open.append(tag)
        if tag in ("h1", "h2", "h3", "h4"):
            self.levels.append(int(tag[1]))
        self.ids += [found["id"] or ""] if "id" in found else []
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if (
            (tag == "img" and not found.get("alt"))
            or (tag == "svg" and found.get("role") != "img")
            or (tag == "input" and "aria-label" not in found)
        ):
            self.bare.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()


def test_the_page_is_one_whole_accessible_file_that_asks_for_nothing(trained: Path, tmp_path: Path):
    out = views.report([trained], trust=True, out=tmp_path / "page.html", episodes=8)
    found = Outline()
    text = out.read_text()
    found.feed(text)
    assert found.open == []
    assert found.levels[0] == 1
    assert found.levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(found.levels, found.levels[1:], strict=False))
    assert len(found.ids) == len(set(found.ids))
    assert found.bare == []
    assert all(address.startswith(("#", "data:")) for address in found.addresses)
    assert "http" not in text.replace("http://www.w3.org/", "")
    shown = ("workers", "stochastic-dop", "IQM", "prefers-color-scheme: dark", "Per-agent credit", "Greedy return over time", "jaxlib")
    for words in shown:
        assert words in text
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    data = json.loads(text.split('<script type="application/json">')[1].split("</script>")[0])
    assert len(data["frames"]) == 2
    assert len(data["steps"]["credit"][0]) == 2


def test_without_checkpoints_the_page_has_curves_and_says_why_no_film(trained: Path, tmp_path: Path):
    run = tmp_path / "<run>"
    run.mkdir()
    for file in ("config.json", "metrics.jsonl"):
        shutil.copy(trained / file, run)
    text = views.report([run], trust=True, out=tmp_path / "page.html").read_text()
    assert "No film and no credit of stochastic-dop on workers" in text
    assert "has no checkpoint yet" in text
    assert "<run>" not in text


def test_a_place_that_cannot_be_written_to_is_refused_before_anything_is_played(trained: Path, tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("mine")
    for out in (file, file / "inside"):
        for look in (views.render, views.credit, views.export):
            with pytest.raises(RunError, match="choose another --out"):
                look(trained, trust=True, out=out)
    for out in (tmp_path, file / "page.html"):
        with pytest.raises(RunError, match="choose another --out"):
            views.report([trained], trust=True, out=out)
    assert file.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [file]


def test_methods_beyond_the_colours_have_dashes_in_the_legend_too():
    assert len({html.line_look(index) for index in range(3 * len(COLOURS))}) == 3 * len(COLOURS)


def test_a_record_file_of_a_crash_is_still_drawn(trained: Path, tmp_path: Path):
    shutil.copy(trained / "config.json", tmp_path)
    sink = opened(JsonLines(), tmp_path)
    sink.write(entry(seeds=(3,)).records[:1])
    sink.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "eval')
    assert "not finished" in views.report([tmp_path], out=tmp_path / "page.html", films=False).read_text()
