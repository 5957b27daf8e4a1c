"""The trainer: start or restore a run, then learn, record, evaluate and save, chunk by chunk, until its end or a request to stop."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import math
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import jax
import numpy as np

from dop.devices import compilation, memory, parallel
from dop.errors import ConfigError, RunError, plain, shown
from dop.loggers.protocol import Logger
from dop.storage import initial, records
from dop.storage.checkpoints import KEPT, Checkpoints, flatten
from dop.storage.config import RunConfig
from dop.storage.records import Kind, Record
from dop.storage.run_directory import RunFolder
from dop.storage.snapshots import Snapshots, score
from dop.storage.surroundings import check_version, differences, library_version
from dop.training import callbacks, non_finite
from dop.training.program import Learning, RunState

At: TypeAlias = Literal["best", "latest"] | int
"""A moment of a run: each seed's best evaluation, the newest checkpoint, or the environment steps of a snapshot."""


def checked_at(at: Any) -> At:
    """`at`, validated; numbers may be strings.

    Raises:
        ConfigError: it is not a moment of a run.
    """
    at = plain(at)
    if at in ("best", "latest"):
        return at
    if isinstance(at, str) and re.fullmatch("[0-9]{1,12}", at):
        return int(at)
    if isinstance(at, int) and not isinstance(at, bool) and 0 <= at < 10**12:
        return at
    raise ConfigError(f"at must be best, latest, or the environment steps of a snapshot; got {shown(at)}.")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of `train` or `resume`."""

    finished: bool
    """False if the run was interrupted; it can be resumed."""
    env_steps: tuple[int, ...]
    """Environment steps per seed."""
    evaluation: dict[str, tuple[float, ...]]
    """Greedy evaluation of the last state: metric, then seed. Empty if the run was interrupted between evaluations."""


class Trainer:
    """Runs a program for all seeds of its `TrainConfig`. The state passes through its driver; the trainer holds clocks and files."""

    def __init__(self, program: Learning, config: RunConfig, folder: RunFolder) -> None:
        self.program, self.config, self.folder = program, config, folder
        self.train_config = program.train_config
        self.loggers: Sequence[Logger] = ()
        self.callbacks: Sequence[callbacks.Callback] = ()
        self.driver = program.drive()
        self.devices = self.driver.devices
        self._started = time.monotonic()
        self._processor_seconds: float | None = 0.0
        """Of training; None if the run has a checkpoint of before they were measured."""
        self._saved_at = self._evaluated_at = -1
        self._warned: set[str] = set()
        self.stopped_by: str | None = None
        self._evaluations: list[dict[str, float]] = []
        """Metrics of all evaluations."""
        self._best: dict[int, dict[str, float]] = {}
        """Metrics of each seed's best evaluation."""

    @property
    def shared_devices(self) -> bool:
        """Whether several seeds share one device of a CPU."""
        return jax.devices()[0].platform == "cpu" and self.devices.shape[parallel.AXIS] < len(self.train_config.seeds)

    def start(self) -> RunState:
        """A new state, warmed up, evaluated and saved, so that there is always a checkpoint to resume from."""
        with self._timed():
            state = self.driver.start(parallel.place(parallel.keys(self.train_config.seeds), self.devices), self._prepare)
            jax.block_until_ready(state.learner)
        found = parallel.over_seeds(lambda s: non_finite.of_episodes(s.replay.items), self.devices)(state)
        self._check_found(state, non_finite.split(found)[1])
        new_records = self._record("evaluation", state, self.driver.evaluate(state))
        self._keep_best(state, new_records)
        self.save(state)
        self.snapshots.save(lowest_steps(state), state.learner)
        self._call("on_evaluation", state, new_records)
        self._call("on_checkpoint", state)
        return state

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        """Count the processor seconds of the block, without compilation."""
        begun = time.process_time() - compilation.spent()
        yield
        if self._processor_seconds is not None:
            self._processor_seconds += time.process_time() - compilation.spent() - begun

    def rewind(self, state: RunState) -> None:
        """Discard records and snapshots after a restored `state`.

        If the run continues, the evaluation at its former end is discarded, too, unless it was due by the interval. The records are then
        those of an uninterrupted run.
        """
        iteration, steps = iteration_of(state), lowest_steps(state)
        found = [record for record in records.read(self.folder.metrics) if record.iteration <= iteration]
        evaluated = any(record.kind == "evaluation" and record.iteration == iteration for record in found)
        if evaluated and steps < self.train_config.env_steps and not self._was_due(found, iteration, steps):
            evaluated = False
        self._evaluated_at = iteration if evaluated else -1
        records.keep_until(self.folder.metrics, iteration, evaluation=evaluated)
        self.snapshots.keep_until(steps)
        evaluations = [record for record in found if record.kind == "evaluation"]
        self._rewind_best(iteration, [record for record in evaluations if evaluated or record.iteration < iteration])

    def _rewind_best(self, iteration: int, evaluations: Sequence[Record]) -> None:
        """Restore the best evaluation among these."""
        self._evaluations = [record.metrics for record in evaluations]
        self._best = {}
        if not self.snapshots.rewind_best(iteration):
            return
        like = jax.eval_shape(jax.vmap(self.program.start), parallel.keys(self.train_config.seeds)).learner
        try:
            learned = np.asarray(self.snapshots.restore_best(like).env_steps).tolist()
        except RunError as error:
            logging.getLogger("dop").warning("The best evaluation is searched again, from the next one on: %s", error)
            return
        at = dict(zip(self.train_config.seeds, learned, strict=True))
        self._best = {record.seed: record.metrics for record in evaluations if at.get(record.seed) == record.env_steps}

    def _keep_best(self, state: RunState, new_records: Sequence[Record]) -> None:
        """Save the learners of seeds whose evaluation is at least as good as their best."""
        self._evaluations += [record.metrics for record in new_records]
        names = [f"test_{name}_mean" for name in self.program.spec.metrics]
        finite = {name: [metrics[name] for metrics in self._evaluations if math.isfinite(metrics.get(name, math.nan))] for name in names}
        fractions = [name for name, values in finite.items() if values and min(values) >= 0 and max(values) <= 1]
        improved = [
            place
            for place, record in enumerate(new_records)
            if record.seed not in self._best or score(record.metrics, fractions) >= score(self._best[record.seed], fractions)
        ]
        if improved:
            self.snapshots.keep_best(state.learner, improved)
        self._best |= {new_records[place].seed: new_records[place].metrics for place in improved}

    def _was_due(self, found: Sequence[Record], iteration: int, steps: int) -> bool:
        """Whether the evaluation at `iteration` was the first or due by the interval."""
        earlier = [record for record in found if record.iteration < iteration]
        if not earlier:
            return True
        last = max(record.iteration for record in earlier)
        return crossed(min(record.env_steps for record in earlier if record.iteration == last), steps, self.train_config.eval_interval)

    def _prepare(self, state: RunState) -> RunState:
        """Insert the initial networks of another run, if the run starts from one; then check the parameters."""
        if self.config.init_from is not None:
            state = dataclasses.replace(state, learner=parallel.place(initial.load(self.folder, state.learner), self.devices))
        non_finite.check_initial(flatten(state.learner), type(self.program.algorithm).__name__)
        return state

    def restore(self) -> RunState:
        """The exact state of the newest checkpoint."""
        like = jax.eval_shape(jax.vmap(self.program.start), parallel.keys(self.train_config.seeds))
        state, meta = self.checkpoints.restore(like, self._accept)
        self._started = time.monotonic() - float(meta["wall_seconds"])
        processor = meta.get("processor_seconds")
        self._processor_seconds = None if processor is None else float(processor)
        self._saved_at = iteration_of(state)
        return parallel.place(state, self.devices)

    def restore_at(self, at: At) -> RunState:
        """The state of the newest checkpoint, with the learner at another moment: each seed's best, or a snapshot.

        Raises:
            RunError: there is no such snapshot; the message names the existing ones.
        """
        state = self.restore()
        if at in ("latest", lowest_steps(state)):
            return state
        steps = self.snapshots.steps
        if at == "best" and not self.snapshots.best.exists():
            raise RunError(f"{self.folder.path} has no snapshots/best.npz. It is written at the next evaluation: `dop resume` the run.")
        if at != "best" and at not in steps:
            choice = f"It has: {', '.join(map(str, steps))}. Name one of them, best or latest." if steps else "It has none yet: use latest."
            raise RunError(f"{self.folder.path} has no snapshot at {at} environment steps. {choice}")
        like = jax.eval_shape(lambda: state.learner)
        learner = self.snapshots.restore_best(like) if at == "best" else self.snapshots.restore(int(at), like)
        return dataclasses.replace(state, learner=parallel.place(learner, self.devices))

    def run(self, state: RunState, stop: threading.Event) -> Outcome:
        """Train until every seed has its `env_steps`, `stop` is set, or a callback asks to stop; then save."""
        train_config, evaluation = self.train_config, None
        steps = lowest_steps(state)
        if steps >= train_config.env_steps and iteration_of(state) == 0:
            logging.getLogger("dop").warning(
                "%s: nothing is learned: the warm-up alone took %s environment steps, and the run has %s. Raise env_steps, or lower "
                "the number of episodes before the first update (%s now).",
                *(self.folder.path, f"{steps:,}", f"{train_config.env_steps:,}", self.program.algorithm.warmup_episodes),
            )
        while steps < train_config.env_steps and not (stop.is_set() or self.stopped_by):
            with self._timed():
                state, metrics = self.driver.chunk(state)
                jax.block_until_ready(metrics)
            new_records = self._record("train", state, metrics)
            before, steps = steps, lowest_steps(state)
            evaluation = None
            if crossed(before, steps, train_config.eval_interval):
                evaluation = self.driver.evaluate(state)
                evaluated = self._record("evaluation", state, evaluation)
                memory.give_back()  # after the first one, above all what compiling has left
                self.snapshots.save(steps, state.learner)
                self._keep_best(state, evaluated)
                self._call("on_evaluation", state, evaluated)
            if crossed(before, steps, train_config.checkpoint_interval):
                self._checkpoint(state)
            # Last, so that evaluation and checkpoint are complete if a callback raises.
            self._call("on_chunk", state, new_records)
        finished = steps >= train_config.env_steps
        if self._saved_at != iteration_of(state):
            self._checkpoint(state)
        if evaluation is None and finished:  # an interrupted run ends without delay
            evaluation = self.driver.evaluate(state)
            if self._evaluated_at != iteration_of(state):
                evaluated = self._record("evaluation", state, evaluation)
                self._keep_best(state, evaluated)
                self._call("on_evaluation", state, evaluated)
        values = {name: tuple(float(v) for v in np.asarray(value)) for name, value in (evaluation or {}).items()}
        return Outcome(finished=finished, env_steps=tuple(np.asarray(state.learner.env_steps).tolist()), evaluation=values)

    @functools.cached_property
    def checkpoints(self) -> Checkpoints:
        """The run's checkpoints."""
        return Checkpoints(self.folder.checkpoints)

    def close(self) -> None:
        """Close the environments."""
        self.driver.close()

    @property
    def snapshots(self) -> Snapshots:
        """The run's snapshots."""
        return Snapshots(self.folder.snapshots, self.train_config.snapshots)

    def save(self, state: RunState) -> None:
        """Write a checkpoint.

        Raises:
            RunError: it cannot be written, or the learner is not finite; earlier checkpoints are intact.
        """
        self._check_learner(state)
        self._saved_at = iteration_of(state)
        self.checkpoints.save(self._saved_at, state, self._meta())
        self.snapshots.save_best(self._saved_at, copies=KEPT)
        memory.give_back()

    def _checkpoint(self, state: RunState) -> None:
        """Save the state if it is not saved yet, and call the callbacks."""
        if self._saved_at != iteration_of(state):
            self.save(state)
        self._call("on_checkpoint", state)

    def _call(self, method: callbacks.Method, state: RunState, new_records: Sequence[Record] = ()) -> None:
        """Call the callbacks. An exception in one ends the run, after a checkpoint."""
        for callback in self.callbacks:
            event = callbacks.TrainingEvent(
                run_dir=self.folder.path,
                iteration=iteration_of(state),
                env_steps=tuple(np.asarray(state.learner.env_steps).tolist()),
                records=tuple(new_records),
                learner=state.learner,
            )
            try:
                if callbacks.asks_to_stop(callback, method, event):
                    self.stopped_by = type(callback).__name__
            except (Exception, SystemExit) as error:  # user code
                if self._saved_at != iteration_of(state):
                    self.save(state)
                error.add_note(f"The run is saved; resume with: dop resume {self.folder.path}")
                raise

    def _meta(self) -> dict[str, Any]:
        """The metadata of a checkpoint, which `_accept` checks."""
        return {
            "wall_seconds": time.monotonic() - self._started,
            "processor_seconds": self._processor_seconds,
            "library_version": library_version(),
            "made_by": self.config.made_by,
        }

    def _accept(self, meta: dict[str, Any]) -> None:
        """Check the metadata of a checkpoint.

        Raises:
            RunError: it is of another version of the library, or of another configuration than the run's.
            ValueError: it is damaged.
        """
        try:
            version, made_by, seconds = str(meta["library_version"]), dict(meta["made_by"]), float(meta["wall_seconds"])
            processor = float(meta.get("processor_seconds") or 0)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"meta.json is damaged: {error!r}") from error
        if not (0 <= seconds < math.inf and 0 <= processor < math.inf):
            raise ValueError(f"meta.json is damaged: {seconds} seconds, {processor} of a processor")
        check_version(version, self.folder.checkpoints)
        differ = differences(made_by, self.config.made_by)
        if differ:
            raise RunError(
                f"{self.folder.checkpoints} was saved under another configuration than {self.folder.config}: {differ[0]}"
                f"{f', and {len(differ) - 1} more' if differ[1:] else ''}. Restore the old values, or start a new run."
            )

    def _record(self, kind: Kind, state: RunState, metrics: dict[str, Any]) -> list[Record]:
        """Write records to all loggers, then check for numbers that are not finite."""
        if kind == "evaluation":
            self._evaluated_at = iteration_of(state)
        seconds = round(time.monotonic() - self._started, 3)
        processor = None if self._processor_seconds is None else round(self._processor_seconds, 3)
        metrics, found = non_finite.split(metrics)
        values = {name: np.asarray(value) for name, value in metrics.items()}
        env_steps = np.asarray(state.learner.env_steps)
        new_records = [
            Record(
                kind=kind,
                seed=seed,
                iteration=iteration_of(state),
                env_steps=int(env_steps[place]),
                wall_seconds=seconds,
                processor_seconds=processor,
                metrics={name: float(value[place]) for name, value in values.items()},
            )
            for place, seed in enumerate(self.train_config.seeds)
        ]
        for logger in self.loggers:
            logger.write(new_records)
        self._check_found(state, found)
        return new_records

    def _check_found(self, state: RunState, found: dict[str, np.ndarray]) -> None:
        """Stop at numbers that are not finite, or warn once, according to `on_non_finite`."""
        spec, parallel_environments = self.program.spec, self.program.algorithm.episodes_per_iteration
        for quantity, places in found.items():
            if not (places >= 0).any() or quantity in self._warned:
                continue
            seed = int(np.argmax(places >= 0))
            what = non_finite.sentence(quantity, places[seed], time_limit=spec.time_limit, environments=parallel_environments)
            message = f"{spec.name}, seed {self.train_config.seeds[seed]}, iteration {iteration_of(state)} or shortly before: {what}."
            if self.train_config.on_non_finite == "stop":
                raise RunError(
                    f"{message} Training stopped; the checkpoints in {self.folder.checkpoints} are older and intact. If the environment "
                    "is correct, try a lower learning rate; to resume and skip such episodes and updates: "
                    f"`dop resume {self.folder.path} --on-non-finite skip`."
                )
            self._warned.add(quantity)
            logging.getLogger("dop").warning("%s It is skipped and counted, now and later.", message)

    def _check_learner(self, state: RunState) -> None:
        """Raise RunError if the learner is not finite."""
        bad = non_finite.bad_arrays(flatten(state.learner))
        if bad:
            others = f", and {len(bad) - 1} other arrays," if bad[1:] else ""
            raise RunError(
                f"{bad[0]} of the learner{others} became not finite before iteration {iteration_of(state)}. It is not saved; the "
                f"checkpoints in {self.folder.checkpoints} are older and intact. Try a lower learning rate."
            )


def crossed(before: int, after: int, interval: int) -> bool:
    """Whether a multiple of `interval` lies in (before, after]."""
    return after // interval > before // interval


def lowest_steps(state: RunState) -> int:
    """Environment steps of the seed with the fewest."""
    return int(np.min(np.asarray(state.learner.env_steps)))


def iteration_of(state: RunState) -> int:
    """The iteration, which is the same for all seeds."""
    return int(np.asarray(state.iteration)[0])


@contextlib.contextmanager
def stop_requested() -> Iterator[threading.Event]:
    """An event that the first SIGINT, SIGTERM or SIGHUP sets; a second has its usual effect. Outside the main thread it is never set.

    SIGHUP, sent when the terminal is closed, stays ignored if it was, as under `nohup`.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    usual: dict[int, Any] = {}

    def on_signal(number: int, _frame: Any) -> None:
        event.set()
        with contextlib.suppress(OSError, AttributeError):  # Ctrl-C also ends a `tee` that reads this; or there is no stream
            sys.stderr.write("\nstopping after this chunk, with a checkpoint; interrupt again to stop at once without one\n")
        signal.signal(number, usual[number])

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            usual[number] = signal.signal(number, on_signal)
    try:
        yield event
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
