"""Versions, settings and machine of a run, and how two configurations differ."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from dop.devices import cpu_threads
from dop.errors import RunError, shown

_PACKAGES = ("jax", "jaxlib", "equinox", "optax", "jaxmarl", "orbax-checkpoint", "numpy")
_SETTINGS = ("jax_threefry_partitionable", "jax_default_matmul_precision")
"""Settings of JAX that change numbers, but not shapes and types."""


def differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Every difference between two `RunConfig.made_by`, in words."""
    names = sorted(was.keys() | now.keys())
    nothing = "missing"
    return [
        f"{name} was {in_words(was.get(name, nothing))}, now it is {in_words(now.get(name, nothing))}"
        for name in names
        if was.get(name) != now.get(name)
    ]


def in_words(value: Any) -> str:
    """A value in a sentence: strings without quotes, other values by `shown`."""
    return value if isinstance(value, str) else shown(value)


def flat(values: Any, name: str) -> Iterator[tuple[str, Any]]:
    """`{"a": {"b": 1}}` as `("a.b", 1)`."""
    if not isinstance(values, dict):
        yield name, values
        return
    for key, value in values.items():
        yield from flat(value, f"{name}.{key}" if name else key)


def library_version() -> str:
    """The version of dop."""
    return metadata.version("dop-marl")


def commit() -> str | None:
    """The Git commit of this package, with `-dirty` if its files have been changed since; None outside a repository of it."""
    package = Path(__file__).parents[1]

    def git(*words: str) -> str:
        command = ["git", "-C", str(package), *words]
        return subprocess.run(command, capture_output=True, check=True, text=True, timeout=20).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # fails if the repository is another, around an installed package
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def check_version(found: str, where: Path) -> None:
    """Raise RunError if `where` was made by dop of another major.minor version, whose runs this one does not resume."""
    made, here = found.split(".")[:2], library_version().split(".")[:2]
    if made != here:
        raise RunError(
            f"{where} was made by dop {found}, this is dop {library_version()}; a run resumes only with the same major.minor version. "
            f"Install that version: pip install 'dop-marl=={'.'.join(made)}.*'"
        )


def surroundings() -> dict[str, Any]:
    """Versions, settings and machine, for config.json. Starts JAX."""
    return {
        "library_version": library_version(),
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in _PACKAGES},
        "settings": {name: getattr(jax.config, name) for name in _SETTINGS},
        "device": jax.devices()[0].device_kind,
        "machine": f"{platform.system()} {platform.machine()}, {cpu_threads.allowed_cores()} of {os.cpu_count()} cores",
    }
