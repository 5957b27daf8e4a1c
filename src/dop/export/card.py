"""The card of a model for people, README.md, and what it says of settings."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dop import algorithms, hyper_parameters
from dop.analysis.evaluation import Evaluation
from dop.errors import ConfigError, printable
from dop.export.model import Card
from dop.networks import parts
from dop.storage.config import RunConfig, TrainConfig
from dop.storage.surroundings import flat
from dop.types import Algorithm

_OF_THE_RUN = (
    *("env_steps", "seeds", "threads", "devices", "env_workers", "env_timeout", "chunk_iterations"),
    *("eval_interval", "eval_episodes", "checkpoint_interval", "snapshots"),
)
"""Fields of `TrainConfig` that say nothing about how a seed learned, or that a card names elsewhere."""


def settings(algorithm: Algorithm[Any, Any], config: RunConfig) -> tuple[str | None, dict[str, Any]]:
    """The nearest preset of the algorithm, and what differs from it and from the defaults of training, by the names of options."""
    own = dict(flat(config.hyper_parameters, ""))
    preset, changed = None, own
    try:
        presets = algorithms.presets(type(algorithm), config.algorithm)
    except ConfigError:
        presets = {}
    for name, found in presets.items():
        theirs = dict(flat(hyper_parameters.serialise(found), ""))
        differ = {path: value for path, value in own.items() if path not in theirs or theirs[path] != value}
        if preset is None or len(differ) < len(changed):
            preset, changed = name, differ
    default = TrainConfig()
    fields = (field.name for field in dataclasses.fields(default) if field.name not in _OF_THE_RUN)
    values = {name: getattr(config.train_config, name) for name in fields}
    return preset, changed | {name: value for name, value in values.items() if value != getattr(default, name)}


def evaluation(found: Evaluation, seed: int) -> dict[str, Any]:
    """The evaluation of one seed's greedy policy, for a card; None stands for unknown bounds."""
    metrics = {}
    own = [f"test_{name}_mean" for name in found.metrics]
    intervals = found.intervals()
    for name in sorted(intervals, key=lambda name: name not in own):  # the environment's first, such as the win rate
        mean, low, high = (float(value[0]) if math.isfinite(value[0]) else None for value in intervals[name].over_episodes)
        metrics[name] = {"mean": mean, "interval": [low, high]}
    return {"policy": found.policy, "episodes": found.returns.shape[1], "seed": seed, "metrics": metrics}


def readme(card: Card, folder: Path) -> str:
    """README.md of a model in `folder`. Names and values are quoted as code, so that none of them is markup."""
    place = shlex.quote(printable(str(folder if not folder.is_absolute() else folder.name)).replace("\n", " "))
    verbs = ["evaluate", "render", *(["credit"] if card.credit else [])]
    about = {"evaluate": "greedy episodes, with 95% intervals", "render": "films of the best and the worst of 32 episodes"}
    about["credit"] = "the credit of each agent over time"
    commands = [f"dop {verb} {place}" for verb in verbs]
    width = max(map(len, commands))
    typed = "\n".join(f"{command:{width}}   # {about[verb]}" for verb, command in zip(verbs, commands, strict=True))
    items = "\n".join(line if line.startswith(" ") else f"- {line}" for line in _lines(card))
    return (
        f"# {code(card.environment)}, trained with {code(card.algorithm)}\n\n"
        f"A trained team, exported by `dop export --format model`. `card.json` has the same as data.\n\n"
        f"```\n{typed}\n```\n\n{items}\n"
    )


def _lines(card: Card) -> Iterator[str]:
    """The facts of a card, as Markdown."""
    options = "".join(f", {code(f'{name}={value}')}" for name, value in card.environment_options.items())
    yield f"Environment: {code(card.environment)}, version {code(card.environment_version)}{options}."
    preset = "without presets" if card.preset is None else f"preset {code(card.preset)}"
    changed = ", ".join(code(f"{name}={value}") for name, value in card.changed.items())
    yield f"Algorithm: {code(card.algorithm)}, {preset}{f', changed: {changed}' if changed else ', unchanged'}."
    yield f"Training: seed {card.run_seed}, {card.env_steps:,} environment steps; moment of the run: {code(card.at)}.{_origin(card)}"
    if (command := train_command(card)) is not None:
        yield f"A run like it: {code(command)}; another number of threads or another machine gives other numbers."
    if card.evaluation is not None:
        yield from _results(card.evaluation)
    kept = "actors and critic" if card.credit else "the actors alone, which is not enough for `dop credit`"
    sizes = ", ".join(f"{code(name)} ({count:,} numbers)" for name, count in card.left_out.items())
    yield f"`model.npz` ({card.bytes:,} bytes) has {kept}; left out: {sizes or 'nothing'}."
    versions = ", ".join(f"{name} {version}" for name, version in card.versions.items())
    commit = code(card.commit or "unknown")
    yield f"Made with dop {code(card.library_version)}, commit {commit}, and {code(versions)} on {code(card.device)}."


def _origin(card: Card) -> str:
    own = ""
    if card.compared is not None:
        means = [(found, "not finite" if found["mean"] is None else f"{found['mean']:.3f}") for found in card.compared["candidates"]]
        listed = ", ".join(f"seed {found['run_seed']} at {code(found['at'])} {mean}" for found, mean in means)
        by = f"{card.compared['episodes']:,} other episodes (`--seed {card.compared['seed']}`)"
        own = f" Chosen by {code(card.compared['metric'])} in {by}: {listed}."
    return own + (" The run started from the networks of another run." if card.starts_from_another_run else "")


def _results(found: dict[str, Any]) -> Iterator[str]:
    """A heading, and one line per metric."""
    yield f"Evaluation: {found['episodes']:,} {found['policy']} episodes of the finished model (`--seed {found['seed']}`):"
    for name, result in found["metrics"].items():
        low, high = result["interval"]
        bounds = "interval unknown" if low is None or high is None else f"95% interval [{low:.3f}, {high:.3f}]"
        mean = "not finite" if result["mean"] is None else f"{result['mean']:.3f}"
        yield f"    - {code(name)}: {mean}, {bounds}"


def train_command(card: Card) -> str | None:
    """The command that trains such a team; None if it cannot be written as one."""
    if card.preset is None or card.starts_from_another_run:
        return None
    words = ["dop", "train", card.algorithm, "--env", card.environment]
    if card.environment_options:
        words += [
            "--env-args",
            *(f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in card.environment_options.items()),
        ]
    words += [] if card.preset == "default" else ["--preset", card.preset]
    for name, value in card.changed.items():
        option = "--" + name.removesuffix(f".{parts.KIND}").replace("_", "-")
        words += [option if value else option.replace("--", "--no-", 1)] if isinstance(value, bool) else [option, str(value)]
    words += ["--env-steps", str(card.run_env_steps), *(["--first-seed", str(card.run_seed)] if card.run_seed else [])]
    return shlex.join(words)


def code(text: str) -> str:
    """`text` on one line as a code span of Markdown, in which nothing is markup."""
    plain = " ".join(printable(text).split()) or " "
    fence = "`" * (1 + max(map(len, re.findall("`+", plain)), default=0))
    space = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{space}{plain}{space}{fence}"
