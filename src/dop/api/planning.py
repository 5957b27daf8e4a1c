"""A run that has not begun: its arguments, checked against each other."""

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
from dop.devices import cpu_threads
from dop.devices.parallel import use_host_devices
from dop.errors import (
    ConfigError,
    UnknownNameError,
    integer_hint,
    plain,
    shown,
)
from dop.hyper_parameters import as_json
from dop.rollout.program import PythonProgram
from dop.storage import files, initial
from dop.storage.run_directory import MOST_SEEDS, RunConfig, RunFolder, TrainConfig, default_folder
from dop.training.preflight import Preflight, measure
from dop.training.program import Program
from dop.types import Algorithm, EnvSpec


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run that has not begun."""

    config: RunConfig
    program: Program | PythonProgram
    folder: RunFolder
    taken: initial.Parts | None
    """What its learner starts from, if that is another run's."""

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
    train_config: dict[str, Any],
    init_from: Path | str | None = None,
) -> Plan:
    """The arguments of `train`, checked against each other."""
    folder = None if run_dir is None else RunFolder(files.checked_path("run_dir", run_dir))
    algorithm_name = _algorithm_name(algorithm)
    rules = _rules(env_steps, seeds, train_config)
    if environment_options is not None:
        environment_options = envs.checked_options(environment_options)
        if environment_options and not isinstance(environment, str):
            raise ConfigError(
                f"environment_options {shown(environment_options)} are for an environment that is given by its name; "
                "a function or an object has them already."
            )
    use_host_devices(len(rules.seeds))
    rules = replace(rules, threads=_threads(rules.threads))
    program = make_program(algorithm, environment, environment_options or {}, rules)
    spec = program.spec
    if not isinstance(spec, EnvSpec):
        raise ConfigError(f"The spec of {environment!r} is {type(spec).__name__}; it must be a dop.EnvSpec.")
    check_algorithm(algorithm, spec)
    program.check()
    program = _settled(program)
    taken, origin = None, None
    if init_from is not None:
        learner = jax.eval_shape(program.start, jax.random.key(0)).learner
        taken, origin = initial.read(RunFolder(files.checked_path("init_from", init_from)), algorithm_name, learner, rules.seeds)
    name = environment if isinstance(environment, str) else spec.name
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
    return Plan(config=config, program=program, folder=folder or default_folder(name, config.algorithm), taken=taken)


def _algorithm_name(algorithm: Any) -> str:
    """What a run directory calls an algorithm: by its name on the command line, or `module:Class`.

    Raises:
        ConfigError: it is none, or not ready to be used.
    """
    if isinstance(algorithm, type):
        raise ConfigError(f"algorithm is the class {algorithm.__name__}; it must be one with hyper-parameters: {algorithm.__name__}().")
    if algorithm is None or isinstance(algorithm, str):
        known = ", ".join(f"dop.{cls.__name__}()" for cls in algorithms.algorithms().values())
        raise ConfigError(f"algorithm must be one of {known}, or an object of a class of your own; got {shown(algorithm)}.")
    return algorithms.name_of(type(algorithm))


def _rules(env_steps: int, seeds: Any, train_config: dict[str, Any]) -> TrainConfig:
    """The protocol of these arguments.

    Raises:
        ConfigError: what cannot work.
        UnknownNameError: there is no field of that name.
    """
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    for name in train_config:
        if name not in names:
            raise UnknownNameError("argument or field of dop.TrainConfig", name, (*names, "loggers", "callbacks"))
    rules = TrainConfig(env_steps=env_steps, seeds=_chosen_seeds(seeds), **train_config)
    rules.check()
    return rules


def _chosen_seeds(seeds: Any) -> tuple[int, ...]:
    """How many, or which, as a tuple of Python's numbers."""
    seeds = plain(seeds)
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        if seeds < 1:
            raise ConfigError(f"seeds must be different non-negative numbers, or how many, at least one; got {shown(seeds)}.")
        seeds = range(seeds)
    if isinstance(seeds, range):
        seeds = seeds[: MOST_SEEDS + 1]  # too many, still, but not too many to be counted
    if isinstance(seeds, str | bytes | Mapping) or not isinstance(seeds, Iterable):
        raise ConfigError(f"seeds must be a number of seeds or a list of seeds, got {shown(seeds)}.{integer_hint(seeds, int)}")
    return tuple(itertools.islice(seeds, MOST_SEEDS + 1))


def _settled(program: Program | PythonProgram) -> Program | PythonProgram:
    """With everything chosen in its protocol that depends on the environment; a warning says what may surprise."""
    steps = program.algorithm.episodes_per_iteration * program.spec.time_limit
    rules = program.train_config.settled(steps=steps, warm_up=program.warmup_iterations * steps)
    if (remark := rules.remark(steps=steps)) is not None:
        logging.getLogger("dop").warning("%s", remark)
    return replace(program, train_config=rules)


def _threads(wanted: int | None) -> int:
    """The number of threads that a new run computes with.

    Raises:
        ConfigError: it is not to be had, since JAX runs with another one already.
    """
    cpu_threads.use(wanted or cpu_threads.default())
    if wanted not in (None, cpu_threads.in_use()):
        raise ConfigError(
            f"threads={wanted} cannot be had: JAX has started with {cpu_threads.in_use()} in this process. Train before anything else uses "
            f"JAX, or set PJRT_NPROC={wanted} before the process starts."
        )
    return cpu_threads.in_use()
