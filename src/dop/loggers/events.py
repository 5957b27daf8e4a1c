"""TensorBoard event files, with the session summaries of the HParams tab.

Each seed is a session: a summary with the hyper-parameters at its start, and one at its end. The tab reads the metrics from the last
scalars of the same folder, and shows the mean over the sessions of a group.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX.proto import api_pb2, event_pb2, plugin_hparams_pb2, summary_pb2
from tensorboardX.record_writer import masked_crc32c

from dop.storage import files

# Protocol buffers create their classes on import, which type checkers cannot see.
_Event, _SessionLog, _Summary = vars(event_pb2)["Event"], vars(event_pb2)["SessionLog"], vars(summary_pb2)["Summary"]
_Metadata, _Plugin = vars(summary_pb2)["SummaryMetadata"], vars(plugin_hparams_pb2)["HParamsPluginData"]
_SessionStart, _SessionEnd = vars(plugin_hparams_pb2)["SessionStartInfo"], vars(plugin_hparams_pb2)["SessionEndInfo"]
_NAMES = "events.out.tfevents."


class EventFile:
    """A new event file in a folder, which replaces older ones. `flush` syncs it to disk."""

    def __init__(self, folder: Path) -> None:
        files.make_folder(folder)
        older = list(folder.glob(f"{_NAMES}*"))
        # TensorBoard reads files in the order of their names, hence the time. The random part makes the path unpredictable.
        path = folder / f"{_NAMES}{time.time():017.6f}.{socket.gethostname()}.{secrets.token_hex(8)}"
        self._file = files.opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        self._write(file_version="brain.Event:2")
        # A running TensorBoard discards the events of older files.
        self._write(session_log=_SessionLog(status=_SessionLog.START))
        self.flush()
        for old in older:
            _clear(old)

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return self._file.closed

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Scalars by their tags."""
        self._write(step=step, summary=_Summary(value=[_Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]))

    def session_start(self, hyper_parameters: Mapping[str, Any], group: str) -> None:
        """Start a session of the HParams tab. Sessions of the same `group` have the same hyper-parameters."""
        start = _SessionStart(group_name=group, start_time_secs=time.time())
        for name, value in hyper_parameters.items():
            _set_value(start.hparams[name], value)
        self._hparams("session_start_info", start)

    def session_end(self, *, finished: bool) -> None:
        """End the session, as finished or stopped early."""
        status = vars(api_pb2)["STATUS_SUCCESS" if finished else "STATUS_UNKNOWN"]
        self._hparams("session_end_info", _SessionEnd(status=status, end_time_secs=time.time()))

    def flush(self) -> None:
        """Sync the file to disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _hparams(self, name: str, content: Any) -> None:
        data = _Plugin(version=0, **{name: content}).SerializeToString()
        metadata = _Metadata(plugin_data=_Metadata.PluginData(plugin_name="hparams", content=data))
        self._write(summary=_Summary(value=[_Summary.Value(tag=f"_hparams_/{name}", metadata=metadata)]))

    def _write(self, **content: Any) -> None:
        """One event in TensorFlow's record format: length and bytes, each followed by a checksum."""
        # In this thread: the thread of a `SummaryWriter` dies on a full disk, and its callers wait for ever.
        data = _Event(wall_time=time.time(), **content).SerializeToString()
        for part in (struct.pack("<Q", len(data)), data):
            self._file.write(part + struct.pack("<I", masked_crc32c(part)))


def _clear(path: Path) -> None:
    """Truncate an older file; delete it if already empty. A running TensorBoard whose file is deleted does not open the new one."""
    if path.lstat().st_size == 0:
        files.delete(path)
        return
    with files.opened(path, os.O_WRONLY) as file:
        file.truncate(0)


def _set_value(field: Any, value: Any) -> None:
    """Set a hyper-parameter: a boolean, a number or text; other values become JSON."""
    if isinstance(value, bool):
        field.bool_value = value
    elif isinstance(value, int | float) and math.isfinite(value):
        field.number_value = value
    else:
        field.string_value = value if isinstance(value, str) else json.dumps(value)
