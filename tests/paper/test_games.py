"""The small games: published outcomes and Q_tot tables are reproduced, and the table shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from dop.devices import compilation
from dop.errors import UnknownNameError
from dop.paper import games, pieces
from dop.paper.games import PUBLISHED, PUBLISHED_TABLES, Options, Piece, Published

QUICK = {"actor.hidden_size": 16, "lr": 5e-3, "episodes_per_iteration": 16}
CLIMBING = np.array([[11.0, -30.0, 0.0], [-30.0, 7.0, 6.0], [0.0, 0.0, 5.0]])


def train_quickly(piece: Piece, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> dict[str, Any]:
    """Train two seeds with fewer episodes and a larger learning rate than the program's."""
    monkeypatch.setattr(games, "POINTS", 1)
    return games.train(piece, Options(seeds=2), {**games.changes_of(piece), **QUICK, **changes}, episodes=6400)


def test_vdn_ends_at_7_in_the_two_step_game_and_learns_the_published_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its best fit of 2B is row mean + column mean - mean: -1.5, 2.5, 2.5, 6.5, so that 2A seems better; published to about 0.4."""
    found = train_quickly(Piece(game="two-step", method="vdn"), monkeypatch)
    np.testing.assert_array_equal(np.array(found["greedy_return"])[:, -1], 7)
    for state in games.GAME_STATES:
        np.testing.assert_allclose(np.mean(found["tables"][state], axis=0), PUBLISHED_TABLES["vdn", state], atol=0.7)
    np.testing.assert_allclose(np.mean(found["tables"]["2B"], axis=0), [[-1.5, 2.5], [2.5, 6.5]], atol=0.5)


def test_qmix_finds_8_in_the_two_step_game_and_learns_the_published_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    found = train_quickly(Piece(game="two-step", method="qmix"), monkeypatch, embedding=16, hypernet_hidden=0)
    np.testing.assert_array_equal(np.array(found["greedy_return"])[:, -1], 8)
    for state in games.GAME_STATES:
        np.testing.assert_allclose(np.mean(found["tables"][state], axis=0), PUBLISHED_TABLES["qmix", state], atol=0.3)


def test_a_sum_of_values_misses_the_optimum_of_climbing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under uniform exploration: row mean + column mean - mean, which is largest at (2, 2), of return 5."""
    found = train_quickly(Piece(game="climbing", method="vdn"), monkeypatch, epsilon_end=1.0)
    np.testing.assert_array_equal(np.array(found["greedy_return"])[:, -1], 5)
    best_sum = CLIMBING.mean(axis=1)[:, None] + CLIMBING.mean(axis=0) - CLIMBING.mean()
    np.testing.assert_allclose(np.mean(found["tables"]["start"], axis=0), best_sum, atol=1.5)


def test_the_values_of_dop_are_a_sum_over_agents() -> None:
    piece = Piece(game="climbing", method="dop")
    program = games.program_of(piece, Options(), {**games.changes_of(piece), "critic.hidden_size": 8, "actor.hidden_size": 8})
    make = jax.jit(
        lambda key: games.value_table(program, program.start(key).learner, ()), compiler_options=compilation.options(compilation.ONCE)
    )
    table = np.asarray(make(jax.random.key(0)))
    assert np.ptp(table) > 0
    np.testing.assert_allclose(table, table[:, :1] + table[:1] - table[0, 0], atol=1e-6)


def test_every_piece_can_be_made_and_every_published_outcome_belongs_to_one() -> None:
    everything = list(games.all_pieces(Options()))
    for piece in everything:
        program = games.program_of(piece, Options(), games.changes_of(piece))
        program.algorithm.check(program.environment.spec)  # type: ignore[attr-defined]
    assert PUBLISHED.keys() <= {(piece.game, piece.method) for piece in everything}


@pytest.mark.parametrize(
    ("returns", "published", "expected"),
    [
        ([7.0, 7.0], Published(7.0), "as published"),
        ([7.0, 7.0], Published(8.0), "not as published"),
        ([5.0, 5.0, 5.0], Published(7.0, 2.0), "as published"),  # to 7 - 2.78 * 2 / 2
        ([4.0, 4.0, 4.0], Published(7.0, 2.0), "not as published"),
        ([4.0, 6.0], Published(7.0), "as published"),  # 5 -+ 12.7
        ([4.0], None, "nothing published"),
    ],
)
def test_the_verdict_is_whether_the_intervals_overlap(returns: list[float], published: Published | None, expected: str) -> None:
    assert games.verdict(np.array(returns), published) == expected


def test_finished_pieces_are_only_summarised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of four seeds find 7 in climbing, one 11, one 5."""
    options = Options(seeds=4, games=("climbing",), methods=("qmix",), out=tmp_path)
    run = {"episodes": [0, 9], "greedy_return": [[0, x] for x in (7.0, 7.0, 11.0, 5.0)], "tables": {"start": [CLIMBING.tolist()] * 4}}
    (piece,) = games.all_pieces(options)
    pieces.write(piece.data(options), {"steps": 1}, {**run, "seconds": 12.3})
    monkeypatch.setattr(games, "train", lambda *_: pytest.fail("trained again"))
    lines: list[str] = []
    games.reproduce(options, lines.append)
    row = "| climbing | qmix | 4 | 7 (s.d. 2.2) | 7.5 [3.5, 11.5] | 11: 1, 7: 2, 5: 1 | 1 | as published | 12 |"
    assert row in lines[0] and row in (tmp_path / "table.md").read_text()
    assert "| climbing | qmix | start | - | 11.00 -30.00 0.00; -30.00 7.00 6.00; 0.00 0.00 5.00 | 0.00 |" in lines[0]
    assert (tmp_path / "games.png").stat().st_size > 10_000


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="climbing"):
        games.reproduce(Options(games=("climing",), out=tmp_path), print)
