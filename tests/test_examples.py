"""The examples do what they say, typed where they are."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from test_cli import run

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(autouse=True)
def in_their_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line looks for modules where it is typed."""
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.setattr(sys, "path", [*sys.path])


def test_an_algorithm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["--env=two-step", "--env-steps=64", "--rate=0.3", "--eval-episodes=2", "--quiet"]
    assert run(monkeypatch, "train", "own_algorithm:Reinforce", *words, "--run-dir", tmp_path / "run") == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["algorithm"] == "own_algorithm:Reinforce"
    assert run(monkeypatch, "resume", tmp_path / "run", "--env-steps=96", "--trust", "--quiet") == 0
    assert "finished after 96 environment steps" in capsys.readouterr().out
