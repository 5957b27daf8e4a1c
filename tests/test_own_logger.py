"""Loggers and callbacks of a user's own: how they are found, what they are told, what they may ask, and that they cannot lose a run."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dop
from dop.loggers import lookup
from dop.training import callbacks
from outside import OwnLogger, OwnQ, StopsAtOnce
from test_cli import run
from test_own_algorithm import GAME, SHORT

QUICK = OwnQ(replay_batch=4, replay_capacity=8)
GIVEN: dict[str, Any] = {
    "environment_options": {"n_agents": 2, "n_actions": 2},
    "eval_interval": 16,
    "eval_episodes": 2,
    "chunk_iterations": 2,
    "checkpoint_interval": 24,
    "quiet": True,
}
"""4 steps of warm-up; then 8 a chunk."""


def train(folder: Path, **given: Any) -> dop.Run:
    return dop.train(QUICK, "matrix-game", run_dir=folder, **{**GIVEN, "seeds": 2, "env_steps": 36, **given})


def timeless(records: Sequence[dop.Record]) -> list[dop.Record]:
    return [replace(record, wall_seconds=0) for record in records]


class Watch(dop.Callback):
    """Keeps all events; stops, or raises, at one of them."""

    def __init__(self, at: str = "", steps: int = 0, answer: Any = None) -> None:
        self.events: list[tuple[str, int, int]] = []
        self.at, self.answer = (at, steps), answer

    def _on(self, method: str, event: dop.TrainingEvent) -> Any:
        self.events.append((method, event.env_steps[0], len(event.records)))
        assert event.env_steps == tuple(np.asarray(event.learner.env_steps))
        if (method, event.env_steps[0]) != self.at:
            return None
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def on_chunk(self, event: dop.TrainingEvent) -> Any:
        assert all(record.kind == "train" for record in event.records)
        return self._on("chunk", event)

    def on_evaluation(self, event: dop.TrainingEvent) -> Any:
        assert all(record.kind == "evaluation" for record in event.records)
        return self._on("evaluation", event)

    def on_checkpoint(self, event: dop.TrainingEvent) -> Any:
        assert any((event.run_dir / "checkpoints").iterdir())
        return self._on("checkpoint", event)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dop.Run, OwnLogger, Watch]:
    """An uninterrupted run, with who was told of it."""
    logger, watch = OwnLogger(), Watch()
    return train(tmp_path_factory.mktemp("whole") / "run", loggers=[logger], callbacks=[watch]), logger, watch


def test_a_logger_gets_every_record_in_order(whole: tuple[dop.Run, OwnLogger, Watch]):
    run, logger, _ = whole
    assert [name for name, _ in logger.calls] == ["open", *["write"] * (len(run.records) // 2), "close"]
    assert [record for name, records in logger.calls if name == "write" for record in records] == run.records
    told = logger.calls[0][1]
    assert (told.path, told.config.algorithm, told.resumed_at) == (run.path, "outside:OwnQ", None)


def test_a_callback_is_told_of_everything(whole: tuple[dop.Run, OwnLogger, Watch]):
    assert whole[2].events == [
        ("evaluation", 4, 2),
        ("checkpoint", 4, 0),
        ("chunk", 12, 2),
        ("evaluation", 20, 2),
        ("chunk", 20, 2),
        ("checkpoint", 28, 0),
        ("chunk", 28, 2),
        ("evaluation", 36, 2),
        ("chunk", 36, 2),
        ("checkpoint", 36, 0),
    ]


@pytest.mark.parametrize(("at", "steps", "answer"), [("evaluation", 4, True), ("chunk", 12, np.bool_(True))])
def test_a_callback_stops_a_run_which_resumes_to_the_same(
    whole: tuple[dop.Run, OwnLogger, Watch], tmp_path: Path, capsys: pytest.CaptureFixture[str], at: str, steps: int, answer: Any
):
    stopped = train(tmp_path / "run", callbacks=[Watch(at, steps, answer)], quiet=False)
    assert f"Stopped by Watch after {steps} environment steps; resume with: dop resume {stopped.path}" in capsys.readouterr().err
    assert not stopped.outcome.finished
    assert stopped.outcome.env_steps == (steps, steps)
    logger = OwnLogger()
    resumed = dop.resume(stopped.path, algorithm=OwnQ, loggers=[logger], quiet=True)
    assert resumed.outcome == whole[0].outcome
    assert timeless(resumed.records) == timeless(whole[0].records)
    assert logger.calls[0][1].resumed_at == steps


@pytest.mark.parametrize(("at", "steps"), [("chunk", 12), ("evaluation", 20)])
def test_what_a_callback_raises_is_raised_once_the_run_is_saved(
    whole: tuple[dop.Run, OwnLogger, Watch], tmp_path: Path, at: str, steps: int
):
    with pytest.raises(ZeroDivisionError) as raised:
        train(tmp_path / "run", callbacks=[Watch(), Watch(at, steps, ZeroDivisionError("oh"))])
    assert f"dop resume {tmp_path / 'run'}" in raised.value.__notes__[0]
    resumed = dop.resume(tmp_path / "run", algorithm=OwnQ, quiet=True)
    assert timeless(resumed.records) == timeless(whole[0].records)


def test_an_answer_that_is_neither_yes_nor_no_is_refused(tmp_path: Path):
    with pytest.raises(dop.RunError, match=r"Watch.on_chunk returned 'stop'"):
        train(tmp_path / "run", callbacks=[Watch("chunk", 12, "stop")])


class Failing(OwnLogger):
    """Raises in one of its methods, from the second time on in `write`."""

    def __init__(self, where: str, error: BaseException) -> None:
        super().__init__()
        self.where, self.error = where, error

    def write(self, records: Sequence[dop.Record]) -> None:
        super().write(records)
        if self.where == "write" and len(self.calls) > 2:
            raise self.error

    def open(self, run: dop.LoggedRun) -> None:
        super().open(run)
        if self.where == "open":
            raise self.error

    def close(self) -> None:
        super().close()
        if self.where == "close":
            raise self.error


@pytest.mark.parametrize(("where", "error"), [("write", OSError("the network is gone")), ("close", SystemExit(3))])
def test_a_logger_that_fails_is_warned_of_once_and_loses_nothing(
    whole: tuple[dop.Run, OwnLogger, Watch], tmp_path: Path, caplog: pytest.LogCaptureFixture, where: str, error: BaseException
):
    failing, sound = Failing(where, error), OwnLogger()
    with caplog.at_level(logging.WARNING, logger="dop"):
        run = train(tmp_path / "run", loggers=[failing, sound])
    assert timeless(run.records) == timeless(whole[0].records)
    (text,) = (record.getMessage() for record in caplog.records)
    assert re.search(rf"logger Failing failed and gets no more.*{type(error).__name__} at .*test_own_logger\.py:\d+: {error}", text)
    assert sum(name == "write" for name, _ in failing.calls) == (2 if where == "write" else len(run.records) // 2)
    assert failing.calls[-1] == sound.calls[-1] == ("close", None)


def test_a_logger_that_cannot_be_opened_refuses_the_run(tmp_path: Path):
    with pytest.raises(dop.ConfigError, match=r"logger Failing cannot be opened: OSError at .*: no key"):
        train(tmp_path / "run", loggers=[Failing("open", OSError("no key"))])
    assert dop.resume(tmp_path / "run", algorithm=OwnQ, quiet=True, env_steps=12).outcome.finished


@pytest.fixture
def own_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An installed package that offers a logger and a callback, both called `own`."""
    (tmp_path / "x-1.0.dist-info").mkdir()
    (tmp_path / "x-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: x\nVersion: 1.0\n")
    points = "[dop.loggers]\nown = outside:OwnLogger\n[dop.callbacks]\nown = outside:StopsAtOnce\n"
    (tmp_path / "x-1.0.dist-info" / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("own_package")
def test_callbacks_are_found_by_name():
    given = StopsAtOnce()
    found = callbacks.chosen(["own", "outside:StopsAtOnce", given])
    assert [type(callback) for callback in found] == [StopsAtOnce] * 3
    assert found[2] is given


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("outside:OwnLogger", "OwnLogger is not a callback: it has no on_chunk, on_evaluation, on_checkpoint"),
        ("outside:values", r"The callback outside:values cannot be made: TypeError.* gets no arguments; .* callbacks=\[values\(...\)\]"),
        ("outside", r"There is no callback \(one of your own is named outside:Outside\) 'outside'. Known: none"),
        ("no_such_module:X", "Cannot load the callback 'no_such_module:X'"),
        (StopsAtOnce, r"the class StopsAtOnce; pass an instance: StopsAtOnce\(\)"),
        (3, "int is not a callback"),
    ],
)
def test_what_is_no_callback_is_refused(given: Any, words: str, tmp_path: Path):
    with pytest.raises(dop.ConfigError, match=words):
        train(tmp_path / "run", callbacks=[given])
    assert not (tmp_path / "run").exists()


