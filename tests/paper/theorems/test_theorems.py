"""The whole reproduction: its files and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dop.errors import ConfigError
from dop.paper import theorems
from dop.paper.theorems.stochastic.theorem_2 import STEP_SIZES


def test_reproduce_writes_the_logged_table_and_all_claims(tmp_path: Path) -> None:
    lines: list[str] = []
    theorems.reproduce(theorems.Options(problems=10, out=tmp_path), lines.append)
    data = json.loads((tmp_path / "theorems.json").read_text(encoding="utf-8"))
    assert {path.name for path in tmp_path.iterdir()} == {"table.txt", "theorems.json", "theorems.png"}
    assert (tmp_path / "table.txt").read_text(encoding="utf-8") == lines[0] + "\n"
    assert all(claim["name"] in lines[0] and claim["measured"] in lines[0] for claim in data["claims"])
    assert len(data["theorem_2"]["falls"]) == len(STEP_SIZES)


def test_no_problems_are_refused() -> None:
    with pytest.raises(ConfigError, match="problems must be positive, got 0"):
        theorems.Options(problems=0)
