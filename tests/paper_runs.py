"""Run directories of comparisons without training, for the tests of `dop reproduce fig3` and `smax`."""

from __future__ import annotations

from dop.paper.runs import WIN, Piece
from dop.storage.config import RunConfig, TrainConfig
from dop.storage.records import Record
from dop.storage.run_directory import RunFolder

GOAL = 300_000


def write_run(piece: Piece, folder: RunFolder, steps: int = GOAL, *, seconds_per_step: float | None = None, speed: float = 1.0) -> None:
    """Write a run directory whose win rate rises, at `speed` = 1 to 1 - seed / 10 after 300,000 steps; evaluated every 50,000."""
    config = RunConfig(
        algorithm="stochastic-dop",
        hyper_parameters={"gamma": 0.99},
        environment=piece.environment,
        environment_options={},
        environment_spec={},
        train_config=TrainConfig(seeds=(piece.seed,)),
    )
    if not folder.config.exists():
        folder.create(config)
    records = []
    for iteration, env_steps in enumerate(range(0, steps + 50_000 - 1, 50_000)):
        won = min(speed * env_steps / GOAL, 1.0) * (1 - piece.seed / 10)
        seconds = None if seconds_per_step is None else seconds_per_step * env_steps
        at = {"seed": piece.seed, "iteration": iteration, "env_steps": env_steps, "wall_seconds": 60.0 * iteration}
        metrics = {WIN: won, "test_return_mean": 20.0}
        records.append(Record(kind="evaluation", metrics=metrics, processor_seconds=seconds, **at))
    last = records[-1]
    records.append(
        Record(kind="train", seed=last.seed, iteration=99, env_steps=last.env_steps, wall_seconds=0.0, metrics={"critic_loss": 1.0})
    )
    folder.metrics.write_text("".join(record.to_json() + "\n" for record in records))
