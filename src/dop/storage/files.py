"""Files that are whole or not there, and that lie where they seem to: written under a temporary name beside the final one, put on the disk,
then renamed.

Whoever hands a run directory on may have put links, pipes and devices into it. A folder that a person names may be a link, to a larger disk
say; what lies in it may not: a file is a plain one or refused, both where it is read and where it is written, and so is the folder that it
lies in. Both are opened in ways that follow no link, so that nothing can be put in their place between a look and the opening.
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
"""A pipe that nobody writes into is not waited for."""
KEPT = ("config.json", "metrics.jsonl", "initial.npz", "lock", "logger-id", "checkpoints", "snapshots", "tensorboard")
"""Names in a run directory that hold the run itself."""
_LONGEST_NAME = 255
"""Bytes of a file's name, of what file systems take."""
_LONGEST_PART = 100
"""Bytes of a name that `safe_name` makes, so that a prefix and a suffix find room."""


# ------------------------------------------------------------------------------------------------------------------ writing


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file to write into; when the block ends well, it takes the place of `path`, else it goes. Folders on the way are made.

    Raises:
        RunError: the folder that it lies in is a link, or no folder.
    """
    make_folder(path.parent)
    with _folder(path.parent) as folder:
        temporary = f".{secrets.token_hex(8)}.tmp"  # beside any name, however long
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
    """A folder, with those on the way; it may be there.

    Raises:
        RunError: something else is there, or a link that leads nowhere.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise _no_plain(path, "folder") from error


def write_bytes(path: Path, content: bytes) -> None:
    """`content`, in one step, as `replacing` has it."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """`text` as UTF-8, in one step, as `replacing` has it."""
    write_bytes(path, text.encode())


def delete(path: Path) -> None:
    """A file, a link, or a folder with all that is in it, none of whose links are followed. What cannot be deleted now, is later."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Put the names in `folder` on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Have an error of the system name `path`, not what it is called for the moment."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            error.filename, error.filename2 = str(path), None
        raise


# ------------------------------------------------------------------------------------------------------------------ opening


def opened(path: Path, flags: int = os.O_RDONLY) -> BufferedIOBase:
    """A plain file, for `flags` of `os.open`, of which O_CREAT makes it.

    Raises:
        RunError: it, or the folder that it lies in, is a link or no plain one.
        OSError: as `os.open`.
    """
    with _folder(path.parent) as folder, _named(path):
        try:
            handle = os.open(path.name, flags | os.O_NONBLOCK | _NO_LINK, 0o666, dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.ENXIO):
                raise _no_plain(path, "file") from error
            raise
    mode = {os.O_RDONLY: "rb", os.O_WRONLY: "wb", os.O_RDWR: "r+b"}[flags & os.O_ACCMODE]
    return _plain(handle, path, mode)


def read_bytes(path: Path) -> bytes:
    """What a plain file holds; errors as `opened`."""
    with opened(path) as file:
        return file.read()


def read_text(path: Path) -> str:
    """The same as UTF-8."""
    return read_bytes(path).decode()


def read_named(path: Path) -> bytes:
    """What a file holds that a person has named, who may have named a link.

    Raises:
        RunError: it is no plain file.
        OSError: as `os.open`.
    """
    with _plain(os.open(path, _READ), path, "rb") as file:
        return file.read()


