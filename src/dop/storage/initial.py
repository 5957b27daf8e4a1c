"""Starting from another run's networks: with target networks, averaged actors, and running means and variances of observations.

Optimisers, counters and schedules start anew. The environment may be another, as long as the arrays have the same shapes. The arrays are
copied to the new run's `initial.npz`, so that the source run is not needed again. Nothing but arrays and config.json is read from it.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dop.errors import ConfigError
from dop.storage import snapshots
from dop.storage.checkpoints import Checkpoints, Described, described, unflatten
from dop.storage.run_directory import RunFolder
from dop.types import Learner

Parts = dict[str, Any]
"""Fields of a learner, by name."""
_COUNTERS = ("iteration", "learner/env_steps")


def parts(learner: Learner) -> Parts:
    """The learned fields of a learner: neither counters nor optax states, which are tuples."""
    fields = {field.name: getattr(learner, field.name) for field in dataclasses.fields(learner)}
    return {name: value for name, value in fields.items() if not isinstance(value, tuple) and _has_numbers(value)}


def read(source: RunFolder, algorithm: str, learner: Learner, seeds: tuple[int, ...]) -> tuple[Parts, dict[str, Any]]:
    """The initial networks for a run of `algorithm`, from the newest checkpoint of `source`; and their origin, for its config.json.

    Args:
        learner: shapes and types of one seed's learner.

    Raises:
        ConfigError: `source` is a run of another algorithm, or its networks have other sizes.
        RunError: it is not a run directory, or has no checkpoint.
    """
    source.check_is_run("it has not all networks that a run starts from. Name a run.")
    config = source.read_config()
    if config.algorithm != algorithm:
        raise ConfigError(f"{source.path} is a run of {config.algorithm}: {algorithm} cannot start from its networks.")
    like = parts(learner)
    needed = {f"learner/{name}": of for name, of in described(like).items()}
    arrays = Checkpoints(source.checkpoints).arrays(lambda found: _chosen(found, needed, source))
    steps = arrays["learner/env_steps"]
    same = len(steps) == len(seeds)
    if not same:
        logging.getLogger("dop").warning(
            "%s has %s seeds, this run %s: all start from its seed %s.",
            source.path,
            len(steps),
            len(seeds),
            config.train_config.seeds[0],
        )
    taken = np.arange(len(seeds)) if same else np.zeros(len(seeds), int)
    many = jax.tree.map(lambda x: jax.ShapeDtypeStruct((len(seeds), *x.shape), x.dtype), like)
    found = unflatten({name.removeprefix("learner/"): arrays[name][taken] for name in needed}, many, str(source.path))
    origin = {
        "run": str(source.path.resolve()),
        "iteration": int(arrays["iteration"][0]),
        "env_steps": steps[taken].tolist(),
        "seeds": [config.train_config.seeds[place] for place in taken],
    }
    return found, origin


def keep(folder: RunFolder, taken: Parts) -> None:
    """Save the initial networks in the run directory."""
    with folder.written():
        snapshots.write(folder.initial, taken)


def load(folder: RunFolder, learner: Learner) -> Learner:
    """A new learner (leading axis: seed) with the initial networks of its run.

    Raises:
        RunError: their file is missing or damaged.
    """
    advice = "The run cannot start without it; start it again under another name."
    return dataclasses.replace(learner, **snapshots.read(folder.initial, parts(learner), advice))


def _chosen(found: Described, needed: Described, source: RunFolder) -> Iterable[str]:
    """The names of the arrays to read.

    Raises:
        ConfigError: they differ from `needed`, apart from the leading seed axis of `found`.
    """
    fields = {name.split("/")[1] for name in needed}
    existing = {name: of for name, of in found.items() if name.startswith("learner/") and name.split("/")[1] in fields}
    for name in sorted(needed.keys() | existing.keys()):
        was, now = (_words(existing.get(name), 1), _words(needed.get(name), 0))
        if was != now:
            raise ConfigError(
                f"The networks of {source.path} do not fit: its {name.removeprefix('learner/')} is {was}, this run needs {now}. "
                "Networks, observations and states must have the same sizes."
            )
    return (*needed, *_COUNTERS)


def _words(of: tuple[tuple[int, ...], np.dtype] | None, leading: int) -> str:
    """Type and shape, without `leading` leading axes."""
    return "missing" if of is None else f"{of[1]}{list(of[0][leading:])}"


def _has_numbers(value: Any) -> bool:
    return any(jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in jax.tree.leaves(value))
