"""Loggers that are opened without a training, and what TensorBoard's files hold."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, TypeVar

from tensorboardX.proto import event_pb2

from dop.loggers.protocol import LoggedRun, Logger
from dop.storage.config import RunConfig, TrainConfig

Event = vars(event_pb2)["Event"]  # Protocol buffers make their classes as they are imported.
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


def events(folder: Path) -> list[Any]:
    """Every event of a folder; a frame is: length (8 bytes), its checksum (4), the event, its checksum (4)."""
    found = []
    for path in sorted(folder.iterdir()):
        rest = path.read_bytes()
        while rest:
            (length,) = struct.unpack("<Q", rest[:8])
            found.append(Event.FromString(rest[12 : 12 + length]))
            rest = rest[16 + length :]
    return found


def scalars(folder: Path) -> list[tuple[str, int, float]]:
    return [(v.tag, event.step, v.simple_value) for event in events(folder) for v in event.summary.value if v.HasField("simple_value")]
