"""What a run will need, worked out before anything is computed, beside what the machine has.

Sizes come from the shapes of what the run will hold, which JAX tells without computing. They are of arrays: what a compiled program needs
on the way, activations above all, comes on top and is known only when it is compiled.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import psutil

from dop.errors import ConfigError
from dop.storage.checkpoints import KEPT
from dop.storage.run_directory import RunFolder
from dop.training.collect import storage_words
from dop.training.program import Learning

CGROUP = Path("/sys/fs/cgroup")
"""Where a container's limits stand."""


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """Bytes, unless it is said otherwise. What is of one seed is named so; the rest is of the whole run."""

    parameters: dict[str, int]
    """Numbers, not bytes, in each part of the learner, of one seed."""
    seeds: int
    """How many the run has."""
    episodes: int
    """That the replay of one seed keeps."""
    replay: int
    """Of one seed."""
    learner: int
    """Of one seed: networks, their averages and targets, optimisers."""
    batch: int
    """Of one seed: what one update learns from."""
    on_cpu: bool
    """Whether the device's memory is the host's."""
    device_free: int
    """Memory that the device has left."""
    host_free: int
    """Memory that the host, or its container, has left."""
    disk_free: int
    """What is left where the run directory is."""
    disk_used: int
    """By checkpoints of this run that are there already and will make place."""
    storage: str = ""
    """How the replay keeps observations, in words."""

    @property
    def checkpoint(self) -> int:
        """One checkpoint, at most: it is compressed on the disk. The host needs as much memory while it saves or restores one."""
        return self.seeds * (self.replay + self.learner)

    @property
    def device(self) -> int:
        """Memory where the run is computed."""
        return self.seeds * (self.replay + self.learner + self.batch)

    @property
    def host(self) -> int:
        """Memory of the host, that of the device included where it is the same."""
        return self.checkpoint + (self.device if self.on_cpu else 0)

    @property
    def disk(self) -> int:
        """For the checkpoints that are kept and the one that is being written."""
        return (KEPT + 1) * self.checkpoint

    @property
    def more_disk(self) -> int:
        """Beyond what checkpoints of this run have already."""
        return max(self.disk - self.disk_used, 0)

    def check(self, *, saves: bool = True) -> None:
        """Raise ConfigError if the machine does not have what the run needs; the message has both in GB and says what to lower.

        Args:
            saves: whether checkpoints will be written.
        """
        disk = (self.more_disk, self.disk_free, "on the disk, for checkpoints,", KEPT + 1)
        places = [
            (self.device, self.device_free, "of the device's memory", 1),
            (self.host, self.host_free, "of memory", 2 if self.on_cpu else 1),
            *((disk,) if saves else ()),
        ]
        for needed, free, where, copies in places:
            if needed > free:
                raise ConfigError(
                    f"This run needs {gigabytes(needed)} {where} and {gigabytes(free)} are free. {self._parts()} "
                    f"{self._advice(needed - free, copies)}, or the number of seeds."
                )

    def _parts(self) -> str:
        each = "Each seed's" if self.seeds > 1 else "The"
        sizes = gigabytes(self.replay), gigabytes(self.learner), gigabytes(self.batch)
        return f"{each} replay of {self.episodes} episodes has {sizes[0]}, the learner {sizes[1]}, a batch {sizes[2]}."

    def _advice(self, lacking: int, copies: int) -> str:
        """What to lower if so many bytes are lacking where everything but the batch is kept so many times."""
        largest = max(self.replay, self.learner, self.batch)
        if largest == self.replay:
            episodes = self.episodes - math.ceil(lacking / (copies * self.seeds) / (self.replay / self.episodes))
            return f"Lower the replay capacity to at most {episodes} episodes" if episodes > 0 else "Lower the replay capacity"
        return "Lower the sizes of the networks" if largest == self.learner else "Lower the sizes of the batches"

    def __str__(self) -> str:
        """A table for people."""
        of_seeds = f" x {self.seeds} seeds" if self.seeds > 1 else ""
        parts = [("parameters of one seed", ""), *((f"  {name}", f"{count:,}") for name, count in self.parameters.items())]
        arrays = [
            (f"replay, {self.episodes:,} episodes{of_seeds}", gigabytes(self.seeds * self.replay)),
            (f"learner{of_seeds}", gigabytes(self.seeds * self.learner)),
            (f"batch of one update{of_seeds}", gigabytes(self.seeds * self.batch)),
            ("one checkpoint, at most", gigabytes(self.checkpoint)),
        ]
        memory = [] if self.on_cpu else [("device memory", self.device, self.device_free)]
        places = [*memory, ("memory", self.host, self.host_free), ("disk", self.more_disk, self.disk_free)]
        needs = [(name, f"{gigabytes(needed)} of {gigabytes(free)} that are free") for name, needed, free in places]
        storage = [("replay keeps observations", self.storage)] if self.storage else []
        return "\n".join(f"{name:38}{value}".rstrip() for name, value in (*parts, *arrays, *storage, *needs))


def measure(program: Learning, folder: RunFolder) -> Preflight:
    """What a run of `program` needs. Nothing is computed, nothing written."""
    state = jax.eval_shape(program.start, jax.random.key(0))
    batch = jax.eval_shape(program.algorithm.sample, state.replay, jax.random.key(0))
    learner: Any = state.learner
    used = sum(path.stat().st_size for path in folder.checkpoints.rglob("*") if path.is_file()) if folder.checkpoints.is_dir() else 0
    return Preflight(
        parameters={
            field.name: _numbers(getattr(learner, field.name))
            for field in dataclasses.fields(learner)
            if isinstance(getattr(learner, field.name), eqx.Module)
        },
        seeds=len(program.train_config.seeds),
        episodes=program.algorithm.replay_capacity,
        replay=_bytes(state.replay),
        learner=_bytes(learner),
        batch=_bytes(batch),
        on_cpu=jax.devices()[0].platform == "cpu",
        device_free=free_device_memory(),
        host_free=free_memory(),
        disk_free=free_disk(folder.path),
        disk_used=used,
        storage=storage_words(program.spec, program.train_config.precision),
    )


def free_device_memory() -> int:
    """Bytes that the device of the run can still give."""
    stats = jax.devices()[0].memory_stats() if jax.devices()[0].platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    return free_memory()


def free_memory() -> int:
    """Bytes that this process can still have: of the machine, or of what its container may use."""
    available = psutil.virtual_memory().available
    limit, usage, parts = (CGROUP / f"memory.{name}" for name in ("max", "current", "stat"))
    if limit.is_file() and usage.is_file() and (most := limit.read_text().strip()).isdecimal():
        # What was read from files counts as used until somebody needs the place.
        sizes = dict(line.split() for line in parts.read_text().splitlines()) if parts.is_file() else {}
        cached = sum(int(sizes.get(name, 0)) for name in ("active_file", "inactive_file"))
        available = min(available, int(most) - int(usage.read_text()) + cached)
    return available


def free_disk(path: Path) -> int:
    """Bytes free where `path` is, or where it will be."""
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free


def gigabytes(size: int) -> str:
    """Three digits: 12.3 GB, 0.0123 GB."""
    return f"{size / 1e9:.3g} GB"


def _bytes(tree: Any) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _numbers(tree: Any) -> int:
    return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))
