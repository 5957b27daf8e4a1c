"""Whether an environment keeps its promises: what it answers in random play against what its `spec` says, and the contracts of `dop.types`.

`check` is short, and raises. `survey` plays longer, looks at more, and tells everything: `dop check-env` prints it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dop import plugins
from dop.envs.making.listing import LISTED, listed, patterns
from dop.envs.making.places import place_of
from dop.envs.validation.repeats import again_note, seed_notes
from dop.envs.validation.scale import Scale, no_op, same_end
from dop.envs.validation.sides import constant_types, opposing
from dop.errors import ConfigError, DopError
from dop.types import Environment, EnvSpec, PythonEnvironment, TimeStep

REPEATED = 200
"""Steps of the first episode that `survey` plays again."""
MORE_STEPS, MORE_SECONDS = 1000, 5.0
"""What `survey` plays more at most, to see whether rewards oppose each other."""
FIRST_STEPS = 25
"""Steps of the one episode that `check` plays."""
PROMISES = {
    "runs": "reset, step and close raise nothing",
    "shapes": "shapes and types are what the spec says",
    "finite": "all numbers are finite",
    "bound": "observations and state stay within obs_bound",
    "padding": "what an agent does not have is 0, and illegal",
    "action_mask": "somebody can act until the end, and everybody some time",
    "start": "an episode starts with no reward, and is not over",
    "end": "an episode ends, terminated or truncated, by its time limit",
    "kept": "what was returned is not changed afterwards",
}
"""What can be wrong, in the order in which it is told."""
Fault = tuple[str, str]
"""Which promise, and what is wrong with it."""


@dataclass
class Played:
    """What an episode gave: the step of `reset` and one after each action. `copies` were made when each was returned."""

    steps: list[Any] = field(default_factory=list)
    copies: list[Any] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)
    rewards: list[tuple[float, ...]] = field(default_factory=list)
    """Each agent's, after each action, where the environment's adapter knows them."""

    def add(self, step: TimeStep) -> None:
        self.steps.append(step)
        self.copies.append(jax.tree.map(np.array, step))

    @property
    def over(self) -> bool:
        return bool(self.steps[-1].terminated) or bool(self.steps[-1].truncated)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What was found out about an environment."""

    spec: EnvSpec
    in_jax: bool
    faults: dict[str, str]
    """What is wrong, by promise; empty if it can be used."""
    notes: tuple[str, ...]
    """What one may want to know."""
    episodes: int
    steps: int
    steps_per_second: float
    """Of one environment outside JAX, with what adapts it; 0 in JAX, where stepping it from Python says nothing, or if not measured."""
    scales: tuple[Scale, ...] = ()
    """What random play and none at all return."""
    smallest: float = 0.0
    """The smallest entry of an observation or state that is not 0, in size; 0 if all are."""


class OnHost:
    """An environment in JAX as if it were not: with a state of its own, compiled, and NumPy out."""

    def __init__(self, environment: Environment) -> None:
        self.spec = environment.spec
        self._reset, self._step = jax.jit(environment.reset), jax.jit(environment.step)

    def reset(self, seed: int) -> TimeStep:
        self._key, key = jax.random.split(jax.random.key(seed))
        self._state, step = self._reset(key)
        return jax.device_get(step)

    def step(self, action: np.ndarray) -> TimeStep:
        self._key, key = jax.random.split(self._key)
        self._state, step = self._step(key, self._state, jnp.asarray(action))
        return jax.device_get(step)

    def render(self) -> np.ndarray | None:
        return None

    def close(self) -> None:
        """Nothing is held."""


def check(environment: Environment | PythonEnvironment) -> None:
    """Compare what an environment gives with what its spec promises: in JAX without computing anything, else in a short episode.

    Raises:
        ConfigError: the first difference.
    """
    if not isinstance(environment, PythonEnvironment):
        return _check_shapes(environment)
    played = Played()
    play(environment, played, seed=0, rng=np.random.default_rng(0), most=FIRST_STEPS)
    for _, fault in faults(environment.spec, played):
        raise ConfigError(f"{environment.spec.name}: {fault}. `dop check-env` tells more.")
    return None


