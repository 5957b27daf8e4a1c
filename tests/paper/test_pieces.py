"""Data files of the figures: intact, damaged, and made with other options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dop.errors import ConfigError, RunError, UnknownNameError
from dop.paper import pieces


def finish(path: Path, **about: Any) -> list[str]:
    """The lines logged while the piece at `path` is finished."""
    lines: list[str] = []
    pieces.finish(path, "piece", lines.append, about, lambda: {"x": 1})
    return lines


def test_a_piece_runs_once_and_records_its_options(tmp_path: Path) -> None:
    path = tmp_path / "piece.json"
    assert finish(path, episodes=10) == ["== piece"]
    assert finish(path, episodes=10) == []
    found = pieces.read(path)
    assert found is not None and found["x"] == 1
    assert found["about"]["episodes"] == 10 and found["about"]["versions"]


def test_a_piece_made_with_other_options_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "piece.json"
    finish(path, episodes=10)
    with pytest.raises(RunError, match=r"piece\.json was made with episodes 10, not 20: choose another --out or delete"):
        finish(path, episodes=20)


def test_pieces_without_an_option_or_with_old_hyper_parameter_names_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "piece.json"
    finish(path, changes={"share_agents": False})
    assert finish(path, changes={"share_parameters": "none"}, steps=1) == []


@pytest.mark.parametrize("text", ['{"about": {', "[]", "\x00"])
def test_a_damaged_piece_is_refused_by_path(tmp_path: Path, text: str) -> None:
    path = tmp_path / "piece.json"
    path.write_text(text)
    for use in (pieces.read, pieces.evaluations, finish):
        with pytest.raises(RunError, match=r"piece\.json is damaged: .*Delete it"):
            use(path)


@pytest.mark.parametrize("text", ["{}", '{"evaluations": 1}', '{"evaluations": [{"kind": "evaluation"}]}'])
def test_invalid_evaluations_are_damage(tmp_path: Path, text: str) -> None:
    path = tmp_path / "piece.json"
    path.write_text(text)
    with pytest.raises(RunError, match=r"piece\.json is damaged"):
        pieces.evaluations(path)


def test_unknown_and_repeated_names_are_refused() -> None:
    pieces.check_names("method", ("maac", "coma"), ("coma", "maddpg", "maac"))
    with pytest.raises(UnknownNameError, match=r"no method 'mac'.*'maac'"):
        pieces.check_names("method", ("mac",), ("coma", "maac"))
    with pytest.raises(ConfigError, match="method maac is given 2 times"):
        pieces.check_names("method", ("maac", "coma", "maac"), ("coma", "maac"))
