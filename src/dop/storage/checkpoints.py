"""Checkpoints: the whole `RunState`, saved by Orbax, atomically. They contain arrays and JSON only, no code.

    checkpoints/<iteration>/state/           the arrays, by their paths in the state (Orbax)
                            meta.json        elapsed seconds, the run's configuration, the library's version
                            manifest.json    length and SHA-256 of every file (`dop.storage.manifest`)

A checkpoint is written under a temporary name and renamed once it is complete on the disk. Orbax stores arrays as tensorstore chunks and
names as JSON. They are read as NumPy arrays of the expected shapes; nothing is unpickled. The newest valid checkpoint is used.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from dop.errors import DopError, RunError
from dop.storage import files, manifest

State = TypeVar("State")
Found = TypeVar("Found")
Meta = dict[str, Any]
Described = dict[str, tuple[tuple[int, ...], np.dtype]]
"""Shapes and types of arrays, by name."""
_NUMBER = re.compile("0|[1-9][0-9]{0,17}")
"""Name of a checkpoint's folder: the iteration in decimal, at most 64 bits."""
KEPT = 2
"""Checkpoints kept on the disk; during a save there is one more."""


class Checkpoints:
    """The `checkpoints/` folder of a run: numbered by iteration, the newest two kept. Only the process that holds the lock may save."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._broken: set[int] = set()

    def iterations(self) -> list[int]:
        """Iterations of the existing checkpoints, newest first. Other names, such as 0042, are ignored.

        Raises:
            RunError: the folder is a link, or not a folder.
        """
        files.check_kinds(self.folder.parent, plain_files=(), folders=(self.folder.name,))
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        return sorted((int(path.name) for path in found if _NUMBER.fullmatch(path.name)), reverse=True)

    @property
    def empty(self) -> bool:
        """Whether there is no checkpoint."""
        return not self.iterations()

    def save(self, iteration: int, state: PyTree, meta: Meta) -> None:
        """Write a complete checkpoint, then make it visible. An interrupted save leaves older checkpoints intact.

        Raises:
            RunError: it cannot be written; older checkpoints are intact.
        """
        target, temporary = self.folder / str(iteration), self.folder / f"{iteration}.{secrets.token_hex(8)}.tmp"
        try:
            self.folder.mkdir(exist_ok=True)  # not its parents: a run that was moved or deleted is not recreated
            files.check_kinds(self.folder.parent, plain_files=(), folders=(self.folder.name,))
            self._sweep()
            temporary.mkdir()  # an unpredictable name, which does not exist yet
            with _orbax() as orbax:
                orbax.save(temporary / "state", args=ocp.args.PyTreeSave(flatten(state)))
            (temporary / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
            manifest.write(temporary)
            self._remove(iteration)  # a run resumed from an older checkpoint reaches the damaged one again
            temporary.rename(target)
            for folder in (self.folder, self.folder.parent):
                files.sync_folder(folder)
        # Orbax and tensorstore raise many kinds of errors on a full disk, their own and the system's.
        except Exception as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise RunError(
                f"Checkpoint {iteration} cannot be written to {self.folder}: {_first_line(error)} Older checkpoints are intact. "
                f"Free some space or make the folder writable, then `dop resume {self.folder.parent}`."
            ) from error
        self._broken.discard(iteration)
        for old in [i for i in self.iterations() if i not in self._broken][KEPT:] + sorted(self._broken):
            self._remove(old)
        self._broken.clear()

    def restore(self, like: State, accept: Callable[[Meta], None]) -> tuple[State, Meta]:
        """The newest valid checkpoint, with the structure, shapes and types of `like`, and its metadata, which `accept` may refuse.

        Every newer, damaged checkpoint gets a warning with its fault.

        Raises:
            RunError: there is none, or it belongs to another configuration.
        """
        return self._newest(lambda folder: self._read(folder, like, accept))

    def arrays(self, choose: Callable[[Described], Iterable[str]]) -> dict[str, np.ndarray]:
        """Some arrays of the newest valid checkpoint, by name; `choose` selects them, or raises.

        Raises:
            RunError: there is none.
        """

        def read(folder: Path) -> dict[str, np.ndarray]:
            _check(folder)
            with _orbax() as orbax:
                return _restored(orbax, folder / "state", choose(_described(orbax, folder / "state")))

        return self._newest(read)

    def _newest(self, read: Callable[[Path], Found]) -> Found:
        """The result of `read` for the newest checkpoint for which it does not fail."""
        broken: dict[int, str] = {}
        for iteration in self.iterations():
            try:
                found = read(self.folder / str(iteration))
            except DopError:
                raise
            # As above; a file with the right SHA-256 may still have foreign contents.
            except Exception as error:
                if iteration not in self.iterations():  # deleted by the training process, which has saved newer ones
                    return self._newest(read)
                broken[iteration] = _first_line(error)
                logging.getLogger("dop").warning("Checkpoint %s of %s is not used: %s", iteration, self.folder, broken[iteration])
                continue
            self._broken = set(broken)
            return found
        what = "only damaged checkpoints: " + " ".join(f"{i}: {why}" for i, why in broken.items()) if broken else "no checkpoint."
        raise RunError(f"{self.folder} holds {what} The run cannot be resumed; start it again under another name.")

    def _read(self, folder: Path, like: State, accept: Callable[[Meta], None]) -> tuple[State, Meta]:
        """One checkpoint. Checked in this order: files, metadata, shapes of arrays; the arrays are read last."""
        _check(folder)
        meta = json.loads(files.read_text(folder / "meta.json"))
        accept(meta)
        with _orbax() as orbax:
            found = _described(orbax, folder / "state")
            check_same(found, like, str(self.folder))
            return unflatten(_restored(orbax, folder / "state", found), like, str(self.folder)), meta

    def _remove(self, iteration: int) -> None:
        """Delete a checkpoint; renamed first, so that it disappears at once."""
        path = self.folder / str(iteration)
        if os.path.lexists(path):
            files.delete(path.rename(path.with_suffix(".old")))

    def _sweep(self) -> None:
        """Delete the remains of interrupted saves and deletions."""
        for path in self.folder.glob("*.*"):
            if path.suffix in (".tmp", ".old") and path.name.partition(".")[0].isdecimal():
                files.delete(path)


def _check(folder: Path) -> None:
    """Check a checkpoint against its manifest.

    Raises:
        ValueError: it is not a folder.
        DamagedError: it differs from its manifest.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise ValueError("it is a link" if folder.is_symlink() else "it is not a folder")
    manifest.check(folder)


