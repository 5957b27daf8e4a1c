"""Train; `dop train ALGORITHM --help` explains every hyper-parameter."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

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
class Rules(TrainConfig):
    """How the run is trained, evaluated and saved."""

    seeds: tyro.conf.Suppress[tuple[int, ...]] = TrainConfig.seeds
    """Chosen by --seeds and --first-seed."""


@dataclass(frozen=True, kw_only=True)
class Options(Generic[A]):
    """Train, and leave a run directory with records, checkpoints and a learning curve."""

    env: str
    """Environment, as `dop list` names it, or `my_package.my_env:make` for one of your own."""
    env_args: tuple[str, ...] = ()
    """Options for the environment's maker, as `name=value`, for example `time_limit=80`."""
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
    logger: tuple[str, ...] = ()
    """Where else records go, beside the run directory's files and TensorBoard: wandb, mlflow, or your own `my_module:MyLogger`."""
    logger_online: bool = False
    """Let wandb and mlflow use the network. Without, they write into the run directory and nothing leaves this machine."""
    dry_run: bool = False
    """Say what the run would need of memory and disk, beside what there is, and how large the networks are; then stop."""
    quiet: bool = False
    """No progress on the terminal, nor XLA's remarks on slow compilations."""
    train_config: tyro.conf.OmitArgPrefixes[Rules] = dataclasses.field(default_factory=Rules)
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
    rules = dataclasses.asdict(options.train_config) | {"seeds": range(options.first_seed, options.first_seed + options.seeds)}
    given: dict[str, Any] = {
        "run_dir": options.run_dir,
        "init_from": options.init_from,
        "environment_options": environment_options(options.env_args),
        **rules,
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
