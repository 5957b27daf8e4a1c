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
from dop.api.planning import make_plan, warn_of_unsharded_rows
from dop.api.programs import AnyEnvironment
from dop.devices import compilation, cpu_threads
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
from dop.storage.config import TrainConfig
from dop.storage.run_directory import RunFolder
from dop.training import callbacks as callback_lookup
from dop.training.callbacks import Callback
from dop.training.preflight import Preflight, measure
from dop.training.program import RunState
from dop.training.silence import without_compiler_logs
from dop.training.trainer import Outcome, Trainer, lowest_steps, stop_requested
from dop.types import Algorithm
from dop.visualise import curves


@dataclass(frozen=True)
class Run:
    """A run on disk and its last outcome."""

    path: Path
    """The run directory."""
    outcome: Outcome
    """Whether it finished, its environment steps per seed, and the last greedy evaluation."""

    @property
    def records(self) -> list[records.Record]:
        """All records in `metrics.jsonl`."""
        return records.read(RunFolder(self.path).metrics)

    @property
    def curve(self) -> Path:
        """The figure of the learning curve."""
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
    callbacks: Sequence[Callback | str] = (),
    **train_config: Any,
) -> Run:
    """Train, and write a run directory.

    Args:
        algorithm: for example `dop.StochasticDOP()`, or your own (`dop.Algorithm`).
        environment: an environment, or its name for `dop.make`, or a function that makes a Python environment. With `env_workers` the
            function must be defined at the top level of a module.
        env_steps: environment steps per seed.
        seeds: the number of seeds (0, 1, ...), or a list of seeds.
        run_dir: the run directory: new, empty, or of a run that failed before it learned, which is replaced. Default:
            `runs/<environment>/<algorithm>/<date and time>`.
        environment_options: keyword arguments of the environment's maker, if `environment` is a name.
        init_from: a run of the same algorithm, whose newest checkpoint gives the initial networks, with target networks, averaged actors
            and observation statistics; optimisers, environment steps and schedules start anew. The environment may differ if all sizes
            are the same. Seeds are matched in order; if the numbers differ, all start from the first. The run is not needed afterwards.
        quiet: no progress on the terminal, and no logs of JAX and XLA.
        loggers: further loggers, besides the files in the run directory: `wandb`, `mlflow`, or your own object (`dop.Logger`). A logger
            that fails during the run is disabled with a warning.
        logger_online: let `wandb` and `mlflow` use the network; by default they write into the run directory.
        callbacks: objects that are called after chunks, evaluations and checkpoints, and may stop the run (`dop.Callback`), or names of
            their classes, `my_module:MyCallback`. An exception in one ends the run, after a checkpoint.
        **train_config: the other fields of `dop.TrainConfig`.

    Raises:
        ConfigError: an argument is invalid; nothing has been computed or written.
        RunError: the directory exists, or training failed.
    """
    check_flags(quiet=quiet)
    observers = _Observers(loggers=chosen(loggers, online=logger_online), callbacks=callback_lookup.chosen(callbacks), quiet=quiet)
    plan = make_plan(algorithm, environment, env_steps, seeds, run_dir, environment_options, train_config, init_from)
    plan.needs.check()
    compilation.use_cache()
    trainer = Trainer(plan.program, plan.config, plan.folder)
    with plan.folder.created(plan.config):
        if plan.initial_networks is not None:
            initial.keep(plan.folder, plan.initial_networks)
        return _run(trainer, observers, resumed=False)


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
    """The memory and disk that `train` with these arguments needs, and what is free. Computes and writes nothing.

    Raises:
        ConfigError: an argument is invalid.
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
    devices: int | Literal["all"] | None = None,
    quiet: bool = False,
    loggers: Sequence[Logger | str] = (),
    logger_online: bool = False,
    callbacks: Sequence[Callback | str] = (),
) -> Run:
    """Resume a run exactly from its newest checkpoint, to its `env_steps` or a new goal.

    Python environments are not saved: they start new episodes, with the seeds of an uninterrupted run.

    Args:
        run_dir: a run directory.
        env_steps: a new goal, in environment steps from the start of the run.
        environment: required if `dop.make` cannot make the run's environment again. The run's own name for it permits its import.
        algorithm: its class, required if it cannot be imported by its name in the run directory, for example from a notebook. The name
            itself permits its import.
        trust: permit the import of environment, algorithm and networks that the run directory names and that are not part of the library;
            importing runs their code.
        on_non_finite: a new reaction to numbers that are not finite; see `dop.TrainConfig`.
        threads: a new number of threads, which changes the last digits of results; see `dop.TrainConfig`.
        devices: a new number of devices, which changes the last digits of results; see `dop.TrainConfig`.
        quiet: as in `train`.
        loggers: as in `train`.
        logger_online: as in `train`.
        callbacks: as in `train`.

    Raises:
        ConfigError: the new goal is less than the run's environment steps, or another argument is invalid.
        RunError: this is not a run directory, it is damaged, it was made by another version of the library or in another environment, or
            it names code that needs `trust`.
    """
    check_flags(quiet=quiet)
    observers = _Observers(loggers=chosen(loggers, online=logger_online), callbacks=callback_lookup.chosen(callbacks), quiet=quiet)
    folder = RunFolder(files.checked_path("run_dir", run_dir))
    folder.check_is_run("there is nothing to resume. Train again: its card.json names the settings.")
    changes = {"env_steps": env_steps, "on_non_finite": on_non_finite, "threads": threads, "devices": devices}
    config, program = rebuild(folder, environment, algorithm=algorithm, trust=trust, changes=changes)
    measure(program, folder).check()
    trainer = Trainer(program, config, folder)
    _warn_of_changed_resources(folder, config.train_config, trainer.devices.size)
    warn_of_unsharded_rows(program)
    with folder.locked():
        return _run(trainer, observers, resumed=True)


def _warn_of_changed_resources(folder: RunFolder, train_config: TrainConfig, devices: int) -> None:
    """Warn if this process has another number of devices or threads than the run so far."""
    earlier, now = folder.read_config().train_config, cpu_threads.in_use()
    was, before = earlier.threads, earlier.devices
    if before is not None and devices != before:
        advice = "This was requested." if devices == train_config.devices else "A new process gives the same bits."
        logging.getLogger("dop").warning(
            "%s: it had %s devices, now %s; results may differ in their last digits. %s", folder.path, before, devices, advice
        )
    if now != was and jax.devices()[0].platform == "cpu":
        advice = (
            "This was requested." if now == train_config.threads else f"A new process, or PJRT_NPROC={was} before this one, keeps the bits."
        )
        logging.getLogger("dop").warning(
            "%s: JAX computed with %s threads, now with %s; results may differ in their last digits. %s",
            *(folder.path, was or "an unknown number of", now, advice),
        )


@dataclass(frozen=True, kw_only=True)
class _Observers:
    """The receivers of a run's events."""

    loggers: Sequence[Logger]
    callbacks: Sequence[Callback]
    quiet: bool


