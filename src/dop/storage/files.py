"""Atomic writes, and reads and writes that follow no links.

A file is written under a temporary name in the same folder, synced, and renamed: it is complete or absent.

A run directory from elsewhere may contain links, pipes and devices. A folder that the user names may be a link, for example to a larger
disk; its contents may not. Only regular files in regular folders are read and written. Both are opened without following links, so that
nothing can replace them between check and use.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from io import BufferedIOBase
from pathlib import Path
from typing import Any, BinaryIO

from dop.errors import ConfigError, RunError, shown

_NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
"""Opening a pipe without a writer does not block."""
KEPT = (
    *("config.json", "metrics.jsonl", "initial.npz", "lock", "logger-id", "checkpoints", "snapshots", "tensorboard"),
    *("card.json", "model.npz"),
)
"""Names in a run directory, or in a model, that hold the run or the model itself."""
_LONGEST_NAME = 255
"""Bytes of a file name that file systems accept."""
_LONGEST_PART = 100
"""Bytes of a name by `safe_name`, which leaves room for a prefix and a suffix."""


# ------------------------------------------------------------------------------------------------------------------ writing


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file to write into. It replaces `path` if the block succeeds, and is deleted otherwise. Parent folders are created.

    Raises:
        RunError: its folder is a link, or not a folder.
    """
    make_folder(path.parent)
    with _folder(path.parent) as folder:
        temporary = f".{secrets.token_hex(8)}.tmp"  # independent of the length of the name
        try:
            with _named(path):
                handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o666, dir_fd=folder)
            with os.fdopen(handle, "r+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            with _named(path):
                os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)


def make_folder(path: Path) -> None:
    """Create a folder and its parents; it may exist.

    Raises:
        RunError: the path is something else, or a broken link.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise _not_regular(path, "folder") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` atomically (`replacing`)."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically (`replacing`)."""
    write_bytes(path, text.encode())


def delete(path: Path) -> None:
    """Delete a file, a link, or a folder with its contents, without following links. Undeletable folders are left for later."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Sync the directory entries of `folder` to the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let system errors name `path`, not its temporary name."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            error.filename, error.filename2 = str(path), None
        raise


# ------------------------------------------------------------------------------------------------------------------ opening


def opened(path: Path, flags: int = os.O_RDONLY) -> BufferedIOBase:
    """Open a regular file with the flags of `os.open`.

    Raises:
        RunError: it, or its folder, is a link or not a regular one.
        OSError: as `os.open`.
    """
    with _folder(path.parent) as folder, _named(path):
        try:
            handle = os.open(path.name, flags | os.O_NONBLOCK | _NO_LINK, 0o666, dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.ENXIO):
                raise _not_regular(path, "file") from error
            raise
    mode = {os.O_RDONLY: "rb", os.O_WRONLY: "wb", os.O_RDWR: "r+b"}[flags & os.O_ACCMODE]
    return _regular(handle, path, mode)


def read_bytes(path: Path) -> bytes:
    """The contents of a regular file; errors as `opened`."""
    with opened(path) as file:
        return file.read()


def read_text(path: Path) -> str:
    """The contents of a regular file, decoded as UTF-8; errors as `opened`."""
    return read_bytes(path).decode()


def read_named(path: Path) -> bytes:
    """The contents of a file that the user has named; it may be a link.

    Raises:
        RunError: it is not a regular file.
        OSError: as `os.open`.
    """
    with _regular(os.open(path, _READ), path, "rb") as file:
        return file.read()


def _regular(handle: int, path: Path, mode: str) -> Any:
    """The open file, if it is a regular one."""
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _not_regular(path, "file")
    return os.fdopen(handle, mode)


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[int]:
    """A handle of a folder that is not a link."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _NO_LINK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENOTDIR):
            raise _not_regular(path, "folder") from error
        raise
    try:
        yield handle
    finally:
        os.close(handle)


def _not_regular(path: Path, kind: str) -> RunError:
    """The error for something that is not a regular file or folder."""
    if path.is_symlink():
        return RunError(f"{path} is a link, to {path.readlink()}, and is not followed: put the {kind} itself there, or delete the link.")
    return RunError(f"{path} is {_kind(path)}, not a plain {kind}: move it away.")


def _kind(path: Path) -> str:
    kinds = {
        stat.S_ISLNK: "a link to something else",
        stat.S_ISDIR: "a folder",
        stat.S_ISREG: "a file",
        stat.S_ISFIFO: "a pipe",
        stat.S_ISSOCK: "a socket",
    }
    try:
        mode = path.lstat().st_mode
    except OSError:
        return "gone"
    return next((words for test, words in kinds.items() if test(mode)), "a device")


# ------------------------------------------------------------------------------------------------------------------- places


