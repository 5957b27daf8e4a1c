"""Snapshots: the learner alone, kept at some of a run's evaluations, so that one can look back on how the team became what it is.

Checkpoints are for going on: they hold the replay, are large, and only the newest few stay. A snapshot has what plays and what judges
(networks, their targets, optimisers), no replay, and up to `LIMIT` of them stay, spread over the whole run. NumPy's own format without
pickle, every array under the name of its place, with the leading seed axis of the run.
"""

from __future__ import annotations

import re
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
"""Snapshots that a run keeps."""


class Snapshots:
    """The `snapshots/` folder of a run: one file for each moment, named by the run's environment steps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def steps(self) -> list[int]:
        """The moments that are kept, in environment steps, rising. Files of other names are somebody else's."""
        return sorted(int(path.stem) for path in self.folder.glob("*.npz") if re.fullmatch("[0-9]{12}", path.stem))

    def save(self, env_steps: int, learner: PyTree) -> None:
        """Keep this moment; where there are too many, one goes whose neighbours are nearest, never the first or this."""
        write(self._path(env_steps), learner)
        steps = self.steps
        if len(steps) > LIMIT:
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

    def _path(self, env_steps: int) -> Path:
        return self.folder / f"{env_steps:012}.npz"


def write(path: Path, tree: PyTree) -> None:
    """Every array of `tree`, in one file and one step."""
    with files.replacing(path) as file:
        np.savez(file, allow_pickle=False, **flatten(tree))


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
