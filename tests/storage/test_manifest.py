"""A manifest finds every way in which a folder can differ from what was written, and reads nothing outside of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dop.storage import manifest
from dop.storage.manifest import DamagedError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "inside"
    (inside / "state").mkdir(parents=True)
    (inside / "state" / "array").write_bytes(bytes(range(100)))
    (inside / "meta.json").write_text("{}")
    (tmp_path / "outside").write_text("secret")
    manifest.write(inside)
    return inside


def change(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Rewrite the manifest."""
    path = folder / manifest.NAME
    found = json.loads(path.read_text())
    edit(found)
    path.write_text(json.dumps(found))


def test_what_was_written_is_whole(folder: Path):
    manifest.check(folder)
    assert json.loads((folder / manifest.NAME).read_text())["files"].keys() == {"meta.json", "state/array"}


def test_a_manifest_is_written_once(folder: Path):
    with pytest.raises(FileExistsError):
        manifest.write(folder)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "state" / "array").unlink(), "missing: 'state/array'"),
        (lambda folder: (folder / "state" / "more").touch(), "not in its manifest: 'state/more'"),
        (lambda folder: os.truncate(folder / "state" / "array", 99), r"of another length: 'state/array \(99 bytes, not 100\)'"),
        (lambda folder: (folder / "meta.json").write_text("[]"), r"changed \(another SHA-256\): 'meta.json'"),
        (
            lambda folder: (folder / "meta.json").replace(folder / "x") and (folder / "meta.json").symlink_to("x"),
            "meta.json is not a regular file",
        ),
        (lambda folder: os.mkfifo(folder / "pipe"), "pipe is not a regular file"),
        (lambda folder: (folder / manifest.NAME).unlink(), "manifest.json is missing"),
        (lambda folder: (folder / manifest.NAME).write_bytes(b"\xff"), "manifest.json is damaged"),
        (lambda folder: (folder / manifest.NAME).write_text("[" * 100_000), "manifest.json is damaged: RecursionError"),
        (lambda folder: change(folder, lambda found: found.update(format=2)), "has format 2, not 1"),
        (lambda folder: change(folder, lambda found: found.pop("files")), "manifest.json is damaged"),
        (lambda folder: change(folder, lambda found: found["files"].update(x=[])), "manifest.json is damaged"),
        (lambda folder: change(folder, lambda found: found["files"]["meta.json"].update(sha256="0")), "every file needs"),
        (lambda folder: change(folder, lambda found: found["files"]["meta.json"].update(bytes=-1)), "every file needs"),
    ],
)
def test_every_difference_is_named(folder: Path, damage: Callable[[Path], Any], words: str):
    damage(folder)
    with pytest.raises(DamagedError, match=words):
        manifest.check(folder)


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "state/../../outside", "a/./b", "a//b", "", ".", "..", "a\\b", "a\0b", "./meta.json"]
)
def test_no_name_leads_out_of_the_folder(folder: Path, name: str):
    change(folder, lambda found: found["files"].update({name: found["files"]["meta.json"]}))
    with pytest.raises(DamagedError, match="lead out of the folder"):
        manifest.check(folder)


def test_lengths_are_compared_before_anything_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """A file that pretends to be a terabyte long is not read."""
    os.truncate(folder / "state" / "array", 2**40)
    monkeypatch.setattr(manifest, "_sha256", lambda path: pytest.fail(f"{path} was read"))
    with pytest.raises(DamagedError, match="another length"):
        manifest.check(folder)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_of_any_file_is_found(folder: Path, data: st.DataObject):
    """Also one of the manifest itself, where it is not in the space between two entries."""
    name = data.draw(st.sampled_from(["meta.json", "state/array", manifest.NAME]))
    content = (folder / name).read_bytes()
    place, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
    damaged = content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]
    (folder / name).write_bytes(damaged)
    try:
        if name == manifest.NAME and _meaning(damaged) == json.loads(content):
            manifest.check(folder)
        else:
            with pytest.raises(DamagedError):
                manifest.check(folder)
    finally:
        (folder / name).write_bytes(content)


def _meaning(content: bytes) -> Any:
    """What a JSON text says, or None."""
    try:
        return json.loads(content)
    except ValueError:
        return None
