"""Environments that call sys.exit, raise or return None, anywhere: each gives a message with its name, the function and the location."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dop
import dop.envs
from dop import api, views
from dop.analysis.playback import Player
from dop.envs.validation.survey import survey
from dop.rollout.shared_memory import RESET, STEP
from dop.rollout.workers import Job, Workers, local
from dop.storage.run_directory import RunFolder
from python_environments import Quits, Walk, quits

QUITS = "python_environments:quits"
HERE = r"/tests/python_environments\.py:[0-9]+"
TINY = dop.VDN(actor=dop.GRU(hidden_size=8), episodes_per_iteration=2, replay_capacity=4, replay_batch=2)
ONCE: dict[str, Any] = {"eval_interval": 1000, "eval_episodes": 1, "chunk_iterations": 1, "quiet": True}


@pytest.fixture(autouse=True)
def _clear_calls() -> Iterator[None]:
    Quits.calls.clear()
    yield
    Quits.calls.clear()


def train(folder: Path, **options: Any) -> dop.Run:
    return dop.train(TINY, QUITS, env_steps=1, run_dir=folder / "run", environment_options=options, **ONCE)


@pytest.mark.parametrize(
    ("where", "how", "words"),
    [
        ("reset", "exit", rf"python_environments:Walk: reset raised: SystemExit at .*{HERE}: 0"),
        ("step", "exit", rf"python_environments:Walk: step raised: SystemExit at .*{HERE}: 0"),
        ("close", "exit", rf"python_environments:Walk: close raised: SystemExit at .*{HERE}: 0"),
        ("make", "exit", rf"'python_environments:quits' cannot be made: SystemExit at .*{HERE}: 0"),
        ("reset", "raise", rf"python_environments:Walk: reset raised: OSError at .*{HERE}: the window is gone"),
        ("step", "raise", rf"python_environments:Walk: step raised: OSError at .*{HERE}: the window is gone"),
        ("close", "raise", rf"python_environments:Walk: close raised: OSError at .*{HERE}: the window is gone"),
        ("make", "raise", rf"'python_environments:quits' cannot be made: OSError at .*{HERE}: the window is gone"),
        ("reset", "none", rf"python_environments:Walk: reset returned NoneType, not a dop\.TimeStep \(.*{HERE}\)"),
        ("step", "none", rf"python_environments:Walk: step returned NoneType, not a dop\.TimeStep \(.*{HERE}\)"),
        ("make", "none", rf"'python_environments:quits' \(.*{HERE}\) returned NoneType, which is not an environment"),
    ],
)
def test_immediate_failures_are_refused_before_anything_is_written(tmp_path: Path, where: str, how: str, words: str):
    with pytest.raises(dop.ConfigError, match=words):
        train(tmp_path, where=where, how=how)
    assert not (tmp_path / "run").exists()
    found = survey_of(where=where, how=how)
    assert re.search(r"SystemExit at|OSError at|NoneType", found)


def survey_of(**options: Any) -> str:
    """The faults that `dop check-env` finds."""
    Quits.calls.clear()
    try:
        return str(survey(lambda: dop.envs.make(QUITS, **options), episodes=1, seed=0).faults)
    except dop.ConfigError as error:
        return str(error)


def job(**options: Any) -> Job:
    spec = Walk(time_limit=9).spec
    make = Maker(options)
    return Job(make=make, spec=spec, n_slots=2, groups=((0, 1),), timeout=60.0)


class Maker:
    """A maker that can be pickled."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options

    def __call__(self) -> Any:
        return dop.envs.make(QUITS, time_limit=9, **self.options)


def execute(workers: Workers, command: int) -> list[int]:
    workers.buffers.command[:], workers.buffers.seed[:] = command, np.arange(2)
    workers.send(0)
    return workers.receive(0).tolist()


def assert_dies(workers: Workers, log: pytest.LogCaptureFixture, function: str) -> None:
    """Each exit loses all of a worker's episodes; the fifth ends the run with the message. Other workers: `test_workers`."""
    words = rf"python_environments:Walk: {function} raised: SystemExit at .*{HERE}: 0"
    try:
        with pytest.raises(dop.RunError, match=rf"worker 0 died 5 times in a row; the last time it raised\n\n{words}\nTraining stopped"):
            for _ in range(5):
                assert execute(workers, RESET) == ([0, 1] if function == "reset" else [])
                assert function == "reset" or execute(workers, STEP) == [0, 1]
    finally:
        workers.close()
    assert len(re.findall(words, log.text)) == 4
    assert "Traceback" not in log.text


@pytest.mark.parametrize("function", ["reset", "step"])
def test_exits_are_deaths_of_a_worker_in_this_process(function: str, caplog: pytest.LogCaptureFixture):
    assert_dies(local(job(where=function)), caplog, function)


def test_a_maker_that_fails_sometimes_is_retried(caplog: pytest.LogCaptureFixture):
    """Like StarCraft II, which does not always start."""
    failing = iter([True, False, False])

    def make() -> Any:
        return dop.envs.make(QUITS, time_limit=9, **({"where": "make", "how": "raise"} if next(failing) else {}))

    workers = local(Job(make=make, spec=Walk(time_limit=9).spec, n_slots=2, groups=((0, 1),), timeout=60.0))
    assert execute(workers, RESET) == [0, 1]
    assert re.search(rf"'python_environments:quits' cannot be made: OSError at .*{HERE}: the window is gone", caplog.text)
    assert execute(workers, RESET) == []
    workers.close()


