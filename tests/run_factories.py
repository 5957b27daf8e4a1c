"""Run directories made without training: the checkpoint's arrays are zeros, so nothing is compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import dop
from dop import api
from dop.api import planning
from dop.devices import parallel
from dop.loggers.jsonl import JsonLines
from dop.storage.records import Record
from dop.storage.run_directory import RunFolder
from dop.training.trainer import Trainer
from logged import opened

TINY = dop.VDN(actor=dop.GRU(hidden_size=4), replay_batch=2, replay_capacity=4, episodes_per_iteration=2)
GAME = {"n_agents": 2, "n_actions": 2}


def make_run(
    folder: Path,
    environment: str = "matrix-game",
    *,
    options: dict[str, Any] = GAME,
    algorithm: Any = TINY,
    iterations: tuple[int, ...] = (2,),
) -> RunFolder:
    """A run of one seed with a checkpoint at each of `iterations`."""
    plan = planning.make_plan(algorithm, environment, 100, 1, folder, options, {"eval_interval": 50, "eval_episodes": 2})
    plan.folder.create(plan.config)
    shapes = jax.eval_shape(jax.vmap(plan.program.start), parallel.keys((0,)))
    state = jax.tree.map(lambda x: jax.random.split(jax.random.key(0), x.shape) if _is_key(x) else jnp.zeros(x.shape, x.dtype), shapes)
    trainer = Trainer(plan.program, plan.config, plan.folder)
    for iteration in iterations:
        trainer.checkpoints.save(iteration, state, trainer._meta())
    sink = opened(JsonLines(), plan.folder.path)
    sink.write([Record(kind="evaluation", seed=0, iteration=0, env_steps=0, wall_seconds=0.5, metrics={"test_return_mean": 1.0})])
    sink.close()
    return plan.folder


def reopen(folder: RunFolder, **changes: Any) -> Any:
    """The state from which `dop.resume` would continue."""
    config, program = api.rebuild(folder, None, **changes)
    return Trainer(program, config, folder).restore()


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
