"""TensorBoard: curves and hyper-parameters, one folder per seed."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Sequence

from dop.errors import RunError
from dop.loggers.events import EventFile
from dop.loggers.protocol import LoggedRun, settings, tagged
from dop.storage import files
from dop.storage.records import Record


class TensorBoard:
    """Event files for TensorBoard, one folder per seed, `tensorboard/seed_0`, with the same tags, `train/critic_loss`, `eval/return_mean`,
    over environment steps, and the hyper-parameters for the HParams tab. Metrics that are not finite are omitted.

    A resumed run rewrites the files from `metrics.jsonl`, so that no point is duplicated.
    """

    def open(self, run: LoggedRun) -> None:
        files.check_kinds(run.path, plain_files=(), folders=(run.folder.tensorboard.name,))
        train_config = run.config.train_config
        self._goal, self._steps = train_config.env_steps, dict.fromkeys(train_config.seeds, 0)
        self._files = {seed: EventFile(run.folder.tensorboard / f"seed_{seed}") for seed in train_config.seeds}
        for file in self._files.values():
            # Without the seed: the tab shows the hyper-parameters of one session per group.
            file.session_start(settings(run.config), _group(run))
        self.write(run.history)

    def write(self, records: Sequence[Record]) -> None:
        if any(file.closed for file in self._files.values()):
            raise RunError("These event files are closed.")
        for record in records:
            self._steps[record.seed] = record.env_steps
            self._files[record.seed].scalars(record.env_steps, tagged(record))
        for file in self._files.values():
            file.flush()

    def close(self) -> None:
        for seed, file in self._files.items():
            if not file.closed:
                with contextlib.closing(file):
                    file.session_end(finished=self._steps[seed] >= self._goal)
                    file.flush()


def _group(run: LoggedRun) -> str:
    """A group name that is unique among the runs of a log directory, whose folders may have the same name."""
    path = run.path.resolve()
    return f"{run.config.environment}/{run.config.algorithm}/{path.name}-{zlib.crc32(bytes(path)):08x}"
