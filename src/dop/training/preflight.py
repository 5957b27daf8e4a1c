"""The memory and disk that a run needs, compared with the machine's, before anything is computed.

Sizes are computed from the shapes of arrays. The temporary memory of the compiled program, above all activations, comes on top and is known
only after compilation.
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

from dop.devices import parallel
from dop.errors import ConfigError
from dop.learning import data_parallel
from dop.storage.checkpoints import KEPT
from dop.storage.run_directory import RunFolder
from dop.training.collect import storage_words
from dop.training.program import Learning

CGROUP = Path("/sys/fs/cgroup")
"""The directory with a container's limits."""


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """The needs of a run and the free resources. Unit: bytes unless stated; for the whole run unless stated "per seed"."""

    parameters: dict[str, int]
    """Number of parameters of each part of the learner, per seed."""
    seeds: int
    """Number of seeds."""
    episodes: int
    """Number of episodes in the replay, per seed."""
    replay: int
    """The replay, per seed."""
    learner: int
    """Networks, averaged actors, target networks and optimisers, per seed."""
    batch: int
    """The batch of one update, per seed."""
    on_cpu: bool
    """Whether the device's memory is the host's."""
    device_free: int
    """Free memory of the device."""
    host_free: int
    """Free memory of the host or its container."""
    disk_free: int
    """Free space on the disk of the run directory."""
    disk_used: int
    """Size of this run's existing checkpoints, which will be replaced."""
    states: int | None = None
    """Number of seeds' states in the device's memory; if devices split a seed, each has its whole state. None: one for each seed."""
    storage: str = ""
    """Precision of observations in the replay, in words."""

    @property
    def checkpoint(self) -> int:
        """Maximum size of a checkpoint (it is compressed). The host needs as much memory to save or restore it."""
        return self.seeds * (self.replay + self.learner)

    @property
    def device(self) -> int:
        """Memory of the device."""
        return (self.seeds if self.states is None else self.states) * (self.replay + self.learner + self.batch)

    @property
    def host(self) -> int:
        """Memory of the host, with that of the device if it is the same."""
        return self.checkpoint + (self.device if self.on_cpu else 0)

    @property
    def disk(self) -> int:
        """Disk for the kept checkpoints and the one that is being written."""
        return (KEPT + 1) * self.checkpoint

    @property
    def more_disk(self) -> int:
        """Disk beyond the existing checkpoints of this run."""
        return max(self.disk - self.disk_used, 0)

    def check(self, *, saves: bool = True) -> None:
        """Raise ConfigError if the run needs more than is free; the message has both in GB and says what to lower.

        Args:
            saves: whether the run writes checkpoints.
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
        """Advice on what to lower if `lacking` bytes are missing where everything but the batch is stored `copies` times."""
        largest = max(self.replay, self.learner, self.batch)
        if largest == self.replay:
            episodes = self.episodes - math.ceil(lacking / (copies * self.seeds) / (self.replay / self.episodes))
            return f"Lower the replay capacity to at most {episodes} episodes" if episodes > 0 else "Lower the replay capacity"
        return "Lower the sizes of the networks" if largest == self.learner else "Lower the sizes of the batches"

    def __str__(self) -> str:
        """A table of needs and free resources."""
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
        needs = [(name, f"{gigabytes(needed)} of {gigabytes(free)} free") for name, needed, free in places]
        storage = [("replay keeps observations", self.storage)] if self.storage else []
        return "\n".join(f"{name:38}{value}".rstrip() for name, value in (*parts, *arrays, *storage, *needs))


def measure(program: Learning, folder: RunFolder) -> Preflight:
    """The needs of a run of `program`; computes and writes nothing."""
    seeds, on_cpu = program.train_config.seeds, jax.devices()[0].platform == "cpu"
    mesh = parallel.mesh(len(seeds), program.train_config.devices)
    state = jax.eval_shape(program.start, jax.random.key(0))
    batch = jax.eval_shape(program.algorithm.sample, state.replay, jax.random.key(0))
    learner: Any = state.learner
    used = sum(path.stat().st_size for path in folder.checkpoints.rglob("*") if path.is_file()) if folder.checkpoints.is_dir() else 0
    return Preflight(
        parameters={
            field.name: _size(getattr(learner, field.name))
            for field in dataclasses.fields(learner)
            if isinstance(getattr(learner, field.name), eqx.Module)
        },
        seeds=len(seeds),
        episodes=program.algorithm.replay_capacity,
        replay=_bytes(state.replay),
        learner=_bytes(learner),
        batch=_bytes(batch),
        on_cpu=on_cpu,
        device_free=free_device_memory(),
        host_free=free_memory(),
        disk_free=free_disk(folder.path),
        disk_used=used,
        states=len(seeds) * mesh.shape[data_parallel.AXIS] if on_cpu else len(seeds) // mesh.shape[parallel.AXIS],
        storage=storage_words(program.spec, program.train_config.precision),
    )


def free_device_memory() -> int:
    """Free bytes of the device."""
    stats = jax.devices()[0].memory_stats() if jax.devices()[0].platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    return free_memory()


def free_memory() -> int:
    """Free bytes for this process: of the machine, or of its container."""
    available = psutil.virtual_memory().available
    limit, usage, parts = (CGROUP / f"memory.{name}" for name in ("max", "current", "stat"))
    if limit.is_file() and usage.is_file() and (most := limit.read_text().strip()).isdecimal():
        # The page cache counts as used, but can be reclaimed.
        sizes = dict(line.split() for line in parts.read_text().splitlines()) if parts.is_file() else {}
        cached = sum(int(sizes.get(name, 0)) for name in ("active_file", "inactive_file"))
        available = min(available, int(most) - int(usage.read_text()) + cached)
    return available


def free_disk(path: Path) -> int:
    """Free bytes on the disk of `path`, which need not exist."""
    existing = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free


def gigabytes(size: int) -> str:
    """A size with three digits: 12.3 GB, 0.0123 GB."""
    return f"{size / 1e9:.3g} GB"


def _bytes(tree: Any) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _size(tree: Any) -> int:
    return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))
