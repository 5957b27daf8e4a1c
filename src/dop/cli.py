"""The command line: `dop train | resume | evaluate | reproduce | list`.

Options are fields of typed records, so help and code cannot differ.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import tyro

import dop
from dop import algorithms, api, envs, paper
from dop.engine.runs import Protocol
from dop.errors import ConfigError, DopError, UnknownNameError

A = TypeVar("A")

USAGE = """usage: dop COMMAND ...

  dop train ALGORITHM --env NAME [options]   train; `dop train ALGORITHM --help` explains every hyper-parameter
  dop resume RUN                             go on exactly where a run stopped
  dop evaluate RUN                           play greedy episodes with the newest checkpoint
  dop reproduce NAME [options]               the paper's figures and theorems; `dop reproduce` lists them
  dop list                                   algorithms and environments
  dop --version
"""


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Generic[A]):
    """Train, and leave a run directory with records, checkpoints and a learning curve."""

    env: str
    """Environment, as `dop list` names it, or `my_package.my_env:make` for one of your own."""
    env_args: tuple[str, ...] = ()
    """Options for the environment's maker, as `name=value`, for example `time_limit=80`."""
    env_steps: int = Protocol.env_steps
    """Environment steps to train for, per seed."""
    seeds: int = 1
    """How many independent runs, side by side."""
    first_seed: int = 0
    """The seeds are this number and the ones after it."""
    preset: str = "default"
    """Named hyper-parameters to start from; options given here change single ones."""
    run_dir: Path | None = None
    """Where to put the run. Default: runs/ENVIRONMENT/ALGORITHM/DATE-TIME."""
    eval_interval: int = Protocol.eval_interval
    """Evaluate greedily every so many environment steps."""
    eval_episodes: int = Protocol.eval_episodes
    """Episodes per evaluation."""
    checkpoint_interval: int = Protocol.checkpoint_interval
    """Save everything every so many environment steps, and at the end."""
    chunk_iterations: int = Protocol.chunk_iterations
    """Iterations of learning in one compiled call."""
    precision: Literal["auto", "full"] = Protocol.precision
    """How replay keeps observations: half precision where the environment bounds them, or always full."""
    quiet: bool = False
    """No progress on the terminal."""
    hyper: tyro.conf.OmitArgPrefixes[A]


@dataclass(frozen=True, kw_only=True)
class ResumeOptions:
    """Go on exactly where a run was last saved."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run directory."""
    env_steps: int | None = None
    """A new goal, in environment steps from the very start. Default: the run's own."""
    quiet: bool = False
    """No progress on the terminal."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Play greedy episodes with the newest checkpoint of a run."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run directory."""
    episodes: int = 128
    """Episodes for each of the run's seeds."""
    seed: int = 0
    """Which episodes: the same number gives the same ones."""


def train(arguments: Sequence[str]) -> None:
    """`dop train ALGORITHM --env NAME ...`"""
    if not arguments or arguments[0].startswith("-"):
        print(f"usage: dop train ALGORITHM --env NAME [options]\nalgorithms: {', '.join(sorted(algorithms.algorithms()))}")
        return
    algorithm = algorithms.get(arguments[0])
    presets = algorithm.presets()
    preset = _preset_named(arguments)
    if preset not in presets:
        raise UnknownNameError(f"preset of {arguments[0]}", preset, presets)
    default = TrainOptions(env=tyro.MISSING, hyper=presets[preset])
    options = tyro.cli(TrainOptions[algorithm], args=arguments[1:], default=default, prog=f"dop train {arguments[0]}")
    shared = {field.name for field in fields(Protocol)} & {field.name for field in fields(options)} - {"seeds", "env_steps"}
    run = api.train(
        options.hyper,
        options.env,
        env_steps=options.env_steps,
        seeds=range(options.first_seed, options.first_seed + options.seeds),
        run_dir=options.run_dir,
        environment_options=_environment_options(options.env_args),
        quiet=options.quiet,
        **{name: getattr(options, name) for name in shared},
    )
    _tell(run)


