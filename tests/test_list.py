"""`dop list` and the first sentences that it and `dop --help` show."""

from __future__ import annotations

import pytest

import dop
from dop import algorithms, registry
from dop.cli.commands import list as listing
from dop.networks import FAMILY


@pytest.mark.parametrize("columns", ["70", "120"])
def test_nothing_is_cut(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str):
    monkeypatch.setenv("COLUMNS", columns)
    listing.run([])
    shown = capsys.readouterr().out
    joined = " ".join(shown.split())
    for name, algorithm in algorithms.algorithms().items():
        told = registry.first_paragraph(algorithm)
        assert told.endswith(".")
        assert f"{name} {told} presets: {', '.join(algorithm.presets())}" in joined
    for name, network in FAMILY.classes().items():
        assert f"{name} {registry.first_paragraph(network)}" in joined
    assert all(len(line) <= int(columns) for line in shown.splitlines())
    assert "\n  matrix-game\n" in shown
    assert "\n  skirmish:PATH.toml\n" in shown


@pytest.mark.parametrize(
    ("said", "first"),
    [
        ("One sentence. Another.", "One sentence."),
        ("It ends on\nthe second line. And\ngoes on.", "It ends on the second line."),
        ("After Rashid et al. Monotonic, e.g. QMIX, as in Eq. A1. Then more.", "After Rashid et al. Monotonic, e.g. QMIX, as in Eq. A1."),
        ("Without an end\n\nA paragraph.", "Without an end"),
        ("Version 2.0 of it: `x.y`. `z` too.", "Version 2.0 of it: `x.y`."),
        (None, ""),
    ],
)
def test_first_sentences(said: str | None, first: str):
    thing = type("Thing", (), {"__doc__": said})
    assert registry.summary(thing) == first


def test_every_algorithm_is_listed():
    assert {algorithms.name_of(dop.VDN), "qmix"} <= algorithms.algorithms().keys()