def check_kinds(folder: Path, *, plain_files: Sequence[str], folders: Sequence[str]) -> None:
    """Raise RunError if one of these names in `folder` exists and is a link or of the wrong kind."""
    for names, kind, right in ((plain_files, "file", stat.S_ISREG), (folders, "folder", stat.S_ISDIR)):
        for name in names:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                if not right((folder / name).lstat().st_mode):
                    raise _not_regular(folder / name, kind)


def check_inside(folder: Path, *, below: bool = True) -> None:
    """Raise RunError for a link in `folder`, and in folders `below` it, that points outside."""
    home = os.path.realpath(folder)
    for inner, folders, names in os.walk(folder):
        for path in (Path(inner, name) for name in (*folders, *names)):
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(home):
                raise _not_regular(path, "file")
        if not below:
            return


def checked_path(name: str, value: Any) -> Path:
    """A path from the user, a string or a path.

    Raises:
        ConfigError: it is neither, it is empty, or not a valid path; the message uses `name`.
    """
    if not isinstance(value, str | os.PathLike) or isinstance(os.fspath(value), bytes):
        hint = f" Give its path: {name}.path." if isinstance(getattr(value, "path", None), Path) else ""
        raise ConfigError(f"{name} must be a path, got {shown(value)}.{hint}")
    path = Path(value)
    if not str(value) or "\0" in str(value):
        raise ConfigError(f"{name} must be a path, got {shown(str(value))}.")
    try:
        longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    except UnicodeEncodeError as error:
        raise ConfigError(f"{name} has characters that a file name cannot have: {shown(str(value))}.") from error
    if longest > _LONGEST_NAME:
        raise ConfigError(f"{name}: File name too long: {path}. A name has at most {_LONGEST_NAME} bytes.")
    return path


def checked_paths(name: str, values: Any) -> list[Path]:
    """Several paths from the user.

    Raises:
        ConfigError: it is not a list, or one element is not a path.
    """
    if isinstance(values, str | bytes | os.PathLike) or not isinstance(values, Sequence):
        raise ConfigError(f"{name} must be a list of paths, got {shown(values)}.")
    return [checked_path(f"{name}[{place}]", value) for place, value in enumerate(values)]


def resolved(path: Path) -> Path:
    """`path`, or the target if it is a link, as a folder from the user may be."""
    return Path(os.path.realpath(path)) if os.path.islink(path) else path  # noqa: PTH114  (these never raise)


def check_place(path: Path, *, folder: bool = False, option: str = "--out") -> Path:
    """The checked path for an output file, or a `folder` of files, from the option `option`.

    Raises:
        RunError: it could not be written; raised before anything is computed.
    """
    path = resolved(path) if folder else resolved(path.parent) / path.name
    _check_outside_run(path, option)
    there = os.path.exists(path) or (os.path.lexists(path) and not path.is_symlink())  # noqa: PTH110  (which never raises)
    if there and not (path.is_dir() if folder else path.is_file()):
        raise RunError(f"{path} is {_kind(path)}, not a {'folder' if folder else 'file'}: choose another {option}.")
    wanted = path if folder else path.parent
    nearest = next(place for place in (wanted, *wanted.absolute().parents) if os.path.exists(place))  # noqa: PTH110  (which never raises)
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise RunError(f"{path} cannot be written to, because of {nearest}: choose another {option}.")
    return path


def _check_outside_run(path: Path, option: str) -> None:
    """Raise RunError for a path among the files that a run needs to resume."""
    whole = Path(os.path.realpath(path.parent)) / path.name
    for run in whole.parents:
        if os.path.lexists(run / "config.json") and whole.relative_to(run).parts[0] in KEPT:
            raise RunError(f"{path} is part of the run {run}: choose another {option}.")


# -------------------------------------------------------------------------------------------------------------------- names


def safe_name(text: str) -> str:
    """`text` as a name of a file or folder: letters, digits and `._+=-`; other characters become `-`."""
    kept = "".join(letter if letter.isalnum() or letter in "._+=-" else "-" for letter in unicodedata.normalize("NFC", text))
    return re.sub(r"\.{2,}", ".", kept).encode()[:_LONGEST_PART].decode(errors="ignore").strip(".") or "-"


def safe_names(texts: Sequence[str]) -> list[str]:
    """`safe_name` of each, made unique, also where case does not count. Names that are safe already stay unchanged."""
    made: dict[str, str] = {}
    taken: set[str] = set()
    for text in sorted(texts, key=lambda text: safe_name(text) != text):
        stem = safe_name(text)
        made[text] = next(name for name in (stem, *(f"{stem}-{n}" for n in range(2, len(texts) + 2))) if name.casefold() not in taken)
        taken.add(made[text].casefold())
    return [made[text] for text in texts]
