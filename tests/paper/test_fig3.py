"""Fig. 3: which pieces are trained, skipped or resumed, and the table. Training is replaced by a stub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dop import envs
from dop.algorithms import algorithms
from dop.errors import ConfigError, RunError, UnknownNameError
from dop.paper import fig3, runs
from dop.paper.comparisons import FIG3_SCALES, SMAX_SCALES
from dop.paper.fig3 import Options
from dop.paper.runs import Piece
from dop.paper.variants import FIG3, METHODS, algorithm_of
from dop.storage.records import Record
from dop.storage.run_directory import RunFolder
from paper_runs import GOAL, write_run

SKIRMISH_MAPS = "MMM so_many_baneling 2s_vs_1sc 3s_vs_3z 2s3z 3s5z 10m_vs_11m MMM2"


def options(folder: Path, **changes: Any) -> Options:
    return Options(**{"maps": ("3m",), "variants": ("dop", "coma"), "seeds": 2, "runs": folder / "runs", "out": folder / "out", **changes})


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pieces trained, in order, by a stub that finishes at once."""
    done: list[str] = []

    def train(piece: Piece, folder: RunFolder) -> bool:
        write_run(piece, folder, steps=piece.env_steps)
        done.append(str(piece))
        return True

    monkeypatch.setattr(runs, "train", train)
    return done


def test_every_variant_is_a_preset_that_exists() -> None:
    for variant, (name, preset) in METHODS.items():
        assert algorithm_of(variant) == algorithms()[name].presets()[preset]


def test_every_map_of_every_scale_exists() -> None:
    known = envs.names()
    compared = [comparison for scale in (*FIG3_SCALES.values(), *SMAX_SCALES.values()) for comparison in scale]
    assert all(f"{comparison.family}:{name}" in known for comparison in compared for name in comparison.env_steps)


def test_seeds_are_outermost(tmp_path: Path) -> None:
    names = [str(piece) for piece in runs.all_pieces(options(tmp_path))]
    assert names == ["3m dop seed 0", "3m coma seed 0", "3m dop seed 1", "3m coma seed 1"]
    assert len(list(runs.all_pieces(Options()))) == 4 * len(FIG3) * 5


def test_finished_pieces_are_not_trained_again(tmp_path: Path, trained: list[str]) -> None:
    fig3.reproduce(options(tmp_path, variants=("dop",)), lambda _: None)
    assert trained == ["3m dop seed 0", "3m dop seed 1"]
    fig3.reproduce(options(tmp_path), lambda _: None)
    assert trained[2:] == ["3m coma seed 0", "3m coma seed 1"]
    assert (tmp_path / "out" / "fig3.png").stat().st_size > 10_000


def test_a_finished_run_without_a_data_file_only_gets_the_file(tmp_path: Path, trained: list[str]) -> None:
    chosen = options(tmp_path, variants=("dop",), seeds=1)
    (piece,) = runs.all_pieces(chosen)
    write_run(piece, piece.folder(chosen))
    fig3.reproduce(chosen, lambda _: None)
    assert trained == []
    about = json.loads(piece.data(chosen).read_text())["about"]
    assert {name: about[name] for name in ("map", "variant", "seed", "algorithm", "preset")} == {
        "map": "3m",
        "variant": "dop",
        "seed": 0,
        "algorithm": "stochastic-dop",
        "preset": "default",
    }
    assert {"versions", "machine", "device", "date", "hyper_parameters"} <= about.keys()


def test_an_interrupted_run_is_resumed_and_a_second_interrupt_ends_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = options(tmp_path, variants=("dop",))
    first, _ = runs.all_pieces(chosen)
    write_run(first, first.folder(chosen), steps=100_000)
    assert not runs.finished(first.folder(chosen), GOAL)
    trained = Record(kind="train", seed=0, iteration=9, env_steps=GOAL, wall_seconds=1.0, metrics={"critic_loss": 1.0})
    with first.folder(chosen).metrics.open("a") as file:  # killed before the last evaluation
        file.write(trained.to_json() + "\n")
    assert not runs.finished(first.folder(chosen), GOAL)
    requested = []
    monkeypatch.setattr(runs, "train", lambda piece, folder: requested.append(str(piece)))
    fig3.reproduce(chosen, lambda _: None)
    assert requested == ["3m dop seed 0"]
    assert not first.data(chosen).exists()