def check_same(promised: EnvSpec, found: EnvSpec) -> None:
    """Raise ConfigError, by name, for the first field in which two specs of what should be the same environment differ."""
    for field_ in fields(EnvSpec):
        was, now = getattr(promised, field_.name), getattr(found, field_.name)
        if was != now:
            raise ConfigError(f"{promised.name} is not the same whenever it is made: its {field_.name} was {was}, then {now}.")


def promised(spec: EnvSpec) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and kind of number of each field of a `TimeStep`."""
    return {
        "obs": ((spec.n_agents, spec.obs_size), "float"),
        "state": ((spec.state_size,), "float"),
        "action_mask": ((spec.n_agents, spec.action_size), "bool"),
        "reward": ((), "float"),
        "terminated": ((), "bool"),
        "truncated": ((), "bool"),
        "metrics": ((len(spec.metrics),), "float"),
    }


def _shape_fault(spec: EnvSpec, function: str, step: Any) -> str | None:
    if not hasattr(step, "obs"):
        return f"{function} gives {type(step).__name__}, not a TimeStep"
    for name, (shape, kind) in promised(spec).items():
        found: Any = getattr(step, name, None)
        if not hasattr(found, "dtype"):
            return f"{function} gives {name} as {type(found).__name__}, not as an array"
        if found.shape != shape or kind not in str(found.dtype):
            return f"{function} gives {name} as {found.dtype}{list(found.shape)}, its spec says {kind}{list(shape)}"
    return None


def _check_shapes(environment: Environment) -> None:
    spec = environment.spec
    key = jax.eval_shape(lambda: jax.random.key(0))
    state, first = _traced(environment, "reset", key)
    action = jax.ShapeDtypeStruct(spec.action_shape, jnp.int32 if spec.action_kind == "discrete" else jnp.float32)
    later, second = _traced(environment, "step", key, state, action)
    for function, step in (("reset", first), ("step", second)):
        fault = _shape_fault(spec, function, step)
        if fault:
            raise ConfigError(f"{spec.name}: {fault}.")
    if _described((state, first)) != _described((later, second)):
        raise ConfigError(f"{spec.name}: reset and step do not give the same structure, shapes and types of state and TimeStep.")


def _traced(environment: Environment, name: str, *arguments: Any) -> tuple[Any, Any]:
    """What the function of that name answers, if that has two parts; nothing is computed."""
    function, who = getattr(environment, name), environment.spec.name
    with _in_plain_words(f"The {name} of {who} is taken to be in JAX (outside it would have render and close), but does not compile"):
        answer = jax.eval_shape(function, *arguments)
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise ConfigError(f"{who}: {name} gives {type(answer).__name__}, not a state and a TimeStep{place_of(function)}.")
    return answer[0], answer[1]


def _described(tree: Any) -> tuple[list, Any]:
    """Shapes, types and structure. The leaves are in a list, since nodes of other packages may have an equality of their own."""
    leaves, structure = jax.tree.flatten(tree)
    return [(leaf.shape, leaf.dtype) for leaf in leaves], structure


# ------------------------------------------------------------------------------------------------------------------ random play


def random_action(rng: np.random.Generator, spec: EnvSpec, action_mask: np.ndarray) -> np.ndarray:
    """A uniform legal action of each agent: 0 for those that have none."""
    if spec.action_kind == "discrete":
        return np.array([rng.choice(np.flatnonzero(row)) if row.any() else 0 for row in action_mask], np.int32)
    if spec.action_kind == "box":
        return np.where(action_mask, rng.uniform(-1, 1, action_mask.shape), 0).astype(np.float32)
    weight = np.where(action_mask, rng.exponential(size=action_mask.shape), 0)
    return (weight / np.maximum(weight.sum(axis=-1, keepdims=True), np.finfo(np.float32).tiny)).astype(np.float32)


def play(environment: Any, played: Played, *, seed: int, rng: np.random.Generator, most: int | None = None) -> None:
    """One random episode, of at most `most` steps, into `played`; no further than the time limit or a step of a wrong shape."""
    spec = environment.spec
    played.add(environment.reset(seed))
    for _ in range(spec.time_limit if most is None else min(most, spec.time_limit)):
        if _shape_fault(spec, "", played.steps[-1]) or played.over:
            return
        played.actions.append(random_action(rng, spec, played.copies[-1].action_mask))
        played.add(environment.step(played.actions[-1]))
        played.rewards.append(getattr(environment, "agent_rewards", ()))


# ----------------------------------------------------------------------------------------------------------------------- faults


def faults(spec: EnvSpec, played: Played) -> Iterator[Fault]:
    """What is wrong with an episode, or with as much of it as was played; nothing is known of one that did not start."""
    if not played.copies:
        return
    for t, step in enumerate(played.copies):
        fault = _shape_fault(spec, "step" if t else "reset", step) or _shape_fault(spec, "step" if t else "reset", played.steps[t])
        if fault:
            yield "shapes", fault
            return
    for t, step in enumerate(played.copies):
        yield from _step_faults(spec, step, f"in step {t}" if t else "after reset")
    yield from _start_faults(played.copies[0])
    yield from _end_faults(spec, played)
    for t, (step, copy) in enumerate(zip(played.steps, played.copies, strict=True)):
        for name in promised(spec):
            if not _same(name, step, copy):
                yield "kept", f"{name} of step {t} was changed by a later step; give a copy of it"


def _same(name: str, one: TimeStep, other: TimeStep) -> bool:
    """Whether two steps have the same in a field; NaN is the same as NaN."""
    numbers = name not in ("action_mask", "terminated", "truncated")
    return np.array_equal(getattr(one, name), getattr(other, name), equal_nan=numbers)


def _step_faults(spec: EnvSpec, step: TimeStep, where: str) -> Iterator[Fault]:
    for name in ("obs", "state", "reward", "metrics"):
        bad = np.asarray(getattr(step, name))[~np.isfinite(getattr(step, name))]
        if bad.size:
            yield "finite", f"{name} has {bad.ravel()[0]} {where}"
    largest = max(np.abs(step.obs).max(), np.abs(step.state).max())
    if spec.obs_bound is not None and largest > spec.obs_bound:
        yield "bound", f"an entry of observation or state is {largest:.6g} in size {where}; obs_bound is {spec.obs_bound}"
    seen, own = (np.arange(size) < np.array(sizes)[:, None] for size, sizes in _paddings(spec))
    for i, agent in enumerate(spec.agents):
        if step.obs[i, ~seen[i]].any():
            yield "padding", f"{agent} sees {spec.obs_sizes[i]} numbers, but has others than 0 after them {where}"
        if step.action_mask[i, ~own[i]].any():
            yield "padding", f"{agent} has {spec.action_sizes[i]} actions, but may take one beyond them {where}"
    if not step.action_mask.any() and not step.terminated:
        yield "action_mask", f"nobody has a legal action {where}, though it goes on"


def _paddings(spec: EnvSpec) -> tuple[tuple[int, tuple[int, ...]], tuple[int, tuple[int, ...]]]:
    return (spec.obs_size, spec.obs_sizes), (spec.action_size, spec.action_sizes)


def _start_faults(step: TimeStep) -> Iterator[Fault]:
    if step.reward != 0:
        yield "start", f"reset gives a reward of {float(step.reward):.6g}"
    if step.terminated or step.truncated:
        yield "start", "an episode is over when it starts"


def _end_faults(spec: EnvSpec, played: Played) -> Iterator[Fault]:
    last = played.copies[-1]
    if last.terminated and last.truncated:
        yield "end", f"step {len(played.actions)} is both terminated and truncated; a task that ended was not cut"
    if not played.over and len(played.actions) >= spec.time_limit:
        yield "end", f"it goes on after {spec.time_limit} steps, its time limit: it must be truncated there"


# ----------------------------------------------------------------------------------------------------------------------- survey


def survey(make: Callable[[], Environment | PythonEnvironment], *, episodes: int, seed: int) -> Survey:
    """Play `episodes` random episodes, with seeds from `seed` on, and the first of them again in a second environment that `make` gives.

    Raises:
        ConfigError: `make` gives nothing that can be played, or something else each time.
    """
    with _in_plain_words("The environment cannot be made"):
        environment = make()
        in_jax = not isinstance(environment, PythonEnvironment)
    if in_jax:
        _check_shapes(environment)
    host = OnHost(environment) if in_jax else environment
    found: dict[str, str] = {}
    all_played: list[Played] = []
    speed = 0.0
    for i in range(episodes):
        played = Played()
        rng = np.random.default_rng((seed, i))
        _guarded(found, lambda played=played, rng=rng, i=i: play(host, played, seed=seed + i, rng=rng))
        all_played.append(played)
        for promise, fault in faults(host.spec, played):
            found.setdefault(promise, fault)
        if "runs" in found or "shapes" in found:
            break
    if not found.keys() & {"runs", "shapes"}:
        _never_able(host.spec, all_played, found)
    notes = list(_notes(host, all_played)) if "shapes" not in found else []
    if not found:
        notes += _sides_notes(host, all_played, seed + episodes)
    scales: list[Scale] = []
    if not found.keys() & {"runs", "shapes"}:
        _guarded(found, lambda: scales.extend(_scales(host, all_played, seed)))
        notes += _end_notes(host, scales)
    _guarded(found, host.close)
    if not found.keys() & {"runs", "shapes"}:
        more, speed = _repeated(make, host.spec, in_jax, all_played[0], seed)
        notes += more
    ordered = {promise: found[promise] for promise in PROMISES if promise in found}
    return Survey(
        spec=host.spec,
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
    """Run what may raise anything, since it is somebody else's."""
    try:
        run()
    except (Exception, SystemExit) as error:
        found.setdefault("runs", plugins.explain(error))


