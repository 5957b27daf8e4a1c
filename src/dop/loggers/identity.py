"""The identity of a run at Weights & Biases and MLflow.

    wandb     RUN/wandb/     upload later with `wandb sync`: the newest RUN/wandb/offline-run-* of each seed
    mlflow    RUN/mlruns/    view with `mlflow ui --backend-store-uri RUN/mlruns`

Each seed is a separate run there. The runs of all seeds form a group and have the same metric names, so that these tools can
average over seeds. A run's identity is RUN/logger-id and the seed. Online, wandb uses its usual login (WANDB_API_KEY, WANDB_BASE_URL ...),
and mlflow uses MLFLOW_TRACKING_URI.

A crashed run resumes from its checkpoint and reports later records again. Neither package can retract records, so that a seed would have
two curves. Therefore a resumed run reports the records of `metrics.jsonl`, which ends at the checkpoint:

    mlflow             continues the run if it has the same records; otherwise deletes it and reports all records to a new one
    wandb, offline     reports all records to a new folder of the same run; older folders can be deleted
    wandb, online      continues the run after its last reported step; earlier records are not reported again
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
"""wandb's project, mlflow's experiment."""


def run_identity(folder: RunFolder) -> str:
    """The identity of a run. Paths are not unique: another machine, or a later run, may use the same one."""
    path = folder.path / "logger-id"
    if not os.path.lexists(path):
        files.write_text(path, uuid.uuid4().hex)
    identity = files.read_text(path).strip()
    if not re.fullmatch("[0-9a-f]{32}", identity):
        raise RunError(f"{path} is damaged: it must hold 32 hexadecimal digits. Delete it to give the run a new identity.")
    return identity


def group_name(run: LoggedRun) -> str:
    """The group of the runs of all seeds: the name of the run directory."""
    return run.path.resolve().name
