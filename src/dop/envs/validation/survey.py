"""Full validation of an environment, with all faults and notes: `dop check-env` prints it."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dop import plugins
from dop.envs.validation.episodes import JaxInPython, Played, play, random_action, same_field, time_step_layout
from dop.envs.validation.faults import PROMISES, faults
from dop.envs.validation.notes import end_notes, range_notes, sides_notes
from dop.envs.validation.repeats import again_note, seed_notes
from dop.envs.validation.scale import Scale, no_op
from dop.envs.validation.validate import check_same, check_shapes, in_plain_words
from dop.errors import ConfigError
from dop.types import Environment, EnvSpec, PythonEnvironment, TimeStep

REPEATED = 200
"""Steps of the first episode that `survey` replays."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The results of an environment's validation."""

    spec: EnvSpec
    in_jax: bool
    faults: dict[str, str]
    """The faults, by promise; empty if the environment can be used."""
    notes: tuple[str, ...]
    """Further observations."""
    episodes: int
    steps: int
    steps_per_second: float
    """Of one Python environment with its adapter; 0 for JAX environments, for which it would be meaningless, or if not measured."""
    scales: tuple[Scale, ...] = ()
    """Returns and rewards of the random and the no-op policy."""
    smallest: float = 0.0
    """The smallest magnitude of a non-zero entry of an observation or state; 0 if there is none."""


def survey(make: Callable[[], Environment | PythonEnvironment], *, episodes: int, seed: int) -> Survey:
    """Play `episodes` random episodes, with seeds from `seed` on, and replay the first one in a second environment from `make`.

    Raises:
        ConfigError: `make` does not return an environment, or one with another spec each time.
    """
    with in_plain_words("The environment cannot be made"):
        environment = make()
        in_jax = not isinstance(environment, PythonEnvironment)
    if in_jax:
        check_shapes(environment)
    python_env = JaxInPython(environment) if in_jax else environment
    found: dict[str, str] = {}
    all_played: list[Played] = []
    speed = 0.0
    for i in range(episodes):
        played = Played()
        rng = np.random.default_rng((seed, i))
        _guarded(found, lambda played=played, rng=rng, i=i: play(python_env, played, seed=seed + i, rng=rng))
        all_played.append(played)
        for promise, fault in faults(python_env.spec, played):
            found.setdefault(promise, fault)
        if "runs" in found or "shapes" in found:
            break
    if not found.keys() & {"runs", "shapes"}:
        _never_able(python_env.spec, all_played, found)
    notes = list(range_notes(python_env, all_played)) if "shapes" not in found else []
    if not found:
        notes += sides_notes(python_env, all_played, seed + episodes)
    scales: list[Scale] = []
    if not found.keys() & {"runs", "shapes"}:
        _guarded(found, lambda: scales.extend(_scales(python_env, all_played, seed)))
        notes += end_notes(python_env, scales)
    _guarded(found, python_env.close)
    if not found.keys() & {"runs", "shapes"}:
        more, speed = _repeated(make, python_env.spec, in_jax, all_played[0], seed)
        notes += more
    ordered = {promise: found[promise] for promise in PROMISES if promise in found}
    return Survey(
        spec=python_env.spec,
        in_jax=in_jax,
        faults=ordered,
        notes=tuple(notes),
        episodes=len(all_played),
        steps=sum(len(played.actions) for played in all_played),
        steps_per_second=0.0 if in_jax else speed,
        scales=tuple(scales),
        smallest=_smallest(all_played) if "shapes" not in found else 0.0,
    )


def _guarded(found: dict[str, str], run: Callable[[], None]) -> None:
    """Run foreign code, which may raise anything."""
    try:
        run()
    except (Exception, SystemExit) as error:
        found.setdefault("runs", plugins.explain(error))


def _never_able(spec: EnvSpec, all_played: list[Played], found: dict[str, str]) -> None:
    able = np.any([step.action_mask.any(axis=-1) for played in all_played for step in played.copies], axis=0)
    for agent in itertools.compress(spec.agents, ~able):
        found.setdefault("action_mask", f"{agent} never had a legal action")


def _repeated(make: Callable[[], Any], spec: EnvSpec, in_jax: bool, played: Played, seed: int) -> tuple[list[str], float]:
    """Replays in new environments: notes if the same seed and actions differ, or other seeds do not; and steps per second."""

    def another() -> Any:
        environment = make()
        check_same(spec, environment.spec)
        return JaxInPython(environment) if in_jax else environment

    def same(one: TimeStep, other: TimeStep) -> bool:
        return all(same_field(name, one, other) for name in time_step_layout(spec))

    copies, actions = played.copies[: REPEATED + 1], played.actions[:REPEATED]
    speed = 0.0
    try:
        with contextlib.closing(another()) as again:
            notes, speed = _replayed(again, spec, copies, actions, seed)
            notes += [] if notes else again_note(again, copies, actions, seed, same)
        return notes + ([] if notes and "not deterministic" in notes[0] else list(seed_notes(another, copies, actions, seed, same))), speed
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        return [f"not deterministic: the same seed and actions, in a new environment, end in {type(error).__name__}: {error}"], speed


def _replayed(again: Any, spec: EnvSpec, copies: list[Any], actions: list[np.ndarray], seed: int) -> tuple[list[str], float]:
    """Replay an episode: a note if it differs, and steps per second."""
    first, *others = actions
    steps = [again.reset(seed), again.step(first)]  # not timed: includes one-off work such as compilation
    start = time.perf_counter()
    steps += [again.step(action) for action in others]
    speed = len(others) / (time.perf_counter() - start)
    for t, (one, other) in enumerate(zip(copies, steps, strict=True)):
        for name in time_step_layout(spec):
            if not same_field(name, one, other):
                differs = f"{name} of step {t} differs with the same seed and actions"
                return [f"not deterministic: {differs}; such a run cannot be repeated"], speed
    return [], speed


def _scales(environment: Any, all_played: list[Played], seed: int) -> list[Scale]:
    """The scales of random play, in the episodes played so far and further ones, and of no-op play."""
    spec, rng = environment.spec, np.random.default_rng((seed, len(all_played)))
    random, still = Scale("random play"), Scale("no-op play")
    for played in all_played:
        random.add([float(step.reward) for step in played.copies[1:]], bool(played.copies[-1].terminated))
    random.play(environment, lambda action_mask: random_action(rng, spec, action_mask), seed + len(all_played))
    still.play(environment, lambda action_mask: no_op(spec, action_mask), seed)
    return [random, still]


def _smallest(all_played: list[Played]) -> float:
    sizes = [np.abs(getattr(step, name)) for played in all_played for step in played.copies for name in ("obs", "state")]
    return min((float(size[size > 0].min()) for size in sizes if (size > 0).any()), default=0.0)
