"""Compiled programs on disk: one process compiles, the next does not; where and when nothing is kept."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import pytest

from dop.devices import compilation

COMPILE = """
    import sys
    import jax, jax.monitoring, jax.numpy as jnp
    from dop.devices import compilation, cpu_threads
    hits = []
    jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if event.endswith("cache_hits") else None)
    cpu_threads.use(int(sys.argv[1]))
    compilation.use_cache()
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((3, 3)))
    print(len(hits), jax.config.jax_compilation_cache_dir)
"""


def compiled(home: Path, threads: int = 1, **environment: str) -> tuple[int, str]:
    """Cache hits of a process that compiles a program, and its cache folder."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("JAX_") and name != "DOP_COMPILATION_CACHE"}
    clean |= {"XDG_CACHE_HOME": str(home), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", textwrap.dedent(COMPILE), str(threads)]
    done = subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=True, timeout=120)
    hits, folder = done.stdout.split()
    return int(hits), folder


def test_the_next_process_compiles_nothing(tmp_path: Path):
    """With the same number of threads, which is part of the folder's name."""
    hits, folder = compiled(tmp_path)
    assert (hits, folder) == (0, str(tmp_path / "dop" / "compiled" / "1-threads"))
    written = len(list(Path(folder).iterdir()))
    assert compiled(tmp_path)[0] == written > 0
    assert compiled(tmp_path, threads=2) == (0, str(tmp_path / "dop" / "compiled" / "2-threads"))
    assert Path(folder).stat().st_mode & 0o077 == 0


def test_the_cache_can_be_elsewhere_or_off(tmp_path: Path):
    assert compiled(tmp_path, DOP_COMPILATION_CACHE="off") == (0, "None")
    assert compiled(tmp_path, DOP_COMPILATION_CACHE=str(tmp_path / "mine"))[1] == str(tmp_path / "mine" / "1-threads")
    assert compiled(tmp_path, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "jax"))[1] == str(tmp_path / "jax")
    assert compiled(tmp_path, JAX_ENABLE_COMPILATION_CACHE="false") == (0, "None")
    assert not (tmp_path / "dop").exists()


def test_a_folder_that_others_can_write_is_not_used(tmp_path: Path):
    """Its entries are machine code."""
    folder = tmp_path / "dop" / "compiled" / "1-threads"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert compiled(tmp_path) == (0, "None")


def test_a_place_that_is_no_folder_is_not_used(tmp_path: Path):
    (tmp_path / "dop").write_text("a file")
    assert compiled(tmp_path) == (0, "None")


def test_a_damaged_entry_is_compiled_again(tmp_path: Path):
    """As a kill in the middle of its write would leave it."""
    _, folder = compiled(tmp_path)
    for entry in Path(folder).iterdir():
        entry.write_bytes(entry.read_bytes()[:40])
    assert compiled(tmp_path)[0] == 0


def test_the_oldest_entries_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compilation, "MOST_BYTES", 100)
    for age, threads in enumerate((1, 2, 1, 1)):
        entry = tmp_path / f"{threads}-threads" / f"{age}-cache"
        entry.parent.mkdir(exist_ok=True)
        entry.write_bytes(bytes(25))
        os.utime(entry, (1e9 - age, 1e9 - age))
    compilation._evict(tmp_path)
    assert len(list(tmp_path.glob("*/*"))) == 4
    (tmp_path / "1-threads" / "new-cache").write_bytes(bytes(1))
    compilation._evict(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*/*")) == ["0-cache", "new-cache"]


def test_flags_of_the_user_are_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=3")
    assert compilation.options(compilation.LIGHT) == {"xla_cpu_use_fusion_emitters": False}
    monkeypatch.setenv("XLA_FLAGS", "")
    found = compilation.options(compilation.LIGHT)
    assert found == dict(compilation.LIGHT)
    assert jax.jit(lambda x: x + 1, compiler_options=found)(1) == 2


def test_without_a_home_nothing_is_kept(tmp_path: Path):
    assert compiled(tmp_path, DOP_COMPILATION_CACHE="~nobody-of-this-name/cache") == (0, "None")
    assert compiled(tmp_path, DOP_COMPILATION_CACHE=" off") == compiled(tmp_path, DOP_COMPILATION_CACHE="false") == (0, "None")


def test_a_folder_below_one_that_others_can_write_is_not_used(tmp_path: Path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "open")
    for name in ("open", "link"):
        assert compiled(tmp_path, DOP_COMPILATION_CACHE=str(tmp_path / name)) == (0, "None")


def test_only_entries_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """No file elsewhere, through a link, and nothing that is not an entry; odd entries do not turn the cache off."""
    monkeypatch.setattr(compilation, "MOST_BYTES", 10)
    own, elsewhere = tmp_path / "1-threads", tmp_path / "elsewhere"
    for folder in (own, elsewhere, own / "folder-cache"):
        folder.mkdir()
    (elsewhere / "precious-cache").write_bytes(bytes(50))
    (tmp_path / "2-threads").symlink_to(elsewhere)
    (own / "loop-cache").symlink_to(own / "loop-cache")
    (own / "link-cache").symlink_to(elsewhere / "precious-cache")
    (own / "old-cache").write_bytes(bytes(20))
    compilation._evict(tmp_path)
    assert (elsewhere / "precious-cache").exists()
    assert sorted(path.name for path in own.iterdir()) == ["folder-cache", "link-cache", "loop-cache"]