def test_a_piece_in_training_by_another_process_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = options(tmp_path, variants=("dop",), seeds=1)
    (piece,) = runs.all_pieces(chosen)
    write_run(piece, piece.folder(chosen), steps=100_000)

    def refused(piece: Piece, folder: RunFolder) -> bool:
        raise RunError("is being trained by another process")

    monkeypatch.setattr(runs, "train", refused)
    with piece.folder(chosen).locked():
        assert runs.run_piece(piece, chosen, lambda _: None)
    with pytest.raises(RunError):
        runs.run_piece(piece, chosen, lambda _: None)


def test_the_table_has_means_over_the_last_evaluations_and_seeds(tmp_path: Path, trained: list[str]) -> None:
    """Three evaluations up to 300k: (4 + 5 + 6) / 18 = 83% of 1 and of 0.9: 79%, with t_1 = 12.7 from 26% to 132%, cut at 100%."""
    lines: list[str] = []
    fig3.reproduce(options(tmp_path, variants=("dop",)), lines.append)
    assert len(trained) == 2
    (row,) = [line for text in lines for line in text.split("\n") if line.startswith("| 3m")]
    assert row == "| 3m | dop | 2 | 100k: 16% [5%, 26%] | 200k: 48% [16%, 79%] | 300k: 79% [26%, 100%] | 20.0 [20.0, 20.0] | 6.0-6.0 |"
    assert (tmp_path / "out" / "table.md").read_text().rstrip().endswith(row)


def test_a_longer_scale_continues_a_shorter_ones_run_and_both_have_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """300k of 2s3z, then 3 million: each scale uses the evaluations up to its own length."""
    trained: list[str] = []

    def train(piece: Piece, folder: RunFolder) -> bool:
        write_run(piece, folder, steps=piece.env_steps)
        trained.append(f"{piece.env_steps}")
        return True

    monkeypatch.setattr(runs, "train", train)
    lines: list[str] = []
    small = options(tmp_path, maps=("2s3z",), variants=("dop",), seeds=1)
    paper = options(tmp_path, maps=("2s3z",), variants=("dop",), seeds=1, scale="paper")
    fig3.reproduce(small, lines.append)
    fig3.reproduce(options(tmp_path, maps=("2s3z",), variants=("dop",), seeds=1, scale="paper", only_summary=True), lines.append)
    assert lines[-1] == "nothing has finished yet"
    fig3.reproduce(paper, lines.append)
    fig3.reproduce(small, lines.append)
    fig3.reproduce(paper, lines.append)
    assert trained == ["300000", "3000000"]
    tables = [text.split("\n")[-1] for text in lines if text.startswith("| map")]
    assert [("300k:" in table, "3000k:" in table) for table in tables] == [(True, False), (False, True), (True, False), (False, True)]


def test_a_summary_without_finished_pieces_says_so(tmp_path: Path) -> None:
    lines: list[str] = []
    fig3.reproduce(options(tmp_path, only_summary=True), lines.append)
    assert lines == ["nothing has finished yet"]


def test_skirmish_is_the_papers_maps_and_methods() -> None:
    found = list(runs.all_pieces(Options(maps=("skirmish",))))
    assert len(found) == 8 * 5 * 5
    assert {piece.environment for piece in found} == {f"skirmish:{name}" for name in SKIRMISH_MAPS.split()}
    assert {piece.variant for piece in found} == {"dop", "on-policy-dop", "undecomposed-dop", "coma", "qmix"}
    assert [piece.seed for piece in found] == sorted(piece.seed for piece in found)


