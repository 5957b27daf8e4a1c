"""Nothing that is asked for is written over what it is made of, or over what a run is kept in."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import dop
from dop import api, views
from dop.api.planning import make_plan
from dop.cli import main
from dop.errors import ConfigError, RunError
from dop.storage import files
from dop.storage.config import RunConfig
from dop.storage.run_directory import RunFolder
from run_factories import GAME, TINY, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_run(tmp_path_factory.mktemp("runs") / "run")


def held(run: RunFolder) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(run.path.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    "name", ["config.json", "metrics.jsonl", "checkpoints/2/state/x", "snapshots/x.npz", "tensorboard/x", "initial.npz"]
)
@pytest.mark.parametrize(
    "ask",
    [
        lambda run, out: views.report([run], out=out, films=False),
        lambda run, out: views.plot([run], data=out),
        lambda run, out: files.check_place(out, option="--csv"),
    ],
)
def test_a_runs_own_files_are_no_place_for_others(run: RunFolder, name: str, ask: Any, tmp_path: Path):
    before = held(run)
    link = tmp_path / "link"
    link.symlink_to(run.path)
    for folder in (run.path, link):
        with pytest.raises(RunError, match=f"{Path(name).name} is part of the run .*: choose another --(out|data|csv)"):
            ask(run.path, folder / name)
    assert held(run) == before


def test_other_names_in_a_run_are_free(run: RunFolder):
    assert files.check_place(run.path / "notes" / "curves.pdf") == run.path / "notes" / "curves.pdf"
    assert files.check_place(run.path / "curve.png") == run.path / "curve.png"


def test_evaluate_refuses_before_it_plays(run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    for place, words in ((run.metrics, "is part of the run"), (run.path / ("x" * 300), "File name too long")):
        monkeypatch.setattr("sys.argv", ["dop", "evaluate", str(run.path), "--csv", str(place)])
        monkeypatch.setattr(api, "evaluate_episodes", lambda *_, **__: pytest.fail("it plays"))
        with pytest.raises(SystemExit, match="2"):
            main()
        assert words in capsys.readouterr().err


def test_figure_data_and_others_are_different_files(run: RunFolder, tmp_path: Path):
    others = tmp_path / "others.json"
    step = {"step_count": 1, "return": [1.0]}
    others.write_text(json.dumps({"e": {"t": {"m": {"r": {"step_0": step}}}}}))
    before = others.read_bytes()
    asked: list[dict[str, Any]] = [{"out": tmp_path / "a.pdf", "data": tmp_path / "a.pdf"}, {"data": others}]
    for places in asked:
        with pytest.raises(ConfigError, match="would be overwritten"):
            views.plot([run.path], others=[others], **places)
    assert others.read_bytes() == before
    assert not (tmp_path / "a.pdf").exists()


def test_a_link_to_a_device_is_no_file(tmp_path: Path):
    """Written to, the link would be replaced, and nothing would reach what it leads to."""
    (tmp_path / "stdout").symlink_to("/dev/null")
    with pytest.raises(RunError, match="stdout is a link to something else, not a file"):
        files.check_place(tmp_path / "stdout")
    (tmp_path / "old").write_text("old")
    (tmp_path / "usual").symlink_to(tmp_path / "old")
    assert files.check_place(tmp_path / "usual") == tmp_path / "usual"
    assert os.path.islink(tmp_path / "usual")  # noqa: PTH114


# ---------------------------------------------------------------------------------------------------------------- failed starts


def failed(folder: Path) -> RunFolder:
    """The directory of a run that failed before its first checkpoint."""
    run = make_run(folder)
    shutil.rmtree(run.checkpoints)
    run.initial.write_bytes(b"of the failed run")
    (run.path / "notes.txt").write_text("mine")
    (run.path / "wandb").mkdir()
    return run


def create_again(run: RunFolder) -> RunConfig:
    """Start a run with another seed in the directory."""
    plan = make_plan(TINY, "matrix-game", 100, [7], run.path, GAME, {})
    plan.folder.create(plan.config)
    return run.read_config()


def test_a_run_that_failed_before_it_learned_is_replaced(tmp_path: Path):
    run = failed(tmp_path / "run")
    assert create_again(run).train_config.seeds == (7,)
    assert not run.initial.exists() and not run.metrics.exists()
    assert (run.path / "notes.txt").read_text() == "mine" and (run.path / "wandb").is_dir()


def test_a_failed_run_is_replaced_by_dop_train(tmp_path: Path):
    class Refuses:
        def open(self, run: dop.LoggedRun) -> None:
            raise OSError("no key")

        def write(self, records: Any) -> None: ...

        def close(self) -> None: ...

    ask: dict[str, Any] = {"env_steps": 4, "eval_episodes": 2, "run_dir": tmp_path / "run", "quiet": True}
    with pytest.raises(ConfigError, match="no key"):
        dop.train(TINY, "matrix-game", environment_options=GAME, loggers=[Refuses()], **ask)
    assert dop.train(TINY, "matrix-game", environment_options=GAME, **ask).outcome.finished


@pytest.mark.parametrize("result", ["checkpoints", "snapshots", "record", "curve.png", "no lock", "other program", "damaged"])
def test_a_directory_with_results_or_of_others_is_not_replaced(result: str, tmp_path: Path):
    run = failed(tmp_path / "run")
    match result:
        case "checkpoints" | "snapshots":
            (run.path / result).mkdir()
        case "record":
            run.metrics.write_text(run.metrics.read_text().replace("evaluation", "train"))
        case "curve.png":
            run.curve.touch()
        case "no lock":
            (run.path / "lock").unlink()
        case "other program":
            run.config.write_text('{"name": "my project"}')
        case _:
            run.metrics.write_text("not a record\n" + run.metrics.read_text())
    before = held(run)
    with pytest.raises(RunError, match="exists already"):
        create_again(run)
    assert held(run) == before


def test_a_run_that_starts_is_not_replaced(tmp_path: Path):
    run = failed(tmp_path / "run")
    before = held(run)
    with run.locked(), pytest.raises(RunError, match="being trained by another process"):
        create_again(run)
    assert held(run) == before


# ---------------------------------------------------------------------------------------------------------------- what is asked


@pytest.mark.parametrize("sampled", ["greedy", 1, None, float("nan")])
def test_sampled_is_true_or_false(run: RunFolder, sampled: Any):
    with pytest.raises(ConfigError, match="sampled must be True or False"):
        dop.evaluate(run.path, sampled=sampled)


@pytest.mark.parametrize("scale", [None, 1.5, "percent", [None], ["bogus"], [["percent"]], (None, "percent")])
def test_scales_are_said_in_words(run: RunFolder, scale: Any, tmp_path: Path):
    others = tmp_path / "others.json"
    others.write_text(json.dumps({"e": {"t": {"m": {"r": {"step_0": {"step_count": 1, "win_rate": [0.78]}}}}}}))
    with pytest.raises(ConfigError, match="others_scale must be a list of fraction or percent"):
        views.plot([], others=[others], others_scale=scale, out=tmp_path / "a.pdf", metric="test_battle_won_mean")


@pytest.mark.parametrize("bounds", [1.5, "x", {"matrix-game": 1}, ("a", 1), {"matrix-game": (0,)}, {"matrix-game": ("0", "1")}])
def test_bounds_are_pairs_of_numbers(run: RunFolder, bounds: Any, tmp_path: Path):
    with pytest.raises(ConfigError, match="bounds must be a dict from tasks to two numbers each"):
        views.report([run.path], out=tmp_path / "page.html", films=False, bounds=bounds)


def test_records_of_a_seed_that_the_run_has_not_leave_the_page(run: RunFolder, tmp_path: Path):
    folder = make_run(tmp_path / "other")
    folder.metrics.write_text(folder.metrics.read_text().replace('"seed": 0', '"seed": 5'))
    page = views.report([folder.path], out=tmp_path / "page.html").read_text()
    assert "its records are of seed 5, which no config.json of its runs has" in page


def test_remarks_of_a_page_are_also_on_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    folder = make_run(tmp_path / "other")
    folder.metrics.write_text(folder.metrics.read_text().replace('"seed": 0', '"seed": 5'))
    monkeypatch.setattr("sys.argv", ["dop", "report", str(folder.path), "--out", str(tmp_path / "page.html")])
    main()
    shown = capsys.readouterr()
    assert "note: No film and no credit of vdn on matrix-game: its records are of seed 5" in shown.err
    assert shown.out == f"report: {tmp_path / 'page.html'}\n"


def test_options_of_a_figure_without_a_figure_get_a_remark(run: RunFolder, tmp_path: Path):
    def remarks(**places: Any) -> list[str]:
        return [said for said in views.plot([run.path], seed_lines=True, smooth=50, **places)[1] if "had no effect" in said]

    (said,) = remarks(csv=tmp_path / "a.csv")
    assert said.startswith("--seed-lines and --smooth had no effect")
    assert remarks(csv=tmp_path / "a.csv", out=tmp_path / "a.png") == []
