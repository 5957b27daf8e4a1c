"""A run on disk: its directory, its `config.json`, and how both are checked before anything is computed.

config.json      everything that made the run: algorithm, environment, seeds, protocol, versions, device
metrics.jsonl    one record a line            (`dop.engine.records`)
tensorboard/     the same, live
checkpoints/     the whole state              (`dop.engine.checkpoint`)
snapshots/       the learner, over the run    (`dop.engine.snapshots`)
curve.png        drawn at the end             (`dop.report.curves`)
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import hashlib
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, TypeAlias

import jax

from dop.errors import ConfigError, RunError, UnknownNameError, check_choices, check_positive

WorkerKind: TypeAlias = Literal["local", "processes", "ray"]

FORMAT = 1
_PACKAGES = ("jax", "jaxlib", "equinox", "optax", "jaxmarl", "orbax-checkpoint", "numpy")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a run is measured and kept; the same for every algorithm that is to be compared."""

    env_steps: int = 500_000
    """Environment steps to train for, per seed (one step of one environment, whatever the number of agents)."""
    seeds: tuple[int, ...] = (0,)
    """One independent run for each."""
    eval_interval: int = 10_000
    """Evaluate greedily every so many environment steps, at the next end of a chunk. Evaluation steps are not counted."""
    eval_episodes: int = 32
    """Episodes per evaluation."""
    checkpoint_interval: int = 50_000
    """Save everything every so many environment steps, and at the end."""
    chunk_iterations: int = 20
    """Iterations of learning in one compiled call; between calls the run can be stopped, evaluated and saved."""
    precision: Literal["auto", "full"] = "auto"
    """How replay keeps observations: in half precision where the environment bounds them, or always in full."""

    env_workers: int | str = 0
    """Who steps an environment that is not written in JAX: 0, this process; N, so many worker processes; ray:N, so many Ray actors, on the
    cluster that RAY_ADDRESS names or a local one."""
    env_timeout: float = 120.0
    """Seconds that a worker may take for a step or reset of its environments before it is replaced, and its episodes are dropped."""

    @property
    def workers(self) -> tuple[WorkerKind, int]:
        """`env_workers`, taken apart: the kind, and how many.

        Raises:
            ConfigError: it is neither of the three.
        """
        kind, _, count = str(self.env_workers).rpartition(":")
        if kind not in ("", "ray") or not count.isdecimal() or (kind and int(count) == 0) or isinstance(self.env_workers, bool):
            raise ConfigError(f"env_workers must be 0, a number of processes, or ray:N; got {self.env_workers!r}.")
        if kind:
            return "ray", int(count)
        return ("processes", int(count)) if int(count) else ("local", 1)

    def check(self) -> None:
        """Raise ConfigError, or UnknownNameError, for what cannot work."""
        check_choices(self)
        check_positive(self, "env_timeout")
        _ = self.workers
        for name in ("env_steps", "eval_interval", "eval_episodes", "checkpoint_interval", "chunk_iterations"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}.")
        if self.env_steps > 2_000_000_000:
            raise ConfigError(f"env_steps must be at most 2,000,000,000 (counters have 32 bits), got {self.env_steps}.")
        if len(self.seeds) > 256:
            raise ConfigError(f"At most 256 seeds fit one process, got {len(self.seeds)}: start several.")
        if any(seed >= 2**32 for seed in self.seeds):
            raise ConfigError(f"seeds must be below 2**32, since keys are made from 32 bits; got {max(self.seeds)}.")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ConfigError(f"seeds must be different non-negative numbers, at least one; got {list(self.seeds)}.")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What `config.json` says that a run needs to be built again."""

    algorithm: str
    hyper_parameters: dict[str, Any]
    environment: str
    environment_options: dict[str, Any]
    environment_spec: dict[str, Any]
    """`EnvSpec` as it was: a resumed run must meet the same."""
    protocol: Protocol

    @property
    def fingerprint(self) -> str:
        """Changes with anything that changes the numbers of a run; its length, how often it is measured or saved, and who steps its
        environments do not."""
        free = ("env_steps", "eval_interval", "eval_episodes", "checkpoint_interval", "env_workers", "env_timeout")
        made = dataclasses.asdict(self)
        made["protocol"] = {name: value for name, value in made["protocol"].items() if name not in free}
        return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class RunFolder:
    """Where a run's files are."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def snapshots(self) -> Path:
        return self.path / "snapshots"

    @property
    def curve(self) -> Path:
        return self.path / "curve.png"

    def create(self, config: RunConfig) -> None:
        """Make the directory and its config.json.

        Raises:
            RunError: there is something in it already.
        """
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise RunError(f"{self.path} exists already. Continue it with `dop resume {self.path}`, or choose another --run-dir.")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.path} cannot be made: {error.strerror}. Choose another --run-dir.") from error
        self.write_config(config)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process; the lock goes when the process does, however it ends.

        Raises:
            RunError: another process holds it.
        """
        with (self.path / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunError(f"{self.path} is being trained by another process. Wait for it, or stop it.") from error
            yield

    def write_config(self, config: RunConfig) -> None:
        """Replace config.json in one step."""
        text = json.dumps({"format": FORMAT, **dataclasses.asdict(config), **surroundings()}, indent=2)
        temporary = self.config.with_suffix(".tmp")
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(self.config)

    def read_config(self) -> RunConfig:
        """What made this run.

        Raises:
            RunError: this is not a run directory, or not one that this version can read.
        """
        if not self.config.is_file():
            raise RunError(f"{self.path} is not a run directory: it has no config.json. Runs are under runs/<environment>/<algorithm>/.")
        try:
            found = json.loads(self.config.read_text(encoding="utf-8"))
            if found["format"] != FORMAT:
                raise RunError(f"{self.config} has format {found['format']}, this version of dop reads format {FORMAT}.")
            protocol = Protocol(**{**found["protocol"], "seeds": tuple(found["protocol"]["seeds"])})
            protocol.check()
            names = {field.name for field in dataclasses.fields(RunConfig)} - {"protocol"}
            return RunConfig(protocol=protocol, **{name: found[name] for name in names})
        except (ValueError, KeyError, TypeError, ConfigError, UnknownNameError) as error:
            raise RunError(f"{self.config} is damaged: {error!r}.") from error


def default_folder(environment: str, algorithm: str) -> RunFolder:
    """runs/<environment>/<algorithm>/<date and time>."""
    name = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return RunFolder(Path("runs") / environment.replace(":", "-") / algorithm / name)


def surroundings() -> dict[str, Any]:
    """Versions and machine, for the record."""
    return {
        "library_version": metadata.version("dop-marl"),
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in _PACKAGES},
        "device": jax.devices()[0].device_kind,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
