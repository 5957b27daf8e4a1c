"""Options of the commands that open a run directory: help on one line each, earlier names, and a RUN that an option has taken."""

from __future__ import annotations

from pathlib import Path

import pytest

import dop
from dop import algorithms
from dop.cli.commands.check_env import Options as CheckOptions
from dop.cli.commands.resume import Options
from dop.cli.parsing import parse
from dop.errors import UnknownNameError
from test_cli import run


def test_the_first_word_is_the_run():
    found = parse(Options, ["RUN", "--logger", "a", "b", "--quiet"], prog="dop resume")
    assert isinstance(found, Options)
    assert (found.run, found.logger, found.quiet, found.trust) == (Path("RUN"), ("a", "b"), True, False)


@pytest.mark.parametrize("word", ["--trust", "--trust-env", "--trust_env"])
def test_the_earlier_name_of_trust_is_taken(word: str):
    assert parse(Options, ["RUN", word], prog="dop resume").trust


def test_a_run_that_an_option_has_taken(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        parse(Options, ["--logger", "my_log:L", "RUN", "--quiet"], prog="dop resume")
    shown = capsys.readouterr().err
    assert shown.count("dop resume: --logger takes all words that follow it. Put RUN first: dop resume RUN --logger ...") == 1
    with pytest.raises(SystemExit, match="2"):
        parse(CheckOptions, ["--env-args", "a=1", "my_env:make", "--seed", "1"], prog="dop check-env", first="ENV")
    assert "--env-args takes all words that follow it. Put ENV first: dop check-env ENV --env-args ..." in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--logger"], ["RUN", "--logger", "a", "--unknown"], ["--quiet"]])
def test_other_errors_have_no_such_hint(words: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        parse(Options, words, prog="dop resume")
    assert "takes all words" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "credit", "render", "export", "resume", "report"])
def test_help_has_no_line_breaks_of_the_source(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("COLUMNS", "400")
    assert run(monkeypatch, command, "--help") == 0
    shown = capsys.readouterr().out
    assert "--trust-env" not in shown
    at = "Or the environment steps of a snapshot, the name of a file in RUN/snapshots."
    assert (at in shown) == (command not in ("resume", "report"))


def test_a_module_of_ones_own_is_suggested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):

    (tmp_path / "my_game.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnknownNameError, match=r"no environment \(one of your own is named my_game:make\) 'my_game'"):
        dop.make("my_game")
    with pytest.raises(UnknownNameError, match=r"no algorithm \(one of your own is named my_game:MyGame\) 'my_game'"):
        algorithms.get("my_game")
    with pytest.raises(dop.ConfigError, match=r"name the module without \.py, my_game:make"):
        dop.make("my_game.py:make")
    with pytest.raises(UnknownNameError, match="no environment 'my_games'"):
        dop.make("my_games")