def resume(arguments: Sequence[str]) -> None:
    """`dop resume RUN`"""
    options = tyro.cli(ResumeOptions, args=arguments, prog="dop resume")
    _tell(api.resume(options.run, env_steps=options.env_steps, quiet=options.quiet))


def evaluate(arguments: Sequence[str]) -> None:
    """`dop evaluate RUN`"""
    options = tyro.cli(EvaluateOptions, args=arguments, prog="dop evaluate")
    result = api.evaluate(options.run, episodes=options.episodes, seed=options.seed)
    print(f"{options.episodes} greedy episodes per seed:")
    _table(result)


def reproduce(arguments: Sequence[str]) -> None:
    """`dop reproduce NAME [options]`"""
    if not arguments or arguments[0].startswith("-"):
        print("usage: dop reproduce NAME [options]; `dop reproduce NAME --help` explains the options\nof the paper:")
        for name in paper.names():
            print(f"  {name:12}{paper.summary(name)}")
        return
    module = paper.get(arguments[0])
    module.reproduce(tyro.cli(module.Options, args=arguments[1:], prog=f"dop reproduce {arguments[0]}"), print)


def list_names(_: Sequence[str]) -> None:
    """`dop list`"""
    print("algorithms:")
    for name, algorithm in sorted(algorithms.algorithms().items()):
        summary = (algorithm.__doc__ or "").split("\n")[0]
        print(f"  {name:24}{summary}\n  {'':24}presets: {', '.join(algorithm.presets())}")
    print("environments:")
    for name in envs.names():
        print(f"  {name}")


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "train": train,
    "resume": resume,
    "evaluate": evaluate,
    "reproduce": reproduce,
    "list": list_names,
}


def main() -> None:
    """Entry point of the `dop` command. Errors made by people end in one sentence and exit code 2."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return
    if arguments[0] == "--version":
        print(dop.__version__)
        return
    # An environment of the user's own is looked for where the command is typed, as `python -m` would.
    sys.path.insert(0, "")
    try:
        if arguments[0] not in COMMANDS:
            raise UnknownNameError("command", arguments[0], COMMANDS)
        COMMANDS[arguments[0]](arguments[1:])
        sys.stdout.flush()  # here, where a closed pipe is caught
    except DopError as error:
        print(f"dop: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader, `head` say, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more when it flushes at exit
    except KeyboardInterrupt:
        print("dop: stopped at once; what was saved before is as it was", file=sys.stderr)
        sys.exit(130)


def _preset_named(arguments: Sequence[str]) -> str:
    """The value of --preset, needed before the other options can be read, since it sets their defaults."""
    for place, word in enumerate(arguments):
        if word == "--preset" and place + 1 < len(arguments):
            return arguments[place + 1]
        if word.startswith("--preset="):
            return word.partition("=")[2]
    return "default"


def _environment_options(words: Sequence[str]) -> dict[str, Any]:
    """`name=value` pairs; values are read as JSON where they are JSON, else as text."""
    options = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator:
            raise ConfigError(f"--env-args takes name=value, got {word!r}.")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    return options


def _tell(run: api.Run) -> None:
    """How a run ended, and where everything is."""
    outcome = run.outcome
    print(f"\n{'finished' if outcome.finished else 'stopped'} after {min(outcome.env_steps):,} environment steps; greedy episodes now:")
    _table(outcome.evaluation)
    if not outcome.finished:
        print(f"go on with:     dop resume {run.path}")
    print(f"learning curve: {run.curve}\nrun directory:  {run.path}")


def _table(result: dict[str, tuple[float, ...]]) -> None:
    for name, values in sorted(result.items()):
        mean = sum(values) / len(values)
        each = f"   (per seed: {', '.join(f'{value:.3f}' for value in values)})" if len(values) > 1 else ""
        print(f"  {name:26}{mean:.3f}{each}")
