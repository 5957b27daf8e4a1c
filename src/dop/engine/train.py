"""The life of a run: start or restore, then chunk by chunk learn, record, evaluate, save, until the steps are done or someone says stop."""

from __future__ import annotations

import contextlib
import functools
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import psutil
from jax.sharding import Mesh

from dop.engine import seeds
from dop.engine.checkpoint import Checkpoints
from dop.engine.learn import Learning, RunState
from dop.engine.records import Kind, Record, Sink
from dop.engine.runs import RunConfig, RunFolder
from dop.engine.snapshots import Snapshots
from dop.errors import RunError
from dop.replay import check_fits


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run, or a stretch of one, ended."""

    finished: bool
    """False if it was stopped from outside; it can be resumed."""
    env_steps: tuple[int, ...]
    """Per seed."""
    evaluation: dict[str, tuple[float, ...]]
    """The last greedy evaluation: metric, then seed."""


class Trainer:
    """Drives a program over all seeds of a `Protocol`. State goes in and out of its driver; only clocks and files live here."""

    def __init__(self, program: Learning, config: RunConfig, folder: RunFolder) -> None:
        self.program, self.config, self.folder = program, config, folder
        self.protocol = protocol = config.protocol
        self.sinks: Sequence[Sink] = ()
        check_fits(program.replay_bytes * len(protocol.seeds), free_memory(), program.algorithm.replay_capacity)
        self.devices: Mesh = seeds.mesh(len(protocol.seeds))
        self.driver = program.drive(protocol)
        self._started = time.monotonic()
        self._saved_at = -1

    @property
    def shared_devices(self) -> bool:
        """Whether several seeds have to share one device of a CPU."""
        return jax.devices()[0].platform == "cpu" and self.devices.size < len(self.protocol.seeds)

    def start(self) -> RunState:
        """A fresh state, warmed up, evaluated once and saved, so that there always is something to go on from."""
        state = self.driver.start(seeds.place(seeds.keys(self.protocol.seeds), self.devices))
        self._record("evaluation", state, self.driver.evaluate(state))
        self.save(state)
        self.snapshots.save(lowest_steps(state), state.learner)
        return state

    def restore(self) -> RunState:
        """The state of the newest checkpoint, exactly as it was."""
        state, meta = self.checkpoints.restore(jax.eval_shape(jax.vmap(self.program.start), seeds.keys(self.protocol.seeds)))
        if meta["fingerprint"] != self.config.fingerprint:
            raise RunError(
                f"{self.folder.checkpoints} was saved under another configuration than {self.folder.config} now says. "
                "Put the old values back, or start a new run."
            )
        self._started = time.monotonic() - meta["wall_seconds"]
        self._saved_at = iteration_of(state)
        return seeds.place(state, self.devices)

    def run(self, state: RunState, stop: threading.Event) -> Outcome:
        """Train until every seed has its `env_steps`, or until `stop` is set; either way everything is saved."""
        protocol, evaluation = self.protocol, None
        steps = lowest_steps(state)
        while steps < protocol.env_steps and not stop.is_set():
            state, metrics = self.driver.chunk(state)
            self._record("train", state, metrics)
            before, steps = steps, lowest_steps(state)
            evaluation = None
            if crossed(before, steps, protocol.eval_interval):
                evaluation = self.driver.evaluate(state)
                self._record("evaluation", state, evaluation)
                self.snapshots.save(steps, state.learner)
            if crossed(before, steps, protocol.checkpoint_interval):
                self.save(state)
        finished = steps >= protocol.env_steps
        if self._saved_at != iteration_of(state):
            self.save(state)
        if evaluation is None:
            evaluation = self.driver.evaluate(state)
        values = {name: tuple(float(v) for v in np.asarray(value)) for name, value in evaluation.items()}
        return Outcome(finished=finished, env_steps=tuple(np.asarray(state.learner.env_steps).tolist()), evaluation=values)

    @functools.cached_property
    def checkpoints(self) -> Checkpoints:
        """The run's checkpoint folder, made when first needed."""
        return Checkpoints(self.folder.checkpoints)

    def close(self) -> None:
        """Let go of the environments, however the run ended."""
        self.driver.close()

    @property
    def snapshots(self) -> Snapshots:
        """The run's moments to look back on."""
        return Snapshots(self.folder.snapshots)

    def save(self, state: RunState) -> None:
        """Write a checkpoint."""
        self._saved_at = iteration_of(state)
        meta = {"wall_seconds": time.monotonic() - self._started, "fingerprint": self.config.fingerprint}
        self.checkpoints.save(self._saved_at, state, meta)

    def _record(self, kind: Kind, state: RunState, metrics: dict[str, Any]) -> None:
        seconds = round(time.monotonic() - self._started, 3)
        values = {name: np.asarray(value) for name, value in metrics.items()}
        env_steps = np.asarray(state.learner.env_steps)
        records = [
            Record(
                kind=kind,
                seed=seed,
                iteration=iteration_of(state),
                env_steps=int(env_steps[place]),
                wall_seconds=seconds,
                metrics={name: float(value[place]) for name, value in values.items()},
            )
            for place, seed in enumerate(self.protocol.seeds)
        ]
        for sink in self.sinks:
            sink.write(*records)
        for record in records:
            self._check_finite(record)

    def _check_finite(self, record: Record) -> None:
        # Value ranges are infinite where there is nothing to range over; losses and norms never should be.
        bad = [name for name, value in record.metrics.items() if name.endswith(("_loss", "_norm")) and not math.isfinite(value)]
        if bad:
            raise RunError(
                f"{', '.join(bad)} of seed {record.seed} became {record.metrics[bad[0]]} before {record.env_steps} environment steps. "
                f"Training stopped; the checkpoints in {self.folder.checkpoints} are from before. Try a lower learning rate."
            )


def crossed(before: int, after: int, interval: int) -> bool:
    """Whether a multiple of `interval` lies in (before, after]."""
    return after // interval > before // interval


def lowest_steps(state: RunState) -> int:
    """Environment steps of the seed that has fewest."""
    return int(np.min(np.asarray(state.learner.env_steps)))


def iteration_of(state: RunState) -> int:
    """All seeds are at the same iteration."""
    return int(np.asarray(state.iteration)[0])


@contextlib.contextmanager
def stop_requested() -> Iterator[threading.Event]:
    """An event that SIGINT or SIGTERM sets, once; a second one has its usual effect. Outside of the main thread it is never set."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    usual: dict[int, Any] = {}

    def on_signal(number: int, _frame: Any) -> None:
        event.set()
        sys.stderr.write("\nstopping after this chunk, then saving; once more stops at once and loses what is not saved\n")
        signal.signal(number, usual[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        usual[number] = signal.signal(number, on_signal)
    try:
        yield event
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def free_memory() -> int:
    """Bytes that the device of the run can still give."""
    stats = jax.devices()[0].memory_stats() if jax.devices()[0].platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    return psutil.virtual_memory().available
