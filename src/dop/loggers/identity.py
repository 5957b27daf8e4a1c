"""What a run is called at Weights & Biases and MLflow.

    wandb     RUN/wandb/     later `wandb sync` the newest RUN/wandb/offline-run-* of each seed
    mlflow    RUN/mlruns/    look with `mlflow ui --backend-store-uri RUN/mlruns`

Each seed is a run of its own there, in a group, with the same names of metrics: their own tools then average over seeds. RUN/logger-id and
the seed name the run there. Online, wandb logs in as it always does (WANDB_API_KEY, WANDB_BASE_URL ...), and mlflow goes where
MLFLOW_TRACKING_URI says.

A run that crashed continues from its checkpoint and reports what came after a second time. Neither package can take numbers back, and one
seed would have two curves. Therefore, when a run is resumed, `metrics.jsonl` is what counts, which ends at the checkpoint:

    mlflow             continues in the same run if that has the same records; else the run is deleted, and a new one gets all records
    wandb, offline     gets all records in a folder of its own, of the same run: the newest has everything, the older ones can go
    wandb, online      continues in the same run after the last step that it has; it gets again neither this one nor earlier ones
"""

from __future__ import annotations

import os
import re
import uuid

from dop.errors import RunError
from dop.loggers.protocol import LoggedRun
from dop.storage import files
from dop.storage.run_directory import RunFolder

PROJECT = "dop"
"""What the runs are filed under: wandb's project, mlflow's experiment."""


def run_identity(folder: RunFolder) -> str:
    """Which run this is, wherever its directory is: a path would be that of another run on another machine, or once this one is deleted."""
    path = folder.path / "logger-id"
    if not os.path.lexists(path):
        files.write_text(path, uuid.uuid4().hex)
    identity = files.read_text(path).strip()
    if not re.fullmatch("[0-9a-f]{32}", identity):
        raise RunError(f"{path} is damaged: it must hold 32 hexadecimal digits. Delete it, and the run gets a new identity.")
    return identity


def group_name(run: LoggedRun) -> str:
    """What the runs of all seeds are found under: the name of the run directory."""
    return run.path.resolve().name
