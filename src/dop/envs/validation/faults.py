"""What is wrong with an episode, compared with its `EnvSpec` and the contracts of `dop.types`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dop.envs.validation.episodes import Played, promised, same_field, shape_fault
from dop.types import EnvSpec, TimeStep

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


def faults(spec: EnvSpec, played: Played) -> Iterator[Fault]:
    """What is wrong with an episode, or with as much of it as was played; nothing is known of one that did not start."""
    if not played.copies:
        return
    for t, step in enumerate(played.copies):
        fault = shape_fault(spec, "step" if t else "reset", step) or shape_fault(spec, "step" if t else "reset", played.steps[t])
        if fault:
            yield "shapes", fault
            return
    for t, step in enumerate(played.copies):
        yield from _step_faults(spec, step, f"in step {t}" if t else "after reset")
    yield from _start_faults(played.copies[0])
    yield from _end_faults(spec, played)
    for t, (step, copy) in enumerate(zip(played.steps, played.copies, strict=True)):
        for name in promised(spec):
            if not same_field(name, step, copy):
                yield "kept", f"{name} of step {t} was changed by a later step; give a copy of it"


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
