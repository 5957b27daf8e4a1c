"""The examples do what they say, typed where they are."""

from __future__ import annotations

import csv
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from dop.storage import records
from test_cli import run

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(autouse=True)
def in_their_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line looks for modules where it is typed."""
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.setattr(sys, "path", [*sys.path])


def test_an_algorithm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["--env=two-step", "--env-steps=64", "--lr=0.3", "--eval-episodes=2", "--quiet"]
    assert run(monkeypatch, "train", "own_algorithm:Reinforce", *words, "--run-dir", tmp_path / "run") == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["algorithm"] == "own_algorithm:Reinforce"
    assert run(monkeypatch, "resume", tmp_path / "run", "--env-steps=96", "--trust", "--quiet") == 0
    assert "finished after 96 environment steps" in capsys.readouterr().out


def test_a_logger_and_a_callback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    words = ["--env=two-step", "--env-steps=64", "--eval-episodes=2", "--quiet", "--logger", "own_logger:Table"]
    assert run(monkeypatch, "train", "own_algorithm:Reinforce", *words, "--run-dir", tmp_path / "typed") == 0
    own_logger: Any = importlib.import_module("own_logger")
    good = own_logger.main(tmp_path / "run")
    assert not good.outcome.finished
    assert [record.metrics["return_mean"] >= 6.9 for record in good.records if record.kind == "train"][-2:] == [False, True]
    for folder in ("typed", "run"):
        rows = list(csv.reader((tmp_path / folder / "returns.csv").read_text().splitlines()))
        expected = [record for record in records.read(tmp_path / folder / "metrics.jsonl") if record.kind == "evaluation"]
        assert rows[1:] == [[str(record.seed), str(record.env_steps), str(record.metrics["test_return_mean"])] for record in expected]


def test_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("onnxruntime")
    words = ["--env=two-step", "--env-steps=64", "--eval-episodes=2", "--quiet", "--actor=own_network:Gated", "--actor.width=6"]
    sizes = ["--replay-batch=4", "--replay-capacity=8", "--chunk-iterations=2"]
    assert run(monkeypatch, "train", "vdn", *words, *sizes, "--run-dir", tmp_path / "run") == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["hyper_parameters"]["actor"] == {"kind": "own_network:Gated", "width": 6}
    assert run(monkeypatch, "resume", tmp_path / "run", "--env-steps=96", "--quiet") == 2
    assert "needs the network 'own_network:Gated'" in capsys.readouterr().err
    assert run(monkeypatch, "resume", tmp_path / "run", "--env-steps=96", "--trust", "--quiet") == 0
    assert run(monkeypatch, "export", tmp_path / "run", "--trust", "--out", tmp_path / "export") == 0
    assert json.loads((tmp_path / "export" / "policy.json").read_text())["agents"]["agent_0"]["hidden"] == 6
