"""Callbacks: user code that is called during training and may stop it.

    class StopWhenWon(dop.Callback):
        def on_evaluation(self, event):
            return min(record.metrics["test_return_mean"] for record in event.records) > 0.95

They are called in the training process, between two compiled calls. An exception in a callback ends the run, after a checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from dop import plugins
from dop.errors import ConfigError, RunError, plain, shown
from dop.storage.records import Record

Method: TypeAlias = Literal["on_chunk", "on_evaluation", "on_checkpoint"]
GROUP = "dop.callbacks"
"""The group of entry points."""
METHODS: tuple[Method, ...] = ("on_chunk", "on_evaluation", "on_checkpoint")


@dataclass(frozen=True, kw_only=True)
class TrainingEvent:
    """The progress of a run."""

    run_dir: Path
    """The run directory."""
    iteration: int
    """Updates of the learner so far."""
    env_steps: tuple[int, ...]
    """Environment steps so far, for each of the run's seeds."""
    records: tuple[Record, ...]
    """The new records, one per seed; empty after a checkpoint."""
    learner: Any
    """The algorithm's `Learner`, with a leading seed axis. Its arrays are invalid after the call: copy them with `jax.device_get`."""


@runtime_checkable
class Callback(Protocol):
    """Called at a run's events. Subclasses override what they need. Returning True stops the run as SIGTERM does: saved, and resumable."""

    def on_chunk(self, event: TrainingEvent) -> bool | None:
        """After a chunk of iterations and, if due, its evaluation and checkpoint; `records` are those of training."""

    def on_evaluation(self, event: TrainingEvent) -> bool | None:
        """After an evaluation of the greedy policies: before learning, at intervals, and at the end."""

    def on_checkpoint(self, event: TrainingEvent) -> bool | None:
        """After a checkpoint."""


def chosen(given: Any) -> Sequence[Callback]:
    """The callbacks given as objects or by name, validated.

    Raises:
        UnknownNameError: no such callback.
        ConfigError: it is not a callback, or cannot be constructed.
    """
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise ConfigError(f"callbacks must be a list of objects like dop.Callback, or names; got {shown(given)}.")
    found = [plugins.construct("callback", callback, GROUP) if isinstance(callback, str) else callback for callback in given]
    for callback in found:
        if isinstance(callback, type):
            raise ConfigError(f"callbacks has the class {callback.__name__}; pass an instance: {callback.__name__}().")
        lacking = [method for method in METHODS if not callable(getattr(callback, method, None))]
        if lacking:
            raise ConfigError(f"{type(callback).__name__} is not a callback: it has no {', '.join(lacking)}. Subclass dop.Callback.")
    return found


def asks_to_stop(callback: Callback, method: Method, event: TrainingEvent) -> bool:
    """Call a callback: whether it asks to stop.

    Raises:
        RunError: it returned neither a bool nor None.
        Exception: any exception of the callback.
    """
    answer = plain(getattr(callback, method)(event))
    if answer not in (None, True, False):
        raise RunError(f"{type(callback).__name__}.{method} returned {shown(answer)}. Return True to stop the run, else False or None.")
    return bool(answer)
