"""The options of every command that opens a run directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Which run, and whether the code that it names may be imported."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run directory."""
    trust_env: bool = False
    """Import the environment that the run directory names even if it is code of somebody's own: importing runs it."""
    env: str | None = None
    """The environment's name once more, which says the same for this name only."""

    @property
    def source(self) -> dict[str, Any]:
        """Keyword arguments for `dop.resume` and its like."""
        return {"environment": self.env, "trust_env": self.trust_env}
