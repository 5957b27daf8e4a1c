"""Lazy import of JaxMARL, which takes seconds and prints."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import sys
import warnings
from collections.abc import Iterator
from typing import Any

ADVICE = (
    "JaxMARL's environments cannot be used directly. jaxmarl:..., smax:..., mpe:... and, with an extra, mabrax:... are available by name "
    "(dop list). Wrap any other in a class with spec, reset and step (see dop.Environment)."
)
"""Advice for an environment or a function of JaxMARL's own."""


def import_quietly(module: str) -> Any:
    """Import `module` of JaxMARL without its output and warnings about missing or deprecated parts."""
    with quietly():
        return importlib.import_module(module)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Discard the output and the warnings of JaxMARL's code."""
    with _silence(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Discard output, and restore both streams: importing JaxMARL's MABrax resets them to the interpreter's original ones."""
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
