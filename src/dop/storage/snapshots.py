"""Snapshots: the learner alone, saved at some of a run's evaluations, to inspect how the team developed.

Checkpoints serve to resume: they contain the replay, are large, and only the newest are kept. A snapshot contains the learner (networks,
target networks, optimisers) without replay. Up to `LIMIT` snapshots, spread over the whole run, are kept, in NumPy's format without pickle:
every array by its path, with the leading seed axis of the run.

`best.npz` contains every seed's learner at that seed's best evaluation (`score`), whichever snapshots are kept. A run that resumes from an
earlier checkpoint discards later evaluations; therefore each checkpoint has a copy, `best-ITERATION.npz`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar
from zipfile import ZipFile

import numpy as np
from jaxtyping import PyTree

from dop.errors import RunError
from dop.storage import files
from dop.storage.checkpoints import check_same, flatten, unflatten

State = TypeVar("State")
LIMIT = 12
"""Default number of snapshots that a run keeps."""


def score(metrics: Mapping[str, float], fractions: Sequence[str]) -> tuple[float, float]:
    """Score of a greedy evaluation: the first metric of the environment that is a fraction (for example the win rate), then the return.

    Args:
        fractions: the metrics that were in [0, 1] in all evaluations. Without any, only the return counts.
    """
    values = (metrics.get(name, math.nan) for name in (fractions[0] if fractions else "", "test_return_mean"))
    fraction, mean_return = (value if math.isfinite(value) else -math.inf for value in values)
    return fraction, mean_return


class Snapshots:
    """The `snapshots/` folder of a run: one file per snapshot, named by the environment steps, at most `limit`; and the best."""

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.folder, self.limit = folder, limit

    @property
    def steps(self) -> list[int]:
        """The environment steps of the snapshots, ascending. Files with other names are ignored."""
        return sorted(int(path.stem) for path in self.folder.glob("*.npz") if re.fullmatch("[0-9]{12}", path.stem))

    def save(self, env_steps: int, learner: PyTree) -> None:
        """Save a snapshot. Above the limit, the one with the nearest neighbours is deleted, never the first or the last.

        The last counts as a tenth further on, since the run continues: else the newest but one would always be the nearest to it.
        """
        write(self._path(env_steps), learner)
        while len(steps := self.steps) > self.limit:
            places = [*steps[:-1], 1.1 * steps[-1]]
            inner = range(1, len(steps) - 1)
            files.delete(self._path(steps[min(inner, key=lambda i: places[i + 1] - places[i - 1])]))

    def keep_until(self, env_steps: int) -> None:
        """Delete later snapshots, for a run that resumes from a checkpoint at `env_steps`."""
        for later in self.steps:
            if later > env_steps:
                files.delete(self._path(later))

    def restore(self, env_steps: int, like: State) -> State:
        """The learners of a snapshot, with the structure, shapes and types of `like`.

        Raises:
            RunError: there is no such snapshot, its file is damaged, or it belongs to another configuration.
        """
        return read(self._path(env_steps), like, "It may be deleted; only figures over training need it.")

    @property
    def best(self) -> Path:
        """The file with every seed's learner at its best evaluation; absent before the first."""
        return self.folder / "best.npz"

    def keep_best(self, learner: PyTree, places: Sequence[int]) -> None:
        """Replace the learners of the improved seeds, at these places of the seed axis, in `best`."""
        arrays = flatten(learner)
        if self.best.exists():
            before = flatten(read(self.best, learner, "Delete it, then `dop resume` the run."))
            improved = list(places)
            for name, array in arrays.items():
                merged = np.array(before[name])
                merged[improved] = array[improved]
                arrays[name] = merged
        _write(self.best, arrays)

    def restore_best(self, like: State) -> State:
        """Every seed's learner at its best evaluation, as `restore` does.

        Raises:
            RunError: as `restore`.
        """
        return read(self.best, like, "`dop resume` writes it again.")

    def save_best(self, iteration: int, *, copies: int) -> None:
        """Copy the current best for the checkpoint of this iteration; keep the newest `copies`."""
        if self.best.exists():
            with files.opened(self.best) as file:
                files.write_bytes(self._saved_best(iteration), file.read())
        for old in self._best_iterations()[:-copies]:
            files.delete(self._saved_best(old))

    def rewind_best(self, iteration: int) -> bool:
        """Restore the best of the checkpoint of this iteration. False if there is no copy of it; then the best is deleted."""
        saved = self._saved_best(iteration)
        known = saved.exists()
        if known:
            with files.opened(saved) as file:
                files.write_bytes(self.best, file.read())
        elif self.best.exists():
            files.delete(self.best)
        return known

    def _best_iterations(self) -> list[int]:
        return sorted(int(path.stem[5:]) for path in self.folder.glob("best-*.npz") if re.fullmatch("best-[0-9]{12}", path.stem))

    def _saved_best(self, iteration: int) -> Path:
        return self.folder / f"best-{iteration:012}.npz"

    def _path(self, env_steps: int) -> Path:
        return self.folder / f"{env_steps:012}.npz"


def write(path: Path, tree: PyTree) -> None:
    """Write every array of `tree` to one file, atomically."""
    _write(path, flatten(tree))


def _write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with files.replacing(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def read(path: Path, like: State, advice: str) -> State:
    """The arrays of a file by `write`, with the structure, shapes and types of `like`.

    Raises:
        RunError: there is no such file, it is damaged (the message ends with `advice`), or it belongs to another configuration.
    """
    try:
        with files.opened(path) as file, np.load(file, allow_pickle=False) as found:
            check_same({name: _header(found.zip, name) for name in found.files}, like, str(path))
            arrays = {name: found[name] for name in found.files}
    except RunError:
        raise
    # A damaged zip archive raises many kinds of errors.
    except Exception as error:
        what = "there is no such file" if isinstance(error, FileNotFoundError) else f"it is damaged ({type(error).__name__})"
        raise RunError(f"{path} cannot be read: {what}. {advice}") from error
    return unflatten(arrays, like, str(path))


def _header(archive: ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array in the archive; its data are neither read nor allocated."""
    with archive.open(f"{name}.npy") as file:
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = read[np.lib.format.read_magic(file)](file)
    return shape, dtype
