"""Checkpoints: the whole `RunState` by Orbax, atomic, the newest valid one wins. Arrays and JSON only: nothing in them can be run.

    checkpoints/<iteration>/state/           the arrays, by the names of their places (Orbax)
                            meta.json        seconds spent, what made the run, the library's version
                            manifest.json    every file with its length and SHA-256 (`dop.storage.manifest`)

A checkpoint is written under another name and gets its own only when all of it is on the disk. Orbax keeps arrays as tensorstore's chunks
and names as JSON; what it reads becomes NumPy arrays of the shapes that the run needs, and it has no path to pickle.
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
"""How a checkpoint's folder is called: as Python writes an iteration, which has 64 bits at most."""
KEPT = 2
"""Checkpoints on the disk between saves; there is one more while a save is under way."""


class Checkpoints:
    """The `checkpoints/` folder of a run: numbered by iteration, the newest two kept. Only the process that holds the run may save."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._broken: set[int] = set()

    def iterations(self) -> list[int]:
        """Those that are there, the newest first. Other names, also such as 0042, are somebody else's.

        Raises:
            RunError: the folder is a link, or no folder.
        """
        files.check_kinds(self.folder.parent, plain_files=(), folders=(self.folder.name,))
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        return sorted((int(path.name) for path in found if _NUMBER.fullmatch(path.name)), reverse=True)

    @property
    def empty(self) -> bool:
        """Whether nothing was ever saved here."""
        return not self.iterations()

    def save(self, iteration: int, state: PyTree, meta: Meta) -> None:
        """Write everything and only then make it visible; an interrupted save leaves the older checkpoints as they were.

        Raises:
            RunError: it cannot be written; the older ones are as they were.
        """
        target, growing = self.folder / str(iteration), self.folder / f"{iteration}.{secrets.token_hex(8)}.tmp"
        try:
            self.folder.mkdir(exist_ok=True)  # not its parents: a run that was moved or deleted is not begun anew
            files.check_kinds(self.folder.parent, plain_files=(), folders=(self.folder.name,))
            self._sweep()
            growing.mkdir()  # under a name that nobody has foreseen, so that nothing lies there
            with _orbax() as orbax:
                orbax.save(growing / "state", args=ocp.args.PyTreeSave(flatten(state)))
            (growing / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
            manifest.write(growing)
            self._remove(iteration)  # a run that went on from an older checkpoint comes again to where a damaged one stands
            growing.rename(target)
            for folder in (self.folder, self.folder.parent):
                files.sync_folder(folder)
        # Orbax and tensorstore raise many kinds of errors on a full disk, of their own and of the system's.
        except Exception as error:
            shutil.rmtree(growing, ignore_errors=True)
            raise RunError(
                f"Checkpoint {iteration} cannot be written to {self.folder}: {_first_line(error)} The older ones are as they were. "
                f"Make room, or make the folder writable, then `dop resume {self.folder.parent}`."
            ) from error
        self._broken.discard(iteration)
        for old in [i for i in self.iterations() if i not in self._broken][KEPT:] + sorted(self._broken):
            self._remove(old)
        self._broken.clear()

    def restore(self, like: State, accept: Callable[[Meta], None]) -> tuple[State, Meta]:
        """The newest checkpoint that is whole, with the structure, shapes and types of `like`, and its meta, which `accept` may refuse.

        Every newer one that is broken is named in a warning, with what is wrong with it.

        Raises:
            RunError: there is none, or what there is belongs to another configuration.
        """
        return self._newest(lambda folder: self._read(folder, like, accept))

    def arrays(self, choose: Callable[[Described], Iterable[str]]) -> dict[str, np.ndarray]:
        """Some arrays of the newest checkpoint that is whole, by name; `choose` says which, or refuses what it has.

        Raises:
            RunError: there is none.
        """

        def read(folder: Path) -> dict[str, np.ndarray]:
            _check(folder)
            with _orbax() as orbax:
                return _restored(orbax, folder / "state", choose(_described(orbax, folder / "state")))

        return self._newest(read)

    def _newest(self, read: Callable[[Path], Found]) -> Found:
        """What `read` finds in the newest checkpoint that it does not find broken."""
        broken: dict[int, str] = {}
        for iteration in self.iterations():
            try:
                found = read(self.folder / str(iteration))
            except DopError:
                raise
            # As above; and a file with the right SHA-256 may still be none of ours.
            except Exception as error:
                if iteration not in self.iterations():  # whoever trains the run has newer ones by now
                    return self._newest(read)
                broken[iteration] = _first_line(error)
                logging.getLogger("dop").warning("Checkpoint %s of %s is not used: %s", iteration, self.folder, broken[iteration])
                continue
            self._broken = set(broken)
            return found
        what = "only damaged checkpoints: " + " ".join(f"{i}: {why}" for i, why in broken.items()) if broken else "no checkpoint."
        raise RunError(f"{self.folder} holds {what} The run cannot be continued; start it again under another name.")

    def _read(self, folder: Path, like: State, accept: Callable[[Meta], None]) -> tuple[State, Meta]:
        """One checkpoint: its files, then what made it, then the shapes of its arrays, and only then the arrays themselves."""
        _check(folder)
        meta = json.loads(files.read_text(folder / "meta.json"))
        accept(meta)
        with _orbax() as orbax:
            found = _described(orbax, folder / "state")
            check_same(found, like, str(self.folder))
            return unflatten(_restored(orbax, folder / "state", found), like, str(self.folder)), meta

    def _remove(self, iteration: int) -> None:
        """Delete a checkpoint, which disappears at once."""
        path = self.folder / str(iteration)
        if os.path.lexists(path):
            files.delete(path.rename(path.with_suffix(".old")))

    def _sweep(self) -> None:
        """Delete what a process that was killed while it saved or deleted has left."""
        for path in self.folder.glob("*.*"):
            if path.suffix in (".tmp", ".old") and path.name.partition(".")[0].isdecimal():
                files.delete(path)


def _check(folder: Path) -> None:
    """Whether a checkpoint is a folder that holds just what its manifest says.

    Raises:
        ValueError, DamagedError: it is not.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise ValueError("it is a link" if folder.is_symlink() else "it is no folder")
    manifest.check(folder)


