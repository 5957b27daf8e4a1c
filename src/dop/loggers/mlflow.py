"""MLflow: one child run per seed. Offline by default."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from dop.loggers.identity import PROJECT, group_name, run_identity
from dop.loggers.protocol import LoggedRun, settings, tagged
from dop.storage import files
from dop.storage.records import Record


class MLflow:
    """MLflow: a parent run named after the run directory, and one child run per seed, over environment steps."""

    def __init__(self, online: bool = False) -> None:
        self._online = online

    def open(self, run: LoggedRun) -> None:
        files.check_inside(run.path / "mlruns")
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # no usage statistics
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        tracking: Any = importlib.import_module("mlflow.tracking")
        self._entities: Any = importlib.import_module("mlflow.entities")
        uri = None if self._online else (run.path.resolve() / "mlruns").as_uri()
        self._client = tracking.MlflowClient(tracking_uri=uri)
        found = self._client.get_experiment_by_name(PROJECT)
        self._experiment = self._client.create_experiment(PROJECT) if found is None else found.experiment_id
        identity, described, history = run_identity(run.folder), settings(run.config), run.history
        parent = self._found(identity)
        self._parent = parent[0].info.run_id if parent else self._new_run(run, group_name(run), {"dop_id": identity}, described)
        self._children: dict[int, str] = {}
        for seed in run.config.train_config.seeds:
            own, known = f"{identity}-seed-{seed}", [record for record in history if record.seed == seed]
            child = self._resumable_run(own, known)
            tags = {"dop_id": own, "mlflow.parentRunId": self._parent}
            self._children[seed] = child or self._new_run(run, f"{group_name(run)}-seed-{seed}", tags, described | {"seed": seed})
            self.write([] if child else known)

    def _resumable_run(self, identity: str, history: Sequence[Record]) -> str | None:
        """The existing run of a seed if it has exactly these records; a run with other records is deleted."""
        same = self._found(identity)
        if same and self._steps(same[0]) == _steps_of(history):
            return same[0].info.run_id
        for other in same:
            self._client.delete_run(other.info.run_id)
        return None

    def _found(self, identity: str) -> list[Any]:
        return self._client.search_runs([self._experiment], filter_string=f"tags.dop_id = '{identity}'")

    def _steps(self, run: Any) -> dict[str, list[int]]:
        """The environment steps of the reported values, by metric."""
        found = {name: self._client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
        return {name: sorted(metric.step for metric in metrics) for name, metrics in found.items()}

    def _new_run(self, run: LoggedRun, name: str, tags: dict[str, str], described: Mapping[str, Any]) -> str:
        made = self._client.create_run(self._experiment, run_name=name, tags=tags | {"dop.run_dir": str(run.path.resolve())})
        parameters = [self._entities.Param(key, json.dumps(value)) for key, value in described.items()]
        self._client.log_batch(made.info.run_id, params=parameters)
        return made.info.run_id

    def write(self, records: Sequence[Record]) -> None:
        now = int(1000 * time.time())
        for record in records:
            metrics = [self._entities.Metric(name, value, now, record.env_steps) for name, value in tagged(record).items()]
            self._client.log_batch(self._children[record.seed], metrics=metrics)

    def close(self) -> None:
        for run in (*self._children.values(), self._parent):
            self._client.set_terminated(run)


def _steps_of(history: Sequence[Record]) -> dict[str, list[int]]:
    """The environment steps of these records, by metric, like `MLflow._steps`."""
    found: dict[str, list[int]] = {}
    for record in history:
        for name in tagged(record):
            found.setdefault(name, []).append(record.env_steps)
    return {name: sorted(steps) for name, steps in found.items()}
