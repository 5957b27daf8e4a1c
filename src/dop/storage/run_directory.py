"""A run on disk: its directory and its `config.json`, both checked before anything is computed.

config.json      the run's configuration: algorithm, environment, seeds, training options, versions, device
metrics.jsonl    one record per line          (`dop.storage.records`)
tensorboard/     the same for TensorBoard, one folder per seed
checkpoints/     the whole state              (`dop.storage.checkpoints`)
snapshots/       learners over the run, and the best  (`dop.storage.snapshots`)
initial.npz      initial networks, if from another run  (`dop.storage.initial`)
curve.png        the learning curve           (`dop.visualise.curves`)

A model, a trained team without its run, has a `config.json` of the same form, with `card.json` and `model.npz` (`dop.export.model`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import errno
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dop.errors import ConfigError, RunError, UnknownNameError, check_types, is_nested_deeper
from dop.storage import files, records
from dop.storage.config import RunConfig, TrainConfig
from dop.storage.surroundings import check_version, differences, flat, surroundings

FORMAT = 2
_FILES = ("config.json", "metrics.jsonl", "lock", "logger-id", "curve.png", "initial.npz", "card.json", "model.npz")
_FOLDERS = ("checkpoints", "snapshots", "tensorboard", "credit", "films", "export", "model", "wandb", "mlruns")
"""Contents of a run directory, which are never read or written through a link."""
_DEEPEST = 50
"""Maximum nesting of lists and objects in a config.json."""


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

    @property
    def card(self) -> Path:
        return self.path / "card.json"

    @property
    def model(self) -> Path:
        return self.path / "model.npz"

    @property
    def is_model(self) -> bool:
        """Whether this is a model, not a run."""
        return os.path.lexists(self.card) or os.path.lexists(self.model)

    def check_is_run(self, refusal: str) -> None:
        """Raise RunError if this is a model; `refusal` says what a model cannot do, and what to do."""
        files.check_kinds(self.path, plain_files=(self.card.name, self.model.name), folders=())
        if self.is_model:
            raise RunError(f"{self.path} is a model, a trained team without its run: {refusal}")

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
            self.check_is_run("choose another --run-dir.")
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
        text = json.dumps({"format": FORMAT, **dataclasses.asdict(config), **surroundings()}, indent=2)
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
            if not self.is_model:
                check_version(str(found["library_version"]), self.config)
            train_config = TrainConfig(**{**found["train_config"], "seeds": tuple(found["train_config"]["seeds"])})
            train_config.check()
            names = {field.name for field in dataclasses.fields(RunConfig) if field.default is dataclasses.MISSING or field.name in found}
            config = RunConfig(train_config=train_config, **{name: found[name] for name in names - {"train_config"}})
            check_types(config)
            return config
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError, ConfigError, UnknownNameError) as error:
            raise RunError(f"{self.config} is damaged: {type(error).__name__}: {error}") from error

    def changed_surroundings(self) -> list[str]:
        """Differences in versions, JAX settings and kind of device from those of the run, in words. Starts JAX.

        A model has one at most, of the library's own version: it plays the same on any machine, up to rounding.
        """
        found, now = json.loads(files.read_text(self.config)), surroundings()
        if self.is_model:
            name = "library_version"
            return differences({name: found.get(name)}, {name: now[name]})
        was = {name: found[name] for name in ("versions", "settings", "device") if name in found}
        return differences(dict(flat(was, "")), dict(flat({name: now[name] for name in was}, "")))


def default_folder(environment: str, algorithm: str) -> RunFolder:
    """runs/<environment>/<algorithm>/<date and time>."""
    name = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return RunFolder(Path("runs") / files.safe_name(environment) / files.safe_name(algorithm) / name)
