"""Loggers opened without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from dop.storage.records import LoggedRun, Logger
from dop.storage.run_directory import RunConfig, TrainConfig

L = TypeVar("L", bound=Logger)
CONFIG = RunConfig(
    algorithm="vdn",
    hyper_parameters={"gamma": 0.9},
    environment="mill",
    environment_options={"n_agents": 2},
    environment_spec={},
    train_config=TrainConfig(seeds=(0, 4)),
)


def opened(logger: L, folder: Path = Path(), *, resumed_at: int | None = None, **train_config: Any) -> L:
    """The logger, opened for a run in `folder`."""
    config = CONFIG if not train_config else RunConfig(**{**vars(CONFIG), "train_config": TrainConfig(**train_config)})
    logger.open(LoggedRun(path=folder, config=config, resumed_at=resumed_at))
    return logger