@contextlib.contextmanager
def _orbax() -> Iterator[ocp.Checkpointer]:
    """Orbax without its logged tracebacks: the same errors are also raised."""
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    previous, sys.unraisablehook = sys.unraisablehook, _ignore_closed_loop
    try:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as orbax:
            yield orbax
        sys.unraisablehook = previous
    finally:
        # After an error the hook stays: pending writes of tensorstore may fail later, in its own threads.
        log.setLevel(level)


def _ignore_closed_loop(unraisable: Any) -> None:
    """Ignore the failure of writes that end after their event loop was closed."""
    if "Event loop is closed" not in str(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)


def _described(orbax: ocp.Checkpointer, folder: Path) -> Described:
    """Shapes and types of the arrays on the disk, without reading them."""
    found: Any = orbax.metadata(folder)
    if found.item_metadata is None:
        raise ValueError("Orbax cannot read the list of its arrays")
    tree = found.item_metadata.tree
    return {name: (tuple(array.shape), np.dtype(array.dtype)) for name, array in tree.items()}


def _restored(orbax: ocp.Checkpointer, folder: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Only these arrays."""
    as_numpy = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in names}
    names_only = dict.fromkeys(as_numpy, 0)
    return orbax.restore(folder, args=ocp.args.PyTreeRestore(item=names_only, restore_args=as_numpy, partial_restore=True))


def flatten(state: PyTree) -> dict[str, np.ndarray]:
    """Every array by its path; random keys as their raw data."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {_name(path): np.asarray(_raw(leaf)) for path, leaf in leaves}


def described(like: PyTree) -> Described:
    """Shape and type of every array or `jax.ShapeDtypeStruct`, by path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(like)
    shapes = {_name(path): jax.eval_shape(_raw, leaf) for path, leaf in leaves}
    return {name: (tuple(of.shape), np.dtype(of.dtype)) for name, of in shapes.items()}


def check_same(found: Described, like: PyTree, where: str) -> None:
    """Raise RunError if the paths, shapes or types of the arrays differ from those of `like`."""
    expected = described(like)
    if expected.keys() != found.keys():
        differ = sorted(expected.keys() ^ found.keys())
        raise RunError(f"{where} is a checkpoint of another configuration: {len(differ)} arrays differ, the first is {differ[0]!r}.")
    for name, (shape, dtype) in expected.items():
        if found[name] != (shape, dtype):
            saved_shape, saved_dtype = found[name]
            raise RunError(
                f"{where} is a checkpoint of another configuration: {name} is {saved_dtype}{list(saved_shape)}, "
                f"this run needs {dtype}{list(shape)}."
            )


def unflatten(arrays: dict[str, np.ndarray], like: State, where: str) -> State:
    """The inverse of `flatten`.

    Raises:
        RunError: as `check_same`.
    """
    check_same({name: (array.shape, array.dtype) for name, array in arrays.items()}, like, where)
    leaves, tree = jax.tree_util.tree_flatten_with_path(like)
    found = [(arrays[_name(path)], leaf) for path, leaf in leaves]
    return jax.tree_util.tree_unflatten(tree, [jax.random.wrap_key_data(jnp.asarray(x)) if _is_key(leaf) else x for x, leaf in found])


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _raw(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _first_line(error: Exception) -> str:
    """The first line of an error's message."""
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return f"{text[:300].rstrip('.')}."