def test_single_maps_of_skirmish_and_any_variant_can_be_requested() -> None:
    chosen = Options(maps=("skirmish:MMM", "skirmish:2s_vs_1sc"), variants=("vdn",), seeds=1)
    assert [str(piece) for piece in runs.all_pieces(chosen)] == ["skirmish:MMM vdn seed 0", "skirmish:2s_vs_1sc vdn seed 0"]


def test_families_have_folders_tables_and_figures_of_their_own(tmp_path: Path, trained: list[str]) -> None:
    """2s3z is a map of both."""
    lines: list[str] = []
    fig3.reproduce(options(tmp_path, maps=("2s3z", "skirmish:2s3z"), variants=("dop",)), lines.append)
    assert trained == ["2s3z dop seed 0", "skirmish:2s3z dop seed 0", "2s3z dop seed 1", "skirmish:2s3z dop seed 1"]
    out = tmp_path / "out"
    data = sorted(str(path.relative_to(out / "data")) for path in out.rglob("*.json"))
    assert data == [f"{folder}/dop/seed-{seed}.json" for folder in ("2s3z", "skirmish/2s3z") for seed in (0, 1)]
    about = json.loads((out / "data/skirmish/2s3z/dop/seed-0.json").read_text())["about"]
    assert (about["family"], about["map"], about["env_steps"]) == ("skirmish", "2s3z", FIG3_SCALES["small"][1].env_steps["2s3z"])
    assert sorted(path.name for path in out.iterdir() if path.is_file()) == [
        "fig3-skirmish.png",
        "fig3.png",
        "table-skirmish.md",
        "table.md",
    ]
    assert not any(":" in path.name for path in tmp_path.rglob("*"))
    assert sum(text.startswith("| map") for text in lines) == 2


def test_a_long_run_of_coma_is_made_on_request_alone_and_continues_the_short_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[int] = []

    def train(piece: Piece, folder: RunFolder) -> bool:
        write_run(piece, folder, steps=piece.env_steps)
        trained.append(piece.env_steps)
        return True

    monkeypatch.setattr(runs, "train", train)
    long = options(tmp_path, scale="long-coma", maps=(), variants=(), seeds=None)
    assert [str(piece) for piece in runs.all_pieces(long)] == [f"skirmish:so_many_baneling coma seed {seed}" for seed in (0, 1)]
    short = options(tmp_path, maps=("skirmish:so_many_baneling",), variants=("coma",))
    for chosen in (short, long, short):
        fig3.reproduce(chosen, lambda _: None)
    length = FIG3_SCALES["small"][1].env_steps["so_many_baneling"]
    assert trained == [length, length, 2_000_000, 2_000_000]
    assert "2000k:" in (tmp_path / "out" / "table-long-coma.md").read_text()
    assert "2000k:" not in (tmp_path / "out" / "table-skirmish.md").read_text()


@pytest.mark.parametrize(
    ("maps", "words"),
    [
        (("skirmish", "skirmish:MMM"), "skirmish has all of its maps, also skirmish:MMM: give one of the two"),
        (("skirmish:MMM", "skirmish:MMM"), "The map skirmish:MMM is given 2 times"),
        (("MMM",), "no map 'MMM'.*Did you mean 'skirmish:MMM'"),
        (("skirmish:MMN",), "Did you mean 'skirmish:MMM'"),
        (("skirmish:corridor",), "no map 'skirmish:corridor'"),
        (("skirmish:",), "no map 'skirmish:'"),
        (("",), "no map ''"),
    ],
)
def test_maps_that_cannot_be_chosen_are_refused_before_training(tmp_path: Path, maps: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        fig3.reproduce(options(tmp_path, maps=maps), lambda _: None)
    assert not list(tmp_path.iterdir())


def test_the_long_run_of_coma_has_no_other_map(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="no map '3m'"):
        fig3.reproduce(options(tmp_path, scale="long-coma", maps=("3m",)), lambda _: None)


@pytest.mark.parametrize(("changes", "words"), [({"maps": ("2s3y",)}, "2s3z"), ({"variants": ("qmx",)}, "qmix")])
def test_unknown_names_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UnknownNameError, match=words):
        fig3.reproduce(options(tmp_path, **changes), lambda _: None)
