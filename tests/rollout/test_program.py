"""A whole run in a Python environment: learning, records and checkpoints; the same numbers when resumed or with worker processes."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import psutil
import pytest

import dop
import dop.envs
from dop.devices.parallel import keys, mesh, place
from dop.loggers import jsonl
from dop.rollout.program import PythonDriver, PythonProgram, Source
from dop.storage import records
from dop.storage.checkpoints import Checkpoints, flatten
from dop.storage.run_directory import RunFolder
from dop.training.collect import collect
from dop.types import PythonEnvironment, TimeStep
from python_environments import Walk

TINY = dop.VDN(actor=dop.GRU(hidden_size=8), episodes_per_iteration=3, replay_capacity=16, replay_batch=4)
SEEDS = (2, 7)
RULES: dict[str, Any] = {"eval_interval": 30, "eval_episodes": 4, "chunk_iterations": 2, "checkpoint_interval": 20}
GOAL = 60
DOP = [sys.executable, "-c", "from dop.cli import main; main()"]


class AsPython:
    """A JAX environment without randomness, as a `PythonEnvironment`."""

    def __init__(self, environment: dop.Environment) -> None:
        self._environment, self._key = environment, jax.random.key(0)
        self.spec = environment.spec

    def reset(self, seed: int) -> TimeStep:
        self._state, step = self._environment.reset(self._key)
        return jax.device_get(step)

    def step(self, action: np.ndarray) -> TimeStep:
        self._state, step = self._environment.step(self._key, self._state, jax.numpy.asarray(action))
        return jax.device_get(step)

    def render(self) -> None:
        return None

    def close(self) -> None: ...


def test_greedy_play_is_that_of_the_compiled_program():
    """In a game without randomness, and on the same networks."""
    game = dop.make("two-step")
    assert not isinstance(game, PythonEnvironment)
    config = dop.TrainConfig(seeds=(4,))
    program = PythonProgram(algorithm=TINY, environment=Source(game.spec, lambda: AsPython(game)), train_config=config)
    driver = PythonDriver(program)
    state: Any = jax.vmap(program.start)(keys((4,)))
    played = driver._play(driver._evaluating, state.learner, keys((9,)), 3)
    learner = jax.tree.map(lambda x: x[0], state.learner)
    episodes, summary = jax.jit(lambda k: collect(TINY, game, learner, k, episodes=3, explore=False, dtype=np.float16))(jax.random.key(1))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x[0], y, rtol=1e-6), played.episodes, episodes)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x[0], y, rtol=1e-6), played.summary, summary)


def test_sampled_play_explores_in_the_environments_for_evaluation():
    """VDN's only stochastic policy is its exploration, uniform at the start, with several returns in the two-step game."""
    game: Any = dop.make("two-step")
    config = dop.TrainConfig(seeds=(4,))
    driver = PythonDriver(PythonProgram(algorithm=TINY, environment=Source(game.spec, lambda: AsPython(game)), train_config=config))
    state: Any = jax.vmap(driver.program.start)(keys((4,)))
    greedy, sampled = (np.asarray(driver.play(state.learner, keys((9,)), 40, sampled=how).undiscounted_return) for how in (False, True))
    driver.close()
    assert greedy.shape == sampled.shape == (1, 40)
    assert len(np.unique(greedy)) == 1
    assert len(np.unique(sampled)) > 1


def test_a_resumed_run_with_new_environments_equals_an_uninterrupted_one(tmp_path: Path):
    """One of them goes through a checkpoint, an evaluation, and new environments."""
    driver = PythonDriver(
        PythonProgram(algorithm=TINY, environment=Source(Walk().spec, Walk), train_config=dop.TrainConfig(seeds=SEEDS, chunk_iterations=2))
    )
    devices = mesh(len(SEEDS))
    checkpoints = Checkpoints(tmp_path)

    def restore() -> Any:
        like = jax.eval_shape(jax.vmap(driver.program.start), keys(SEEDS))
        return place(checkpoints.restore(like, lambda _: None)[0], devices)

    state = driver.start(place(keys(SEEDS), devices))
    checkpoints.save(0, state, {})
    whole, report = driver.chunk(driver.chunk(state)[0])
    expected = {name: array.copy() for name, array in flatten(whole).items()}
    halfway, _ = driver.chunk(restore())
    checkpoints.save(2, halfway, {})
    driver.evaluate(halfway)
    driver.close()
    resumed, again = driver.chunk(restore())
    driver.close()
    for name, array in flatten(resumed).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    jax.tree.map(np.testing.assert_array_equal, report, again)
    assert np.unique(expected["learner/env_steps"]).size == 2
    assert report["episodes_dropped"].tolist() == [0, 0]


