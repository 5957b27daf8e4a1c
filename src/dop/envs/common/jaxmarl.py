"""JaxMARL, imported when an environment needs it: the import takes seconds and prints."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import sys
import warnings
from collections.abc import Iterator
from typing import Any


def import_quietly(module: str) -> Any:
    """Import `module` of JaxMARL without the remarks that it and what it imports make: which parts are missing, which are deprecated."""
    with _silence(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(module)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Drop what is printed, and give both streams back: importing JaxMARL's MABrax sets them to the interpreter's original ones."""
    original, sink = sys.__stdout__, io.StringIO()
    with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sys.stderr):
        sys.__stdout__ = sink  # pyright: ignore[reportAttributeAccessIssue]
        try:
            yield
        finally:
            sys.__stdout__ = original  # pyright: ignore[reportAttributeAccessIssue]


def version(revision: int) -> str:
    """`EnvSpec.version` of an adapter: JaxMARL's version and the adapter's own `revision`."""
    return f"jaxmarl-{importlib.metadata.version('jaxmarl')}/{revision}"
