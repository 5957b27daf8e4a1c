"""Train; `dop train ALGORITHM --help` explains every hyper-parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import dop
from dop import algorithms, registry
from dop.cli import sections
from dop.cli.environment import environment_options
from dop.cli.output import say, tell
from dop.configurations import changed
from dop.errors import ConfigError, UnknownNameError
from dop.networks import parts
from dop.storage.run_directory import TrainConfig

USAGE = "ALGORITHM --env NAME [options]"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train, and leave a run directory with records, checkpoints and a learning curve."""

    # Environment
    env: str
    """Environment, as `dop list` names it, or `my_package.my_env:make` for one of your own."""
    env_args: tuple[str, ...] = ()
    """Options for the environment's maker, as `name=value`, for example `time_limit=80`."""
    env_workers: int | str = TrainConfig.env_workers
    """For environments outside JAX: 0, this process steps them; N, so many worker processes; ray:N, so many Ray actors."""
    env_timeout: float = TrainConfig.env_timeout
    """Seconds that such a worker may take for one step or reset of its environments, before it is replaced."""

    # Run
    preset: str = "default"
    """Named hyper-parameters to start from; options given here change single ones."""
    env_steps: int = TrainConfig.env_steps
    """Environment steps to train for, per seed."""
    seeds: int = 1
    """How many independent runs, side by side."""
    first_seed: int = 0
    """The seeds are this number and the ones after it."""
    run_dir: Path | None = None
    """Where to put the run. Default: runs/ENVIRONMENT/ALGORITHM/DATE-TIME."""
    init_from: Path | None = None
    """Start from the networks of another run of the same algorithm, its newest checkpoint: with targets and averages, while optimisers,
    environment steps and epsilon start anew. The environment may be another if all sizes are the same."""
    dry_run: bool = False
    """Say what the run would need of memory and disk, beside what there is, and how large the networks are; then stop."""

    # Evaluation
    eval_interval: int = TrainConfig.eval_interval
    """Evaluate greedily every so many environment steps."""
    eval_episodes: int = TrainConfig.eval_episodes
    """Episodes per evaluation."""

    # Records
    checkpoint_interval: int = TrainConfig.checkpoint_interval
    """Save everything every so many environment steps, and at the end."""
    logger: tuple[str, ...] = ()
    """Where else records go, beside the run directory's files and TensorBoard: wandb, mlflow, or your own `my_module:MyLogger`."""
    logger_online: bool = False
    """Let wandb and mlflow use the network. Without, they write into the run directory and nothing leaves this machine."""
    quiet: bool = False
    """No progress on the terminal, nor XLA's remarks on slow compilations."""

    # Rewards
    reward_scale: float = TrainConfig.reward_scale
    """Learn from this times the rewards; records and evaluations have the environment's own."""
    normalise_rewards: bool = TrainConfig.normalise_rewards
    """Learn from rewards divided by the standard deviation of all that were collected so far (before --reward-scale)."""

    # Machine
    precision: Literal["auto", "full", "half"] = TrainConfig.precision
    """How replay keeps observations: auto is half precision where that resolves them (obs_bound of at most 2), else full."""
    threads: int | None = TrainConfig.threads
    """Threads that JAX computes with on a CPU. Default: one for each core that the process may use. The last bits of large sums depend on
    it, so that `dop resume` keeps it."""
    chunk_iterations: int | None = TrainConfig.chunk_iterations
    """Iterations of learning in one compiled call; evaluations, checkpoints and Ctrl-C wait for its end. None: 20, or as many fewer as it
    takes for 8 such calls in a run, however long episodes are."""
    on_non_finite: Literal["stop", "skip"] = TrainConfig.on_non_finite
    """When a reward, an observation, a loss or a gradient is not finite: stop, or skip what it came from and count it."""


def run(arguments: Sequence[str]) -> None:
    """`dop train ALGORITHM --env NAME ...`"""
    if not arguments or arguments[0].startswith("-"):
        known = sorted([*algorithms.names(), *algorithms.entry_points()])
        say(f"usage: dop train ALGORITHM --env NAME [options]\nalgorithms: {', '.join(known)}, or my_module:MyAlgorithm")
        return
    name, *typed = arguments
    cls = algorithms.get(name)
    start = _start(cls, name, typed)
    own = list(sections.options_of(start, cls, "Algorithm"))
    about = f"{registry.first_paragraph(cls)}\n\nExample:\n  dop train {name} --env smax:2s3z --env-steps 500000 --seeds 4"
    of_run = list(sections.options_of(None, Options, "Run"))
    for taken in {option.path for option in of_run} & {option.path for option in own}:
        raise ConfigError(f"{name} has a field {taken}, which is an option of every run: give it another name.")
    values = sections.parse([*of_run, *own], typed, prog=f"dop train {name}", description=about)
    hyper_parameters = {option.path: values.pop(option.path) for option in own}
    _train(_with(start, hyper_parameters), Options(**values))


def _start(cls: type[Any], name: str, typed: Sequence[str]) -> Any:
    """The preset that was asked for, with the networks that were: what the other options change."""
    presets = algorithms.presets(cls, name)
    named = [field.name for field in fields(cls) if any(parts.is_part(getattr(preset, field.name)) for preset in presets.values())]
    chosen = sections.chosen(["preset", *named], typed)
    preset = chosen.pop("preset", "default")
    if preset not in presets:
        raise UnknownNameError(f"preset of {name}", preset, presets)
    start = presets[preset]
    kept = {part: kind for part, kind in chosen.items() if kind == parts.name_of(getattr(start, part))}
    return replace(start, **{part: parts.default(kind) for part, kind in chosen.items() if part not in kept})


def _with(start: Any, values: dict[str, Any]) -> Any:
    """The algorithm that was typed; which networks it has is decided already."""
    return changed(start, {path: value for path, value in values.items() if not parts.is_part(getattr(start, path, None))})


def _train(algorithm: Any, options: Options) -> None:
    """Train, or say what it would take."""
    shared = {field.name for field in fields(TrainConfig)} & {field.name for field in fields(options)} - {"seeds", "env_steps"}
    given: dict[str, Any] = {
        "env_steps": options.env_steps,
        "seeds": range(options.first_seed, options.first_seed + options.seeds),
        "run_dir": options.run_dir,
        "init_from": options.init_from,
        "environment_options": environment_options(options.env_args),
        **{name: getattr(options, name) for name in shared},
    }
    if options.dry_run:
        needs = dop.preflight(algorithm, options.env, **given)
        say(needs)
        needs.check()
        return
    told = {"loggers": options.logger, **{name: getattr(options, name) for name in ("quiet", "logger_online")}}
    tell(dop.train(algorithm, options.env, **told, **given))
