"""A run's configuration and program, restored from its directory."""

from __future__ import annotations

import dataclasses
import logging
import re
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from dop import algorithms, envs, hyper_parameters, plugins
from dop.api.programs import AnyEnvironment, make_program
from dop.devices import compilation, cpu_threads, parallel
from dop.devices.parallel import use_host_devices
from dop.errors import (
    ConfigError,
    RunError,
    UnknownNameError,
    check_flags,
)
from dop.export import model
from dop.hyper_parameters import as_json
from dop.renamed import formerly
from dop.rollout.program import PythonProgram
from dop.storage.config import RunConfig
from dop.storage.run_directory import RunFolder
from dop.storage.surroundings import in_words
from dop.training import contract
from dop.training.program import Program
from dop.training.trainer import At, Trainer
from dop.types import LABELS, Algorithm, EnvSpec, Learner

AnyAlgorithm: TypeAlias = Algorithm[Any, Any] | type[Algorithm[Any, Any]] | str
"""An algorithm with the run's hyper-parameters, its class, or the name of the class."""


@formerly(trust="trust_env")
def rebuild(
    folder: RunFolder,
    environment: AnyEnvironment | str | None,
    *,
    algorithm: AnyAlgorithm | None = None,
    trust: bool = False,
    changes: dict[str, Any] | None = None,
) -> tuple[RunConfig, Program | PythonProgram]:
    """The configuration of a run, with those `changes` of its `TrainConfig` that are not None, and its program, checked for consistency.

    Raises:
        RunError: this is not a run directory, its environment or algorithm has changed, or their code is not trusted.
    """
    check_flags(trust=trust)
    config = folder.read_config()
    wanted = {name: value for name, value in (changes or {}).items() if value is not None}
    config = replace(config, train_config=replace(config.train_config, **wanted))
    config.train_config.check()
    environment = _given_environment(folder, config.environment, environment, trust)
    # Before JAX starts.
    devices, seeds = config.train_config.devices, len(config.train_config.seeds)
    use_host_devices(parallel.wanted(devices, seeds))
    cpu_threads.use(config.train_config.threads or cpu_threads.default())
    if "devices" in wanted:
        config = replace(config, train_config=replace(config.train_config, devices=parallel.settled(devices, seeds)))
    compilation.use_cache()
    for change in folder.changed_surroundings():
        logging.getLogger("dop").warning("%s: %s; the results may differ.", folder.path, change)
    is_restored = algorithm is None or isinstance(algorithm, str | type)
    algorithm = _restored_algorithm(folder, config, algorithm, trust)
    try:
        program = make_program(
            algorithm, config.environment if environment is None else environment, config.environment_options, config.train_config
        )
    except (UnknownNameError, ConfigError) as error:
        hint = "Resume it where it was trained, or pass the environment from Python: environment=..."
        raise RunError(f"{folder.path} needs the environment {config.environment!r}, which cannot be made here: {error} {hint}") from error
    spec = as_json(dataclasses.asdict(program.spec))
    differ = [name for name in spec if name not in LABELS and spec[name] != config.environment_spec.get(name)]
    if differ:
        was, now = in_words(config.environment_spec.get(differ[0])), in_words(spec[differ[0]])
        advice = "Restore that file, or pass the original from" if envs.reads_data(config.environment) else "Pass the original from"
        raise RunError(
            f"{folder.path} was trained in another {config.environment}: its {differ[0]} was {was}, now it is {now}. "
            f"{advice} Python: environment=..."
        )
    try:
        check_algorithm(algorithm, program.spec)
    except ConfigError as error:
        if not is_restored:
            raise
        raise ConfigError(f"{folder.config}: {error}") from error
    contract.check(program)
    program.check()
    return replace(config, environment_spec=spec), program


def learners_at(trainer: Trainer, at: At) -> Learner:
    """The learners of a run at a moment, or that of a model, on their devices; leading axis: seed.

    Raises:
        RunError: there is no readable checkpoint, no such snapshot, or the model is damaged; or a model has no other moment.
    """
    folder = trainer.folder
    if not folder.is_model:
        return trainer.restore_at(at).learner
    if at != "latest":
        raise RunError(f"{folder.path} is a model, with one moment of its run, which card.json names: leave out --at (at={at!r}).")
    return parallel.place(model.read_learner(folder, trainer.program), trainer.devices)


