"""The picture has the panels, lines, bands and scales that it should, and its file is whole."""

import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread

from dop.errors import RunError
from dop.storage.records import Record
from dop.visualise import curves
from dop.visualise.curves import COLOURS, Look, draw, draw_grid, figure
from dop.visualise.texts import as_written


def run(seeds: int, evaluations: int = 12, won: bool = True, entropy: bool = True) -> list[Record]:
    records = []
    for seed in range(seeds):
        for k in range(1, evaluations + 1):
            at = {"seed": seed, "iteration": 20 * k, "env_steps": 10_000 * k + seed, "wall_seconds": 60.0 * k}
            fraction = {"test_battle_won_mean": k / (evaluations + seed)} if won else {}
            records.append(Record(kind="train", metrics={"policy_entropy": 1 / k} if entropy else {"critic_loss": 1.0}, **at))
            records.append(Record(kind="evaluation", metrics={"test_return_mean": k + seed, **fraction}, **at))
    return records


def bold(axes: Axes) -> list:
    return [line for line in axes.lines if line.get_linewidth() == 2.0]


def titles(picture: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in picture.axes]


def test_a_fight_has_four_panels_and_its_win_rate_goes_from_0_to_1():
    picture = figure({"dop": run(4)}, title="smax:3m")
    assert titles(picture) == ["Greedy win rate", "Greedy return", "Greedy return over time", "Policy entropy (nats)"]
    assert picture.get_suptitle() == "smax:3m"
    assert picture.axes[0].get_ylim() == pytest.approx((0, 1), abs=0.05)


@pytest.mark.parametrize(
    ("won", "entropy", "expected"),
    [
        (False, True, ["Greedy return", "Greedy return over time", "Policy entropy (nats)"]),
        (False, False, ["Greedy return", "Greedy return over time"]),
    ],
)
def test_panels_without_records_are_not_there(won: bool, entropy: bool, expected: list[str]):
    assert titles(figure({"dop": run(1, won=won, entropy=entropy)}, title="")) == expected


def test_the_bold_line_is_the_mean_over_thin_lines_of_the_seeds():
    axes = figure({"dop": run(4)}, title="").axes[1]
    (mean,) = bold(axes)
    np.testing.assert_allclose(mean.get_ydata(), np.arange(1, 13) + 1.5)
    assert len(axes.lines) == 5
    assert len(axes.collections) == 1


@pytest.mark.parametrize(("seeds", "lines", "bands"), [(1, 1, 0), (2, 3, 0), (3, 4, 1)])
def test_bands_begin_with_three_seeds(seeds: int, lines: int, bands: int):
    axes = figure({"dop": run(seeds)}, title="").axes[1]
    assert (len(axes.lines), len(axes.collections)) == (lines, bands)


def test_axes_are_in_thousands_of_steps_and_in_minutes():
    picture = figure({"dop": run(2)}, title="")
    picture.draw_without_rendering()
    assert [text.get_text() for text in picture.axes[1].get_xticklabels()][1] == "20k"
    np.testing.assert_allclose(bold(picture.axes[2])[0].get_xdata(), np.arange(1, 13))


def test_labels_have_colours_of_their_own_and_a_legend():
    picture = figure({"dop": run(3), "coma": run(1), "no wins": run(1, won=False)}, title="")
    assert [text.get_text() for text in picture.legends[0].get_texts()] == ["dop (3 seeds)", "coma (1 seed)", "no wins (1 seed)"]
    assert [to_hex(line.get_color()).upper() for line in bold(picture.axes[0])] == list(COLOURS[:2])
    assert [to_hex(line.get_color()).upper() for line in bold(picture.axes[1])] == list(COLOURS[:3])


def test_more_labels_than_colours_differ_by_dashes():
    lines = bold(figure({str(i): run(1, 2) for i in range(9)}, title="").axes[0])
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 9


def test_nan_and_a_single_evaluation_can_be_drawn(tmp_path: Path):
    one = Record(kind="evaluation", seed=0, iteration=0, env_steps=0, wall_seconds=0.0, metrics={"test_return_mean": math.nan})
    draw({"dop": [one], "coma": run(1, 1)}, tmp_path / "curve.png", title="")
    assert bold(figure({"coma": run(1, 1)}, title="").axes[0])[0].get_marker() == "o"


