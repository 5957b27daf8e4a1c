"""Starting from what another run has learned: its networks, their targets and averages, and the moments that inputs are standardised by.

Optimisers, counters and schedules start anew. The environment may be another, as long as the arrays have the same shapes. What is taken is
kept in the new run's `initial.npz`, so that the other run is not needed again. Only arrays are read, whatever the other directory holds.
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
    """The fields of a learner that hold what it has learned: not its counters, nor what optax keeps, which is tuples."""
    fields = {field.name: getattr(learner, field.name) for field in dataclasses.fields(learner)}
    return {name: value for name, value in fields.items() if not isinstance(value, tuple) and _has_numbers(value)}


def read(source: RunFolder, algorithm: str, learner: Learner, seeds: tuple[int, ...]) -> tuple[Parts, dict[str, Any]]:
    """What a run of `algorithm` with these seeds takes from the newest checkpoint of `source`; and what its config.json says of that.

    Args:
        learner: shapes and types of one seed's.

    Raises:
        ConfigError: `source` is a run of another algorithm, or its networks have other sizes.
        RunError: it is not a run directory, or has no checkpoint.
    """
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
            "%s has %s seeds and this run %s: all start from its seed %s.",
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
    """Put into a run's directory what it starts from."""
    with folder.written():
        snapshots.write(folder.initial, taken)


def load(folder: RunFolder, learner: Learner) -> Learner:
    """A fresh learner (leading axis: seed) with what its run starts from.

    Raises:
        RunError: that is not there any more, or damaged.
    """
    advice = "Without it the run cannot begin; start it again under another name."
    return dataclasses.replace(learner, **snapshots.read(folder.initial, parts(learner), advice))


def _chosen(found: Described, needed: Described, source: RunFolder) -> Iterable[str]:
    """The names of the arrays to read.

    Raises:
        ConfigError: they are not those that are needed; `found` has a seed axis more.
    """
    fields = {name.split("/")[1] for name in needed}
    there = {name: of for name, of in found.items() if name.startswith("learner/") and name.split("/")[1] in fields}
    for name in sorted(needed.keys() | there.keys()):
        was, now = (_words(there.get(name), 1), _words(needed.get(name), 0))
        if was != now:
            raise ConfigError(
                f"The networks of {source.path} do not fit: its {name.removeprefix('learner/')} is {was}, this run needs {now}. "
                "Sizes of networks and of what agents and critics see must be the same."
            )
    return (*needed, *_COUNTERS)


def _words(of: tuple[tuple[int, ...], np.dtype] | None, leading: int) -> str:
    """Type and shape, without so many leading axes."""
    return "not there" if of is None else f"{of[1]}{list(of[0][leading:])}"


def _has_numbers(value: Any) -> bool:
    return any(jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in jax.tree.leaves(value))