def check_algorithm(algorithm: Algorithm[Any, Any], spec: EnvSpec) -> None:
    """Raise ConfigError if the algorithm's own check raises any exception."""
    with plugins.named(f"{type(algorithm).__name__} cannot be used in {spec.name}"):
        algorithm.check(spec)


def _restored_algorithm(folder: RunFolder, config: RunConfig, given: AnyAlgorithm | None, trust: bool) -> Algorithm[Any, Any]:
    """The algorithm of a run, from its config.json; `given` is the user's argument, which permits its import.

    Raises:
        RunError: it cannot be found or created, its code is not trusted, or another algorithm was given.
    """
    if given is None and not trust and algorithms.imports_code(config.algorithm):
        raise _untrusted(folder, "algorithm", config.algorithm)
    try:
        known = algorithms.get(given or config.algorithm) if given is None or isinstance(given, str) else given
        cls = known if isinstance(known, type) else type(known)
        own = algorithms.name_of(cls)
    except ConfigError as error:
        raise RunError(f"{folder.path} needs the algorithm {config.algorithm!r}. {error}{_advice(config.algorithm)}") from error
    if not algorithms.same_class(own, config.algorithm):
        raise RunError(f"{folder.path} was trained with the algorithm {config.algorithm!r}, not with {own!r}.")
    if not isinstance(known, type):
        if not hyper_parameters.same_values(hyper_parameters.serialise(known), config.hyper_parameters):
            raise RunError(
                f"{folder.path} has other hyper-parameters than the given algorithm. Pass its class instead: algorithm={cls.__name__}."
            )
        return known
    foreign = next(hyper_parameters.foreign_networks(config.hyper_parameters), None)
    if foreign is not None and not trust:
        raise _untrusted(folder, "network", foreign)
    try:
        values = {name: hyper_parameters.deserialise(value) for name, value in config.hyper_parameters.items()}
    except ConfigError as error:
        raise RunError(f"{folder.config}: {error}") from error
    with plugins.named(f"The algorithm {config.algorithm} cannot be made"):
        try:
            return known(**values)
        except TypeError as error:
            raise RunError(f"{folder.config} has hyper-parameters that {config.algorithm} does not know: {error}.") from error


def _advice(name: str) -> str:
    """Advice if the class of this name cannot be loaded."""
    short = re.split("[.:]", name)[-1]
    if name.startswith("__main__:") or "<locals>" in name:
        where = "It was defined in a script, a notebook or a function, and cannot be imported by name."
        return f" {where} From Python pass it: algorithm={short}; or move it to a module: --algorithm my_module:{short}."
    return f" Resume it where it was trained, or from Python pass it: algorithm={short}." if plugins.is_import_path(name) else ""


def _untrusted(folder: RunFolder, kind: Literal["environment", "algorithm", "network"], name: str) -> RunError:
    """The error for code that a run directory names and the user has not permitted."""
    by_name = {"environment": f", or --env {name}", "algorithm": f", or --algorithm {name}", "network": ""}[kind]
    given = "algorithm=..., with the network in it" if kind == "network" else f"{kind}=..."
    return RunError(
        f"{folder.path} needs the {kind} {name!r}, which is not part of the library: creating it imports and runs code that this run "
        f"directory names. If you trust it, pass --trust{by_name} (from Python trust=True, or {given})."
    )


def _given_environment(folder: RunFolder, named: str, given: AnyEnvironment | str | None, trust: bool) -> AnyEnvironment | None:
    """The environment, if it was given as an object. Code that only the run directory names is not imported without the user's permission.

    Raises:
        RunError: the environment's code is not part of the library and not trusted, or another name was given.
    """
    if given is not None and not isinstance(given, str):
        return given
    if given is not None and envs.full_name(given) != named:
        raise RunError(f"{folder.path} was trained in the environment {named!r}, not in {given!r}. Omit --env, or give the original name.")
    if given is None and named and ":" not in named and named not in envs.names():
        raise RunError(
            f"{folder.path} was trained in an environment object {named!r}, which cannot be made from its name. "
            "From Python pass it again: environment=..."
        )
    if given is None and not trust and envs.imports_code(named):
        raise _untrusted(folder, "environment", named)
    return None
