"""The table of methods on SMAX: what is trained to which length, what is read, and the tables. Training is replaced by a stub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dop.errors import ConfigError, RunError, UnknownNameError
from dop.paper import runs, smax
from dop.paper.comparisons import SMAX_SCALES
from dop.paper.runs import Piece
from dop.paper.smax import Finished, Options
from dop.paper.variants import SMAX_METHODS
from dop.storage.records import Record
from dop.storage.run_directory import RunFolder
from paper_runs import GOAL, write_run

SECONDS = {"dop": 1e-3, "vdn": 1e-3 / 3, "qmix": 2e-3}
"""Per environment step: DOP takes 300 s for 300,000 steps."""
SPEED = {"dop": 1.0, "vdn": 1 / 3, "qmix": 0.5}
"""Of learning per environment step."""


def options(folder: Path, **changes: Any) -> Options:
    given = {"maps": ("2s3z",), "variants": ("dop", "vdn", "qmix"), "seeds": 1, "runs": folder / "runs", "out": folder / "out"}
    return Options(**{**given, **changes})


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The trainings, in order, by a stub that finishes at once."""
    done: list[str] = []

    def train(piece: Piece, folder: RunFolder) -> bool:
        write_run(piece, folder, piece.env_steps, seconds_per_step=SECONDS[piece.variant], speed=SPEED[piece.variant])
        done.append(f"{piece}: {piece.env_steps}")
        return True

    monkeypatch.setattr(runs, "train", train)
    return done


def rows(text: str, start: str) -> list[list[str]]:
    """The cells of the lines that begin so."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith(start)]


def test_scales_are_the_maps_and_methods_of_the_field() -> None:
    (full,) = SMAX_SCALES["full"]
    assert len(full.env_steps) == 9
    assert sorted(full.seeds.values()) == [3] * 5 + [5] * 4
    assert {name for name, steps in full.env_steps.items() if steps == 2_000_000} == {"27m_vs_30m", "3s5z_vs_3s6z", "5m_vs_6m"}
    assert set(full.env_steps.values()) == {1_000_000, 2_000_000}
    small = list(runs.all_pieces(Options()))
    assert len(small) == 3 * 3 * 8
    assert {piece.env_steps for piece in small} == {300_000}
    assert {piece.variant for piece in small} == set(SMAX_METHODS) == set(smax.STYLES)
    assert {method for group in smax.GROUPS.values() for method in group} == set(SMAX_METHODS)


def test_maps_with_more_seeds_have_the_later_ones_alone() -> None:
    found = list(runs.all_pieces(Options(scale="full", variants=("dop",))))
    assert len(found) == 5 * 3 + 4 * 5
    assert {piece.map for piece in found if piece.seed == 4} == {"2s3z", "3s5z", "6h_vs_8z", "smacv2_5_units"}


def test_cheaper_methods_are_trained_on_until_they_have_taken_the_seconds_of_dop(tmp_path: Path, trained: list[str]) -> None:
    """VDN takes 100 s for 300,000 steps; 200 s more are 600,000 steps, and 2% more than that. QMIX has taken 300 s after 150,000."""
    smax.reproduce(options(tmp_path), lambda _: None)
    assert trained == ["2s3z dop seed 0: 300000", "2s3z vdn seed 0: 300000", "2s3z qmix seed 0: 300000", "2s3z vdn seed 0: 912001"]
    (piece,) = (piece for piece in runs.all_pieces(options(tmp_path)) if piece.variant == "vdn")
    data = json.loads(piece.data(options(tmp_path)).read_text())
    assert data["about"]["env_steps"] == GOAL
    assert data["about"]["preset"] == "default"
    assert data["evaluations"][-1]["env_steps"] == 900_000
    smax.reproduce(options(tmp_path), lambda _: None)
    assert len(trained) == 4


def test_both_comparisons_are_in_the_table(tmp_path: Path, trained: list[str]) -> None:
    """Means of three evaluations. VDN: 5/18 of a win at 250,000 steps, 17/18 at 850,000. QMIX: 5/12 at 250,000, 1/6 at 100,000."""
    lines: list[str] = []
    smax.reproduce(options(tmp_path), lines.append)
    text = (tmp_path / "out" / "table.md").read_text()
    assert text.rstrip() == next(line for line in lines if line.startswith("First at equal"))
    assert rows(text, "| 2s3z")[:3] == [
        ["2s3z", "dop", "1", "300k", "5.0", "83%", "1", "300k", "5.0", "83%"],
        ["2s3z", "vdn", "1", "300k", "1.7", "28%", "1", "900k", "5.0", "94%"],
        ["2s3z", "qmix", "1", "300k", "10.0", "42%", "1", "150k", "5.0", "17%"],
    ]
    assert rows(text, "| vdn") == [["vdn", "28%", "94%"]]
    assert "At equal environment steps: 2s3z." in text
    assert len(trained) == 4
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["smax-iqm.png", "smax-seconds.png", "smax-steps.png"]


def test_the_best_peers_win_rate_is_reached_earlier(tmp_path: Path, trained: list[str]) -> None:
    """QMIX ends at 5/12 of a win. DOP's mean of three is 1/2 at 200,000 steps, 1/3 at 150,000; 90% of 5/12 is 3/8."""
    smax.reproduce(options(tmp_path), lambda _: None)
    (row,) = rows((tmp_path / "out" / "table.md").read_text(), "| 2s3z | qmix | 4")
    assert row == ["2s3z", "qmix", "42%", "200k", "300k", "0.67", "200k", "300k", "0.67"]
    assert len(trained) == 4


