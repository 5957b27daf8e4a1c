"""The options of every command that opens a run directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The run, and permission to import the code that it names."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run directory. Instead of one, all commands but resume read a model (dop export --format model)."""
    trust: bool = False
    """Permit the import of environment, algorithm and networks outside dop that the run directory names; this runs their code."""
    env: str | None = None
    """The run's environment by name, which permits the import of this one only."""
    algorithm: str | None = None
    """The run's algorithm by name, with the same effect; or `my_module:MyAlgorithm` if its class has moved or was defined in a script."""

    @property
    def source(self) -> dict[str, Any]:
        """Keyword arguments of `dop.resume` and similar functions."""
        return {"environment": self.env, "algorithm": self.algorithm, "trust": self.trust}
