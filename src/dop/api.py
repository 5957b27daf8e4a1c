"""The library from Python: `train`, `resume`, `evaluate`. The command line is a thin layer over these."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import logging
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import jax
import numpy as np

from dop import algorithms, envs, hyper_parameters, plugins
from dop.analysis.evaluation import Evaluation
from dop.devices import cpu_threads
from dop.devices.parallel import place, use_host_devices
from dop.envs.making import foreign, seeding
from dop.errors import (
    ConfigError,
    RunError,
    UnknownNameError,
    check_flags,
    checked_episodes,
    checked_seed,
    integer_hint,
    plain,
    shown,
)
from dop.hyper_parameters import as_json
from dop.loggers import jsonl, protocol, tensorboard
from dop.loggers.lookup import chosen
from dop.loggers.progress import Progress
from dop.loggers.protocol import Logger
from dop.renamed import formerly
from dop.rollout.program import PythonProgram, Source
from dop.storage import files, initial, records
from dop.storage.run_directory import MOST_SEEDS, RunConfig, RunFolder, TrainConfig, default_folder, said
from dop.training.callbacks import Callback, checked
from dop.training.preflight import Preflight, measure
from dop.training.program import Program, RunState
from dop.training.silence import without_compiler_logs
from dop.training.trainer import At, Outcome, Trainer, checked_at, lowest_steps, stop_requested
from dop.types import LABELS, Algorithm, Environment, EnvSpec, PythonEnvironment
from dop.visualise import curves

AnyEnvironment: TypeAlias = Environment | PythonEnvironment | Callable[[], PythonEnvironment]
"""An environment in JAX; one that is not, which then must be one that `dop.make` can make again; or a function that makes such a one."""
AnyAlgorithm: TypeAlias = Algorithm[Any, Any] | type[Algorithm[Any, Any]] | str
"""An algorithm that has a run's hyper-parameters; its class; or the name of that."""


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
    plan = _plan(algorithm, environment, env_steps, seeds, run_dir, environment_options, train_config, init_from)
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
    return _plan(algorithm, environment, env_steps, seeds, run_dir, environment_options, train_config, init_from).needs


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """A run that has not begun."""

    config: RunConfig
    program: Program | PythonProgram
    folder: RunFolder
    taken: initial.Parts | None
    """What its learner starts from, if that is another run's."""

    @property
    def needs(self) -> Preflight:
        return measure(self.program, self.folder)


def _plan(
    algorithm: Algorithm[Any, Any],
    environment: AnyEnvironment | str,
    env_steps: int,
    seeds: int | Sequence[int],
    run_dir: Path | str | None,
    environment_options: dict[str, Any] | None,
    train_config: dict[str, Any],
    init_from: Path | str | None = None,
) -> _Plan:
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
    program = _program(algorithm, environment, environment_options or {}, rules)
    spec = program.spec
    if not isinstance(spec, EnvSpec):
        raise ConfigError(f"The spec of {environment!r} is {type(spec).__name__}; it must be a dop.EnvSpec.")
    _check_algorithm(algorithm, spec)
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
        hyper_parameters=hyper_parameters.kept(algorithm),
        environment=name,
        environment_options=as_json(options),
        environment_spec=as_json(dataclasses.asdict(spec)),
        train_config=program.train_config,
        init_from=origin,
    )
    return _Plan(config=config, program=program, folder=folder or default_folder(name, config.algorithm), taken=taken)


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


@formerly(trust="trust_env")
def evaluate(
    run_dir: Path | str,
    *,
    episodes: int = 128,
    seed: int = 0,
    sampled: bool = False,
    at: At | str = "latest",
    environment: AnyEnvironment | str | None = None,
    algorithm: AnyAlgorithm | None = None,
    trust: bool = False,
) -> dict[str, tuple[float, ...]]:
    """Play episodes with the newest checkpoint, or at another moment of the run, as `evaluate_episodes` does.

    Returns:
        Means over episodes: metric, then the run's seeds in their order.

    Raises:
        RunError: as `evaluate_episodes`.
    """
    chosen: dict[str, Any] = {"environment": environment, "algorithm": algorithm, "trust": trust}
    return evaluate_episodes(run_dir, episodes=episodes, seed=seed, sampled=sampled, at=at, **chosen).means()


