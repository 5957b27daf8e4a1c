"""`evaluate` and `evaluate_episodes`."""

from __future__ import annotations

import contextlib
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dop.analysis.evaluation import Evaluation
from dop.api.loading import AnyAlgorithm, rebuild
from dop.api.programs import AnyEnvironment
from dop.devices.parallel import place
from dop.errors import (
    check_flags,
    checked_episodes,
    checked_seed,
)
from dop.renamed import formerly
from dop.storage import files
from dop.storage.run_directory import RunFolder
from dop.training.preflight import measure
from dop.training.trainer import At, Trainer, checked_at


@formerly(trust="trust_env")
def evaluate(
    run_dir: Path | str,
    *,
    episodes: int = 128,
    seed: int = 0,
    sampled: bool = False,
    at: At | str = "latest",
    environment: AnyEnvironment | str | None = None,
    algorithm: AnyAlgorithm | None = None,
    trust: bool = False,
) -> dict[str, tuple[float, ...]]:
    """Play episodes with the newest checkpoint, or at another moment of the run, as `evaluate_episodes` does.

    Returns:
        Means over episodes: metric, then the run's seeds in their order.

    Raises:
        RunError: as `evaluate_episodes`.
    """
    chosen: dict[str, Any] = {"environment": environment, "algorithm": algorithm, "trust": trust}
    return evaluate_episodes(run_dir, episodes=episodes, seed=seed, sampled=sampled, at=at, **chosen).means()


@formerly(trust="trust_env")
def evaluate_episodes(
    run_dir: Path | str,
    *,
    episodes: int = 128,
    seed: int = 0,
    sampled: bool = False,
    at: At | str = "latest",
    environment: AnyEnvironment | str | None = None,
    algorithm: AnyAlgorithm | None = None,
    trust: bool = False,
) -> Evaluation:
    """Play episodes with the newest checkpoint, or at another moment: what each returned, their means and 95% intervals.

    Args:
        run_dir: a run directory.
        episodes: how many, for each of the run's seeds.
        seed: which episodes: the same number gives the same ones. Each of the run's seeds has episodes of its own.
        sampled: draw actions from the stochastic policy of the newest actors, without epsilon's uniform actions: stochastic DOP, COMA, MAAC
            from their softmax, deterministic DOP and MADDPG with their noise on actions. QMIX and VDN have no such policy: they explore by
            the epsilon that they have come to. Without: the greedy team, as in the evaluations of a run.
        at: `latest`, the newest checkpoint; `best`, each seed as it was at its best greedy evaluation (win rate, then return); or the
            environment steps of one of the run's snapshots.
        environment: as in `resume`.
        algorithm: as in `resume`.
        trust: as in `resume`.

    Raises:
        ConfigError: `episodes` or `seed` is not a whole number in its range.
        RunError: as `resume`, or there is no checkpoint that can be read.
    """
    episodes, seed = checked_episodes("episodes", episodes), checked_seed("seed", seed)
    check_flags(sampled=sampled)
    at = checked_at(at)
    folder = RunFolder(files.checked_path("run_dir", run_dir))
    config, program = rebuild(folder, environment, algorithm=algorithm, trust=trust)
    measure(program, folder).check(saves=False)
    # Not the key that a run with this seed starts from.
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(b"dop.evaluate"))
    with contextlib.closing(Trainer(program, config, folder)) as trainer:
        state = trainer.restore_at(at)
        # Each seed of the run plays episodes of its own, whatever other seeds there are.
        own = jax.vmap(jax.random.fold_in, (None, 0))(key, np.array(config.train_config.seeds, np.uint32))
        keys = place(own, trainer.devices)
        played = trainer.driver.play(state, keys, episodes, sampled=sampled)
    return Evaluation(
        policy="sampled" if sampled else "greedy",
        at=str(at),
        seeds=config.train_config.seeds,
        env_steps=tuple(np.asarray(state.learner.env_steps).tolist()),
        returns=np.asarray(played.undiscounted_return),
        lengths=np.asarray(played.length),
        metrics=dict(zip(program.spec.metrics, np.moveaxis(np.asarray(played.metrics), -1, 0), strict=True)),
    )