@contextlib.contextmanager
def _in_plain_words(what: str) -> Iterator[None]:
    """Raise a ConfigError for whatever somebody else's code raises."""
    try:
        yield
    except DopError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{what}: {plugins.explain(error)}") from error


def _never_able(spec: EnvSpec, all_played: list[Played], found: dict[str, str]) -> None:
    able = np.any([step.action_mask.any(axis=-1) for played in all_played for step in played.copies], axis=0)
    for agent in itertools.compress(spec.agents, ~able):
        found.setdefault("action_mask", f"{agent} never had a legal action")


def _repeated(make: Callable[[], Any], spec: EnvSpec, in_jax: bool, played: Played, seed: int) -> tuple[list[str], float]:
    """What new environments do: notes if the same seed and actions give something else, or other seeds the same; and steps per second."""

    def another() -> Any:
        environment = make()
        check_same(spec, environment.spec)
        return OnHost(environment) if in_jax else environment

    def same(one: TimeStep, other: TimeStep) -> bool:
        return all(_same(name, one, other) for name in promised(spec))

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
    """An episode once more: a note if it is another one; and steps per second."""
    first, *others = actions
    steps = [again.reset(seed), again.step(first)]  # not timed: whatever is done once, compilation say, is done here
    start = time.perf_counter()
    steps += [again.step(action) for action in others]
    speed = len(others) / (time.perf_counter() - start)
    for t, (one, other) in enumerate(zip(copies, steps, strict=True)):
        for name in promised(spec):
            if not _same(name, one, other):
                differs = f"{name} of step {t} differs with the same seed and actions"
                return [f"not deterministic: {differs}; such a run cannot be repeated"], speed
    return [], speed


