"""Compilation: how much XLA optimises a program, and the cache on disk, so that a program compiles once for all processes.

JAX's persistent cache is off unless a user sets it up. `use_cache` gives it a folder, `~/.cache/dop/compiled`. An entry is used for the
same program, options, version of jaxlib and kind of processor only; the rest of what decides about a program's bits, the number of threads,
is in the folder's name.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax

from dop.devices import cpu_threads

VARIABLE = "DOP_COMPILATION_CACHE"
"""Environment variable: a folder for the cache, or `off`."""
MOST_BYTES = 1 << 30
"""The cache's size, from which its oldest entries are deleted."""
_OFF = ("off", "0", "no", "none", "false")
_DIRECTORY, _ENABLED = "jax_compilation_cache_dir", "jax_enable_compilation_cache"
_LEAST_SECONDS = "jax_persistent_cache_min_compile_time_secs"

ONCE: Mapping[str, bool | int] = MappingProxyType({"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False})
"""Compiler options of programs that run once: a quarter of the time to compile, and slower."""
LIGHT: Mapping[str, bool | int] = MappingProxyType({"xla_backend_optimization_level": 1, "xla_cpu_use_fusion_emitters": False})
"""Compiler options of programs with many small operations, as environments are: half the time to compile, and as fast to a tenth."""

ONE_THREAD: Mapping[str, bool | int] = MappingProxyType({"xla_cpu_multi_thread_eigen": False})
"""Compiler options of small programs, which are slower with several CPU threads than with one."""


def options(wanted: Mapping[str, bool | int]) -> dict[str, bool | int] | None:
    """The compiler options, on a CPU; without those that the user has set in XLA_FLAGS."""
    if jax.devices()[0].platform != "cpu":
        return None
    flags = os.environ.get("XLA_FLAGS", "")
    return {name: value for name, value in wanted.items() if f"--{name}=" not in flags} or None


_spent = 0.0


def spent() -> float:
    """Processor seconds of this process until now in the compilation of `CompiledFirst` functions."""
    return _spent


class CompiledFirst:
    """A jitted function whose first call compiles before it runs, so that `spent` counts the compilation."""

    def __init__(self, jitted: Any) -> None:
        self._jitted = jitted
        self._compiled = False

    def __call__(self, *args: Any) -> Any:
        global _spent  # noqa: PLW0603  (a clock of the process, as `time.process_time` is)
        if not self._compiled:
            begun = time.process_time()
            self._jitted.lower(*args).compile()  # which the call then uses
            self._compiled = True
            _spent += time.process_time() - begun
        return self._jitted(*args)

    def lower(self, *args: Any) -> Any:
        """As that of the jitted function."""
        return self._jitted.lower(*args)


def use_cache() -> None:
    """Keep compiled programs on disk for later processes, unless the user has set up JAX's cache or turned it off.

    Programs, not libraries, should change JAX's configuration: `dop.train` and the other functions that compile whole programs call it,
    `import dop` does not. Without a folder that can be written, and that only this user can write, nothing is cached.
    """
    chosen = os.environ.get(VARIABLE, "").strip()
    if chosen.lower() in _OFF or getattr(jax.config, _DIRECTORY) is not None or not getattr(jax.config, _ENABLED):
        return
    try:
        folder = _folder(chosen)
        own = folder / f"{cpu_threads.in_use()}-threads"
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        for each in (folder.resolve(), own):
            if not _is_private(each):
                raise PermissionError(f"others can write in {each}")
        _evict(folder)
    except (OSError, RuntimeError) as error:  # no home, no space, no permission
        logging.getLogger("dop").info("Compiled programs are not kept for later runs: %s", error)
        return
    jax.config.update(_DIRECTORY, str(own))
    jax.config.update(_LEAST_SECONDS, 0.1)


def _folder(chosen: str) -> Path:
    """The cache's folder: the one that is chosen, or the usual one."""
    if chosen:
        return Path(chosen).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "dop" / "compiled"


def _is_private(folder: Path) -> bool:
    """Whether only this user can write in the folder: what is in it is run."""
    if not hasattr(os, "getuid"):
        return True
    found = folder.stat()
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _evict(folder: Path) -> None:
    """Delete the oldest entries, until the rest has at most half of `MOST_BYTES`; nothing if all have less than that."""
    entries = []
    for own in folder.iterdir():
        if re.fullmatch("[0-9]+-threads", own.name) and own.is_dir() and not own.is_symlink() and _is_private(own):
            for entry in os.scandir(own):
                if entry.name.endswith("-cache") and entry.is_file(follow_symlinks=False):
                    with contextlib.suppress(FileNotFoundError):  # another process deletes, too
                        found = entry.stat(follow_symlinks=False)
                        entries.append((found.st_mtime, found.st_size, Path(entry.path)))
    total = sum(size for _, size, _ in entries)
    if total <= MOST_BYTES:
        return
    for _, size, path in sorted(entries):
        if total <= MOST_BYTES // 2:
            break
        path.unlink(missing_ok=True)
        total -= size
