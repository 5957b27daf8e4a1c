"""Every test runs on the CPU, and checks the shapes and types in the signatures of the maths.

Most of the time goes into compiling programs that then run for milliseconds, hence the settings below: how they are compiled, and that
none is compiled twice. They change nothing that a test can tell: a compiled program is used again only for the very same program.
"""

import gc
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

os.environ["JAX_PLATFORMS"] = "cpu"
# Shared with the processes that a test starts; not with another worker, since the two could read each other's half-written files.
os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="dop-compiled-")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
# Tests compile much and compute little.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_parallel_codegen_split_count=1",
)

from jaxtyping import install_import_hook

# The same commit passes or fails each time. New examples: HYPOTHESIS_PROFILE=random pytest tests/test_fuzz.py
settings.register_profile("repeatable", derandomize=True)
settings.register_profile("random")
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

CHECKED = (
    *("returns", "losses", "policies", "mixers", "networks.layers", "networks.recurrent", "networks.split_critics", "networks.attention"),
    *("learning.dynamic_scan", "learning.optimisers", "learning.normalisation", "learning.replay"),
)
# A whole number does as a float, as PEP 484 has it.
install_import_hook([f"dop.{module}" for module in CHECKED], "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a small, finished run of stochastic DOP on `workers`, which several tests look at and none changes."""
    import dop  # noqa: PLC0415  (after the hook)

    folder = tmp_path_factory.mktemp("runs") / "workers"
    team = dop.StochasticDOP(
        critic=dop.MLP(hidden_size=16),
        actor=dop.GRU(hidden_size=8),
        critic_lr=5e-3,
        actor_lr=5e-3,
        actor_steps=2,
        actor_ema_decay=0.8,
        epsilon_end=0.3,
        replay_capacity=64,
        on_policy_capacity=16,
        off_policy_batch=16,
    )
    measured: dict[str, Any] = {"eval_interval": 200, "eval_episodes": 8, "checkpoint_interval": 400, "chunk_iterations": 25}
    dop.train(team, "workers:make", env_steps=1600, seeds=[3, 5], run_dir=folder, quiet=True, **measured)
    return folder


def pytest_collection_finish() -> None:
    """Nothing that is there before the first test goes away again: the garbage collector need not look through it time after time."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"])
