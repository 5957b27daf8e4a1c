"""Maps of skirmishes for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dop
from dop.envs.skirmish.environment import Skirmish

Team = Mapping[str, Sequence[Sequence[float]]]


def written(folder: Path, allies: Team, enemies: Team, more: str = "", **options: Any) -> Skirmish:
    """The environment of a map with these units at these positions."""
    groups = [
        f'[[{side}]]\nunit = "{unit}"\nat = {[list(position) for position in positions]}\n'
        for side, team in (("allies", allies), ("enemies", enemies))
        for unit, positions in team.items()
    ]
    path = folder / "map.toml"
    path.write_text(f'source = "a test"\ntime_limit = 50\nsize = [32, 32]\n{more}\n' + "\n".join(groups))
    made = dop.make(f"skirmish:{path}", **{"difficulty": "very-hard", **options})
    assert isinstance(made, Skirmish)
    return made