@formerly(trust="trust_env")
def evaluate_episodes(
    run_dir: Path | str,
    *,
    episodes: int = 128,
    seed: int = 0,
    sampled: bool = False,
    at: At | str = "latest",
    environment: AnyEnvironment | str | None = None,
    algorithm: AnyAlgorithm | None = None,
    trust: bool = False,
) -> Evaluation:
    """Play episodes with the newest checkpoint, or at another moment: what each returned, their means and 95% intervals.

    Args:
        run_dir: a run directory.
        episodes: how many, for each of the run's seeds.
        seed: which episodes: the same number gives the same ones. Each of the run's seeds has episodes of its own.
        sampled: draw actions from the stochastic policy of the newest actors, without epsilon's uniform actions: stochastic DOP, COMA, MAAC
            from their softmax, deterministic DOP and MADDPG with their noise on actions. QMIX and VDN have no such policy: they explore by
            the epsilon that they have come to. Without: the greedy team, as in the evaluations of a run.
        at: `latest`, the newest checkpoint; `best`, each seed as it was at its best greedy evaluation (win rate, then return); or the
            environment steps of one of the run's snapshots.
        environment: as in `resume`.
        algorithm: as in `resume`.
        trust: as in `resume`.

    Raises:
        ConfigError: `episodes` or `seed` is not a whole number in its range.
        RunError: as `resume`, or there is no checkpoint that can be read.
    """
    episodes, seed = checked_episodes("episodes", episodes), checked_seed("seed", seed)
    check_flags(sampled=sampled)
    at = checked_at(at)
    folder = RunFolder(files.checked_path("run_dir", run_dir))
    config, program = rebuild(folder, environment, algorithm=algorithm, trust=trust)
    measure(program, folder).check(saves=False)
    # Not the key that a run with this seed starts from.
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(b"dop.evaluate"))
    with contextlib.closing(Trainer(program, config, folder)) as trainer:
        state = trainer.restore_at(at)
        # Each seed of the run plays episodes of its own, whatever other seeds there are.
        own = jax.vmap(jax.random.fold_in, (None, 0))(key, np.array(config.train_config.seeds, np.uint32))
        keys = place(own, trainer.devices)
        played = trainer.driver.play(state, keys, episodes, sampled=sampled)
    return Evaluation(
        policy="sampled" if sampled else "greedy",
        at=str(at),
        seeds=config.train_config.seeds,
        env_steps=tuple(np.asarray(state.learner.env_steps).tolist()),
        returns=np.asarray(played.undiscounted_return),
        lengths=np.asarray(played.length),
        metrics=dict(zip(program.spec.metrics, np.moveaxis(np.asarray(played.metrics), -1, 0), strict=True)),
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


def _program(
    algorithm: Algorithm[Any, Any], environment: AnyEnvironment | str, options: dict[str, Any], rules: TrainConfig
) -> Program | PythonProgram:
    """What is run: one compiled program, or, with an environment outside JAX, one that leaves the device for `step`.

    Raises:
        ConfigError: `environment` does not make one, or is the only one of its kind.
        UnknownNameError: there is no environment of that name.
    """
    name = environment if isinstance(environment, str) else getattr(environment, "__name__", type(environment).__name__)
    with plugins.named(f"The environment {name} cannot be made"):
        make = _maker(environment, options)
        one = environment if make is None else make()
        _ = getattr(one, "spec", None)  # a property of somebody else's, which is read from here on
    if isinstance(one, PythonEnvironment):
        assert make is not None
        foreign.Guarded(one).close()
        seeded = any(options.get(seed) is not None for seed in seeding.NAMES)
        return PythonProgram(algorithm=algorithm, environment=Source(one.spec, make, seeded), train_config=rules)
    if not isinstance(one, Environment):
        raise ConfigError(f"{environment!r} made {type(one).__name__}, which is not an environment: it must have spec, reset and step.")
    return Program(algorithm=algorithm, environment=one, train_config=rules)


def _maker(environment: AnyEnvironment | str, options: dict[str, Any]) -> Callable[[], Any] | None:
    """What makes `environment` again, as often as is wanted; None for one in JAX, which has no need of it."""
    if isinstance(environment, str):
        return functools.partial(envs.make, environment, **options)
    if isinstance(environment, type) or (callable(environment) and not isinstance(environment, Environment | PythonEnvironment)):
        # A class makes one, though it has everything that its instances have.
        return functools.partial(envs.made_by, environment, _called(environment), {})
    if way_out := envs.way_out(_called(environment), environment):
        raise ConfigError(f"{type(environment).__name__} is not an environment. {way_out}")
    if not isinstance(environment, PythonEnvironment):
        if isinstance(environment, Environment):
            return None
        raise ConfigError(f"environment must be a name, an environment, or a function that makes one; got {shown(environment)}.")
    spec = environment.spec
    again = functools.partial(envs.make, spec.name, **dict(spec.options))
    try:
        foreign.made(again, spec.name).close()
    except (UnknownNameError, ConfigError) as error:
        raise ConfigError(
            f"Training needs several environments at once, but {spec.name} is one, and cannot be made again from its name and options: "
            f"{error} Pass a function that makes one."
        ) from error
    return again


def _called(maker: Any) -> str:
    """What a function or class, or something that has one, is called: `module:name`."""
    named = maker if hasattr(maker, "__qualname__") else type(maker)
    return f"{named.__module__}:{named.__qualname__}"


@formerly(trust="trust_env")
def rebuild(
    folder: RunFolder,
    environment: AnyEnvironment | str | None,
    *,
    algorithm: AnyAlgorithm | None = None,
    trust: bool = False,
    changes: dict[str, Any] | None = None,
) -> tuple[RunConfig, Program | PythonProgram]:
    """The configuration of a run, with those `changes` of its protocol that are not None, and its program, checked against each other.

    Raises:
        RunError: this is not a run directory, its environment or its algorithm is not what it was, or nobody has said that their code may
            be imported.
    """
    check_flags(trust=trust)
    config = folder.read_config()
    wanted = {name: value for name, value in (changes or {}).items() if value is not None}
    config = replace(config, train_config=replace(config.train_config, **wanted))
    config.train_config.check()
    environment = _trusted(folder, config.environment, environment, trust)
    # Before anything starts JAX.
    use_host_devices(folder.devices(len(config.train_config.seeds)))
    cpu_threads.use(config.train_config.threads or cpu_threads.default())
    for change in folder.other_surroundings():
        logging.getLogger("dop").warning("%s: %s; the numbers may differ from what they would have been.", folder.path, change)
    algorithm = _rebuilt(folder, config, algorithm, trust)
    try:
        program = _program(
            algorithm, config.environment if environment is None else environment, config.environment_options, config.train_config
        )
    except (UnknownNameError, ConfigError) as error:
        hint = "Go where it was trained, or from Python pass it: environment=..."
        raise RunError(f"{folder.path} needs the environment {config.environment!r}, which cannot be made here: {error} {hint}") from error
    spec = as_json(dataclasses.asdict(program.spec))
    differ = [name for name in spec if name not in LABELS and spec[name] != config.environment_spec.get(name)]
    if differ:
        was, now = said(config.environment_spec.get(differ[0])), said(spec[differ[0]])
        raise RunError(
            f"{folder.path} was made with another {config.environment}: its {differ[0]} was {was}, now it is {now}. "
            "From Python, pass the one that it was made with: environment=..."
        )
    _check_algorithm(algorithm, program.spec)
    program.check()
    return replace(config, environment_spec=spec), program


def _check_algorithm(algorithm: Algorithm[Any, Any], spec: EnvSpec) -> None:
    """Raise ConfigError if the algorithm's own check does, or raises anything else."""
    with plugins.named(f"{type(algorithm).__name__} cannot be used in {spec.name}"):
        algorithm.check(spec)


def _rebuilt(folder: RunFolder, config: RunConfig, given: AnyAlgorithm | None, trust: bool) -> Algorithm[Any, Any]:
    """The algorithm of a run, from what its config.json says; `given` is the user's word for its code.

    Raises:
        RunError: it cannot be found or made, nobody has said that its code may be imported, or another one was given.
    """
    if given is None and not trust and algorithms.imports_code(config.algorithm):
        raise _untrusted(folder, "algorithm", config.algorithm)
    try:
        known = algorithms.get(given or config.algorithm) if given is None or isinstance(given, str) else given
        cls = known if isinstance(known, type) else type(known)
        own = algorithms.name_of(cls)
    except ConfigError as error:
        raise RunError(f"{folder.path} needs the algorithm {config.algorithm!r}. {error}{_way_to(config.algorithm)}") from error
    if not algorithms.same(own, config.algorithm):
        raise RunError(f"{folder.path} was made with the algorithm {config.algorithm!r}, not with {own!r}.")
    if not isinstance(known, type):
        if not hyper_parameters.agree(hyper_parameters.kept(known), config.hyper_parameters):
            raise RunError(
                f"{folder.path} has other hyper-parameters than the algorithm given; give its class alone: algorithm={cls.__name__}."
            )
        return known
    foreign = next(hyper_parameters.foreign_networks(config.hyper_parameters), None)
    if foreign is not None and not trust:
        raise _untrusted(folder, "network", foreign)
    try:
        values = {name: hyper_parameters.as_it_was(value) for name, value in config.hyper_parameters.items()}
    except ConfigError as error:
        raise RunError(f"{folder.config}: {error}") from error
    with plugins.named(f"The algorithm {config.algorithm} cannot be made"):
        try:
            return known(**values)
        except TypeError as error:
            raise RunError(f"{folder.config} has hyper-parameters that {config.algorithm} does not know: {error}.") from error


def _way_to(name: str) -> str:
    """What to do where the class of this name cannot be loaded."""
    short = re.split("[.:]", name)[-1]
    if name.startswith("__main__:") or "<locals>" in name:
        where = "It was defined in a script, a notebook or a function, where it cannot be found by name."
        return f" {where} From Python pass it: algorithm={short}; or move it to a module and name that: --algorithm my_module:{short}."
    return f" Go where it was trained, or from Python pass it: algorithm={short}." if plugins.is_import_path(name) else ""


def _untrusted(folder: RunFolder, kind: Literal["environment", "algorithm", "network"], name: str) -> RunError:
    """A run directory's own word is not enough to import somebody's code."""
    once_more = {"environment": f", or --env {name}", "algorithm": f", or --algorithm {name}", "network": ""}[kind]
    given = "algorithm=..., with the network in it" if kind == "network" else f"{kind}=..."
    return RunError(
        f"{folder.path} needs the {kind} {name!r}, which is none of the library's: to make it, code that this run directory "
        f"names is imported and run. If you trust it, say so: --trust{once_more} (from Python trust=True, or {given})."
    )


def _trusted(folder: RunFolder, named: str, given: AnyEnvironment | str | None, trust: bool) -> AnyEnvironment | None:
    """The environment that was given as an object, if it was. A run directory's own word is not enough to import somebody's code.

    Raises:
        RunError: the run names code that is none of the library's and nobody has said that it may be imported, or another name was given.
    """
    if given is not None and not isinstance(given, str):
        return given
    if given not in (None, named):
        raise RunError(f"{folder.path} was made with the environment {named!r}, not with {given!r}. Leave --env out, or give it as it was.")
    if given is None and named and ":" not in named and named not in envs.names():
        raise RunError(
            f"{folder.path} was given its environment {named!r} as an object, which cannot be made from its name. "
            "From Python pass it again: environment=..."
        )
    if given is None and not trust and envs.imports_code(named):
        raise _untrusted(folder, "environment", named)
    return None
