"""A run on disk: its directory, its `config.json`, and how both are checked before anything is computed.

config.json      everything that made the run: algorithm, environment, seeds, protocol, versions, device
metrics.jsonl    one record a line            (`dop.storage.records`)
tensorboard/     the same, live, one folder per seed
checkpoints/     the whole state              (`dop.storage.checkpoints`)
snapshots/       the learner, over the run, and the best  (`dop.storage.snapshots`)
initial.npz      the first networks, if they are another run's  (`dop.storage.initial`)
curve.png        drawn at the end             (`dop.visualise.curves`)
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import errno
import fcntl
import json
import os
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, TypeAlias

import jax
import numpy as np

from dop.devices import cpu_threads
from dop.devices.parallel import mesh
from dop.errors import ConfigError, RunError, UnknownNameError, check_positive, check_types, is_nested_deeper, shown
from dop.storage import files
from dop.types import LABELS

WorkerKind: TypeAlias = Literal["local", "processes", "ray"]

FORMAT = 1
_FREE = (
    *("env_steps", "eval_interval", "eval_episodes", "checkpoint_interval", "snapshots"),
    *("env_workers", "env_timeout", "on_non_finite", "threads"),
)
"""Fields of `TrainConfig` that may change when a run goes on."""
_USUAL_CHUNK, _FEWEST_CHUNKS = 20, 8
"""Iterations in a chunk; chunks in a run."""
MOST_SEEDS = 256
"""Of one process."""
_FILES = ("config.json", "metrics.jsonl", "lock", "logger-id", "curve.png", "initial.npz")
_FOLDERS = ("checkpoints", "snapshots", "tensorboard", "credit", "films", "export", "wandb", "mlruns")
"""What may lie in a run directory, and is never read or written through a link."""
_DEEPEST = 50
"""Lists and objects in each other, in a config.json."""
_PACKAGES = ("jax", "jaxlib", "equinox", "optax", "jaxmarl", "orbax-checkpoint", "numpy")
_SETTINGS = ("jax_threefry_partitionable", "jax_default_matmul_precision")
"""Of JAX, which change numbers and leave shapes and types as they are."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a run is measured and kept; the same for every algorithm that is to be compared."""

    # Run
    env_steps: int = 500_000
    """Environment steps to train for, per seed (one step of one environment, whatever the number of agents)."""
    seeds: tuple[int, ...] = (0,)
    """One independent run for each."""

    # Evaluation
    eval_interval: int = 10_000
    """Evaluate greedily every so many environment steps, at the next end of a chunk. Evaluation steps are not counted."""
    eval_episodes: int = 32
    """Episodes per evaluation."""

    # Records
    checkpoint_interval: int = 50_000
    """Save everything every so many environment steps, and at the end."""
    snapshots: int = 12
    """Moments of the learner alone, at evaluations, that are kept to look back on, beside the best; at least 2, the first and the last."""

    # Rewards
    reward_scale: float = 1.0
    """What is learned from is this times the rewards. Records and evaluations have the environment's own; values, losses and credit are in
    scaled ones."""
    normalise_rewards: bool = False
    """Before `reward_scale`, divide rewards by the standard deviation of all that were collected so far. They are not shifted, which would
    change what episodes of different lengths are worth (EPyMARL also subtracts the mean)."""

    # Environment
    env_workers: int | str = 0
    """Who steps an environment that is not written in JAX: 0, this process; N, so many worker processes; ray:N, so many Ray actors, on the
    cluster that RAY_ADDRESS names or a local one."""
    env_timeout: float = 120.0
    """Seconds that a worker may take for a step or reset of its environments before it is replaced, and its episodes are dropped."""

    # Machine
    precision: Literal["auto", "full", "half"] = "auto"
    """How replay keeps observations: `auto`, in half precision where that resolves them (`obs_bound` of at most 2), else in full; or always
    in one of the two."""
    threads: int | None = None
    """Threads that JAX computes with on a CPU; the last bits of large sums depend on it. None: one for each core that the process may use.
    A run keeps the number that it began with, on any machine."""
    chunk_iterations: int | None = None
    """Iterations of learning in one compiled call; evaluations, checkpoints and Ctrl-C wait for its end. None: 20, or as many fewer as it
    takes for 8 such calls in `env_steps`, however long episodes are. A run keeps what was chosen when it began."""
    on_non_finite: Literal["stop", "skip"] = "stop"
    """When a reward, an observation, a loss or a gradient is not a finite number: stop the run, which keeps its checkpoints from before; or
    skip such episodes and updates, and count them (`emptied_episodes`, `skipped_updates`)."""

    @property
    def workers(self) -> tuple[WorkerKind, int]:
        """`env_workers`, taken apart: the kind, and how many.

        Raises:
            ConfigError: it is neither of the three.
        """
        kind, _, count = str(self.env_workers).rpartition(":")
        if kind not in ("", "ray") or not re.fullmatch("[0-9]{1,6}", count) or (kind and int(count) == 0):
            raise ConfigError(f"env_workers must be 0, a number of processes, or ray:N; got {shown(self.env_workers)}.")
        if kind:
            return "ray", int(count)
        return ("processes", int(count)) if int(count) else ("local", 1)

    @property
    def iterations_per_chunk(self) -> int:
        """`chunk_iterations`, or what is usual where it is left open."""
        return _USUAL_CHUNK if self.chunk_iterations is None else self.chunk_iterations

    def settled(self, *, steps: int, warm_up: int) -> TrainConfig:
        """With `chunk_iterations` chosen where it is left open.

        Args:
            steps: the most environment steps that an iteration can take.
            warm_up: the most before the first one.
        """
        if self.chunk_iterations is not None:
            return self
        fit = max(self.env_steps - warm_up, 0) // (_FEWEST_CHUNKS * steps)
        return dataclasses.replace(self, chunk_iterations=min(max(fit, 1), _USUAL_CHUNK))

    def remark(self, *, steps: int) -> str | None:
        """What to tell a person whose chunks, of iterations of at most so many steps, are longer than the run or than what lies between
        evaluations."""
        longest = self.iterations_per_chunk * steps
        if longest <= min(self.env_steps, self.eval_interval):
            return None
        whole = f"the whole run ({self.env_steps:,})"
        what = whole if longest > self.env_steps else f"what was to lie between evaluations ({self.eval_interval:,})"
        fit = min(self.env_steps, self.eval_interval) // steps
        alone = f"one iteration alone can take {steps:,}: lower episodes_per_iteration"
        advice = f"--chunk-iterations {fit} would fit" if fit else alone
        return (
            f"A chunk of {self.iterations_per_chunk} iterations can take {longest:,} environment steps, more than {what}. Evaluations, "
            f"checkpoints and Ctrl-C wait for its end; {advice}."
        )

    def check(self) -> None:
        """Raise ConfigError, or UnknownNameError, for what cannot work. Numbers of NumPy become Python's."""
        check_types(self)
        check_positive(self, "env_timeout", "reward_scale")
        if not float(np.finfo(np.float32).tiny) <= self.reward_scale <= float(np.finfo(np.float32).max):
            raise ConfigError(f"reward_scale must be a number that float32 holds, got {self.reward_scale}.")
        if self.threads is not None and not 0 < self.threads <= cpu_threads.MOST:
            raise ConfigError(f"threads must be between 1 and {cpu_threads.MOST}, got {self.threads}.")
        _ = self.workers
        for name in ("env_steps", "eval_interval", "eval_episodes", "checkpoint_interval", "chunk_iterations"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive, got {shown(getattr(self, name))}.")
        if self.snapshots < 2:
            raise ConfigError(f"snapshots must be at least 2, the first moment and the last, got {shown(self.snapshots)}.")
        if self.env_steps > 2_000_000_000:
            raise ConfigError(f"env_steps must be at most 2,000,000,000 (counters have 32 bits), got {self.env_steps}.")
        if len(self.seeds) > MOST_SEEDS:
            raise ConfigError(f"At most {MOST_SEEDS} seeds fit one process: start several.")
        if any(seed >= 2**32 for seed in self.seeds):
            raise ConfigError(f"seeds must be below 2**32, since keys are made from 32 bits; got {shown(max(self.seeds))}.")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ConfigError(f"seeds must be different non-negative numbers, at least one; got {shown(list(self.seeds))}.")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What `config.json` says that a run needs to be built again."""

    algorithm: str
    hyper_parameters: dict[str, Any]
    environment: str
    environment_options: dict[str, Any]
    environment_spec: dict[str, Any]
    """`EnvSpec` as it was: a resumed run must meet the same."""
    train_config: TrainConfig
    init_from: dict[str, Any] | None = None
    """Where the first networks are from, if they are another run's: `run`, `iteration`, and by seed its `seeds` and their `env_steps`."""

    @property
    def made_by(self) -> dict[str, Any]:
        """What changes the numbers of a run, flat and as JSON keeps it; its length, how often it is measured or saved, and who steps its
        environments, and what its actions are called, do not."""
        made = json.loads(json.dumps(dataclasses.asdict(self)))
        made["environment_spec"] = {name: value for name, value in made["environment_spec"].items() if name not in LABELS}
        made["train_config"] = {name: value for name, value in made["train_config"].items() if name not in _FREE}
        return dict(_flat(made, ""))


@dataclass(frozen=True)
class RunFolder:
    """Where a run's files are. A person may name a link to it; what lies in it is never read or written through one."""

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", files.settled(self.path))

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
    def initial(self) -> Path:
        return self.path / "initial.npz"

    @property
    def curve(self) -> Path:
        return self.path / "curve.png"

    def create(self, config: RunConfig) -> None:
        """Make the directory and its config.json.

        Raises:
            RunError: there is something in it already, or it cannot be written to.
        """
        with self.written():
            self._check_free()
            self.path.mkdir(parents=True, exist_ok=True)
        # Of two that start at the same moment, the one without the lock must not write its configuration over the other's.
        with self.locked():
            self._check_free()
            with self.written():
                self.write_config(config)

    def _check_free(self) -> None:
        if self.path.exists() and (not self.path.is_dir() or any(path != self._lock for path in self.path.iterdir())):
            raise RunError(f"{self.path} exists already. Continue it with `dop resume {self.path}`, or choose another --run-dir.")

    @property
    def _lock(self) -> Path:
        return self.path / "lock"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process; the lock goes when the process does, however it ends.

        Raises:
            RunError: another process holds it, or the directory cannot be written to.
        """
        with self.written(), contextlib.ExitStack() as stack:
            file = stack.enter_context(files.opened(self._lock, os.O_RDWR | os.O_CREAT))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunError(f"{self.path} is being trained by another process. Wait for it, or stop it.") from error
            except OSError as error:
                raise RunError(f"{self.path} cannot be locked: {error.strerror}. Put the run on a file system that can.") from error
            yield

    @contextlib.contextmanager
    def written(self) -> Iterator[None]:
        """Tell a person what a full disk, a read-only directory and the like mean for the run."""
        try:
            yield
        except OSError as error:
            inside = isinstance(error.filename, str | os.PathLike) and Path(error.filename).absolute().is_relative_to(self.path.absolute())
            if not (inside or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)):
                raise  # something else's: the environment's, the terminal's
            why = f"{error.strerror}{f' ({error.filename})' if error.filename else ''}"
            saved = f"What was saved is as it was: make room, or make it writable, then `dop resume {self.path}`."
            advice = saved if self.checkpoints.is_dir() else "Make room, or choose another --run-dir."
            raise RunError(f"{self.path} cannot be written to: {why}. {advice}") from error

    def write_config(self, config: RunConfig) -> None:
        """Replace config.json in one step."""
        devices = {"devices": mesh(len(config.train_config.seeds)).size}
        text = json.dumps({"format": FORMAT, **dataclasses.asdict(config), **surroundings(), **devices}, indent=2)
        files.write_text(self.config, text + "\n")

    def read_config(self) -> RunConfig:
        """What made this run.

        Raises:
            RunError: this is not a run directory, or not one that this version can read.
        """
        if not os.path.lexists(self.config):
            raise RunError(f"{self.path} is not a run directory: it has no config.json. Runs are under runs/<environment>/<algorithm>/.")
        files.check_kinds(self.path, plain_files=_FILES, folders=_FOLDERS)
        try:
            found = json.loads(files.read_text(self.config))
            if is_nested_deeper(found, _DEEPEST):
                raise RunError(f"{self.config} is damaged: it has lists or objects that lie in each other more than {_DEEPEST} deep.")
            if found["format"] != FORMAT:
                raise RunError(f"{self.config} has format {found['format']}, this version of dop reads format {FORMAT}.")
            check_version(str(found["library_version"]), self.config)
            train_config = TrainConfig(**{**found["train_config"], "seeds": tuple(found["train_config"]["seeds"])})
            train_config.check()
            names = {field.name for field in dataclasses.fields(RunConfig) if field.default is dataclasses.MISSING or field.name in found}
            config = RunConfig(train_config=train_config, **{name: found[name] for name in names - {"train_config"}})
            check_types(config)
            return config
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError, ConfigError, UnknownNameError) as error:
            raise RunError(f"{self.config} is damaged: {type(error).__name__}: {error}") from error

    def devices(self, seeds: int) -> int:
        """How many devices shared the run's seeds, which its last bits depend on; one each where config.json does not say."""
        found = json.loads(files.read_text(self.config)).get("devices")
        return found if type(found) is int and 0 < found <= MOST_SEEDS else seeds

    def other_surroundings(self) -> list[str]:
        """Versions, settings of JAX and the kind of device that the run was not made with, in words. It starts JAX."""
        found, now = json.loads(files.read_text(self.config)), surroundings()
        was = {name: found[name] for name in ("versions", "settings", "device") if name in found}
        return differences(dict(_flat(was, "")), dict(_flat({name: now[name] for name in was}, "")))


def differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Every name that differs between two `RunConfig.made_by`, in words."""
    names = sorted(was.keys() | now.keys())
    nothing = "not there"
    return [
        f"{name} was {said(was.get(name, nothing))}, now it is {said(now.get(name, nothing))}"
        for name in names
        if was.get(name) != now.get(name)
    ]


def said(value: Any) -> str:
    """A value in a sentence: texts as they are, all else as `shown` has it."""
    return value if isinstance(value, str) else shown(value)


def _flat(values: Any, name: str) -> Iterator[tuple[str, Any]]:
    """`{"a": {"b": 1}}` as `("a.b", 1)`."""
    if not isinstance(values, dict):
        yield name, values
        return
    for key, value in values.items():
        yield from _flat(value, f"{name}.{key}" if name else key)


def default_folder(environment: str, algorithm: str) -> RunFolder:
    """runs/<environment>/<algorithm>/<date and time>."""
    name = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return RunFolder(Path("runs") / files.safe_name(environment) / files.safe_name(algorithm) / name)


def library_version() -> str:
    """Of dop itself."""
    return metadata.version("dop-marl")


def check_version(found: str, where: Path) -> None:
    """Raise RunError if what is at `where` was made by a version of dop whose runs this one does not continue: another major.minor."""
    made, here = found.split(".")[:2], library_version().split(".")[:2]
    if made != here:
        raise RunError(
            f"{where} was made by dop {found}, this is dop {library_version()}; runs go on under the same major.minor version only. "
            f"Install that one to go on: pip install 'dop-marl=={'.'.join(made)}.*'"
        )


def surroundings() -> dict[str, Any]:
    """Versions, settings and machine, for the record. It starts JAX."""
    return {
        "library_version": library_version(),
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in _PACKAGES},
        "settings": {name: getattr(jax.config, name) for name in _SETTINGS},
        "device": jax.devices()[0].device_kind,
        "machine": f"{platform.system()} {platform.machine()}, {cpu_threads.allowed_cores()} of {os.cpu_count()} cores",
    }
