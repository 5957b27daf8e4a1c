"""The picture has the panels, lines, bands and scales that it should, and its file is whole."""

import math
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread

from dop.errors import RunError
from dop.storage.records import Record
from dop.visualise.curves import COLOURS, draw, draw_grid, figure


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


def test_a_name_is_no_formula(tmp_path: Path):
    name = "$x_$"
    draw({name: run(1)}, tmp_path / "curve.png", title=name)
    draw_grid({name: {name: run(1)}}, tmp_path / "grid.png", metric="test_return_mean", axes_of=("env_steps",), title=name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.png", "grid.png"]
