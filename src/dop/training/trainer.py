"""The life of a run: start or restore, then chunk by chunk learn, record, evaluate, save, until the steps are done or someone says stop."""

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
from jax.sharding import Mesh

from dop.devices import memory, parallel
from dop.errors import ConfigError, RunError, plain, shown
from dop.loggers.protocol import Logger
from dop.storage import initial, records
from dop.storage.checkpoints import KEPT, Checkpoints, flatten
from dop.storage.records import Kind, Record
from dop.storage.run_directory import RunConfig, RunFolder, check_version, differences, library_version
from dop.storage.snapshots import Snapshots, score
from dop.training import callbacks, non_finite
from dop.training.program import Learning, RunState

At: TypeAlias = Literal["best", "latest"] | int
"""A moment of a run: each seed's best evaluation, the newest checkpoint, or the environment steps of a snapshot."""


def checked_at(at: Any) -> At:
    """`at` as a moment; numbers may be texts, as they are typed.

    Raises:
        ConfigError: it is none.
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
    """How a run, or a stretch of one, ended."""

    finished: bool
    """False if it was stopped from outside; it can be resumed."""
    env_steps: tuple[int, ...]
    """Per seed."""
    evaluation: dict[str, tuple[float, ...]]
    """Greedy evaluation of the last state: metric, then seed. Empty if the run was stopped where none was due."""


class Trainer:
    """Drives a program over all seeds of its `TrainConfig`. State goes in and out of its driver; only clocks and files live here."""

    def __init__(self, program: Learning, config: RunConfig, folder: RunFolder) -> None:
        self.program, self.config, self.folder = program, config, folder
        self.train_config = train_config = program.train_config
        self.loggers: Sequence[Logger] = ()
        self.callbacks: Sequence[callbacks.Callback] = ()
        self.devices: Mesh = parallel.mesh(len(train_config.seeds))
        self.driver = program.drive()
        self._started = time.monotonic()
        self._saved_at = self._evaluated_at = -1
        self._warned: set[str] = set()
        self._asked_to_stop = False
        self._evaluations: list[dict[str, float]] = []
        """What all evaluations said."""
        self._best: dict[int, dict[str, float]] = {}
        """The same of each seed's best."""

    @property
    def shared_devices(self) -> bool:
        """Whether several seeds have to share one device of a CPU."""
        return jax.devices()[0].platform == "cpu" and self.devices.size < len(self.train_config.seeds)

    def start(self) -> RunState:
        """A fresh state, warmed up, evaluated once and saved, so that there always is something to go on from."""
        state = self.driver.start(parallel.place(parallel.keys(self.train_config.seeds), self.devices), self._prepare)
        found = parallel.over_seeds(lambda s: non_finite.of_episodes(s.replay.items), self.devices)(state)
        self._check_found(state, non_finite.split(found)[1])
        told = self._record("evaluation", state, self.driver.evaluate(state))
        self._keep_best(state, told)
        self.save(state)
        self.snapshots.save(lowest_steps(state), state.learner)
        self._call("on_evaluation", state, told)
        self._call("on_checkpoint", state)
        return state

    def rewind(self, state: RunState) -> None:
        """Take back what the run reported and kept beyond a restored `state`.

        An evaluation that was due only because the run ended there is taken back as well if the run goes on now, so that its records are
        those of a run that was never stopped.
        """
        here, steps = iteration_of(state), lowest_steps(state)
        found = [record for record in records.read(self.folder.metrics) if record.iteration <= here]
        evaluated = any(record.kind == "evaluation" and record.iteration == here for record in found)
        if evaluated and steps < self.train_config.env_steps and not self._was_due(found, here, steps):
            evaluated = False
        self._evaluated_at = here if evaluated else -1
        records.keep_until(self.folder.metrics, here, evaluation=evaluated)
        self.snapshots.keep_until(steps)
        self._rewind_best(here, [record for record in found if record.kind == "evaluation" and (evaluated or record.iteration < here)])

    def _rewind_best(self, here: int, evaluations: Sequence[Record]) -> None:
        """Take back what is the best, to what it was among these evaluations."""
        self._evaluations = [record.metrics for record in evaluations]
        self._best = {}
        if not self.snapshots.rewind_best(here):
            return
        like = jax.eval_shape(jax.vmap(self.program.start), parallel.keys(self.train_config.seeds)).learner
        try:
            learned = np.asarray(self.snapshots.restore_best(like).env_steps).tolist()
        except RunError as error:
            logging.getLogger("dop").warning("The best is looked for anew, from the next evaluation on: %s", error)
            return
        at = dict(zip(self.train_config.seeds, learned, strict=True))
        self._best = {record.seed: record.metrics for record in evaluations if at.get(record.seed) == record.env_steps}

    def _keep_best(self, state: RunState, told: Sequence[Record]) -> None:
        """Keep the learners of the seeds whose evaluation is at least as good as all of theirs before."""
        self._evaluations += [record.metrics for record in told]
        names = [f"test_{name}_mean" for name in self.program.spec.metrics]
        known = {name: [metrics[name] for metrics in self._evaluations if math.isfinite(metrics.get(name, math.nan))] for name in names}
        shares = [name for name, values in known.items() if values and min(values) >= 0 and max(values) <= 1]
        better = [
            place
            for place, record in enumerate(told)
            if record.seed not in self._best or score(record.metrics, shares) >= score(self._best[record.seed], shares)
        ]
        if better:
            self.snapshots.keep_best(state.learner, better)
        self._best |= {told[place].seed: told[place].metrics for place in better}

    def _was_due(self, found: Sequence[Record], here: int, steps: int) -> bool:
        """Whether an evaluation at iteration `here` is one of those that come at the interval, or the first."""
        earlier = [record for record in found if record.iteration < here]
        if not earlier:
            return True
        last = max(record.iteration for record in earlier)
        return crossed(min(record.env_steps for record in earlier if record.iteration == last), steps, self.train_config.eval_interval)

    def _prepare(self, state: RunState) -> RunState:
        """Put in what the run is to start from, if that is another run's."""
        if self.config.init_from is None:
            return state
        return dataclasses.replace(state, learner=parallel.place(initial.load(self.folder, state.learner), self.devices))

    def restore(self) -> RunState:
        """The state of the newest checkpoint, exactly as it was."""
        like = jax.eval_shape(jax.vmap(self.program.start), parallel.keys(self.train_config.seeds))
        state, meta = self.checkpoints.restore(like, self._accept)
        self._started = time.monotonic() - float(meta["wall_seconds"])
        self._saved_at = iteration_of(state)
        return parallel.place(state, self.devices)

    def restore_at(self, at: At) -> RunState:
        """The state of the newest checkpoint, with what had been learned at another moment: each seed's best, or a snapshot's.

        Raises:
            RunError: there is no such snapshot; the message names those that there are.
        """
        state = self.restore()
        if at in ("latest", lowest_steps(state)):
            return state
        steps = self.snapshots.steps
        if at == "best" and not self.snapshots.best.exists():
            raise RunError(f"{self.folder.path} has no snapshots/best.npz. It is written at the next evaluation: `dop resume` the run.")
        if at != "best" and at not in steps:
            there = ", ".join(map(str, steps)) or "none"
            raise RunError(
                f"{self.folder.path} has no snapshot at {at} environment steps. There are: {there}. Name one of them, best or latest."
            )
        like = jax.eval_shape(lambda: state.learner)
        learner = self.snapshots.restore_best(like) if at == "best" else self.snapshots.restore(int(at), like)
        return dataclasses.replace(state, learner=parallel.place(learner, self.devices))

    def run(self, state: RunState, stop: threading.Event) -> Outcome:
        """Train until every seed has its `env_steps`, or until `stop` is set or a callback asks for it; either way everything is saved."""
        train_config, evaluation = self.train_config, None
        steps = lowest_steps(state)
        if steps >= train_config.env_steps and iteration_of(state) == 0:
            logging.getLogger("dop").warning(
                "%s: nothing is learned: the warm-up alone has taken %s environment steps, and the run is to have %s. Give it more "
                "(env_steps), or choose an algorithm's setting with fewer episodes before the first update (%s now).",
                *(self.folder.path, f"{steps:,}", f"{train_config.env_steps:,}", self.program.algorithm.warmup_episodes),
            )
        while steps < train_config.env_steps and not (stop.is_set() or self._asked_to_stop):
            state, metrics = self.driver.chunk(state)
            told = self._record("train", state, metrics)
            before, steps = steps, lowest_steps(state)
            evaluation = None
            if crossed(before, steps, train_config.eval_interval):
                evaluation = self.driver.evaluate(state)
                evaluated = self._record("evaluation", state, evaluation)
                self.snapshots.save(steps, state.learner)
                self._keep_best(state, evaluated)
                self._call("on_evaluation", state, evaluated)
            if crossed(before, steps, train_config.checkpoint_interval):
                self._checkpoint(state)
            # Last, so that nothing that is due is missing where a callback raises here.
            self._call("on_chunk", state, told)
        finished = steps >= train_config.env_steps
        if self._saved_at != iteration_of(state):
            self._checkpoint(state)
        if evaluation is None and finished:  # who was stopped has to be gone soon
            evaluation = self.driver.evaluate(state)
            if self._evaluated_at != iteration_of(state):
                evaluated = self._record("evaluation", state, evaluation)
                self._keep_best(state, evaluated)
                self._call("on_evaluation", state, evaluated)
        values = {name: tuple(float(v) for v in np.asarray(value)) for name, value in (evaluation or {}).items()}
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
        return Snapshots(self.folder.snapshots, self.train_config.snapshots)

    def save(self, state: RunState) -> None:
        """Write a checkpoint.

        Raises:
            RunError: it cannot be written, or the learner is spoilt; what was saved before is as it was.
        """
        self._check_learner(state)
        self._saved_at = iteration_of(state)
        self.checkpoints.save(self._saved_at, state, self._meta())
        self.snapshots.save_best(self._saved_at, copies=KEPT)
        memory.give_back()

    def _checkpoint(self, state: RunState) -> None:
        """Save, if this very state is not saved yet, and tell the callbacks."""
        if self._saved_at != iteration_of(state):
            self.save(state)
        self._call("on_checkpoint", state)

    def _call(self, method: callbacks.Method, state: RunState, told: Sequence[Record] = ()) -> None:
        """Tell the callbacks of an event. What one raises ends the run, which is saved first."""
        for callback in self.callbacks:
            event = callbacks.TrainingEvent(
                run_dir=self.folder.path,
                iteration=iteration_of(state),
                env_steps=tuple(np.asarray(state.learner.env_steps).tolist()),
                records=tuple(told),
                learner=state.learner,
            )
            try:
                self._asked_to_stop |= callbacks.asks_to_stop(callback, method, event)
            except (Exception, SystemExit) as error:  # it is somebody else's code
                if self._saved_at != iteration_of(state):
                    self.save(state)
                error.add_note(f"The run is saved; go on with: dop resume {self.folder.path}")
                raise

    def _meta(self) -> dict[str, Any]:
        """What a checkpoint says of itself beside its arrays; `_accept` reads it."""
        return {"wall_seconds": time.monotonic() - self._started, "library_version": library_version(), "made_by": self.config.made_by}

    def _accept(self, meta: dict[str, Any]) -> None:
        """Refuse a checkpoint by what it says of itself.

        Raises:
            RunError: it is of another library, or of another configuration than the run now has.
            ValueError: it says nothing that `_meta` could have said.
        """
        try:
            version, made_by, seconds = str(meta["library_version"]), dict(meta["made_by"]), float(meta["wall_seconds"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"meta.json is damaged: {error!r}") from error
        if not 0 <= seconds < math.inf:
            raise ValueError(f"meta.json is damaged: {seconds} seconds")
        check_version(version, self.folder.checkpoints)
        differ = differences(made_by, self.config.made_by)
        if differ:
            raise RunError(
                f"{self.folder.checkpoints} was saved under another configuration than {self.folder.config} now says: {differ[0]}"
                f"{f', and {len(differ) - 1} more' if differ[1:] else ''}. Put the old values back, or start a new run."
            )

    def _record(self, kind: Kind, state: RunState, metrics: dict[str, Any]) -> list[Record]:
        """Report to all loggers, then stop for what is not finite."""
        if kind == "evaluation":
            self._evaluated_at = iteration_of(state)
        seconds = round(time.monotonic() - self._started, 3)
        metrics, found = non_finite.split(metrics)
        values = {name: np.asarray(value) for name, value in metrics.items()}
        env_steps = np.asarray(state.learner.env_steps)
        told = [
            Record(
                kind=kind,
                seed=seed,
                iteration=iteration_of(state),
                env_steps=int(env_steps[place]),
                wall_seconds=seconds,
                metrics={name: float(value[place]) for name, value in values.items()},
            )
            for place, seed in enumerate(self.train_config.seeds)
        ]
        for logger in self.loggers:
            logger.write(told)
        self._check_found(state, found)
        return told

    def _check_found(self, state: RunState, found: dict[str, np.ndarray]) -> None:
        """Stop for what is not finite, or warn of it once, as the protocol has it."""
        spec, side_by_side = self.program.spec, self.program.algorithm.episodes_per_iteration
        for quantity, places in found.items():
            if not (places >= 0).any() or quantity in self._warned:
                continue
            seed = int(np.argmax(places >= 0))
            what = non_finite.sentence(quantity, places[seed], time_limit=spec.time_limit, environments=side_by_side)
            told = f"{spec.name}, seed {self.train_config.seeds[seed]}, iteration {iteration_of(state)} or shortly before: {what}."
            if self.train_config.on_non_finite == "stop":
                raise RunError(
                    f"{told} Training stopped; the checkpoints in {self.folder.checkpoints} are from before. If the environment is sound, "
                    "try a lower learning rate; to go on without such episodes and updates: "
                    f"`dop resume {self.folder.path} --on-non-finite skip`."
                )
            self._warned.add(quantity)
            logging.getLogger("dop").warning("%s It is skipped and counted, now and later.", told)

    def _check_learner(self, state: RunState) -> None:
        """Raise RunError rather than save a learner that is spoilt."""
        bad = non_finite.bad_arrays(flatten(state.learner))
        if bad:
            others = f", and {len(bad) - 1} other arrays," if bad[1:] else ""
            raise RunError(
                f"{bad[0]} of the learner{others} became not finite before iteration {iteration_of(state)}. It is not saved; the "
                f"checkpoints in {self.folder.checkpoints} are from before. Try a lower learning rate."
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
    """An event that SIGINT, SIGTERM or SIGHUP sets, once; a second one has its usual effect. Outside of the main thread it is never set.

    SIGHUP, of a terminal that is closed, stays ignored where it was, as under `nohup`.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    usual: dict[int, Any] = {}

    def on_signal(number: int, _frame: Any) -> None:
        event.set()
        with contextlib.suppress(OSError, AttributeError):  # Ctrl-C ends the `tee` that reads this, too; or there is no such stream
            sys.stderr.write("\nstopping after this chunk, then saving; once more stops at once and loses what is not saved\n")
        signal.signal(number, usual[number])

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            usual[number] = signal.signal(number, on_signal)
    try:
        yield event
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