@pytest.mark.parametrize(("where", "words"), [("reset", "reset of the episode with seed 0"), ("step", "step 1 of the episode with seed 0")])
def test_none_ends_a_run_immediately(where: str, words: str):
    workers = local(job(where=where, how="none"))
    with pytest.raises(dop.ConfigError, match=rf"Walk: {words} gave NoneType, not a dop\.TimeStep \(.*{HERE}\)"):
        for command in (RESET, STEP):
            execute(workers, command)


def test_a_maker_that_later_returns_none():
    workers = local(Job(make=lambda: None, spec=Walk().spec, n_slots=1, groups=((0,),), timeout=1.0))  # type: ignore
    with pytest.raises(dop.ConfigError, match=r"Walk: its maker \(.*\) returned NoneType instead of an environment"):
        workers.buffers.command[:] = RESET
        workers.send(0)
        workers.receive(0)


@pytest.mark.parametrize("how", ["exit", "raise"])
def test_failures_to_close_at_the_end_are_warnings(how: str, caplog: pytest.LogCaptureFixture):
    workers = local(job(where="close", how=how))
    assert execute(workers, RESET) == []
    workers.close()
    assert re.search(rf"Walk could not be closed: (SystemExit|OSError) at .*{HERE}: ", caplog.text)
    assert "Traceback" not in caplog.text


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in an environment that never quits."""
    return dop.train(TINY, quits, env_steps=1, run_dir=tmp_path_factory.mktemp("runs") / "run", **ONCE).path


@pytest.mark.parametrize(("where", "how"), [("step", "exit"), ("render", "exit"), ("close", "raise"), ("reset", "none")])
def test_failures_in_films_and_credit(trained: Path, where: str, how: Any):
    _, program = api.rebuild(RunFolder(trained), quits)
    learner: Any = views.load(trained, environment=quits).learner
    player = Player(program)
    Quits.calls.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Quits, "where", where)
        patch.setattr(Quits, "how", how)
        source = program.environment
        object.__setattr__(source, "make", lambda: Quits(where=where, how=how))
        with pytest.raises(dop.ConfigError, match=rf"python_environments:Walk: {where} (raised:|returned) .*{HERE}"):
            player(learner, views.episodes_key(0), 1)


def test_failures_in_evaluation(trained: Path, caplog: pytest.LogCaptureFixture):
    def make() -> Any:
        return Quits(where="step", after=8)

    with pytest.raises(dop.RunError, match=rf"Walk: step raised: SystemExit at .*{HERE}: 0"):
        api.evaluate(trained, environment=make, episodes=8)
    assert caplog.text


class Broken:
    """A JAX environment that fails in one of its parts."""

    def __init__(self, part: str, error: type[BaseException]) -> None:
        self.game: Any = dop.make("two-step")
        self.part, self.error = part, error

    def _fail(self, part: str) -> None:
        if part == self.part:
            raise self.error("no licence")

    @property
    def spec(self) -> Any:
        self._fail("spec")
        return self.game.spec

    def reset(self, key: Any) -> Any:
        self._fail("reset")
        return None if self.part == "none" else self.game.reset(key)

    def step(self, key: Any, state: Any, action: Any) -> Any:
        self._fail("step")
        return self.game.step(key, state, action)


@pytest.mark.parametrize("error", [ValueError, SystemExit])
@pytest.mark.parametrize(
    ("part", "words"),
    [("spec", "cannot be made: "), ("reset", "two-step counts as .* its reset"), ("step", "two-step counts as .* its step")],
)
def test_failures_of_jax_environments(tmp_path: Path, part: str, words: str, error: type[BaseException]):
    with pytest.raises(dop.ConfigError, match=rf"{words}.*{error.__name__} at .*test_foreign\.py:[0-9]+: no licence"):
        dop.train(TINY, lambda: Broken(part, error), env_steps=1, run_dir=tmp_path / "run", **ONCE)  # type: ignore
    assert not (tmp_path / "run").exists()


def test_a_jax_environment_that_returns_none(tmp_path: Path):
    with pytest.raises(
        dop.ConfigError, match=r"two-step: reset returns NoneType, not a state and a TimeStep \(.*test_foreign\.py:[0-9]+\)"
    ):
        dop.train(TINY, Broken("none", ValueError), env_steps=1, run_dir=tmp_path / "run", **ONCE)


@pytest.mark.parametrize("text", ["raise SystemExit(0)", "raise RuntimeError('no licence')", "import sys; sys.exit()"])
def test_modules_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str):
    monkeypatch.syspath_prepend(tmp_path)
    name = f"module_{abs(hash(text))}"
    (tmp_path / f"{name}.py").write_text(text)
    for environment in (f"{name}:make", f"pymarl:{name}:make", f"pettingzoo:{name}", f"gymnasium:{name}:X-v0"):
        with pytest.raises(dop.ConfigError, match=rf"{name}.*(SystemExit|RuntimeError) at .*{name}\.py:1: "):
            dop.make(environment)
