"""Callbacks: what a user's own code is told while a run goes, and may say to it.

    class StopWhenWon(dop.Callback):
        def on_evaluation(self, event):
            return min(record.metrics["test_return_mean"] for record in event.records) > 0.95

They are called in the process that trains, between two compiled calls. What they raise ends the run, once it is saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from dop.errors import ConfigError, RunError, plain, shown
from dop.storage.records import Record

Method: TypeAlias = Literal["on_chunk", "on_evaluation", "on_checkpoint"]
METHODS: tuple[Method, ...] = ("on_chunk", "on_evaluation", "on_checkpoint")


@dataclass(frozen=True, kw_only=True)
class TrainingEvent:
    """Where a run is."""

    run_dir: Path
    """The run directory."""
    iteration: int
    """Updates of the learner so far."""
    env_steps: tuple[int, ...]
    """Environment steps so far, for each of the run's seeds."""
    records: tuple[Record, ...]
    """What has just been reported, one record for each seed; none after a checkpoint."""
    learner: Any
    """The algorithm's `Learner`, its arrays with a leading axis of seeds. It is gone after the call: copy what is to stay, by
    `jax.device_get`."""


@runtime_checkable
class Callback(Protocol):
    """Told of a run's events. A subclass overrides what it needs; True asks the run to stop, as SIGTERM does: saved, and to be resumed."""

    def on_chunk(self, event: TrainingEvent) -> bool | None:
        """A chunk of iterations is done, with the evaluation and the checkpoint that were due; `records` are those of training."""

    def on_evaluation(self, event: TrainingEvent) -> bool | None:
        """The greedy policies have been evaluated: before learning, at intervals, and at the end."""

    def on_checkpoint(self, event: TrainingEvent) -> bool | None:
        """Everything has been saved."""


def checked(callbacks: Any) -> Sequence[Callback]:
    """The callbacks that were given.

    Raises:
        ConfigError: they are none.
    """
    if isinstance(callbacks, str) or not isinstance(callbacks, Sequence):
        raise ConfigError(f"callbacks must be a list of objects like dop.Callback; got {shown(callbacks)}.")
    for callback in callbacks:
        if isinstance(callback, type):
            raise ConfigError(f"callbacks has the class {callback.__name__}; it must have an object of it: {callback.__name__}().")
        lacking = [method for method in METHODS if not callable(getattr(callback, method, None))]
        if lacking:
            raise ConfigError(f"{type(callback).__name__} is not a callback: it has no {', '.join(lacking)}. Subclass dop.Callback.")
    return callbacks


def asks_to_stop(callback: Callback, method: Method, event: TrainingEvent) -> bool:
    """Tell a callback.

    Raises:
        RunError: its answer is neither yes nor no.
        Exception: whatever it raises.
    """
    answer = plain(getattr(callback, method)(event))
    if answer not in (None, True, False):
        raise RunError(f"{type(callback).__name__}.{method} returned {shown(answer)}. True stops the run, False and None do not.")
    return bool(answer)
