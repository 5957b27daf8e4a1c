"""`evaluate` and `evaluate_episodes`."""

from __future__ import annotations

import contextlib
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dop.analysis.evaluation import Evaluation
from dop.api.loading import AnyAlgorithm, learners_at, rebuild
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
    """Evaluate the newest checkpoint, or another moment of the run, as `evaluate_episodes` does.

    Returns:
        Means over episodes: metric, then seed, in the order of the run's seeds.

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
    """Evaluate the newest checkpoint, or another moment of the run: each episode's return, means and 95% intervals.

    Args:
        run_dir: a run directory, or a model (`dop.views.export_model`).
        episodes: number of episodes for each of the run's seeds.
        seed: seed of the episodes. Each of the run's seeds has different episodes.
        sampled: draw actions from the stochastic policy of the newest actors, without epsilon's uniform actions: stochastic DOP, COMA,
            MAAC, MAPPO and IPPO from their softmax, deterministic DOP and MADDPG with noise on actions. QMIX and VDN have no such policy
            and explore with their current epsilon. Default: greedy policies, as in the evaluations of a run.
        at: `latest`, the newest checkpoint; `best`, each seed at its best greedy evaluation (win rate, then return); or the environment
            steps of one of the run's snapshots.
        environment: as in `resume`.
        algorithm: as in `resume`.
        trust: as in `resume`.

    Raises:
        ConfigError: `episodes` or `seed` is not a whole number in its range.
        RunError: as `resume`, or there is no readable checkpoint.
    """
    episodes, seed = checked_episodes("episodes", episodes), checked_seed("seed", seed)
    check_flags(sampled=sampled)
    at = checked_at(at)
    folder = RunFolder(files.checked_path("run_dir", run_dir))
    config, program = rebuild(folder, environment, algorithm=algorithm, trust=trust)
    if not folder.is_model:  # which has no replay
        measure(program, folder).check(saves=False)
    # Different from the initial key of a run with this seed.
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(b"dop.evaluate"))
    with contextlib.closing(Trainer(program, config, folder)) as trainer:
        learners = learners_at(trainer, at)
        # The episodes of a seed do not depend on the other seeds.
        own = jax.vmap(jax.random.fold_in, (None, 0))(key, np.array(config.train_config.seeds, np.uint32))
        keys = place(own, trainer.devices)
        played = trainer.driver.play(learners, keys, episodes, sampled=sampled)
    return Evaluation(
        policy="sampled" if sampled else "greedy",
        at=str(at),
        seeds=config.train_config.seeds,
        env_steps=tuple(np.asarray(learners.env_steps).tolist()),
        returns=np.asarray(played.undiscounted_return),
        lengths=np.asarray(played.length),
        metrics=dict(zip(program.spec.metrics, np.moveaxis(np.asarray(played.metrics), -1, 0), strict=True)),
    )
