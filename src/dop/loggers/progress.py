"""The progress display of a run: live on a terminal, otherwise one plain line per evaluation.

Plain lines have no control characters, whatever `FORCE_COLOR` says.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dop.errors import printable
from dop.loggers.protocol import LoggedRun
from dop.storage.records import Kind, Record

_FIGURES = {
    "return_mean": ("return", "{:.2f}"),
    "test_return_mean": ("greedy return", "{:.2f}"),
    "test_battle_won_mean": ("win rate", "{:.0%}"),
    "policy_entropy": ("entropy", "{:.3f}"),
    "critic_loss": ("critic loss", "{:.3g}"),
}
_IGNORE_BROKEN_OUTPUT = contextlib.suppress(OSError)
"""The run continues if its output is closed (a terminal, a `tee` ended by Ctrl-C) or its disk is full."""
_WINDOW = 20
"""Train records per measurement of the speed; enough to average over evaluations and checkpoints."""


@dataclass(frozen=True, kw_only=True)
class _Status:
    """The displayed values. The drawing thread reads one immutable object."""

    env_steps: int
    rate: float | None
    """Environment steps per second and seed; None while unknown."""
    since: float
    """Seconds on the monotonic clock when `env_steps` was reached."""
    figures: str


class Progress:
    """A logger for the terminal. Figures are means over the seeds; the bar shows the slowest seed.

    Args:
        console: the output; by default standard error, since standard output is for results.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)

    def open(self, run: LoggedRun) -> None:
        """Start without output; the first records start the display."""
        self._total, self._seeds = run.config.train_config.env_steps, len(run.config.train_config.seeds)
        self._latest: dict[tuple[Kind, int], Record] = {}
        self._speed: deque[tuple[float, int]] = deque(maxlen=_WINDOW)
        self._status = _Status(env_steps=run.resumed_at or 0, rate=None, since=time.monotonic(), figures="")
        self._live: Live | None = None
        if self._console.file.isatty() and not self._console.is_dumb_terminal:
            self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=4)

    def write(self, records: Sequence[Record]) -> None:
        """Show records once those of all seeds have arrived."""
        for record in records:
            self._latest[record.kind, record.seed] = record
            together = [r for r in self._latest.values() if (r.kind, r.iteration) == (record.kind, record.iteration)]
            if len(together) == self._seeds:
                with _IGNORE_BROKEN_OUTPUT:
                    self._show(together)

    def message(self, text: str) -> None:
        """Print a line above the bar."""
        with _IGNORE_BROKEN_OUTPUT:
            if self._live is None:
                self._plain(text)
            else:
                self._live.start()
                self._console.print(Text(printable(text)))

    def close(self) -> None:
        """Leave the last state on the screen and restore the terminal."""
        if self._live is not None:
            with _IGNORE_BROKEN_OUTPUT:
                self._live.stop()

    def _show(self, together: list[Record]) -> None:
        kind, env_steps = together[0].kind, min(record.env_steps for record in together)
        if kind == "train":
            self._speed.append((together[0].wall_seconds, env_steps))
        self._status = _Status(env_steps=env_steps, rate=self._rate(), since=time.monotonic(), figures=self._figures())
        if self._live is not None:
            self._live.start(refresh=True)
        elif kind == "evaluation":
            self._plain("  ".join(part for part in (*self._numbers(self._status), self._status.figures) if part))

    def _rate(self) -> float | None:
        """The speed between train records; the time before the first is compilation."""
        if len(self._speed) < 2 or self._speed[-1][0] <= self._speed[0][0]:
            return None
        (start_seconds, start_steps), (seconds, steps) = self._speed[0], self._speed[-1]
        return (steps - start_steps) / (seconds - start_seconds)

    def _figures(self) -> str:
        texts = []
        for name, (label, form) in _FIGURES.items():
            values = [record.metrics[name] for record in self._latest.values() if math.isfinite(record.metrics.get(name, math.nan))]
            if values:
                texts.append(f"{label} {form.format(statistics.fmean(values))}")
        return "  ".join(texts)

    def _numbers(self, status: _Status) -> tuple[str, str, str]:
        """Steps, speed and remaining time; the last two are empty while unknown."""
        steps = f"{compact(status.env_steps)}/{compact(self._total)} steps"
        if not status.rate:
            return steps, "", ""
        left = (self._total - status.env_steps) / status.rate - (time.monotonic() - status.since)
        seeds = f" x {self._seeds} seeds" if self._seeds > 1 else ""
        return steps, f"{compact(status.rate)} steps/s{seeds}", f"{clock(max(left, 0))} left"

    def _render(self) -> RenderableType:
        status = self._status
        row = Table.grid(padding=(0, 2), expand=True)
        row.add_column(ratio=1)
        bar = ProgressBar(total=self._total, completed=min(status.env_steps, self._total))
        texts = [Text(text, no_wrap=True) for text in self._numbers(status) if text]
        row.add_row(bar, *texts)
        return Group(row, Text(status.figures, no_wrap=True, overflow="ellipsis")) if status.figures else row

    def _plain(self, text: str) -> None:
        self._console.file.write(printable(text) + "\n")
        self._console.file.flush()


def compact(number: float) -> str:
    """Three digits and a thousand's letter: 950, 12.3k, 500k, 1.2M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(number) >= 0.9995 * size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours from one hour on: 0:32, 12:03, 1:02:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