def test_the_file_is_a_whole_png_and_nothing_else_is_left(tmp_path: Path):
    path = tmp_path / "curve.png"
    path.write_text("an old picture")
    before = dict(mpl.rcParams)
    draw({"dop": run(3)}, path, title="smax:3m")
    pixels = imread(path)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert pixels.shape[0] > 500
    assert pixels.shape[1] > 1000
    assert pixels[..., :3].std() > 0.01
    assert [p.name for p in tmp_path.iterdir()] == ["curve.png"]
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("name", ["curve.svg", "curve.SVG"])
def test_the_suffix_chooses_the_format(tmp_path: Path, name: str):
    draw({"dop": run(1)}, tmp_path / name, title="smax:3m")
    assert "<svg" in (tmp_path / name).read_text()


@pytest.mark.parametrize("records", [{}, {"dop": []}])
def test_nothing_to_draw_is_an_error_for_people(records: dict[str, list[Record]], tmp_path: Path):
    with pytest.raises(RunError, match="nothing to draw for 'smax:3m'"):
        draw(records, tmp_path / "curve.png", title="smax:3m")
    assert not list(tmp_path.iterdir())


def test_a_grid_of_tasks_is_drawn_where_a_label_may_lack_one_and_refused_where_all_do(tmp_path: Path):
    tasks = {"3m": {"dop": run(3), "qmix": run(3)}, "2s3z": {"dop": [], "qmix": run(3)}}
    path = tmp_path / "grid.png"
    draw_grid(tasks, path, metric="test_battle_won_mean", title="two tasks")
    assert imread(path).shape[1] > imread(path).shape[0]
    with pytest.raises(RunError, match="nothing to draw"):
        draw_grid({"3m": {"dop": []}}, path, metric="test_battle_won_mean", title="none")


def test_powers_of_ten_on_a_log_axis_are_formulae_and_other_texts_are_not():
    picture = Figure()
    axes = picture.subplots()
    axes.loglog([1, 1000], [1, 10], label="$x_1$")
    axes.set_title("$y$")
    FigureCanvasAgg(picture).draw()
    with as_written(picture):
        labels = axes.get_xticklabels()
        assert any("10^{3}" in label.get_text() for label in labels)
        assert all(label.get_parse_math() for label in labels)
        assert not axes.title.get_parse_math()