@contextlib.contextmanager
def _orbax() -> Iterator[ocp.Checkpointer]:
    """Orbax, without the tracebacks that it logs and leaves behind: its errors are raised as well, and told in a sentence."""
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    usual, sys.unraisablehook = sys.unraisablehook, _pass_over
    try:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as orbax:
            yield orbax
        sys.unraisablehook = usual
    finally:
        # After an error the hook stays: what tensorstore was about to write may fail later still, in threads of its own.
        log.setLevel(level)


def _pass_over(unraisable: Any) -> None:
    """Say nothing of writes that come to their end after the one who waited for them has given up."""
    if "Event loop is closed" not in str(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)


def _described(orbax: ocp.Checkpointer, folder: Path) -> Described:
    """Shapes and types of the arrays on the disk, without reading them."""
    found: Any = orbax.metadata(folder)
    if found.item_metadata is None:
        raise ValueError("Orbax cannot read which arrays it has")
    tree = found.item_metadata.tree
    return {name: (tuple(array.shape), np.dtype(array.dtype)) for name, array in tree.items()}


def _restored(orbax: ocp.Checkpointer, folder: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """These arrays, and no others."""
    as_numpy = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in names}
    places = dict.fromkeys(as_numpy, 0)
    return orbax.restore(folder, args=ocp.args.PyTreeRestore(item=places, restore_args=as_numpy, partial_restore=True))


def flatten(state: PyTree) -> dict[str, np.ndarray]:
    """Every array by the name of its place; random keys as their raw data."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {_name(path): np.asarray(_raw(leaf)) for path, leaf in leaves}


def described(like: PyTree) -> Described:
    """Shape and type of every array, or of what stands for one, by the name of its place."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(like)
    shapes = {_name(path): jax.eval_shape(_raw, leaf) for path, leaf in leaves}
    return {name: (tuple(of.shape), np.dtype(of.dtype)) for name, of in shapes.items()}


def check_same(found: Described, like: PyTree, where: str) -> None:
    """Raise RunError if the places, shapes or types of the arrays differ from those of `like`."""
    expected = described(like)
    if expected.keys() != found.keys():
        differ = sorted(expected.keys() ^ found.keys())
        raise RunError(f"{where} is a checkpoint of another configuration: {len(differ)} arrays differ, the first is {differ[0]!r}.")
    for name, (shape, dtype) in expected.items():
        if found[name] != (shape, dtype):
            was, kind = found[name]
            raise RunError(
                f"{where} is a checkpoint of another configuration: {name} is {kind}{list(was)}, this run needs {dtype}{list(shape)}."
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
    """What an error says, in one sentence."""
    told = str(error).strip().splitlines()
    text = told[0] if told else type(error).__name__
    return f"{text[:300].rstrip('.')}."
