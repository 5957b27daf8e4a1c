"""The options of every command that opens a run directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import tyro

Trust: TypeAlias = Annotated[bool, tyro.conf.arg(aliases=["--trust-env"])]
"""The user's word for the code that a run directory names; `--trust-env` is what 0.1 called it."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Which run, and whether the code that it names may be imported."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run directory."""
    trust: Trust = False
    """Import the environment and the algorithm that the run directory names even if they are code of somebody's own: importing runs it."""
    env: str | None = None
    """The environment's name once more, which says the same for this name only."""
    algorithm: str | None = None
    """The same of the algorithm; or where its class is now, `my_module:MyAlgorithm`, if the run directory cannot say that."""

    @property
    def source(self) -> dict[str, Any]:
        """Keyword arguments for `dop.resume` and its like."""
        return {"environment": self.env, "algorithm": self.algorithm, "trust": self.trust}
