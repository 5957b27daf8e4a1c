"""Files are whole or not there, have the usual permissions, and nothing is read or written through a link that somebody has planted."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from dop.errors import ConfigError, RunError
from dop.loggers import identity
from dop.loggers.jsonl import JsonLines
from dop.loggers.tensorboard import TensorBoard
from dop.storage import files
from dop.storage.checkpoints import Checkpoints
from dop.storage.records import Record, keep_until
from dop.storage.run_directory import RunFolder
from dop.storage.snapshots import Snapshots
from dop.visualise import curves, film
from logged import opened

RECORD = Record(kind="train", seed=0, iteration=1, env_steps=1, wall_seconds=1.0, metrics={"x": 1.0})
ARRAYS = {"x": np.zeros(2, np.float32)}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    (path / "file").write_text("keep me")
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    path.mkdir()
    return path


def untouched(outside: Path) -> bool:
    return [path.name for path in outside.iterdir()] == ["file"] and (outside / "file").read_text() == "keep me"


def test_what_is_written_is_there_with_the_usual_permissions(run: Path):
    before = os.umask(0o027)
    try:
        files.write_text(run / "new" / "a.txt", "text\n")
    finally:
        os.umask(before)
    assert (run / "new" / "a.txt").read_bytes() == b"text\n"
    assert stat.S_IMODE((run / "new" / "a.txt").stat().st_mode) == 0o640
    assert [path.name for path in (run / "new").iterdir()] == ["a.txt"]


def test_what_fails_leaves_nothing_behind(run: Path):
    files.write_text(run / "a.txt", "old")
    with pytest.raises(KeyError), files.replacing(run / "a.txt") as file:
        file.write(b"half")
        raise KeyError
    assert [path.name for path in run.iterdir()] == ["a.txt"]
    assert (run / "a.txt").read_text() == "old"


def test_a_temporary_name_is_random_and_never_opened_through_a_link(run: Path, outside: Path, monkeypatch: pytest.MonkeyPatch):
    seen = []
    for _ in range(2):
        with files.replacing(run / "a.txt"):
            seen += [path.name for path in run.iterdir() if path.name != "a.txt"]
    assert len(set(seen)) == 2
    monkeypatch.setattr(secrets, "token_hex", lambda _: "foreseen")
    (run / ".foreseen.tmp").symlink_to(outside / "file")
    with pytest.raises(FileExistsError):
        files.write_text(run / "a.txt", "text")
    assert untouched(outside)


def test_an_error_of_the_system_names_the_file_itself(run: Path):
    (run / "a").mkdir()
    with pytest.raises(IsADirectoryError) as raised:
        files.write_text(run / "a", "text")
    assert raised.value.filename == str(run / "a")


def write_metrics(run: Path) -> None:
    sink = opened(JsonLines(), run)
    sink.write([RECORD])
    sink.close()


def write_events(run: Path) -> None:
    buffers = opened(TensorBoard(), run)
    buffers.write([RECORD])
    buffers.close()


def lock(run: Path) -> None:
    with RunFolder(run).locked():
        pass


def take_identity(run: Path) -> None:
    identity.run_identity(RunFolder(run))


WRITERS: dict[str, Callable[[Path], Any]] = {
    "metrics.jsonl": write_metrics,
    "lock": lock,
    "logger-id": take_identity,
    "tensorboard": write_events,
    "snapshots": lambda run: Snapshots(run / "snapshots").save(1, ARRAYS),
    "checkpoints": lambda run: Checkpoints(run / "checkpoints").save(1, ARRAYS, {}),
    "films": lambda run: film.write([np.zeros((4, 4, 3), np.uint8)], run / "films" / "best.gif", per_second=1),
    "credit": lambda run: curves.save(Figure(), run / "credit" / "summary.png"),
}
"""What writes there, by name in a run directory."""


@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_writes(run: Path, name: str):
    WRITERS[name](run)
    assert (run / name).exists()
    WRITERS[name](run)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("target", ["folder", "file", "nowhere"])
def test_no_writer_follows_a_link(run: Path, outside: Path, name: str, target: str):
    """Also without the look that every command has at a run directory first: a link may come later."""
    (run / name).symlink_to({"folder": outside, "file": outside / "file", "nowhere": outside / "new"}[target])
    with pytest.raises(RunError, match=name):
        WRITERS[name](run)
    assert untouched(outside)


@pytest.mark.parametrize("name", ["metrics.jsonl", "lock", "logger-id"])
def test_a_pipe_and_a_folder_are_not_waited_for(run: Path, name: str):
    os.mkfifo(run / name)
    with pytest.raises(RunError, match=f"{name} is a pipe, not a plain file"):
        WRITERS[name](run)
    (run / name).unlink()
    (run / name).mkdir()
    with pytest.raises(RunError, match=f"{name} is a folder, not a plain file"):
        WRITERS[name](run)


def test_links_at_the_very_files_are_replaced(run: Path, outside: Path):
    """Where a file is replaced as a whole, a link in its place goes, and what it leads to stays."""
    write_metrics(run)
    for name in ("curve.png", "page.html"):
        (run / name).symlink_to(outside / "file")
    curves.save(Figure(), run / "curve.png")
    files.write_text(run / "page.html", "text")
    Snapshots(run / "snapshots").save(1, ARRAYS)
    (run / "snapshots" / "000000000001.npz").unlink()
    (run / "snapshots" / "000000000001.npz").symlink_to(outside / "file")
    with pytest.raises(RunError, match=r"000000000001\.npz is a link, to .*outside/file"):
        Snapshots(run / "snapshots").restore(1, ARRAYS)
    Snapshots(run / "snapshots").save(1, ARRAYS)
    assert not any(path.is_symlink() for path in run.rglob("*"))
    assert untouched(outside)


def test_a_snapshot_that_never_ends_is_not_read(run: Path):
    (run / "snapshots").mkdir()
    for number, make in enumerate((lambda path: path.symlink_to("/dev/zero"), os.mkfifo, Path.mkdir)):
        path = run / "snapshots" / f"{number:012}.npz"
        make(path)
        with pytest.raises(RunError, match=path.name):
            Snapshots(run / "snapshots").restore(number, ARRAYS)
    Snapshots(run / "snapshots").keep_until(-1)
    assert not any((run / "snapshots").iterdir())


def test_hard_links_are_cut_when_a_run_goes_on(run: Path, outside: Path):
    """As a backup of the run has them, made with `cp -al`."""
    write_metrics(run)
    os.link(run / "metrics.jsonl", outside / "backup")
    keep_until(run / "metrics.jsonl", 1)
    write_metrics(run)
    assert (outside / "backup").read_bytes().count(b"\n") == 1
    assert (run / "metrics.jsonl").read_bytes().count(b"\n") == 2


def test_a_link_below_what_a_logger_writes_must_stay_inside(run: Path, outside: Path):
    (run / "wandb" / "run-1").mkdir(parents=True)
    (run / "wandb" / "latest-run").symlink_to("run-1")
    files.check_inside(run / "wandb")
    files.check_inside(run / "mlruns")
    (run / "wandb" / "run-1" / "logs").symlink_to(outside)
    with pytest.raises(RunError, match=r"wandb/run-1/logs is a link, to .*outside"):
        files.check_inside(run / "wandb")
    files.check_inside(run / "wandb", below=False)
    (run / "wandb" / "debug.log").symlink_to(outside / "log")
    with pytest.raises(RunError, match=r"wandb/debug\.log is a link, to .*outside"):
        files.check_inside(run / "wandb", below=False)


def test_a_folder_that_a_person_names_may_be_a_link(tmp_path: Path, outside: Path):
    (tmp_path / "link").symlink_to(outside)
    assert files.check_place(tmp_path / "link", folder=True) == outside
    assert files.check_place(tmp_path / "link" / "page.html") == outside / "page.html"
    assert RunFolder(tmp_path / "link").path == outside
    files.write_text(files.check_place(tmp_path / "link" / "page.html"), "text")
    assert (outside / "page.html").read_text() == "text"


@pytest.mark.parametrize("place", ["/dev/null", "pipe"])
def test_an_out_that_is_no_plain_file_is_refused(tmp_path: Path, place: str):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RunError, match=r"is a (device|pipe), not a file: choose another --out"):
        files.check_place(tmp_path / place)
    with pytest.raises(RunError, match=r"is a (device|pipe), not a folder: choose another --out"):
        files.check_place(tmp_path / place, folder=True)


# -------------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("agent_0", "agent_0"),
        ("gymnasium:lbforaging:Foraging-8x8-2p-3f-v3", "gymnasium-lbforaging-Foraging-8x8-2p-3f-v3"),
        ("my_package.my_env:make", "my_package.my_env-make"),
        ("Späher 1", "Späher-1"),
        ("red/1", "red-1"),
        ("/../../x", "-.-.-x"),
        (".hidden", "hidden"),
        ("..", "-"),
        ("a\\b\0c\x1bd\ud800", "a-b-c-d-"),
        ("x" * 300, "x" * 100),
        ("ü" * 300, "ü" * 50),
    ],
)
def test_a_safe_name_keeps_what_it_can(text: str, name: str):
    assert files.safe_name(text) == name


def test_safe_names_are_all_different_and_leave_good_ones_alone():
    texts = ["red/1", "red:1", "red-1", "Red-1", "x" * 200 + "a", "x" * 200 + "b", "b"]
    names = files.safe_names(texts)
    assert (names[2], names[6]) == ("red-1", "b")
    assert len({name.casefold() for name in names}) == len(texts)
    assert all("/" not in name and len(name.encode()) < 110 for name in names)


@pytest.mark.parametrize("value", [None, 3, "", "a\0b", b"x", ["x"], "x" * 300, "a/" + "ü" * 200, "\ud800"])
def test_what_is_no_path_is_a_sentence(value: Any):
    with pytest.raises(ConfigError, match="run_dir"):
        files.checked_path("run_dir", value)
    with pytest.raises(ConfigError, match="runs"):
        files.checked_paths("runs", value if isinstance(value, str) else [value])
