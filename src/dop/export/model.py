"""Models: trained teams to take away, in a folder that commands read as they read a run.

config.json    the run's configuration, with one seed and without what belongs to its machine
model.npz      the arrays that the team needs to act and to estimate credit, in the format of `dop.storage.snapshots`
card.json      origin, evaluation, and the length and SHA-256 of model.npz (`Card`)
README.md      the same for people (`dop.export.card`)

Which arrays of a learner are needed is found by tracing its algorithm's methods: an array that no operation reads cannot change a result.
Optimisers and target networks are left out that way, for any algorithm. A reader puts zeros in their place.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from dop import plugins
from dop.analysis.credit import estimate_credit
from dop.devices import parallel
from dop.errors import ConfigError, RunError, UnknownNameError, check_types, is_nested_deeper, shown
from dop.storage import files, snapshots
from dop.storage.checkpoints import described, flatten, unflatten
from dop.storage.config import RunConfig
from dop.storage.run_directory import RunFolder
from dop.training.contract import step_shapes
from dop.training.preflight import free_memory, gigabytes
from dop.training.program import Learning
from dop.types import AssignsCredit, Learner

FORMAT = 1
MOST_BYTES = 1_000_000
"""Size of a model.npz above which the arrays that only credit needs are left out."""
_DEEPEST = 20
"""Maximum nesting of lists and objects in a card.json."""
_LONGEST = 1_000_000
"""Maximum size of a card.json in bytes."""
_ADVICE = "Get the model again, or export it again from its run."


@dataclass(frozen=True, kw_only=True)
class Card:
    """The contents of card.json: where a model comes from and what it reaches."""

    algorithm: str
    preset: str | None
    """The preset that is nearest to the hyper-parameters; None if the algorithm has none."""
    changed: dict[str, Any]
    """The hyper-parameters that differ from the preset, and the training options that differ from their defaults, by name."""
    environment: str
    environment_version: str
    environment_options: dict[str, Any]
    run_seed: int
    env_steps: int
    """Environment steps of training before this moment."""
    at: str
    """The moment of the run: `best`, `latest`, or the environment steps of a snapshot."""
    run_env_steps: int
    """Environment steps that the run was to have."""
    compared: dict[str, Any] | None
    """The choice of seed and moment: the metric, the number and seed of the episodes, and the candidates' means. None: they were given."""
    starts_from_another_run: bool
    """Whether the run started with the networks of another one (`dop train --init-from`)."""
    evaluation: dict[str, Any] | None
    """Greedy episodes of the finished model: their number and seed, and by metric the mean with its 95% interval."""
    credit: bool
    """Whether the model has what `dop credit` needs."""
    left_out: dict[str, Any]
    """How many numbers are not in the model, by field of the learner."""
    bytes: int
    """Of model.npz."""
    sha256: str
    """Of model.npz."""
    library_version: str
    versions: dict[str, Any]
    """Of Python and of the packages that computed the evaluation."""
    device: str
    """The device that computed the evaluation."""
    commit: str | None
    """Of the library's source when the model was exported, `-dirty` if changed; None if unknown."""


class Needed(NamedTuple):
    """Names of the arrays of a learner, with a leading seed axis, that a model needs."""

    policy: frozenset[str]
    """For greedy and sampled episodes."""
    credit: frozenset[str] | None
    """For credit; None if the algorithm does not assign it."""


def needed(program: Learning) -> Needed:
    """The arrays of a learner that acting and crediting read. Nothing is computed.

    Raises:
        ConfigError: a method of the algorithm raises an exception.
    """
    algorithm, spec = program.algorithm, program.spec
    step, key = step_shapes(spec), jax.eval_shape(lambda: jax.random.key(0))
    like = jax.eval_shape(lambda key: program.start(key).learner, key)
    with plugins.named(f"{type(algorithm).__name__} raised an exception"):
        carry: Any = jax.eval_shape(lambda: algorithm.initial_carry(spec))
        greedy = _read_by(lambda x, *rest: algorithm.act(x, *rest, explore=False), like, carry, step, key)
        sampled = _read_by(lambda x, *rest: program.sampling.act(x, *rest, explore=True), like, carry, step, key)
        policy = greedy | sampled | {"env_steps"}
        if not isinstance(algorithm, AssignsCredit):
            return Needed(policy, None)
        action = jax.eval_shape(lambda *x: algorithm.act(*x, explore=False)[0].action, like, carry, step, key)
        credit = _read_by(lambda x, c, s, a, k: estimate_credit(algorithm, x, c, s, a, k, spec.action_kind), like, carry, step, action, key)
        return Needed(policy, credit)


def _read_by(function: Callable[..., Any], learner: Learner, *rest: PyTree) -> frozenset[str]:
    """The names of the learner's arrays that an operation of `function` reads, or that it returns."""
    program = jax.make_jaxpr(function)(learner, *rest).jaxpr
    read = {id(variable) for equation in program.eqns for variable in equation.invars} | {id(variable) for variable in program.outvars}
    names = described(learner)
    return frozenset(name for name, variable in zip(names, program.invars[: len(names)], strict=True) if id(variable) in read)


