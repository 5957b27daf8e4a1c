"""JaxMARL, imported when an environment needs it: the import takes seconds and prints."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
from typing import Any


def import_quietly(module: str) -> Any:
    """Import `module` of JaxMARL without the remarks on submodules that the package prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        return importlib.import_module(module)


def version(revision: int) -> str:
    """`EnvSpec.version` of an adapter: JaxMARL's version and the adapter's own `revision`."""
    return f"jaxmarl-{importlib.metadata.version('jaxmarl')}/{revision}"
