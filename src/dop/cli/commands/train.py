"""Train; `dop train ALGORITHM --help` explains every hyper-parameter."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import dop
from dop import algorithms, registry
from dop.cli import sections
from dop.cli.environment import environment_options
from dop.cli.output import run_summary, say
from dop.errors import ConfigError, UnknownNameError
from dop.hyper_parameters import changed
from dop.networks import parts
from dop.storage.config import TrainConfig

USAGE = "ALGORITHM --env NAME [options]"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `dop train` besides the fields of `TrainConfig` and of the algorithm."""

    # Environment
    env: str
    """Environment, by its name in `dop list`, or your own as `my_package.my_env:make`."""
    env_args: tuple[str, ...] = ()
    """Options for the environment's maker, as `name=value`, for example `time_limit=80`."""

    # Run
    preset: str = "default"
    """Named hyper-parameters, which further options override."""
    seeds: int = 1
    """Number of seeds: independent runs, in parallel."""
    first_seed: int = 0
    """The first seed; the others follow it."""
    run_dir: Path | None = None
    """The run directory: new, empty, or of a run that failed before it learned, which is replaced. Default:
    runs/ENVIRONMENT/ALGORITHM/DATE-TIME."""
    init_from: Path | None = None
    """Start from the networks in another run's newest checkpoint (same algorithm), with target networks and averaged actors. Optimisers,
    environment steps and epsilon start anew. The environment may differ if all sizes are the same."""
    dry_run: bool = False
    """Report the memory and disk that the run needs, and the size of its networks, without training."""

    # Records
    logger: tuple[str, ...] = ()
    """Further loggers: wandb, mlflow, or your own `my_module:MyLogger`. Records are always in the run directory and TensorBoard."""
    logger_online: bool = False
    """Let wandb and mlflow use the network. By default they write into the run directory and send nothing."""
    callback: tuple[str, ...] = ()
    """Your own callbacks, `my_module:MyCallback`, which may stop the run."""
    quiet: bool = False
    """No progress on the terminal, and no logs of JAX and XLA."""


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
    of_config = [option for option in sections.options_of(None, TrainConfig, "Run") if option.path != "seeds"]
    of_run = [*sections.options_of(None, Options, "Run"), *of_config]
    of_every_run = {spelling for option in of_run for spelling in option.spellings}
    for taken in (option.path for option in own if option.spellings & of_every_run):
        raise ConfigError(f"{name} has a field {taken}, which is an option of every run: rename the field.")
    values = sections.parse([*of_run, *own], typed, prog=f"dop train {name}", description=about)
    hyper_parameters, config = ({option.path: values.pop(option.path) for option in part} for part in (own, of_config))
    with sections.errors_name_options(option.path for option in (*of_run, *own)):
        _train(_with(start, hyper_parameters), Options(**values), config)


def _start(cls: type[Any], name: str, typed: Sequence[str]) -> Any:
    """The chosen preset with the chosen networks, as the defaults of the other options."""
    presets = algorithms.presets(cls, name)
    named = [field.name for field in fields(cls) if any(parts.is_part(getattr(preset, field.name)) for preset in presets.values())]
    chosen = sections.chosen(["preset", *named], typed)
    preset = chosen.pop("preset", "default")
    if preset not in presets:
        raise UnknownNameError(f"preset of {name}", preset, presets)
    start = _with_kinds(presets[preset], chosen)
    return replace(start, **{name: _with_inner_kinds(part, name, typed) for name, part in _networks_in(start).items()})


def _networks_in(config: Any) -> dict[str, Any]:
    """The networks among the fields of a dataclass."""
    values = {field.name: getattr(config, field.name) for field in fields(config) if field.init}
    return {name: value for name, value in values.items() if parts.is_part(value)}


def _with_kinds(config: Any, kinds: dict[str, str]) -> Any:
    """A copy with networks of other kinds, by field; a network that is of its kind already keeps its values."""
    now = {name: parts.name_of(network) for name, network in _networks_in(config).items()}
    other = {name: parts.default(kind) for name, kind in kinds.items() if kind != now.get(name)}
    return replace(config, **other) if other else config


def _with_inner_kinds(network: Any, path: str, typed: Sequence[str]) -> Any:
    """The network at this path of the algorithm, with the chosen networks in it, at every depth."""
    paths = {f"{path}.{name}": name for name in _networks_in(network)}
    if not paths:
        return network
    chosen = sections.chosen(paths, typed)
    network = _with_kinds(network, {paths[inner]: kind for inner, kind in chosen.items()})
    return replace(network, **{name: _with_inner_kinds(part, f"{path}.{name}", typed) for name, part in _networks_in(network).items()})


def _with(start: Any, values: dict[str, Any]) -> Any:
    """The algorithm with these values; its kinds of networks are already chosen."""
    at = {path: functools.reduce(lambda found, name: getattr(found, name, None), path.split("."), start) for path in values}
    return changed(start, {path: value for path, value in values.items() if not parts.is_part(at[path])})


def _train(algorithm: Any, options: Options, config: dict[str, Any]) -> None:
    """Train, or report the needs of a run."""
    given: dict[str, Any] = {
        "seeds": range(options.first_seed, options.first_seed + options.seeds),
        "run_dir": options.run_dir,
        "init_from": options.init_from,
        "environment_options": environment_options(options.env_args),
        **config,
    }
    if options.dry_run:
        needs = dop.preflight(algorithm, options.env, **given)
        say(needs)
        needs.check()
        return
    observers = {"loggers": options.logger, "callbacks": options.callback, "logger_online": options.logger_online, "quiet": options.quiet}
    run_summary(dop.train(algorithm, options.env, **observers, **given))
