"""The manifest of a checkpoint: the name, the length and the SHA-256 of every file in it. It is written last and checked first.

    manifest.json    {"format": 1, "files": {"state/d/3597b1": {"bytes": 873, "sha256": "9f86d0..."}, ...}}

The check goes from cheap to expensive: names, missing and extra files, lengths, contents (hashed in pieces). Nothing is allocated or
parsed before it is verified.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from dop.storage import files as disk

NAME = "manifest.json"
_FORMAT = 1
_LONGEST = 64_000_000
"""Maximum size of a manifest in bytes: some hundred thousand files."""


class DamagedError(Exception):
    """A folder that differs from its manifest; the message describes the difference."""


def write(folder: Path) -> None:
    """Describe every file of `folder` and sync all to the disk, the manifest last. Afterwards a power failure loses nothing."""
    files = {}
    for name in sorted(_names(folder)):
        with (folder / name).open("rb") as file:
            files[name] = {"bytes": os.fstat(file.fileno()).st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
            os.fsync(file.fileno())
    with (folder / NAME).open("x", encoding="utf-8") as file:
        json.dump({"format": _FORMAT, "files": files}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    for inner, _, _ in os.walk(folder):
        disk.sync_folder(Path(inner))


def check(folder: Path) -> None:
    """Compare every file of `folder` with the manifest.

    Raises:
        DamagedError: the first kind of difference, with its files.
    """
    listed = _read(folder / NAME)
    existing = _names(folder) - {NAME}
    _refuse("missing", listed.keys() - existing)
    _refuse("not in its manifest", existing - listed.keys())
    lengths = {name: ((folder / name).stat().st_size, entry["bytes"]) for name, entry in listed.items()}
    _refuse("of another length", [f"{name} ({now} bytes, not {was})" for name, (now, was) in lengths.items() if now != was])
    _refuse("changed (another SHA-256)", [name for name, entry in listed.items() if _sha256(folder / name) != entry["sha256"]])


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """The files that a manifest lists; its format and their names are checked."""
    if path.is_symlink() or not path.is_file():
        raise DamagedError(f"{NAME} is missing")
    if path.stat().st_size > _LONGEST:
        raise DamagedError(f"{NAME} has {path.stat().st_size} bytes, more than a manifest can have")
    try:
        found = json.loads(disk.read_bytes(path))
        if found["format"] != _FORMAT:
            raise DamagedError(f"{NAME} has format {found['format']!r}, not {_FORMAT}")
        files = dict(found["files"])
        good = [_is_entry(entry) for entry in files.values()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{NAME} is damaged: {type(error).__name__}: {error}") from error
    if not all(good):
        raise DamagedError(f"{NAME} is damaged: every file needs its bytes and its sha256")
    _refuse(f"names in {NAME} that lead out of the folder", [name for name in files if not _is_inside(name)])
    return files


def _is_entry(entry: Any) -> bool:
    size, digest = entry["bytes"], entry["sha256"]
    return type(size) is int and size >= 0 and isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest) is not None


def _is_inside(name: str) -> bool:
    """Whether a name is a relative path in normal form."""
    parts = PurePosixPath(name).parts
    return bool(parts) and name == "/".join(parts) and not ({"..", "/"} & set(parts) or set("\0\\") & set(name))


def _names(folder: Path) -> set[str]:
    """Every file below `folder`, relative to it. Links and other non-regular files are refused."""
    names: set[str] = set()
    for inner, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(inner, name)
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise DamagedError(f"{path.relative_to(folder)} is not a regular file")
        names |= {Path(inner, name).relative_to(folder).as_posix() for name in files}
    return names


def _sha256(path: Path) -> str:
    with disk.opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse(what: str, names: Any) -> None:
    """Raise DamagedError if there are any names."""
    shown = sorted(names)
    if shown:
        rest = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
        raise DamagedError(f"{what}: {', '.join(map(repr, shown[:3]))}{rest}")