def finished(method: str, *values: float) -> Finished:
    kept = [
        Record(kind="evaluation", seed=0, iteration=k, env_steps=100 * k, wall_seconds=0.0, metrics={runs.WIN: value})
        for k, value in enumerate(values)
    ]
    return Finished(map="3s5z", method=method, seeds={"env_steps": [kept], "processor_seconds": []})


def test_a_win_rate_that_is_not_reached_has_no_ratio() -> None:
    table = smax.efficiency_table([finished("dop", 0.0, 0.1, 0.1, 0.1), finished("vdn", 0.0, 0.5, 0.5, 0.5)], "dop")
    assert table[-1] == "| 3s5z | vdn | 50% | not reached | 0k |  | not reached | 0k |  |"


def test_where_no_peer_wins_there_is_nothing_to_reach() -> None:
    table = smax.efficiency_table([finished("dop", 0.0, 0.1), finished("vdn", 0.0, 0.0)], "dop")
    assert table[-1].startswith("| 3s5z | none wins | 0% |")


def test_the_evaluation_before_learning_does_not_count_in_a_win_rate() -> None:
    seeds = finished("dop", 1.0, 0.2, 0.4).seeds["env_steps"]
    np.testing.assert_allclose(smax.scores(seeds), [0.3])
    np.testing.assert_allclose(smax.mean_curve(seeds)[1], [0.2, 0.3])
    assert smax.steps_to(0.3, seeds) == 200
    assert smax.steps_to(0.5, seeds) == np.inf


def test_without_the_runs_of_dop_there_is_no_comparison_at_equal_seconds(tmp_path: Path, trained: list[str]) -> None:
    lines: list[str] = []
    smax.reproduce(options(tmp_path, variants=("vdn",)), lines.append)
    assert trained == ["2s3z vdn seed 0: 300000"]
    text = (tmp_path / "out" / "table.md").read_text()
    assert rows(text, "| 2s3z") == [["2s3z", "vdn", "1", "300k", "1.7", "28%", "0", "", "", ""]]
    assert "At equal processor minutes: none yet." in text
    smax.reproduce(options(tmp_path), lines.append)
    assert trained[1:] == ["2s3z dop seed 0: 300000", "2s3z qmix seed 0: 300000", "2s3z vdn seed 0: 912001"]


