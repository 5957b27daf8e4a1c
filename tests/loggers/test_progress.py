"""What people see: plain lines in a pipe, a live display on a terminal."""

import errno
import io
import math

import pytest
from rich.console import Console

from dop.loggers.progress import Progress, clock, compact
from dop.storage.records import Kind, Record
from logged import opened


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown_by(console: Console, *, env_steps: int = 10_000, seeds: tuple[int, ...] = (0,), resumed_at: int | None = None) -> Progress:
    return opened(Progress(console), env_steps=env_steps, seeds=seeds, resumed_at=resumed_at)


def record(kind: Kind, env_steps: int, seconds: float, seed: int = 0, **metrics: float) -> Record:
    return Record(kind=kind, seed=seed, iteration=env_steps, env_steps=env_steps, wall_seconds=seconds, metrics=metrics)


@pytest.fixture(autouse=True)
def still_clock(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dop.loggers.progress.time.monotonic", lambda: 0.0)


def test_a_pipe_gets_one_plain_line_per_evaluation(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    pipe = io.StringIO()
    progress = shown_by(Console(file=pipe, width=40))
    progress.message("compiling [bold]...")
    progress.write([record("evaluation", 0, 30.0, test_return_mean=1.0)])
    progress.write([record("train", 1000, 60.0, return_mean=2.0, policy_entropy=1.25, critic_loss=0.0123)])
    progress.write([record("train", 2000, 70.0, return_mean=3.0, policy_entropy=1.125, critic_loss=math.nan)])
    progress.write([record("evaluation", 2000, 70.0, test_return_mean=4.0, test_battle_won_mean=0.5)])
    progress.close()
    assert pipe.getvalue().splitlines() == [
        "compiling [bold]...",
        "0/10k steps  greedy return 1.00",
        "2k/10k steps  100 steps/s  1:20 left  return 3.00  greedy return 4.00  win rate 50%  entropy 1.125",
    ]


def test_several_seeds_make_one_line_of_their_means_once_all_are_there():
    pipe = io.StringIO()
    progress = shown_by(Console(file=pipe), seeds=(0, 1), resumed_at=4000)
    first = [Record(kind="evaluation", seed=s, iteration=7, env_steps=5000 + s, wall_seconds=1.0, metrics={"w": 0.0}) for s in (0, 1)]
    evaluation = [Record(**{**vars(r), "metrics": {"test_battle_won_mean": 0.25 + r.seed / 2}}) for r in first]
    progress.write(evaluation[:1])
    assert pipe.getvalue() == ""
    progress.write(evaluation[1:])
    assert pipe.getvalue() == "5k/10k steps  win rate 50%\n"


def test_speed_is_that_of_the_slowest_seed():
    pipe = io.StringIO()
    progress = shown_by(Console(file=pipe), seeds=(0, 1))
    for iteration, seconds, steps in ((1, 50.0, (1000, 1500)), (2, 60.0, (2000, 4000))):
        for seed in (0, 1):
            progress.write([Record(kind="train", seed=seed, iteration=iteration, env_steps=steps[seed], wall_seconds=seconds, metrics={})])
    progress.write([Record(kind="evaluation", seed=s, iteration=2, env_steps=2000, wall_seconds=61.0, metrics={}) for s in (0, 1)])
    assert pipe.getvalue() == "2k/10k steps  100 steps/s x 2 seeds  1:20 left\n"


def test_a_terminal_gets_a_live_display_and_its_cursor_back():
    terminal = Terminal()
    progress = shown_by(Console(file=terminal, force_terminal=True, width=100, legacy_windows=False))
    assert terminal.getvalue() == ""
    progress.message("saved [checkpoint]")
    progress.write([record("train", 2500, 60.0, return_mean=3.0, critic_loss=0.5)])
    progress.write([record("evaluation", 2500, 60.0, test_battle_won_mean=0.75)])
    progress.close()
    progress.close()
    shown = terminal.getvalue()
    for text in ("saved [checkpoint]", "2.5k/10k steps", "return 3.00", "win rate 75%", "critic loss 0.5"):
        assert text in shown
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert shown.count(hide) == 1
    assert shown.rindex(show) > shown.rindex("win rate 75%")


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    progress = shown_by(Console(file=terminal), env_steps=100)
    progress.write([record("evaluation", 10, 1.0, test_return_mean=1.0)])
    progress.close()
    assert terminal.getvalue() == "10/100 steps  greedy return 1.00\n"


def test_numbers_are_short():
    assert [compact(n) for n in (0, 950, 999.9, 12_345, 500_000, 999_600, 1_234_567)] == [
        "0", "950", "1k", "12.3k", "500k", "1M", "1.23M",
    ]  # fmt: skip
    assert [clock(s) for s in (0, 32.4, 59.6, 723, 3723)] == ["0:00", "0:32", "1:00", "12:03", "1:02:03"]


@pytest.mark.parametrize(("kind", "error"), [(io.StringIO, BrokenPipeError()), (Terminal, OSError(errno.EIO, "closed"))])
def test_a_run_goes_on_when_nobody_watches_any_more(kind: type[io.StringIO], error: OSError):
    tried = []

    class Broken(kind):
        def write(self, text: str) -> int:
            tried.append(text)
            raise error

    progress = shown_by(Console(file=Broken(), width=40))
    progress.message("compiling ...")
    progress.write([record("evaluation", 0, 30.0, test_return_mean=1.0)])
    progress.close()
    assert tried