def _scales(environment: Any, all_played: list[Played], seed: int) -> list[Scale]:
    """What random play returns, in the episodes that were played and some more; and what it returns if nobody does anything."""
    spec, rng = environment.spec, np.random.default_rng((seed, len(all_played)))
    random, still = Scale("random play"), Scale("no-op play")
    for played in all_played:
        random.add([float(step.reward) for step in played.copies[1:]], bool(played.copies[-1].terminated))
    random.play(environment, lambda action_mask: random_action(rng, spec, action_mask), seed + len(all_played))
    still.play(environment, lambda action_mask: no_op(spec, action_mask), seed)
    return [random, still]


def _end_notes(environment: Any, scales: list[Scale]) -> list[str]:
    """A note if random episodes terminate where a time limit would cut them, unless the user has said that this is their end."""
    known = getattr(getattr(environment, "common", None), "limit_terminates", False)
    ends = [same_end(of.lengths, of.terminated, environment.spec.time_limit) for of in scales[:1] if not known]
    return [end for end in ends if end]


def _smallest(all_played: list[Played]) -> float:
    sizes = [np.abs(getattr(step, name)) for played in all_played for step in played.copies for name in ("obs", "state")]
    return min((float(size[size > 0].min()) for size in sizes if (size > 0).any()), default=0.0)