def test_the_spread_of_returns_is_that_of_all_episodes_of_a_chunk():
    """2 iterations of 3 episodes, against each seed's replay; and epsilon is that of the last step."""
    driver = PythonDriver(
        PythonProgram(algorithm=TINY, environment=Source(Walk().spec, Walk), train_config=dop.TrainConfig(seeds=SEEDS, chunk_iterations=2))
    )
    state, report = driver.chunk(driver.start(place(keys(SEEDS), mesh(len(SEEDS)))))
    driver.close()
    for seed in range(len(SEEDS)):
        replay = jax.tree.map(lambda x, seed=seed: x[seed], state.replay)
        returns = np.sum(np.asarray(replay.latest(6).reward), axis=1)
        expected = {"mean": np.mean(returns), "std": np.std(returns), "min": np.min(returns), "max": np.max(returns)}
        assert {name: float(report[f"return_{name}"][seed]) for name in expected} == pytest.approx(expected, rel=1e-5)
        assert float(report["epsilon"][seed]) == pytest.approx(1 - 0.95 * int(state.learner.env_steps[seed]) / 50_000, rel=1e-6)


class Runs(NamedTuple):
    """The same run twice: in one process without interruption; and with two workers, interrupted by Ctrl-C after a chunk, and resumed."""

    whole: dop.Run
    broken: dop.Run
    finished: bool
    """Whether the interrupted run had finished before."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    options: dict[str, Any] = {"seeds": SEEDS, "environment_options": {"time_limit": 4}, "quiet": True, **RULES}
    whole = dop.train(TINY, "python_environments:make", env_steps=GOAL, run_dir=folder / "whole", **options)
    write = jsonl.JsonLines.write

    def write_and_interrupt(self: jsonl.JsonLines, found: Sequence[records.Record]) -> None:
        write(self, found)
        if found[0].kind == "train":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl.JsonLines, "write", write_and_interrupt)
        stopped = dop.train(TINY, "python_environments:make", env_steps=GOAL, run_dir=folder / "broken", env_workers=2, **options)
    return Runs(whole=whole, broken=dop.resume(stopped.path, trust=True, quiet=True), finished=stopped.outcome.finished)


def test_the_same_run_with_workers_and_resumed(runs: Runs):
    assert not runs.finished
    assert runs.broken.outcome.env_steps == runs.whole.outcome.env_steps
    assert min(runs.whole.outcome.env_steps) >= GOAL
    for one, other in zip(runs.broken.records, runs.whole.records, strict=True):
        assert one.metrics == pytest.approx(other.metrics, rel=1e-4, abs=1e-5)  # double buffering rounds differently
        assert dataclasses.replace(one, wall_seconds=0.0, metrics={}) == dataclasses.replace(other, wall_seconds=0.0, metrics={})
    train = [record for record in runs.whole.records if record.kind == "train"]
    assert {"return_mean", "ep_length_mean", "steps_mean", "episodes_dropped"} <= train[-1].metrics.keys()
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


def test_a_metric_that_never_appeared_is_named_once(caplog: pytest.LogCaptureFixture):
    """A metric that appears at the end of an episode is not named."""
    make = functools.partial(dop.envs.make, "odd_games:Won", metrics=["won", "wonn"])
    driver = PythonDriver(
        PythonProgram(algorithm=TINY, environment=Source(make().spec, make), train_config=dop.TrainConfig(seeds=(4,), eval_episodes=2))
    )
    state = driver.start(keys((4,)))
    evaluations = [driver.evaluate(state) for _ in range(2)]
    [warning] = [record.getMessage() for record in caplog.records]
    assert warning.startswith("odd_games:Won: the metric wonn has not been in the environment's infos so far, and is reported as 0")
    assert [(float(one["test_won_mean"][0]), float(one["test_wonn_mean"][0])) for one in evaluations] == [(1, 0)] * 2


def test_workers_are_in_the_configuration_and_can_be_changed(runs: Runs):
    folder = RunFolder(runs.broken.path)
    config = folder.read_config()
    assert (config.train_config.env_workers, config.train_config.env_timeout) == (2, 120.0)
    found = json.loads(folder.config.read_text())
    found["train_config"]["env_workers"] = 0
    folder.config.write_text(json.dumps(found))
    assert folder.read_config().made_by == config.made_by
    broken, whole = (dop.evaluate(run.path, episodes=5, trust=True) for run in (runs.broken, runs.whole))
    assert broken == whole


class Unique(Walk):
    """Cannot be made by its name."""

    @property
    def spec(self) -> dop.EnvSpec:
        return dataclasses.replace(super().spec, name="nowhere:unique")


def test_an_environment_must_be_made_more_than_once(tmp_path: Path):
    one = Unique()
    made: Any = one
    with pytest.raises(dop.ConfigError, match="needs several environments, but nowhere:unique cannot be made again"):
        dop.train(TINY, made, env_steps=1, run_dir=tmp_path / "run", quiet=True)
    not_one: Any = lambda: 3  # noqa: E731
    with pytest.raises(dop.ConfigError, match="returned int, which is not an environment"):
        dop.train(TINY, not_one, env_steps=1, run_dir=tmp_path / "run", quiet=True)
    assert (one.seen, one.closed) == ([], 0)


class NoSpec(Walk):
    @property
    def spec(self) -> Any:
        return 3


def test_a_spec_must_be_an_env_spec(tmp_path: Path):
    with pytest.raises(dop.ConfigError, match=r"The spec of .*NoSpec.* is int; it must be a dop\.EnvSpec"):
        dop.train(TINY, NoSpec, env_steps=1, run_dir=tmp_path / "run", quiet=True)


def test_an_invalid_first_step_is_refused_before_anything_is_written(tmp_path: Path):
    with pytest.raises(dop.ConfigError, match="python_environments:Walk: obs has nan after reset"):
        dop.train(TINY, lambda: Walk(wrong=True), env_steps=1, run_dir=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("environment", "workers", "words"),
    [
        ("two-step", 2, "env_workers=2 is for Python environments; two-step is written in JAX"),
        ("two-step", "ray:1", "env_workers=ray:1 is for Python environments"),
        (
            "python_environments:make",
            4,
            r"env_workers=4 are more than the 3 environments that run at once \(episodes_per_iteration",
        ),
        ("python_environments:make", "two", "env_workers must be 0, a number of processes, or ray:N; got 'two'"),
        ("python_environments:make", "ray:0", "got 'ray:0'"),
        ("python_environments:make", -1, "got -1"),
    ],
)
def test_invalid_workers(tmp_path: Path, environment: str, workers: int | str, words: str):
    with pytest.raises(dop.ConfigError, match=words):
        dop.train(TINY, environment, env_steps=1, run_dir=tmp_path / "run", env_workers=workers)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_from_the_command_line_ends_well_on_sigterm(tmp_path: Path):
    """Two seeds on two host devices, two workers; a signal to the whole process group, as a scheduler sends it."""
    sizes = ["--actor.hidden-size", "8", "--episodes-per-iteration", "2", "--replay-capacity", "8", "--replay-batch", "4"]
    options = ["--env", "python_environments:make", "--env-args", "sleep=0.01", "--env-steps", "100000", "--env-workers", "2"]
    words = [
        "train",
        "vdn",
        *options,
        *sizes,
        "--seeds",
        "2",
        "--chunk-iterations",
        "2",
        "--eval-episodes",
        "2",
        "--run-dir",
        str(tmp_path / "run"),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*DOP, *words], env=environment, start_new_session=True, **pipes)
    until = time.monotonic() + 300
    while not _has_trained(tmp_path / "run"):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.2)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    os.killpg(process.pid, signal.SIGTERM)
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "resume with: dop resume" in said
    assert not psutil.wait_procs(children, timeout=10)[1]
    assert _has_trained(tmp_path / "run")


def _has_trained(run: Path) -> bool:
    metrics = run / "metrics.jsonl"
    return metrics.exists() and any(record.kind == "train" for record in records.read(metrics))
