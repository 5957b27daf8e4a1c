"""Fake runs for tests of comparisons and figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from dop.analysis.compare import Entry
from dop.storage.config import RunConfig, TrainConfig
from dop.storage.records import Record
from dop.storage.run_directory import RunFolder


def entry(
    name: str = "runs/a",
    seeds: tuple[int, ...] = (0, 1),
    end: float = 1.0,
    machine: str = "here",
    spec: dict[str, Any] | None = None,
    **changes: Any,
) -> Entry:
    """A run with the given task version, options, hyper-parameters and training configuration."""
    train_config = replace(TrainConfig(env_steps=400, seeds=seeds), **{k: v for k, v in changes.items() if hasattr(TrainConfig, k)})
    environment = {"name": "game", "version": "1", "metrics": ["won"], "options": [["size", 3]]} | (spec or {})
    config = RunConfig(
        algorithm=changes.get("algorithm", "vdn"),
        hyper_parameters={"gamma": changes.get("gamma", 0.9), "units": 8},
        environment="game",
        environment_options={},
        environment_spec=environment,
        train_config=train_config,
    )
    records = [
        Record(
            kind="evaluation",
            seed=seed,
            iteration=step,
            env_steps=100 * step,
            wall_seconds=step,
            metrics={"test_return_mean": 10 * end * step / 4, "test_won_mean": end * step / 4},
        )
        for seed in seeds
        for step in range(1, 5)
    ]
    made_by = {"library_version": "0.1.0", "versions": {"jax": "0"}, "device": "cpu", "machine": machine}
    return Entry(folder=RunFolder(Path(name)), config=config, made_by=made_by, records=records)
