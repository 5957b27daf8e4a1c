"""Violations of an `EnvSpec` and of the contracts of `dop.types` in an episode."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dop.envs.validation.episodes import Played, same_field, shape_fault, time_step_layout
from dop.types import EnvSpec, TimeStep

PROMISES = {
    "runs": "reset, step and close raise no error",
    "shapes": "shapes and types match the spec",
    "finite": "all numbers are finite",
    "bound": "observations and state stay within obs_bound",
    "padding": "padded observations are 0, and padded actions illegal",
    "action_mask": "some agent can act until the end, and each agent at some time",
    "start": "an episode starts without a reward, and is not over",
    "end": "an episode ends, terminated or truncated, by its time limit",
    "kept": "returned arrays are not changed afterwards",
}
"""The checked requirements, in the order in which they are reported."""
Fault = tuple[str, str]
"""A key of `PROMISES`, and how the environment violates it."""


def faults(spec: EnvSpec, played: Played) -> Iterator[Fault]:
    """The faults of an episode, as far as it was played; none if it did not start."""
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
        for name in time_step_layout(spec):
            if not same_field(name, step, copy):
                yield "kept", f"{name} of step {t} was changed by a later step; return a copy"


def _step_faults(spec: EnvSpec, step: TimeStep, where: str) -> Iterator[Fault]:
    for name in ("obs", "state", "reward", "metrics"):
        bad = np.asarray(getattr(step, name))[~np.isfinite(getattr(step, name))]
        if bad.size:
            yield "finite", f"{name} has {bad.ravel()[0]} {where}"
    largest = max(np.abs(step.obs).max(), np.abs(step.state).max())
    if spec.obs_bound is not None and largest > spec.obs_bound:
        yield "bound", f"an entry of observation or state has magnitude {largest:.6g} {where}; obs_bound is {spec.obs_bound}"
    seen, own = (np.arange(size) < np.array(sizes)[:, None] for size, sizes in _paddings(spec))
    for i, agent in enumerate(spec.agents):
        if step.obs[i, ~seen[i]].any():
            yield "padding", f"{agent} observes {spec.obs_sizes[i]} numbers, but its padding is not 0 {where}"
        if step.action_mask[i, ~own[i]].any():
            yield "padding", f"{agent} has {spec.action_sizes[i]} actions, but its mask allows one beyond them {where}"
    if not step.action_mask.any() and not step.terminated:
        yield "action_mask", f"no agent has a legal action {where}, though the episode continues"


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
        yield "end", f"step {len(played.actions)} is both terminated and truncated; it must be one of them"
    if not played.over and len(played.actions) >= spec.time_limit:
        yield "end", f"the episode continues after {spec.time_limit} steps, its time limit: it must be truncated there"