def _plain(handle: int, path: Path, mode: str) -> Any:
    """An open file, if it is a plain one."""
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _no_plain(path, "file")
    return os.fdopen(handle, mode)


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[int]:
    """A handle of a folder that is no link."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _NO_LINK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENOTDIR):
            raise _no_plain(path, "folder") from error
        raise
    try:
        yield handle
    finally:
        os.close(handle)


def _no_plain(path: Path, kind: str) -> RunError:
    """What is to be said of something that is no plain file or folder."""
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
    """Raise RunError if one of these names in `folder` is there and is a link, or not what it should be."""
    for names, kind, right in ((plain_files, "file", stat.S_ISREG), (folders, "folder", stat.S_ISDIR)):
        for name in names:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                if not right((folder / name).lstat().st_mode):
                    raise _no_plain(folder / name, kind)


def check_inside(folder: Path, *, below: bool = True) -> None:
    """Raise RunError for a link in `folder`, and in folders `below` it, that leads out of it."""
    home = os.path.realpath(folder)
    for inner, folders, names in os.walk(folder):
        for path in (Path(inner, name) for name in (*folders, *names)):
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(home):
                raise _no_plain(path, "file")
        if not below:
            return


def checked_path(name: str, value: Any) -> Path:
    """A path that a person has given, as a text or as a path.

    Raises:
        ConfigError: it is neither, it is empty, or no file system takes it; `name` says what it is.
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
        raise ConfigError(f"{name} has letters that no file's name can have: {shown(str(value))}.") from error
    if longest > _LONGEST_NAME:
        raise ConfigError(f"{name}: File name too long: {path}. A name has at most {_LONGEST_NAME} bytes.")
    return path


def checked_paths(name: str, values: Any) -> list[Path]:
    """Several such paths.

    Raises:
        ConfigError: it is one path and no list of them, or one of them is none.
    """
    if isinstance(values, str | bytes | os.PathLike) or not isinstance(values, Sequence):
        raise ConfigError(f"{name} must be a list of paths, got {shown(values)}.")
    return [checked_path(f"{name}[{place}]", value) for place, value in enumerate(values)]


def settled(path: Path) -> Path:
    """`path`; or, since a person may name a folder that is a link, what it leads to."""
    return Path(os.path.realpath(path)) if os.path.islink(path) else path  # noqa: PTH114  (these raise nothing)


def check_place(path: Path, *, folder: bool = False, option: str = "--out") -> Path:
    """Where a file, or a `folder` of files, that a person has named by `option` will be written.

    Raises:
        RunError: before anything is computed, since it could not be written in the end.
    """
    path = settled(path) if folder else settled(path.parent) / path.name
    _check_not_kept(path, option)
    there = os.path.exists(path) or (os.path.lexists(path) and not path.is_symlink())  # noqa: PTH110  (which raises nothing)
    if there and not (path.is_dir() if folder else path.is_file()):
        raise RunError(f"{path} is {_kind(path)}, not a {'folder' if folder else 'file'}: choose another {option}.")
    wanted = path if folder else path.parent
    nearest = next(place for place in (wanted, *wanted.absolute().parents) if os.path.exists(place))  # noqa: PTH110  (which raises nothing)
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise RunError(f"{path} cannot be written to, because of {nearest}: choose another {option}.")
    return path


def _check_not_kept(path: Path, option: str) -> None:
    """Raise RunError for a place among what a run needs to go on, which nothing else may be written over."""
    whole = Path(os.path.realpath(path.parent)) / path.name
    for run in whole.parents:
        if os.path.lexists(run / "config.json") and whole.relative_to(run).parts[0] in KEPT:
            raise RunError(f"{path} is what the run {run} is kept in: choose another {option}.")


# -------------------------------------------------------------------------------------------------------------------- names


def safe_name(text: str) -> str:
    """A name for a file or folder that says what `text` says as far as letters, digits, and `.`, `_`, `+`, `=`, `-` can."""
    kept = "".join(letter if letter.isalnum() or letter in "._+=-" else "-" for letter in unicodedata.normalize("NFC", text))
    return re.sub(r"\.{2,}", ".", kept).encode()[:_LONGEST_PART].decode(errors="ignore").strip(".") or "-"


def safe_names(texts: Sequence[str]) -> list[str]:
    """`safe_name` of each, no two alike, whether capital letters count or not; those that need no change get none."""
    made: dict[str, str] = {}
    taken: set[str] = set()
    for text in sorted(texts, key=lambda text: safe_name(text) != text):
        stem = safe_name(text)
        made[text] = next(name for name in (stem, *(f"{stem}-{n}" for n in range(2, len(texts) + 2))) if name.casefold() not in taken)
        taken.add(made[text].casefold())
    return [made[text] for text in texts]
