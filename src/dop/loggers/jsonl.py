"""The logger of `metrics.jsonl`."""

from __future__ import annotations

import os
from collections.abc import Sequence

from dop.loggers.protocol import LoggedRun
from dop.storage import files
from dop.storage.records import Record, as_lines, complete


class JsonLines:
    """Appends to `metrics.jsonl`. `write` syncs its records to disk, so that no crash loses them."""

    def open(self, run: LoggedRun) -> None:
        self._file = files.opened(run.folder.metrics, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        self._file.truncate(len(complete(self._file.read())))

    def write(self, records: Sequence[Record]) -> None:
        self._file.write(as_lines(records))
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
