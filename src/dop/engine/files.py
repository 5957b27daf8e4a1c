"""Files that are whole or not there: written under a temporary name beside the final one, put on the disk, then renamed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from dop.errors import RunError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name to write to; when the block ends well, the file takes the place of `path`, else it goes.

    It keeps the suffix, which tells some writers the format. Folders on the way are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """`text` as UTF-8, in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sync_folder(folder: Path) -> None:
    """Put the names in `folder` on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_place(path: Path, *, folder: bool = False, option: str = "--out") -> None:
    """Raise RunError before anything is computed for a file, or for a `folder` of files, that could not be written in the end; `option`
    named it."""
    if path.exists() and path.is_dir() != folder:
        raise RunError(f"{path} is a {'file, not a folder' if folder else 'folder, not a file'}: choose another {option}.")
    wanted = path if folder else path.parent
    nearest = next(place for place in (wanted, *wanted.parents) if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise RunError(f"{path} cannot be written to, because of {nearest}: choose another {option}.")