def test_a_name_is_no_formula(tmp_path: Path):
    name = "$x_$"
    draw({name: run(1)}, tmp_path / "curve.png", title=name)
    draw_grid({name: {name: run(1)}}, tmp_path / "grid.png", metric="test_return_mean", axes_of=("env_steps",), title=name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.png", "grid.png"]


# --------------------------------------------------------------------------------------------------------------------- grids


@pytest.fixture
def grids(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The pictures that were saved."""
    kept: list[Figure] = []
    monkeypatch.setattr(curves, "save", lambda picture, _: kept.append(picture))
    return kept


def grid(kept: list[Figure], by_label: dict[str, list[Record]], metric: str = "test_return_mean", **how: Any) -> Axes:
    draw_grid({"task": by_label}, Path("grid.png"), metric=metric, title="", axes_of=("env_steps",), look=Look(**how))
    return kept[-1].axes[0]


def named(axes: Axes) -> list[str]:
    """The labels at the ends of lines."""
    return [text.get_text() for text in axes.texts]


@pytest.mark.parametrize(("seeds", "asked", "thin"), [(4, False, 0), (4, True, 4), (2, False, 2), (2, True, 2), (1, True, 0)])
def test_a_grid_has_thin_lines_where_they_are_asked_for_or_there_is_no_band(grids: list[Figure], seeds: int, asked: bool, thin: int):
    axes = grid(grids, {"dop": run(seeds)}, seed_lines=asked)
    assert [len(bold(axes)), len(axes.lines) - len(bold(axes)), len(axes.collections)] == [1, thin, seeds > 2]


def test_a_smoothed_line_is_the_mean_of_the_seeds_own_trailing_means(grids: list[Figure]):
    records = run(1, 4)
    before = [dict(record.metrics) for record in records]
    (line,) = bold(grid(grids, {"dop": records}, smooth=20_000))
    np.testing.assert_allclose(line.get_ydata(), [1, 1.5, 2.5, 3.5])
    np.testing.assert_allclose(line.get_xdata(), [10_000, 20_000, 30_000, 40_000])
    assert [record.metrics for record in records] == before
    assert "smoothed over the last 20,000 environment steps" in grids[-1].get_supxlabel()


@pytest.mark.parametrize("fraction", [True, False])
def test_the_band_of_a_fraction_ends_at_0_and_1(grids: list[Figure], fraction: bool):
    records = run(3, 3)
    for record in records:
        record.metrics["test_battle_won_mean"] = float(record.seed > 0)
    axes = grid(grids, {"dop": records}, "test_battle_won_mean", fractions=("test_battle_won_mean",) if fraction else ())
    heights = np.asarray(axes.collections[0].get_paths()[0].vertices)[:, 1]
    assert (heights.max(), heights.min()) == ((1, 0) if fraction else pytest.approx((2 / 3 + 1.43422, 2 / 3 - 1.43422), abs=1e-4))
    assert (axes.get_ylim() == (-0.02, 1.02)) is fraction


def test_up_to_five_short_names_stand_at_their_lines_and_others_in_a_legend(grids: list[Figure]):
    names = ["a", "b", "c", "d", "e"]
    axes = grid(grids, {name: run(1) for name in names})
    assert sorted(named(axes)) == names
    assert not grids[-1].legends
    for by_label in ({name: run(1) for name in "abcdef"}, {"n" * 23: run(1)}):
        assert not named(grid(grids, by_label))
        assert [text.get_text() for text in grids[-1].legends[0].get_texts()] == list(by_label)


def test_a_name_has_its_lines_colour_and_one_without_a_line_has_none(grids: list[Figure]):
    axes = grid(grids, {"empty": [], "dop": run(1)})
    (text,) = axes.texts
    assert text.get_text() == "dop"
    arrow = getattr(text, "arrow_patch")  # noqa: B009  (of annotations alone)
    assert to_hex(arrow.get_edgecolor()).upper() == to_hex(bold(axes)[0].get_color()).upper() == COLOURS[1]


@pytest.mark.parametrize("heights", [[0.5] * 5, [0.0, 0.0, 1.0, 1.0], [0.99, 1.0, 1.0], [0.1, 0.12, 0.9], [1.3], [-0.4], [], [0.2, 0.5]])
def test_names_lie_apart_in_their_order_and_within_the_axes(heights: list[float]):
    placed = curves._spread_apart(heights)
    assert len(placed) == len(heights)
    assert (np.diff(placed) > 0.0749).all()
    assert all(-1e-9 <= place <= 1 for place in placed)
    if heights == [0.2, 0.5]:
        assert placed == heights


def test_a_legend_does_not_eat_the_picture(grids: list[Figure]):
    few, many = (grid(grids, {f"a rather long name of a method, {i}": run(1) for i in range(n)}) for n in (1, 12))
    for picture in grids:
        picture.draw_without_rendering()
    few_height, many_height = (axes.get_window_extent().height for axes in (few, many))
    assert many_height > 0.9 * few_height


def over_four_steps(*values: float) -> list[Record]:
    at = [{"seed": 0, "iteration": i, "env_steps": i, "wall_seconds": float(i)} for i in range(len(values))]
    return [Record(kind="evaluation", metrics={"test_return_mean": y}, **x) for x, y in zip(at, values, strict=True)]


def test_a_one_step_game_has_whole_ticks(grids: list[Figure]):
    for values in ([1.0] * 4, [-10.0, -10.0, 8.0, 12.0]):
        axes = grid(grids, {"vdn": over_four_steps(*values)})
        for ticks in (axes.get_xticks(), axes.get_yticks()):
            assert len(ticks) >= 1
            np.testing.assert_array_equal(np.asarray(ticks) % 1, 0)
    assert (np.asarray(grid(grids, {"vdn": over_four_steps(0, 0.1, 0.2, 0.3)}).get_yticks()) % 1 != 0).any()


@pytest.mark.parametrize(("metric", "hint"), [("test_retrun_mean", " Did you mean 'test_return_mean'?"), ("zzz", "")])
def test_an_unknown_metric_gets_the_nearest_name(metric: str, hint: str):
    with pytest.raises(RunError) as caught:
        curves.check_measured(metric, {"task": {"dop": run(1)}})
    names = "policy_entropy, test_battle_won_mean, test_return_mean"
    assert str(caught.value) == f"There is nothing to draw: no record has {metric}. There are: {names}.{hint}"
    curves.check_measured("test_return_mean", {"task": {"dop": run(1)}})
