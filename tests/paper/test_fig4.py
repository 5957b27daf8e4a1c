"""Fig. 4 at small size: from training to table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from dop.errors import UnknownNameError
from dop.paper import fig4
from dop.paper.fig4 import METHODS, POINTS, PUSHES, Options, Piece

SMALL = {"critic.hidden_size": 8, "actor.hidden_size": 8, "replay_batch": 8}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", fig4.EPISODES)
def test_every_method_can_play_every_task(task: str, method: str) -> None:
    program = fig4.program_of(Piece(task=task, method=method, seed=0))
    program.algorithm.check(program.environment.spec)
    assert program.environment.spec.action_kind == ("discrete" if method == "coma" else "simplex")


def test_a_piece_from_training_to_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options(seeds=1, tasks=("mill",), methods=("deterministic-dop",), out=tmp_path)
    monkeypatch.setitem(fig4.EPISODES, "mill", 80)
    monkeypatch.setitem(METHODS, "deterministic-dop", {**METHODS["deterministic-dop"], **SMALL})
    lines: list[str] = []
    fig4.reproduce(options, lines.append)
    (piece,) = fig4.all_pieces(options)
    found = json.loads(piece.data(options).read_text())
    assert found["episodes"] == list(range(0, 81, 4)) and len(found["won"]) == POINTS + 1
    assert np.shape(found["credit"]) == (POINTS + 1, 2, PUSHES)
    assert found["about"]["method"] == "deterministic-dop" and found["about"]["versions"]
    assert (tmp_path / "fig4.png").stat().st_size > 10_000
    assert "| mill | deterministic-dop | 1 | 80 |" in (tmp_path / "table.md").read_text()
    monkeypatch.setattr(fig4, "train", lambda *_: pytest.fail("trained again"))
    fig4.reproduce(options, lines.append)


def test_credit_comes_from_the_critic() -> None:
    program = fig4.program_of(Piece(task="mill", method="deterministic-dop", seed=0), **SMALL)
    state: Any = program.start(jax.random.key(0))
    q, kq = fig4.credit(program, state)
    _, step = program.environment.reset(jax.random.key(0))
    full = jax.numpy.tile(jax.numpy.array([1.0, 0.0]), (10, 1))
    own = state.learner.critic.local_q(step.state, step.obs, full)
    k, _ = state.learner.critic.mixer(step.state)
    np.testing.assert_allclose(q[-1], np.mean(own), rtol=1e-5)
    np.testing.assert_allclose(kq[-1], np.mean(k * own), rtol=1e-5)


def test_unknown_names_and_nothing_yet(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="mill"):
        fig4.reproduce(Options(tasks=("mil",), out=tmp_path), print)
    lines: list[str] = []
    fig4.reproduce(Options(only_summary=True, out=tmp_path), lines.append)
    assert lines == ["nothing has finished yet"]
