"""`train`, `preflight` and `resume`."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax

from dop.api.loading import AnyAlgorithm, rebuild
from dop.api.planning import make_plan
from dop.api.programs import AnyEnvironment
from dop.devices import cpu_threads
from dop.errors import (
    ConfigError,
    check_flags,
)
from dop.loggers import jsonl, protocol, tensorboard
from dop.loggers.lookup import chosen
from dop.loggers.progress import Progress
from dop.loggers.protocol import Logger
from dop.renamed import formerly
from dop.storage import files, initial, records
from dop.storage.run_directory import RunFolder, TrainConfig
from dop.training.callbacks import Callback, checked
from dop.training.preflight import Preflight, measure
from dop.training.program import RunState
from dop.training.silence import without_compiler_logs
from dop.training.trainer import Outcome, Trainer, lowest_steps, stop_requested
from dop.types import Algorithm
from dop.visualise import curves


@dataclass(frozen=True)
class Run:
    """A run on disk and how it last ended."""

    path: Path
    """The run directory."""
    outcome: Outcome
    """Whether it reached its goal, its environment steps per seed, and the last greedy evaluation."""

    @property
    def records(self) -> list[records.Record]:
        """Everything in `metrics.jsonl`."""
        return records.read(RunFolder(self.path).metrics)

    @property
    def curve(self) -> Path:
        """The picture of the learning curve."""
        return RunFolder(self.path).curve


@formerly(loggers="logger")
def train(
    algorithm: Algorithm[Any, Any],
    environment: AnyEnvironment | str,
    *,
    env_steps: int = TrainConfig.env_steps,
    seeds: int | Sequence[int] = 1,
    run_dir: Path | str | None = None,
    environment_options: dict[str, Any] | None = None,
    init_from: Path | str | None = None,
    quiet: bool = False,
    loggers: Sequence[Logger | str] = (),
    logger_online: bool = False,
    callbacks: Sequence[Callback] = (),
    **train_config: Any,
) -> Run:
    """Train and leave a run directory behind.

    Args:
        algorithm: for example `dop.StochasticDOP()`, or one of your own (`dop.Algorithm`).
        environment: an environment, or its name as `dop.make` takes it; or a function that makes one that is not written in JAX, defined at
            the top of a module if `env_workers` is to send it to other processes.
        env_steps: environment steps per seed.
        seeds: how many (then 0, 1, ...), or which.
        run_dir: where; default `runs/<environment>/<algorithm>/<date and time>`. It must not exist, or be empty.
        environment_options: keyword arguments for the maker of `environment`, if that is a name.
        init_from: a run of the same algorithm, from whose newest checkpoint the networks are taken, with targets, averages and the moments
            of inputs; optimisers, environment steps and schedules start anew. The environment may be another if all sizes are the same.
            Each seed takes those of the seed in its place, or all the first's if there are not as many. That run is not needed afterwards.
        quiet: no progress on the terminal, nor what JAX and XLA log by themselves.
        loggers: where else records go, beside the run directory's own files: `wandb`, `mlflow`, or an object of your own (`dop.Logger`).
            One that fails while the run goes is warned of and gets no more.
        logger_online: let `wandb` and `mlflow` use the network; without, they write into the run directory.
        callbacks: objects that are told of chunks, evaluations and checkpoints, and may ask to stop (`dop.Callback`). What one of them
            raises ends the run, once it is saved.
        **protocol: the other fields of `dop.TrainConfig`.

    Raises:
        ConfigError: something cannot work; nothing has been computed or written.
        RunError: the directory exists, or training broke down.
    """
    check_flags(quiet=quiet)
    told = _Told(loggers=chosen(loggers, online=logger_online), callbacks=checked(callbacks), quiet=quiet)
    plan = make_plan(algorithm, environment, env_steps, seeds, run_dir, environment_options, train_config, init_from)
    plan.needs.check()
    trainer = Trainer(plan.program, plan.config, plan.folder)
    plan.folder.create(plan.config)
    if plan.taken is not None:
        initial.keep(plan.folder, plan.taken)
    return _run(trainer, told, resumed=False)


def preflight(
    algorithm: Algorithm[Any, Any],
    environment: AnyEnvironment | str,
    *,
    env_steps: int = TrainConfig.env_steps,
    seeds: int | Sequence[int] = 1,
    run_dir: Path | str | None = None,
    environment_options: dict[str, Any] | None = None,
    init_from: Path | str | None = None,
    **train_config: Any,
) -> Preflight:
    """What `train` with the same arguments would need, beside what the machine has. Nothing is computed or written.

    Raises:
        ConfigError: something cannot work.
    """
    return make_plan(algorithm, environment, env_steps, seeds, run_dir, environment_options, train_config, init_from).needs


@formerly(trust="trust_env", loggers="logger")
def resume(
    run_dir: Path | str,
    *,
    env_steps: int | None = None,
    environment: AnyEnvironment | str | None = None,
    algorithm: AnyAlgorithm | None = None,
    trust: bool = False,
    on_non_finite: Literal["stop", "skip"] | None = None,
    threads: int | None = None,
    quiet: bool = False,
    loggers: Sequence[Logger | str] = (),
    logger_online: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Go on exactly where the run was last saved, to its own `env_steps` or another goal.

    Environments that are not written in JAX cannot be saved: they start new episodes, with the seeds that they would have had.

    Args:
        run_dir: a run directory.
        env_steps: a new goal, in environment steps from the very start.
        environment: needed only if the run was given an environment that `dop.make` cannot make again; or the name that the run has, as a
            word for its being imported.
        algorithm: its class, which is needed if that cannot be found by the name that the run directory has for it, as one of a notebook;
            or the name, as a word for its being imported.
        trust: import the modules of the environment and the algorithm that the run directory names, if they are none of the library's: that
            runs their code.
        on_non_finite: another choice of what happens from now on when a number is not finite; see `dop.TrainConfig`.
        threads: another number of threads from now on, which gives other last digits than the run would have had; see `dop.TrainConfig`.
        quiet: as in `train`.
        loggers: as in `train`.
        logger_online: as in `train`.
        callbacks: as in `train`.

    Raises:
        ConfigError: the new goal is less than what the run has, or another argument cannot work.
        RunError: this is not a run directory, it is damaged, it was made by another version of the library or with another environment, or
            it names code that may not be imported without `trust`.
    """
    check_flags(quiet=quiet)
    told = _Told(loggers=chosen(loggers, online=logger_online), callbacks=checked(callbacks), quiet=quiet)
    folder = RunFolder(files.checked_path("run_dir", run_dir))
    changes = {"env_steps": env_steps, "on_non_finite": on_non_finite, "threads": threads}
    config, program = rebuild(folder, environment, algorithm=algorithm, trust=trust, changes=changes)
    measure(program, folder).check()
    trainer = Trainer(program, config, folder)
    _warn_of_other_bits(folder, config.train_config, trainer.devices.size)
    return _run(trainer, told, resumed=True)


