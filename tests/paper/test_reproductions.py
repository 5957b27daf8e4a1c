"""The names of reproductions, their options, and errors for mistyped ones."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from dop import cli, paper
from dop.errors import UnknownNameError


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """`dop reproduce ...` in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["dop", "reproduce", *arguments])
    try:
        cli.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    return 0


def test_theorems_are_listed_and_shared_modules_are_not():
    assert "theorems" in paper.reproductions()
    assert not {"pieces", "runs", "comparisons", "variants"} & set(paper.reproductions())


@pytest.mark.parametrize("name", paper.reproductions())
def test_options_are_frozen_and_complete_before_the_run(name: str):
    options = paper.get(name).Options()
    assert options.out == Path("results") / name
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.out = Path("elsewhere")


def test_unknown_name_names_the_nearest():
    with pytest.raises(UnknownNameError, match=r"no reproduction 'theorem'\. Did you mean 'theorems'\?"):
        paper.get("theorem")


def test_command_alone_lists_the_names_with_summaries(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert run(monkeypatch) == 0
    shown = capsys.readouterr().out
    assert all(name in shown and found.summary in shown for name, found in paper.reproductions().items())


@pytest.mark.parametrize("name", paper.reproductions())
def test_help_explains_every_option(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str):
    assert run(monkeypatch, name, "--help") == 0
    shown = capsys.readouterr().out
    assert all(f"--{field.name.replace('_', '-')}" in shown for field in dataclasses.fields(paper.get(name).Options))


def test_mistyped_name_ends_in_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert run(monkeypatch, "theorms") == 2
    assert "Did you mean 'theorems'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("theorems", "--seed", "-1"), "seed must not be negative"),
        (("environments", "--episodes", "-1"), "episodes must not be negative"),
        *(((name, "--seeds", "0"), "seeds must be positive") for name in ("fig1", "fig3", "fig4", "games", "smax")),
        (("fig1", "--actions", "1"), "at least 2"),
        (("fig1", "--variance-agents", "2", "0"), "variance_agents must be positive"),
        (("fig1", "--critic-hidden", "30"), "must divide critic.hidden_size"),
        (("games", "--steps", "0"), "steps must be positive"),
    ],
)
def test_invalid_numbers_are_refused_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...], words: str
):
    out = tmp_path / "out"
    assert run(monkeypatch, *arguments, "--out", str(out)) == 2
    assert words in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("name", paper.reproductions())
def test_an_output_that_is_no_folder_is_refused_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
):
    (tmp_path / "out").write_text("a file")
    monkeypatch.setattr(paper.get(name), "reproduce", lambda *_: pytest.fail("work had begun"))
    assert run(monkeypatch, name, "--out", str(tmp_path / "out")) == 2
    assert "choose another --out" in capsys.readouterr().err