def test_the_tables_and_figures_are_made_from_kept_data_alone(tmp_path: Path, trained: list[str]) -> None:
    chosen = options(tmp_path, seeds=3)
    smax.reproduce(chosen, lambda _: None)
    before = (tmp_path / "out" / "table.md").read_text()
    (tmp_path / "runs").rename(tmp_path / "elsewhere")
    (tmp_path / "out" / "table.md").unlink()
    count = len(trained)
    smax.reproduce(options(tmp_path, seeds=3, only_summary=True), lambda _: None)
    assert (tmp_path / "out" / "table.md").read_text() == before
    assert len(trained) == count
    assert rows(before, "| dop")[0][1].startswith("75% [")


def test_nothing_finished_is_said(tmp_path: Path) -> None:
    lines: list[str] = []
    smax.reproduce(options(tmp_path, only_summary=True), lines.append)
    assert lines == ["nothing has finished yet"]


def test_an_interrupt_ends_the_work_and_the_next_call_resumes(tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    finish = runs.train
    asked: list[str] = []
    monkeypatch.setattr(runs, "train", lambda piece, _: asked.append(str(piece)))
    smax.reproduce(options(tmp_path), lambda _: None)
    assert asked == ["2s3z dop seed 0"]
    monkeypatch.setattr(runs, "train", finish)
    smax.reproduce(options(tmp_path), lambda _: None)
    assert len(trained) == 4


def test_a_run_without_processor_seconds_is_refused_by_name(tmp_path: Path, trained: list[str]) -> None:
    chosen = options(tmp_path, variants=("dop", "vdn"))
    dop, vdn = runs.all_pieces(chosen)
    write_run(vdn, vdn.folder(chosen))
    with pytest.raises(RunError, match=r"vdn/seed-0 has no processor seconds.*Delete it"):
        smax.reproduce(chosen, lambda _: None)
    assert trained == [f"{dop}: 300000"]


def test_a_damaged_data_file_is_named(tmp_path: Path, trained: list[str]) -> None:
    chosen = options(tmp_path)
    smax.reproduce(chosen, lambda _: None)
    path = next(iter(runs.all_pieces(chosen))).data(chosen)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(RunError, match=r"seed-0\.json is damaged.*Delete it to make it again"):
        smax.reproduce(options(tmp_path, only_summary=True), lambda _: None)
    path.unlink()
    count = len(trained)
    smax.reproduce(chosen, lambda _: None)
    assert len(trained) == count


def test_a_piece_in_training_by_another_process_is_skipped_and_its_seconds_come_later(
    tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = options(tmp_path, variants=("dop", "vdn"))
    dop, _ = runs.all_pieces(chosen)
    write_run(dop, dop.folder(chosen), 100_000, seconds_per_step=SECONDS["dop"])
    finish = runs.train

    def refused(piece: Piece, folder: RunFolder) -> bool:
        if piece.variant == "dop":
            raise RunError("is being trained by another process")
        return finish(piece, folder)

    monkeypatch.setattr(runs, "train", refused)
    with dop.folder(chosen).locked():
        smax.reproduce(chosen, lambda _: None)
    assert trained == ["2s3z vdn seed 0: 300000"]
    monkeypatch.setattr(runs, "train", finish)
    smax.reproduce(chosen, lambda _: None)
    assert trained[1:] == ["2s3z dop seed 0: 300000", "2s3z vdn seed 0: 912001"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"maps": ("2s3y",)}, "2s3z"),
        ({"maps": ("27m_vs_30m",)}, "no map '27m_vs_30m'"),
        ({"variants": ("mapo",)}, "mappo"),
        ({"variants": ("dop-paper",)}, "no variant 'dop-paper'"),
    ],
)
def test_unknown_names_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UnknownNameError, match=words):
        smax.reproduce(options(tmp_path, **changes), lambda _: None)
    assert not list(tmp_path.iterdir())


def test_a_map_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="given 2 times"):
        smax.reproduce(options(tmp_path, maps=("2s3z", "2s3z")), lambda _: None)


@pytest.mark.parametrize(("steps", "chunk"), [(400, 10), (1_600, 6), (12_800, 1)])
def test_chunks_are_no_longer_than_the_interval_of_evaluations(steps: int, chunk: int) -> None:
    assert runs.chunk_iterations(steps) == chunk