def _run(trainer: Trainer, observers: _Observers, *, resumed: bool) -> Run:
    """Start or resume in a locked directory, with records on disk and progress on the terminal; draw the learning curve at the end."""
    folder = trainer.folder
    with contextlib.closing(trainer):
        outcome = _train(trainer, observers, resumed=resumed)
        curves.draw({trainer.config.algorithm: records.read(folder.metrics)}, folder.curve, title=trainer.program.spec.name)
    return Run(folder.path, outcome)


def _train(trainer: Trainer, observers: _Observers, *, resumed: bool) -> Outcome:
    state = _restored(trainer) if resumed else None
    if resumed:
        trainer.folder.write_config(trainer.config)
    run = protocol.LoggedRun(path=trainer.folder.path, config=trainer.config, resumed_at=None if state is None else lowest_steps(state))
    with contextlib.ExitStack() as stack:
        stack.enter_context(without_compiler_logs() if observers.quiet else contextlib.nullcontext())
        trainer.callbacks, opened = observers.callbacks, []
        trainer.loggers = opened
        shown = [] if observers.quiet else [Progress()]
        for logger in (jsonl.JsonLines(), tensorboard.TensorBoard(), *observers.loggers, *shown):
            logger.open(run)
            opened.append(stack.enter_context(contextlib.closing(logger)))
        for progress in shown:
            progress.message(f"run directory: {run.path}; compiling, about half a minute the first time ...")
            if trainer.shared_devices:
                progress.message("several seeds share a host device, which is slower: raise devices, before anything else uses JAX")
        # Includes the start: a run that is interrupted while it compiles is saved after it.
        stop = stack.enter_context(stop_requested())
        outcome = trainer.run(trainer.start() if state is None else state, stop)
        for progress in shown if trainer.stopped_by and not outcome.finished else ():
            steps = f"{min(outcome.env_steps):,}"
            progress.message(f"Stopped by {trainer.stopped_by} after {steps} environment steps; resume with: dop resume {run.path}")
        return outcome


def _restored(trainer: Trainer) -> RunState | None:
    """The state to resume from; None for a run without checkpoint, which starts again from its seeds."""
    folder, goal = trainer.folder, trainer.train_config.env_steps
    if trainer.checkpoints.empty and not folder.has_learned:
        folder.metrics.unlink(missing_ok=True)
        return None
    state = trainer.restore()
    done = lowest_steps(state)
    if goal < min(done, folder.read_config().train_config.env_steps):
        raise ConfigError(f"{folder.path} has {done} environment steps already; a new goal must be greater, got {goal}.")
    trainer.rewind(state)
    return state
