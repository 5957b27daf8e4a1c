"""The plan of a new run: its arguments, checked for consistency."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax

from dop import algorithms, envs, hyper_parameters
from dop.api.loading import check_algorithm
from dop.api.programs import AnyEnvironment, make_program
from dop.devices import cpu_threads, parallel
from dop.devices.parallel import use_host_devices
from dop.errors import (
    ConfigError,
    UnknownNameError,
    integer_hint,
    plain,
    shown,
)
from dop.hyper_parameters import as_json
from dop.learning import data_parallel
from dop.rollout.program import PythonProgram
from dop.storage import files, initial
from dop.storage.config import MOST_SEEDS, RunConfig, TrainConfig
from dop.storage.run_directory import RunFolder, default_folder
from dop.training import contract
from dop.training.preflight import Preflight, measure
from dop.training.program import Program
from dop.types import Algorithm, EnvSpec


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A new run before its start."""

    config: RunConfig
    program: Program | PythonProgram
    folder: RunFolder
    initial_networks: initial.Parts | None
    """The initial networks, if from another run."""

    @property
    def needs(self) -> Preflight:
        return measure(self.program, self.folder)


def make_plan(
    algorithm: Algorithm[Any, Any],
    environment: AnyEnvironment | str,
    env_steps: int,
    seeds: int | Sequence[int],
    run_dir: Path | str | None,
    environment_options: dict[str, Any] | None,
    config_fields: dict[str, Any],
    init_from: Path | str | None = None,
) -> Plan:
    """The plan of a run with these arguments of `train`, checked for consistency."""
    folder = None if run_dir is None else RunFolder(files.checked_path("run_dir", run_dir))
    algorithm_name = _algorithm_name(algorithm)
    train_config = _train_config(env_steps, seeds, config_fields)
    if environment_options is not None:
        environment_options = envs.checked_options(environment_options)
        if environment_options and not isinstance(environment, str):
            raise ConfigError(
                f"environment_options {shown(environment_options)} need an environment given by name; "
                "a function or an object has its options already."
            )
    use_host_devices(parallel.wanted(train_config.devices, len(train_config.seeds)))
    threads = _threads(train_config.threads)  # before `settled` starts JAX
    train_config = replace(train_config, threads=threads, devices=parallel.settled(train_config.devices, len(train_config.seeds)))
    program = make_program(algorithm, environment, environment_options or {}, train_config)
    spec = program.spec
    if not isinstance(spec, EnvSpec):
        raise ConfigError(f"The spec of {environment!r} is {type(spec).__name__}; it must be a dop.EnvSpec.")
    check_algorithm(algorithm, spec)
    contract.check(program)
    program.check()
    program = _resolved(program)
    initial_networks, origin = None, None
    if init_from is not None:
        learner = jax.eval_shape(program.start, jax.random.key(0)).learner
        initial_networks, origin = initial.read(
            RunFolder(files.checked_path("init_from", init_from)), algorithm_name, learner, train_config.seeds
        )
    name = envs.full_name(environment) if isinstance(environment, str) else spec.name
    options = environment_options if environment_options is not None else dict(spec.options)
    config = RunConfig(
        algorithm=algorithm_name,
        hyper_parameters=hyper_parameters.serialise(algorithm),
        environment=name,
        environment_options=as_json(options),
        environment_spec=as_json(dataclasses.asdict(spec)),
        train_config=program.train_config,
        init_from=origin,
    )
    return Plan(config=config, program=program, folder=folder or default_folder(name, config.algorithm), initial_networks=initial_networks)


def _algorithm_name(algorithm: Any) -> str:
    """An algorithm's name in a run directory: that of the command line, or `module:Class`.

    Raises:
        ConfigError: it is not an instance of an algorithm.
    """
    if isinstance(algorithm, type):
        raise ConfigError(f"algorithm is the class {algorithm.__name__}; pass an instance: {algorithm.__name__}().")
    if algorithm is None or isinstance(algorithm, str):
        known = ", ".join(f"dop.{cls.__name__}()" for cls in algorithms.algorithms().values())
        raise ConfigError(f"algorithm must be one of {known}, or an instance of your own class; got {shown(algorithm)}.")
    return algorithms.name_of(type(algorithm))


def _train_config(env_steps: int, seeds: Any, config_fields: dict[str, Any]) -> TrainConfig:
    """The `TrainConfig` of these arguments.

    Raises:
        ConfigError: a value is invalid.
        UnknownNameError: there is no field of that name.
    """
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    for name in config_fields:
        if name not in names:
            raise UnknownNameError("argument or field of dop.TrainConfig", name, (*names, "loggers", "callbacks"))
    train_config = TrainConfig(env_steps=env_steps, seeds=_seeds(seeds), **config_fields)
    train_config.check()
    return train_config


def _seeds(seeds: Any) -> tuple[int, ...]:
    """A number of seeds, or a list of seeds, as a tuple of Python numbers."""
    seeds = plain(seeds)
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        if seeds < 1:
            raise ConfigError(f"seeds must be different non-negative numbers, or how many, at least one; got {shown(seeds)}.")
        seeds = range(seeds)
    if isinstance(seeds, range):
        seeds = seeds[: MOST_SEEDS + 1]  # still too many, but short enough to count
    if isinstance(seeds, str | bytes | Mapping) or not isinstance(seeds, Iterable):
        raise ConfigError(f"seeds must be a number of seeds or a list of seeds, got {shown(seeds)}.{integer_hint(seeds, int)}")
    return tuple(itertools.islice(seeds, MOST_SEEDS + 1))


def _resolved(program: Program | PythonProgram) -> Program | PythonProgram:
    """The program with a resolved `TrainConfig`, where defaults depend on the environment; warns if chunks are long."""
    steps = program.algorithm.episodes_per_iteration * program.spec.time_limit
    train_config = program.train_config.settled(steps=steps, warm_up=program.warmup_iterations * steps)
    if (remark := train_config.remark(steps=steps)) is not None:
        logging.getLogger("dop").warning("%s", remark)
    warn_of_unsharded_rows(program)
    return replace(program, train_config=train_config)


def warn_of_unsharded_rows(program: Program | PythonProgram) -> None:
    """Warn if the devices of a seed cannot share the episodes of an iteration, or minibatches of `replay_batch` episodes or transitions.

    Python environments are not shared anyway.
    """
    train_config, episodes = program.train_config, program.algorithm.episodes_per_iteration
    rows = getattr(program.algorithm, "replay_batch", 0)
    parts = parallel.mesh(len(train_config.seeds), train_config.devices).shape[data_parallel.AXIS]
    if isinstance(program, Program) and episodes % parts:
        logging.getLogger("dop").warning(
            "Each of the %s devices of a seed plays all %s episodes of an iteration: they are split only if their number is a multiple.",
            *(parts, episodes),
        )
    if isinstance(rows, int) and rows % parts:
        logging.getLogger("dop").warning(
            "Each of the %s devices of a seed computes all of a minibatch: it is split only if replay_batch, %s, is a multiple.",
            parts,
            rows,
        )


def _threads(wanted: int | None) -> int:
    """The number of threads of a new run.

    Raises:
        ConfigError: JAX has already started with another number.
    """
    cpu_threads.use(wanted or cpu_threads.default())
    if wanted not in (None, cpu_threads.in_use()):
        raise ConfigError(
            f"threads={wanted} is not possible: JAX has started with {cpu_threads.in_use()} in this process. Train before "
            f"anything else uses JAX, or set PJRT_NPROC={wanted} before the process starts."
        )
    return cpu_threads.in_use()
