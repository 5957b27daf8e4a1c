"""A trained team, restored from its run."""

from __future__ import annotations

import contextlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dop import api
from dop.devices.parallel import keys
from dop.errors import RunError, shown
from dop.renamed import formerly
from dop.rollout.program import PythonProgram
from dop.storage import files
from dop.storage.config import RunConfig
from dop.storage.run_directory import RunFolder
from dop.storage.snapshots import Snapshots
from dop.training.program import Program
from dop.training.trainer import At, Trainer, checked_at
from dop.types import Learner


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """One seed of a run, at its newest checkpoint or another moment; or the team of a model."""

    folder: RunFolder
    """The run on disk."""
    config: RunConfig
    """Algorithm, hyper-parameters, environment, seeds and training options."""
    program: Program | PythonProgram
    """The algorithm with its environment."""
    seed: int
    """One of the run's seeds."""
    env_steps: int
    """Environment steps before this moment."""
    learner: Learner
    """The networks of this seed."""
    moment: At = "latest"
    """The moment of the run: the newest checkpoint, the best evaluation, or a snapshot."""

    @property
    def title(self) -> str:
        """Algorithm, environment and moment, for headings."""
        moment = (
            "" if self.moment == "latest" else f", {self.moment if self.moment == 'best' else 'snapshot'} after {self.env_steps:,} steps"
        )
        return f"{self.config.algorithm} on {self.program.spec.name}{moment}"

    def at(self, env_steps: int) -> Learner:
        """The learner in the run's snapshot at `env_steps`."""
        like = jax.eval_shape(jax.vmap(self.program.start), keys(self.config.train_config.seeds)).learner
        return self._own(Snapshots(self.folder.snapshots).restore(env_steps, like))

    @property
    def snapshots(self) -> list[int]:
        """The environment steps of the run's snapshots."""
        return Snapshots(self.folder.snapshots).steps

    def _own(self, learners: Any) -> Any:
        return _one_of(learners, self.config.train_config.seeds.index(self.seed))


@formerly(trust="trust_env")
def load(
    run_dir: Path | str,
    *,
    run_seed: int | None = None,
    at: At | str = "latest",
    environment: api.AnyEnvironment | str | None = None,
    algorithm: api.AnyAlgorithm | None = None,
    trust: bool = False,
) -> Trained:
    """Restore the learner of a run, or of a model.

    Args:
        run_dir: a run directory, or a model (`export_model`).
        run_seed: one of the run's seeds; default: the first.
        at: as in `dop.evaluate_episodes`.
        environment: as in `dop.resume`.
        algorithm: as in `dop.resume`.
        trust: as in `dop.resume`.

    Raises:
        RunError: this is neither a run nor a model, it has no readable checkpoint, or it has no such seed.
    """
    at = checked_at(at)
    folder = RunFolder(files.checked_path("run_dir", run_dir))
    config, program = api.rebuild(folder, environment, algorithm=algorithm, trust=trust)
    seed = config.train_config.seeds[0] if run_seed is None else run_seed
    if seed not in config.train_config.seeds:
        raise RunError(f"{folder.path} has no seed {shown(seed)}; its seeds are {', '.join(map(str, config.train_config.seeds))}.")
    if not folder.is_model and not folder.checkpoints.is_dir():
        raise RunError(f"{folder.path} has no checkpoint yet. The first is written when training starts: wait, or `dop resume` it.")
    with contextlib.closing(Trainer(program, config, folder)) as trainer:
        learners = api.learners_at(trainer, at)
    learner = _one_of(learners, config.train_config.seeds.index(seed))
    steps = int(learner.env_steps) if at == "best" else int(np.min(np.asarray(learners.env_steps)))
    return Trained(folder=folder, config=config, program=program, seed=seed, env_steps=steps, learner=learner, moment=at)


def _one_of(tree: Any, place: int) -> Any:
    """The element at `place` of the leading axis, on the first device."""
    return jax.device_put(jax.tree.map(lambda x: x[place], tree), jax.devices()[0])


def episodes_key(seed: int) -> Any:
    """The key of a view's episodes; different from the initial key of a run with this seed."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(b"dop.views"))


def output_folder(run_dir: Path | str, out: Path | str | None, name: str) -> Path:
    """The output folder of a view: `out`, or the folder `name` in the run directory, which must not be a link."""
    if out is not None:
        return files.check_place(files.checked_path("out", out), folder=True)
    run = RunFolder(files.checked_path("run_dir", run_dir)).path
    files.check_kinds(run, plain_files=(), folders=(name,))
    return files.check_place(run / name, folder=True)