# ----------------------------------------------------------------------------------------------------------------- writing


def config_of(config: RunConfig, seed: int) -> RunConfig:
    """The configuration of a model: of one seed, and without the machine, workers and origin of its run."""
    alone = dataclasses.replace(config.train_config, seeds=(seed,), threads=None, devices=None, env_workers=0)
    return dataclasses.replace(config, train_config=alone, init_from=None)


class Written(NamedTuple):
    """The written model.npz."""

    bytes: int
    sha256: str
    credit: bool
    left_out: dict[str, int]


def write_arrays(folder: RunFolder, learner: Learner, needs: Needed, *, credit: bool | None) -> Written:
    """Write model.npz.

    Args:
        learner: one seed's, without a seed axis.
        needs: as `needed` gives it.
        credit: whether to include what only credit needs. None: if the file has at most `MOST_BYTES` then.
    """
    arrays = {name: array[None] for name, array in flatten(learner).items()}
    both = needs.policy | (needs.credit or frozenset())
    has_credit = needs.credit is not None and credit is not False
    if has_credit and credit is None:
        has_credit = sum(arrays[name].nbytes for name in both) <= MOST_BYTES
    kept = both if has_credit else needs.policy
    snapshots.write(folder.model, {name: array for name, array in arrays.items() if name in kept})
    left_out: dict[str, int] = {}
    for name in arrays.keys() - kept:
        field = name.partition("/")[0]
        left_out[field] = left_out.get(field, 0) + arrays[name].size
    content = files.read_bytes(folder.model)
    return Written(len(content), hashlib.sha256(content).hexdigest(), has_credit, dict(sorted(left_out.items())))


def write_card(folder: RunFolder, card: Card) -> None:
    """Write card.json."""
    files.write_text(folder.card, json.dumps({"format": FORMAT, **dataclasses.asdict(card)}, indent=2, allow_nan=False) + "\n")


# ----------------------------------------------------------------------------------------------------------------- reading


def read_card(folder: RunFolder) -> Card:
    """The card of a model.

    Raises:
        RunError: it is missing, damaged, or of another format.
    """
    try:
        with files.opened(folder.card) as file:
            content = file.read(_LONGEST + 1)
        if len(content) > _LONGEST:
            raise RunError(f"{folder.card} is damaged: it has more than {_LONGEST:,} bytes. {_ADVICE}")
        found = json.loads(content)
        if is_nested_deeper(found, _DEEPEST):
            raise RunError(f"{folder.card} is damaged: its lists or objects are nested more than {_DEEPEST} deep. {_ADVICE}")
        if (written := found.pop("format")) != FORMAT:
            raise RunError(
                f"{folder.card} has format {shown(written)}, this version of dop reads format {FORMAT}: use the version that wrote it."
            )
        card = Card(**found)
        check_types(card)
        return card
    except FileNotFoundError as error:
        raise RunError(f"{folder.path} is no complete model: it has no card.json. {_ADVICE}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ConfigError, UnknownNameError) as error:
        raise RunError(f"{folder.card} is damaged: {type(error).__name__}: {error}. {_ADVICE}") from error


def read_learner(folder: RunFolder, program: Learning) -> Learner:
    """The learner of a model, with a seed axis of length 1. What the model leaves out is 0.

    Raises:
        RunError: a file is missing, damaged, or belongs to another configuration.
    """
    card = read_card(folder)
    _check_content(folder, card)
    like = jax.eval_shape(jax.vmap(program.start), parallel.keys(program.train_config.seeds)).learner
    needs = needed(program)
    if card.credit and needs.credit is None:
        raise RunError(f"{folder.card} is damaged: it promises credit, which {card.algorithm} does not assign. {_ADVICE}")
    kept = needs.policy | (needs.credit or frozenset()) if card.credit else needs.policy
    shapes = described(like)
    stored: dict[str, Any] = {name: jax.ShapeDtypeStruct(*of) for name, of in shapes.items() if name in kept}
    size, free = sum(math.prod(shape) * dtype.itemsize for shape, dtype in shapes.values()), free_memory()
    if size > free:
        raise RunError(f"{folder.config} is of networks that need {gigabytes(size)} of memory, and {gigabytes(free)} are free.")
    arrays = snapshots.read(folder.model, stored, _ADVICE)
    zeros = {name: np.zeros(*of) for name, of in shapes.items() if name not in kept}
    return unflatten(zeros | arrays, like, str(folder.model))


def _check_content(folder: RunFolder, card: Card) -> None:
    """Raise RunError if model.npz is missing, or not the file that the card describes."""
    try:
        with files.opened(folder.model) as file:
            size = file.seek(0, 2)
            if size != card.bytes:
                raise RunError(f"{folder.model} is damaged: it has {size:,} bytes, not {card.bytes:,}, as card.json says. {_ADVICE}")
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
    except FileNotFoundError as error:
        raise RunError(f"{folder.path} is no complete model: it has no model.npz. {_ADVICE}") from error
    if digest != card.sha256:
        raise RunError(f"{folder.model} is damaged: its SHA-256 is another than in card.json. {_ADVICE}")
