"""Train; `dop train ALGORITHM --help` explains every hyper-parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import tyro

import dop
from dop import algorithms, registry
from dop.cli.environment import environment_options
from dop.cli.output import say, tell
from dop.errors import UnknownNameError
from dop.storage.run_directory import TrainConfig

A = TypeVar("A")
USAGE = "ALGORITHM --env NAME [options]"


@dataclass(frozen=True, kw_only=True)
class Options(Generic[A]):
    """Train, and leave a run directory with records, checkpoints and a learning curve."""

    env: str
    """Environment, as `dop list` names it, or `my_package.my_env:make` for one of your own."""
    env_args: tuple[str, ...] = ()
    """Options for the environment's maker, as `name=value`, for example `time_limit=80`."""
    env_steps: int = TrainConfig.env_steps
    """Environment steps to train for, per seed."""
    seeds: int = 1
    """How many independent runs, side by side."""
    first_seed: int = 0
    """The seeds are this number and the ones after it."""
    preset: str = "default"
    """Named hyper-parameters to start from; options given here change single ones."""
    run_dir: Path | None = None
    """Where to put the run. Default: runs/ENVIRONMENT/ALGORITHM/DATE-TIME."""
    init_from: Path | None = None
    """Start from the networks of another run of the same algorithm, its newest checkpoint: with targets and averages, while optimisers,
    environment steps and epsilon start anew. The environment may be another if all sizes are the same."""
    eval_interval: int = TrainConfig.eval_interval
    """Evaluate greedily every so many environment steps."""
    eval_episodes: int = TrainConfig.eval_episodes
    """Episodes per evaluation."""
    checkpoint_interval: int = TrainConfig.checkpoint_interval
    """Save everything every so many environment steps, and at the end."""
    chunk_iterations: int | None = TrainConfig.chunk_iterations
    """Iterations of learning in one compiled call; evaluations, checkpoints and Ctrl-C wait for its end. None: 20, or as many fewer as it
    takes for 8 such calls in a run, however long episodes are."""
    reward_scale: float = TrainConfig.reward_scale
    """Learn from this times the rewards; records and evaluations have the environment's own."""
    normalise_rewards: bool = TrainConfig.normalise_rewards
    """Learn from rewards divided by the standard deviation of all that were collected so far (before --reward-scale)."""
    precision: Literal["auto", "full", "half"] = TrainConfig.precision
    """How replay keeps observations: auto is half precision where that resolves them (obs_bound of at most 2), else full."""
    env_workers: int | str = TrainConfig.env_workers
    """For environments outside JAX: 0, this process steps them; N, so many worker processes; ray:N, so many Ray actors."""
    env_timeout: float = TrainConfig.env_timeout
    """Seconds that such a worker may take for one step or reset of its environments, before it is replaced."""
    threads: int | None = TrainConfig.threads
    """Threads that JAX computes with on a CPU. Default: one for each core that the process may use. The last bits of large sums depend on
    it, so that `dop resume` keeps it."""
    logger: tuple[str, ...] = ()
    """Where else records go, beside the run directory's files and TensorBoard: wandb, mlflow, or your own `my_module:MyLogger`."""
    logger_online: bool = False
    """Let wandb and mlflow use the network. Without, they write into the run directory and nothing leaves this machine."""
    on_non_finite: Literal["stop", "skip"] = TrainConfig.on_non_finite
    """When a reward, an observation, a loss or a gradient is not finite: stop, or skip what it came from and count it."""
    dry_run: bool = False
    """Say what the run would need of memory and disk, beside what there is, and how large the networks are; then stop."""
    quiet: bool = False
    """No progress on the terminal, nor XLA's remarks on slow compilations."""
    hyper: tyro.conf.OmitArgPrefixes[A]


def run(arguments: Sequence[str]) -> None:
    """`dop train ALGORITHM --env NAME ...`"""
    if not arguments or arguments[0].startswith("-"):
        known = sorted([*algorithms.names(), *algorithms.entry_points()])
        say(f"usage: dop train ALGORITHM --env NAME [options]\nalgorithms: {', '.join(known)}, or my_module:MyAlgorithm")
        return
    algorithm = algorithms.get(arguments[0])
    presets = algorithms.presets(algorithm, arguments[0])
    preset = _preset_named(arguments)
    if preset not in presets:
        raise UnknownNameError(f"preset of {arguments[0]}", preset, presets)
    default = Options(env=tyro.MISSING, hyper=presets[preset])
    # Said here, what the algorithm is need not be looked for in the sources of all bases of `Options`, with `typing` among them.
    about = tyro.conf.arg(help=registry.first_paragraph(algorithm))
    options = tyro.cli(Options[Annotated[algorithm, about]], args=arguments[1:], default=default, prog=f"dop train {arguments[0]}")
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
        needs = dop.preflight(options.hyper, options.env, **given)
        say(needs)
        needs.check()
        return
    told = {"loggers": options.logger, **{name: getattr(options, name) for name in ("quiet", "logger_online")}}
    tell(dop.train(options.hyper, options.env, **told, **given))


def _preset_named(arguments: Sequence[str]) -> str:
    """The value of --preset, needed before the other options can be read, since it sets their defaults."""
    for place, word in enumerate(arguments):
        if word == "--preset" and place + 1 < len(arguments):
            return arguments[place + 1]
        if word.startswith("--preset="):
            return word.partition("=")[2]
    return "default"