def _notes(environment: Any, all_played: list[Played]) -> Iterator[str]:
    spec = environment.spec
    steps = [step for played in all_played for step in played.copies]
    if not steps:
        return
    low, high = min(float(step.obs.min()) for step in steps), max(float(step.obs.max()) for step in steps)
    yield f"observations were between {low:.4g} and {high:.4g}" + ("" if spec.obs_bound is None else f"; obs_bound is {spec.obs_bound}")
    ends = [played.copies[-1] for played in all_played]
    yield f"{sum(bool(end.terminated) for end in ends)} episodes terminated, {sum(bool(end.truncated) for end in ends)} were truncated"
    absent = np.mean([~step.action_mask.any(axis=-1) for step in steps if not step.terminated], axis=0)
    yield from _absent_notes(spec.agents, np.broadcast_to(absent, spec.n_agents))
    if not any(step.reward != 0 for step in steps):
        yield "random play earned nothing at all"
    unreported = sorted(getattr(environment, "unreported", ()))
    if unreported:
        yield f"its infos also have {', '.join(unreported)}: metrics, if the option metrics names them"
    yield from getattr(environment, "remarks", ())


def _absent_notes(agents: Sequence[str], absent: np.ndarray) -> Iterator[str]:
    """Who was not there, and in what share of the steps: one by one, or, if they are many, all together."""
    away = [(agent, fraction) for agent, fraction in zip(agents, absent, strict=True) if fraction > 0]
    if len(away) <= LISTED:
        for agent, fraction in away:
            yield f"{agent} was not there (no legal action) in {fraction:.0%} of the steps"
        return
    shares = [fraction for _, fraction in away]
    least, most = f"{min(shares):.0%}", f"{max(shares):.0%}"
    fraction = least if least == most else f"{least} to {most}"
    yield f"{listed(agent for agent, _ in away)} were not there (no legal action) in {fraction} of the steps"


def _sides_notes(environment: Any, all_played: list[Played], seed: int) -> Iterator[str]:
    """A note if agents' rewards oppose each other; it plays more, if some were always the same, from `seed` on."""
    agents = environment.spec.agents
    sides = opposing(_agent_rewards(environment, all_played, seed), environment.spec.agent_types)
    if sides is None:
        return
    one, other = (patterns([agents[i] for i in side], agents) for side in (sides.one, sides.other))
    chosen = f"team={other[0]}" if len(other) == 1 else f"team={json.dumps(other)}" if len(other) <= LISTED else "team=[NAMES]"
    yield (
        f"the rewards of {listed(one)} oppose those of {listed(other)} (correlation {sides.correlation:.2f}), and are added up all "
        f"the same: they are no team. Say who is, for example --env-args '{chosen}'; the others then act at random (others=random) or do "
        "nothing (others=noop)"
    )


def _agent_rewards(environment: Any, all_played: list[Played], seed: int) -> list[np.ndarray]:
    """By episode, step and agent; of more episodes, from `seed` on, while a type of agents always earned the same. Empty if not known."""
    spec = environment.spec
    rewards = [np.array(played.rewards, float) for played in all_played if played.actions]
    if any(of.shape[1:] != (spec.n_agents,) for of in rewards):
        return []
    steps, start = 0, time.perf_counter()
    while constant_types(rewards, spec.agent_types) and steps < MORE_STEPS and time.perf_counter() - start < MORE_SECONDS:
        played = Played()
        try:
            play(environment, played, seed=seed, rng=np.random.default_rng((seed, 0)))
        except (Exception, SystemExit):  # somebody else's code: its faults are told of the episodes that were asked for
            break
        if played.actions:
            rewards.append(np.array(played.rewards, float))
        steps, seed = steps + max(len(played.actions), 1), seed + 1
    return rewards
