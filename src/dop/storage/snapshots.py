"""Snapshots: the learner alone, kept at some of a run's evaluations, so that one can look back on how the team became what it is.

Checkpoints are for going on: they hold the replay, are large, and only the newest few stay. A snapshot has what plays and what judges
(networks, their targets, optimisers), no replay, and up to `LIMIT` of them stay, spread over the whole run. NumPy's own format without
pickle, every array under the name of its place, with the leading seed axis of the run.

`best.npz` has every seed's learner as it was at that seed's best evaluation (`score`), whichever moments are kept. A run that resumes from
an earlier checkpoint takes later evaluations back, so that each checkpoint has a copy of it, `best-ITERATION.npz`.
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
"""Snapshots that a run keeps, unless its protocol says otherwise."""


def score(metrics: Mapping[str, float], shares: Sequence[str]) -> tuple[float, float]:
    """How good a greedy evaluation is: the first figure of the environment that is a fraction (battles won, say), then the return.

    Args:
        shares: the names of those figures that were between 0 and 1 in all evaluations. Without any, the return alone counts.
    """
    won, earned = (metrics.get(name, math.nan) for name in (shares[0] if shares else "", "test_return_mean"))
    return won if math.isfinite(won) else -math.inf, earned if math.isfinite(earned) else -math.inf


class Snapshots:
    """The `snapshots/` folder of a run: one file for each moment, named by the run's environment steps, at most `limit`; and the best."""

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.folder, self.limit = folder, limit

    @property
    def steps(self) -> list[int]:
        """The moments that are kept, in environment steps, rising. Files of other names are somebody else's."""
        return sorted(int(path.stem) for path in self.folder.glob("*.npz") if re.fullmatch("[0-9]{12}", path.stem))

    def save(self, env_steps: int, learner: PyTree) -> None:
        """Keep this moment; where there are too many, one goes whose neighbours are nearest, never the first or this."""
        write(self._path(env_steps), learner)
        while len(steps := self.steps) > self.limit:
            inner = range(1, len(steps) - 1)
            files.delete(self._path(steps[min(inner, key=lambda i: steps[i + 1] - steps[i - 1])]))

    def keep_until(self, env_steps: int) -> None:
        """Drop later moments, for a run that goes on from a checkpoint of `env_steps`."""
        for later in self.steps:
            if later > env_steps:
                files.delete(self._path(later))

    def restore(self, env_steps: int, like: State) -> State:
        """The learners of that moment, with the structure, shapes and types of `like`.

        Raises:
            RunError: there is no such moment, its file is damaged, or it belongs to another configuration.
        """
        return read(self._path(env_steps), like, "It may be deleted; nothing but the view over training needs it.")

    @property
    def best(self) -> Path:
        """Every seed's learner at its best evaluation; there is none before the first."""
        return self.folder / "best.npz"

    def keep_best(self, learner: PyTree, places: Sequence[int]) -> None:
        """Put the learners of the seeds at these places, which are better than before, into `best`; the other seeds' stay."""
        arrays = flatten(learner)
        if self.best.exists():
            before = flatten(read(self.best, learner, "Delete it, then `dop resume` the run."))
            better = list(places)
            for name, array in arrays.items():
                kept = np.array(before[name])
                kept[better] = array[better]
                arrays[name] = kept
        _write(self.best, arrays)

    def restore_best(self, like: State) -> State:
        """Every seed's learner at its best evaluation, as `restore` does.

        Raises:
            RunError: as `restore`.
        """
        return read(self.best, like, "`dop resume` writes it anew.")

    def save_best(self, iteration: int, *, copies: int) -> None:
        """Keep what is the best now for those who go back to this iteration; only the newest `copies` stay."""
        if self.best.exists():
            with files.opened(self.best) as file:
                files.write_bytes(self._saved_best(iteration), file.read())
        for old in self._best_iterations()[:-copies]:
            files.delete(self._saved_best(old))

    def rewind_best(self, iteration: int) -> bool:
        """What was the best at this iteration is so again; False if nothing is known of that, and there is no best any more."""
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
    """Every array of `tree`, in one file and one step."""
    _write(path, flatten(tree))


def _write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with files.replacing(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def read(path: Path, like: State, advice: str) -> State:
    """What `write` wrote, with the structure, shapes and types of `like`.

    Raises:
        RunError: there is no such file, it is damaged, which ends with this `advice`, or it belongs to another configuration.
    """
    try:
        with files.opened(path) as file, np.load(file, allow_pickle=False) as found:
            check_same({name: _header(found.zip, name) for name in found.files}, like, str(path))
            arrays = {name: found[name] for name in found.files}
    except RunError:
        raise
    # A zip archive is damaged in many ways.
    except Exception as error:
        raise RunError(f"{path} cannot be read: {error}. {advice}") from error
    return unflatten(arrays, like, str(path))


def _header(archive: ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array in the archive, of which nothing is read or allocated."""
    with archive.open(f"{name}.npy") as file:
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = read[np.lib.format.read_magic(file)](file)
    return shape, dtype
