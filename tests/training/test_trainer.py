"""Signals: the first one asks for a stop, the second has its usual effect."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator

import pytest

from dop.training.trainer import stop_requested


class Broken(io.StringIO):
    """A pipe that nobody reads any more."""

    def write(self, _: str) -> int:
        raise BrokenPipeError


@pytest.fixture
def usual() -> Iterator[None]:
    """Hangups are as Python has them, also where the tests run under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("usual")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_asks_for_a_stop_even_if_nobody_can_be_told(monkeypatch: pytest.MonkeyPatch, number: int):
    before = signal.getsignal(number)
    monkeypatch.setattr("sys.stderr", Broken())
    with stop_requested() as stop:
        os.kill(os.getpid(), number)
        assert stop.is_set()
        assert signal.getsignal(number) == before
    assert signal.getsignal(number) == before


@pytest.mark.usefixtures("usual")
def test_a_hangup_stays_ignored_under_nohup():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stop_requested() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.is_set()
