"""A run on disk: its directory and its `config.json`, both checked before anything is computed.

config.json      the run's configuration: algorithm, environment, seeds, training options, versions, device
metrics.jsonl    one record per line          (`dop.storage.records`)
tensorboard/     the same for TensorBoard, one folder per seed
checkpoints/     the whole state              (`dop.storage.checkpoints`)
snapshots/       learners over the run, and the best  (`dop.storage.snapshots`)
initial.npz      initial networks, if from another run  (`dop.storage.initial`)
curve.png        the learning curve           (`dop.visualise.curves`)
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
from dop.storage import files, records
from dop.types import LABELS

WorkerKind: TypeAlias = Literal["local", "processes", "ray"]

FORMAT = 2
_FREE = (
    *("env_steps", "eval_interval", "eval_episodes", "checkpoint_interval", "snapshots"),
    *("env_workers", "env_timeout", "on_non_finite", "threads"),
)
"""Fields of `TrainConfig` that may change when a run resumes."""
_USUAL_CHUNK, _FEWEST_CHUNKS = 20, 8
"""Default iterations per chunk; minimum chunks per run."""
MOST_SEEDS = 256
"""Maximum number of seeds in one process."""
_FILES = ("config.json", "metrics.jsonl", "lock", "logger-id", "curve.png", "initial.npz")
_FOLDERS = ("checkpoints", "snapshots", "tensorboard", "credit", "films", "export", "wandb", "mlruns")
"""Contents of a run directory, which are never read or written through a link."""
_DEEPEST = 50
"""Maximum nesting of lists and objects in a config.json."""
_PACKAGES = ("jax", "jaxlib", "equinox", "optax", "jaxmarl", "orbax-checkpoint", "numpy")
_SETTINGS = ("jax_threefry_partitionable", "jax_default_matmul_precision")
"""Settings of JAX that change numbers, but not shapes and types."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Options of a run that do not depend on the algorithm: length, evaluation, records, environment, machine."""

    # Run
    env_steps: int = 500_000
    """Environment steps to train for, per seed (one step of one environment, whatever the number of agents)."""
    seeds: tuple[int, ...] = (0,)
    """One independent run per seed."""

    # Evaluation
    eval_interval: int = 10_000
    """Environment steps between greedy evaluations, which take place at the end of a chunk. Evaluation steps are not counted."""
    eval_episodes: int = 32
    """Episodes per evaluation."""

    # Records
    checkpoint_interval: int = 50_000
    """Environment steps between checkpoints; the end of the run has one, too."""
    snapshots: int = 12
    """Number of snapshots of the learner, taken at evaluations, besides the best; at least 2, the first and the last."""

    # Rewards
    reward_scale: float = 1.0
    """Factor of the rewards that the learner sees. Records and evaluations have the environment's rewards; values, losses and credit have
    scaled rewards."""
    normalise_rewards: bool = False
    """Before `reward_scale`, divide rewards by the standard deviation of all rewards so far. The mean is not subtracted (EPyMARL does), as
    that would change the relative value of episodes of different lengths."""

    # Environment
    env_workers: int | str = 0
    """Workers that step a Python environment. 0: this process; N: N worker processes; ray:N: N Ray actors, on the cluster at RAY_ADDRESS or
    a local one."""
    env_timeout: float = 120.0
    """Seconds that a worker may take for a step or reset of its environments. After that it is replaced, and its episodes are dropped."""

    # Machine
    precision: Literal["auto", "full", "half"] = "auto"
    """Precision of observations in the replay. auto: half if that resolves them (`obs_bound` of at most 2), else full."""
    threads: int | None = None
    """JAX's CPU threads; the last bits of large sums depend on it. None: one per core that the process may use. A run keeps its number of
    threads when it resumes, on any machine."""
    chunk_iterations: int | None = None
    """Iterations per chunk, a compiled call; evaluations, checkpoints and Ctrl-C wait for its end. None: 20, or fewer, so that `env_steps`
    has at least 8 chunks, however long episodes are. A run keeps its chunk size when it resumes."""
    on_non_finite: Literal["stop", "skip"] = "stop"
    """Reaction to a reward, observation, loss or gradient that is not finite. stop: end the run, whose earlier checkpoints are kept; skip:
    skip and count such episodes and updates (`emptied_episodes`, `skipped_updates`)."""

    @property
    def workers(self) -> tuple[WorkerKind, int]:
        """Kind and number of the workers in `env_workers`.

        Raises:
            ConfigError: it is none of the three forms.
        """
        kind, _, count = str(self.env_workers).rpartition(":")
        if kind not in ("", "ray") or not re.fullmatch("[0-9]{1,6}", count) or (kind and int(count) == 0):
            raise ConfigError(f"env_workers must be 0, a number of processes, or ray:N; got {shown(self.env_workers)}.")
        if kind:
            return "ray", int(count)
        return ("processes", int(count)) if int(count) else ("local", 1)

    @property
    def iterations_per_chunk(self) -> int:
        """`chunk_iterations`, or its default."""
        return _USUAL_CHUNK if self.chunk_iterations is None else self.chunk_iterations

    def settled(self, *, steps: int, warm_up: int) -> TrainConfig:
        """The configuration with `chunk_iterations` chosen, if it is None.

        Args:
            steps: maximum environment steps of an iteration.
            warm_up: maximum environment steps of the warm-up.
        """
        if self.chunk_iterations is not None:
            return self
        fit = max(self.env_steps - warm_up, 0) // (_FEWEST_CHUNKS * steps)
        return dataclasses.replace(self, chunk_iterations=min(max(fit, 1), _USUAL_CHUNK))

    def remark(self, *, steps: int) -> str | None:
        """A warning if a chunk, of iterations of at most `steps` steps, is longer than the run or than the interval of evaluations."""
        longest = self.iterations_per_chunk * steps
        if longest <= min(self.env_steps, self.eval_interval):
            return None
        whole = f"the whole run ({self.env_steps:,})"
        what = whole if longest > self.env_steps else f"the interval of evaluations ({self.eval_interval:,})"
        fit = min(self.env_steps, self.eval_interval) // steps
        alone = f"one iteration alone can take {steps:,}: lower episodes_per_iteration"
        advice = f"--chunk-iterations {fit} would fit" if fit else alone
        return (
            f"A chunk of {self.iterations_per_chunk} iterations can take {longest:,} environment steps, more than {what}. Evaluations, "
            f"checkpoints and Ctrl-C wait for its end; {advice}."
        )

    def check(self) -> None:
        """Raise ConfigError or UnknownNameError for invalid values. NumPy numbers become Python numbers."""
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
    """The part of `config.json` from which a run is rebuilt."""

    algorithm: str
    hyper_parameters: dict[str, Any]
    environment: str
    environment_options: dict[str, Any]
    environment_spec: dict[str, Any]
    """The `EnvSpec`; a resumed run must have the same."""
    train_config: TrainConfig
    init_from: dict[str, Any] | None = None
    """Origin of the initial networks, if from another run: `run`, `iteration`, and, per seed, its `seeds` and their `env_steps`."""

    @property
    def made_by(self) -> dict[str, Any]:
        """The configuration that determines a run's numbers, flat and JSON-compatible: without its length, intervals of evaluations and
        checkpoints, workers and names of actions."""
        made = json.loads(json.dumps(dataclasses.asdict(self)))
        made["environment_spec"] = {name: value for name, value in made["environment_spec"].items() if name not in LABELS}
        made["train_config"] = {name: value for name, value in made["train_config"].items() if name not in _FREE}
        return dict(_flat(made, ""))


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run's files. The directory itself may be a link; its contents may not."""

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", files.resolved(self.path))

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
        """Make the directory and its config.json, as `created` does, without training in it."""
        with self.created(config):
            pass

    @contextlib.contextmanager
    def created(self, config: RunConfig) -> Iterator[None]:
        """Make the directory and its config.json, and keep it locked. A run that failed before it learned is replaced.

        Raises:
            RunError: there is something else in it already, or it cannot be written to.
        """
        with self.written():
            self._check_free()
            self.path.mkdir(parents=True, exist_ok=True)
        # Of two simultaneous starts, the one without the lock must not overwrite the other's configuration.
        with self.locked():
            self._check_free()
            with self.written():
                for path in (self.metrics, self.initial, self.path / "logger-id"):
                    path.unlink(missing_ok=True)
                self.write_config(config)
            yield

    def _check_free(self) -> None:
        is_free = self.path.is_dir() and (all(path == self._lock for path in self.path.iterdir()) or self._failed_at_the_start)
        if self.path.exists() and not is_free:
            raise RunError(f"{self.path} exists already. Resume it with `dop resume {self.path}`, or choose another --run-dir.")

    @property
    def _failed_at_the_start(self) -> bool:
        """Whether this is a run that has neither a checkpoint nor a record of learning."""
        results = (self.checkpoints, self.snapshots, self.curve)
        if not os.path.lexists(self._lock) or any(os.path.lexists(path) for path in results):
            return False
        try:
            self.read_config()
            return not self.has_learned
        except RunError:  # another program's config.json, or damaged files
            return False

    @property
    def has_learned(self) -> bool:
        """Whether there are records of learning.

        Raises:
            RunError: the records cannot be read.
        """
        return self.metrics.exists() and any(record.kind == "train" for record in records.read(self.metrics))

    @property
    def _lock(self) -> Path:
        return self.path / "lock"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the run for this process; the lock ends with the process.

        Raises:
            RunError: another process holds the lock, or the directory cannot be written to.
        """
        with self.written(), contextlib.ExitStack() as stack:
            file = stack.enter_context(files.opened(self._lock, os.O_RDWR | os.O_CREAT))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunError(f"{self.path} is being trained by another process. Wait for it or stop it.") from error
            except OSError as error:
                raise RunError(f"{self.path} cannot be locked: {error.strerror}. Put the run on a file system that can.") from error
            yield

    @contextlib.contextmanager
    def written(self) -> Iterator[None]:
        """Turn errors such as a full disk or a read-only directory into a RunError with advice."""
        try:
            yield
        except OSError as error:
            inside = isinstance(error.filename, str | os.PathLike) and Path(error.filename).absolute().is_relative_to(self.path.absolute())
            if not (inside or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)):
                raise  # an error of the environment or the terminal
            why = f"{error.strerror}{f' ({error.filename})' if error.filename else ''}"
            saved = f"Saved checkpoints are intact: free some space or make it writable, then `dop resume {self.path}`."
            advice = saved if self.checkpoints.is_dir() else "Free some space, or choose another --run-dir."
            raise RunError(f"{self.path} cannot be written to: {why}. {advice}") from error

    def write_config(self, config: RunConfig) -> None:
        """Write config.json atomically."""
        devices = {"devices": mesh(len(config.train_config.seeds)).size}
        text = json.dumps({"format": FORMAT, **dataclasses.asdict(config), **surroundings(), **devices}, indent=2)
        files.write_text(self.config, text + "\n")

    def read_config(self) -> RunConfig:
        """The configuration of this run.

        Raises:
            RunError: this is not a run directory, or this version cannot read it.
        """
        if not os.path.lexists(self.config):
            raise RunError(f"{self.path} is not a run directory: it has no config.json. Runs are under runs/<environment>/<algorithm>/.")
        files.check_kinds(self.path, plain_files=_FILES, folders=_FOLDERS)
        try:
            found = json.loads(files.read_text(self.config))
            if is_nested_deeper(found, _DEEPEST):
                raise RunError(f"{self.config} is damaged: its lists or objects are nested more than {_DEEPEST} deep.")
            if found["format"] != FORMAT:
                words = f"has format {found['format']}, this version of dop reads format {FORMAT}"
                raise RunError(f"{self.config} {words}: use the version that wrote it.")
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
        """Number of devices for the run's seeds, on which the last bits depend; one per seed if config.json does not contain it."""
        found = json.loads(files.read_text(self.config)).get("devices")
        return found if type(found) is int and 0 < found <= MOST_SEEDS else seeds

    def changed_surroundings(self) -> list[str]:
        """Differences in versions, JAX settings and kind of device from those of the run, in words. Starts JAX."""
        found, now = json.loads(files.read_text(self.config)), surroundings()
        was = {name: found[name] for name in ("versions", "settings", "device") if name in found}
        return differences(dict(_flat(was, "")), dict(_flat({name: now[name] for name in was}, "")))


def differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Every difference between two `RunConfig.made_by`, in words."""
    names = sorted(was.keys() | now.keys())
    nothing = "missing"
    return [
        f"{name} was {in_words(was.get(name, nothing))}, now it is {in_words(now.get(name, nothing))}"
        for name in names
        if was.get(name) != now.get(name)
    ]


def in_words(value: Any) -> str:
    """A value in a sentence: strings without quotes, other values by `shown`."""
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
    """The version of dop."""
    return metadata.version("dop-marl")


def check_version(found: str, where: Path) -> None:
    """Raise RunError if `where` was made by dop of another major.minor version, whose runs this one does not resume."""
    made, here = found.split(".")[:2], library_version().split(".")[:2]
    if made != here:
        raise RunError(
            f"{where} was made by dop {found}, this is dop {library_version()}; a run resumes only with the same major.minor version. "
            f"Install that version: pip install 'dop-marl=={'.'.join(made)}.*'"
        )


def surroundings() -> dict[str, Any]:
    """Versions, settings and machine, for config.json. Starts JAX."""
    return {
        "library_version": library_version(),
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in _PACKAGES},
        "settings": {name: getattr(jax.config, name) for name in _SETTINGS},
        "device": jax.devices()[0].device_kind,
        "machine": f"{platform.system()} {platform.machine()}, {cpu_threads.allowed_cores()} of {os.cpu_count()} cores",
    }