def test_the_command_line_takes_callbacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """It stops the run at once, and again when it is named again; without it, the run ends."""
    words = [*GAME, *SHORT, "--env-steps=40", "--run-dir", tmp_path / "run"]
    assert run(monkeypatch, "train", "outside:OwnQ", *words, "--callback", "outside:StopsAtOnce") == 0
    assert "Interrupted." in capsys.readouterr().out
    assert run(monkeypatch, "resume", tmp_path / "run", "--trust", "--callback", "outside:StopsAtOnce") == 0
    assert "resume with" in capsys.readouterr().out
    assert run(monkeypatch, "resume", tmp_path / "run", "--trust") == 0
    assert "finished after" in capsys.readouterr().out


@pytest.mark.usefixtures("own_package")
def test_loggers_are_found_by_name():
    found: list[Any] = lookup.chosen(["own", "outside:OwnLogger", "tensorboard", "own", OwnLogger()], online=False)
    assert [type(logger._logger) for logger in found] == [OwnLogger] * 3


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("outside:OwnQ", "outside:OwnQ is not a logger: it has no open, write, close"),
        (
            "outside:values",
            r"The logger outside:values cannot be made: TypeError.* gets no arguments; .* loggers=\[values\(...\)\]",
        ),
        ("outside", "There is no logger \\(one of your own is named outside:Outside\\) 'outside'"),
        ("outside.py:OwnLogger", r"Cannot load the logger .*: name the module without \.py, outside:OwnLogger"),
        ("outside:QUICK", "Cannot load the logger 'outside:QUICK'"),
        ("dop:__version__", "it must be a class, or a function that makes a logger"),
        ("tensorbord", "no logger 'tensorbord'. Did you mean 'tensorboard'"),
        (OwnLogger, r"the class OwnLogger; pass an object of it: OwnLogger\(\)"),
        (3, "int is not a logger"),
    ],
)
def test_what_is_no_logger_is_refused(given: Any, words: str, tmp_path: Path):
    with pytest.raises(dop.ConfigError, match=words):
        train(tmp_path / "run", loggers=[given])
    assert not (tmp_path / "run").exists()


def test_the_command_line_takes_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    told: list[str] = []
    monkeypatch.setattr(OwnLogger, "write", lambda self, records: told.extend(record.kind for record in records))
    words = [*GAME, *SHORT, "--env-steps=10", "--run-dir", tmp_path / "run"]
    assert run(monkeypatch, "train", "outside:OwnQ", *words, "--logger", "outside:OwnLogger", "tensorboard") == 0
    assert told.count("evaluation") == 2
    assert run(monkeypatch, "resume", tmp_path / "run", "--trust", "--logger", "nobody:X") == 2
    assert "Cannot load the logger 'nobody:X'" in capsys.readouterr().err
