"""Weights & Biases: one run per seed, in a group. Offline by default."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from typing import Any

from dop.loggers.identity import PROJECT, group_name, run_identity
from dop.loggers.protocol import LoggedRun, settings, tagged
from dop.storage import files
from dop.storage.records import Record


class WandB:
    """Weights & Biases: one run per seed, named `first-seed-0` after the run directory, in the group `first`, over environment steps."""

    def __init__(self, online: bool = False) -> None:
        self._online = online

    def open(self, run: LoggedRun) -> None:
        # Not below: wandb puts a link to a log in its cache into each folder, and older folders are not written again.
        files.check_inside(run.path / "wandb", below=False)
        # Otherwise wandb sends error reports even offline.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._wandb: Any = importlib.import_module("wandb")
        self._runs: dict[int, Any] = {}
        for seed in run.config.train_config.seeds:
            self._runs[seed] = self._started(run, seed)
        # Steps already reported online. They cannot be retracted, and a resumed run has the same values.
        self._reported = {seed: kept.step if self._online else 0 for seed, kept in self._runs.items()}
        self.write(run.history)

    def _started(self, run: LoggedRun, seed: int) -> Any:
        group = group_name(run)
        return self._wandb.init(
            project=PROJECT,
            group=group,
            name=f"{group}-seed-{seed}",
            id=f"{run_identity(run.folder)}-seed-{seed}",
            resume="allow" if self._online else None,
            reinit="create_new",  # several at once
            dir=str(run.path.resolve()),
            mode="online" if self._online else "offline",
            config=settings(run.config) | {"seed": seed},
            settings=self._wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True),
        )

    def write(self, records: Sequence[Record]) -> None:
        for record in records:
            if record.env_steps >= self._reported[record.seed]:
                self._runs[record.seed].log(tagged(record), step=record.env_steps)

    def close(self) -> None:
        for run in self._runs.values():
            run.finish()