def _warn_of_other_bits(folder: RunFolder, train_config: TrainConfig, devices: int) -> None:
    """Warn where this process computes with other devices or threads than the run did until now."""
    was = folder.read_config().train_config.threads
    before, now = folder.devices(len(train_config.seeds)), cpu_threads.in_use()
    if devices != before:
        logging.getLogger("dop").warning(
            "%s: %s devices shared its seeds, now %s; the numbers may differ in their last digits. A new process goes on to the same bits.",
            *(folder.path, before, devices),
        )
    if now != was and jax.devices()[0].platform == "cpu":
        way = (
            "This was asked for." if now == train_config.threads else f"A new process, or PJRT_NPROC={was} before this one, keeps the bits."
        )
        logging.getLogger("dop").warning(
            "%s: JAX computed with %s threads, now with %s; the numbers may differ in their last digits. %s",
            *(folder.path, was or "an unknown number of", now, way),
        )


@dataclass(frozen=True, kw_only=True)
class _Told:
    """Who is told of a run while it goes."""

    loggers: Sequence[Logger]
    callbacks: Sequence[Callback]
    quiet: bool


def _run(trainer: Trainer, told: _Told, *, resumed: bool) -> Run:
    """Start or go on, with records on disk and progress on the terminal, and draw the curve at the end."""
    folder = trainer.folder
    with folder.locked(), contextlib.closing(trainer):
        outcome = _train(trainer, told, resumed=resumed)
        curves.draw({trainer.config.algorithm: records.read(folder.metrics)}, folder.curve, title=trainer.program.spec.name)
    return Run(folder.path, outcome)


def _train(trainer: Trainer, told: _Told, *, resumed: bool) -> Outcome:
    state = _restored(trainer) if resumed else None
    if resumed:
        trainer.folder.write_config(trainer.config)
    run = protocol.LoggedRun(path=trainer.folder.path, config=trainer.config, resumed_at=None if state is None else lowest_steps(state))
    with contextlib.ExitStack() as stack:
        stack.enter_context(without_compiler_logs() if told.quiet else contextlib.nullcontext())
        trainer.callbacks, opened = told.callbacks, []
        trainer.loggers = opened
        shown = [] if told.quiet else [Progress()]
        for logger in (jsonl.JsonLines(), tensorboard.TensorBoard(), *told.loggers, *shown):
            logger.open(run)
            opened.append(stack.enter_context(contextlib.closing(logger)))
        for progress in shown:
            progress.message(f"run directory: {run.path}; compiling, about half a minute ...")
            if trainer.shared_devices:
                progress.message("several seeds share a host device, which is slower: start dop.train before anything else uses JAX")
        # Over the start, too: who stops a run while it compiles finds it saved, a little later.
        stop = stack.enter_context(stop_requested())
        return trainer.run(trainer.start() if state is None else state, stop)


def _restored(trainer: Trainer) -> RunState | None:
    """The state that a run goes on from; None for one that was stopped before its first checkpoint, and starts again from its seeds."""
    folder, goal = trainer.folder, trainer.train_config.env_steps
    if trainer.checkpoints.empty and not _has_learned(folder):
        folder.metrics.unlink(missing_ok=True)
        return None
    state = trainer.restore()
    done = lowest_steps(state)
    if goal < min(done, folder.read_config().train_config.env_steps):
        raise ConfigError(f"{folder.path} has {done} environment steps already; a new goal must be more, got {goal}.")
    trainer.rewind(state)
    return state


def _has_learned(folder: RunFolder) -> bool:
    """Whether a run has records of learning; without a checkpoint these would be lost by starting again."""
    return folder.metrics.exists() and any(record.kind == "train" for record in records.read(folder.metrics))
