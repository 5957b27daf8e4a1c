"""Algorithms, networks and environments."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping, Sequence

from dop import algorithms, envs, networks, registry
from dop.cli.output import say

USAGE = ""
_INDENT = 26


def run(_: Sequence[str]) -> None:
    """`dop list`"""
    say("algorithms:")
    for name, algorithm in sorted(algorithms.algorithms().items()):
        _say(name, registry.first_paragraph(algorithm), f"presets: {', '.join(algorithm.presets())}")
    _say_places(algorithms.entry_points())
    say("networks:")
    for name, network in sorted(networks.FAMILY.classes().items()):
        _say(name, registry.first_paragraph(network))
    _say_places(networks.FAMILY.entry_points())
    say("environments:")
    for name in (*envs.names(), *envs.files(), *envs.adapters()):
        say(f"  {name}")


def _say(name: str, *texts: str) -> None:
    """A name, and lines of text in a second column."""
    lines = [line for text in texts for line in textwrap.wrap(text, _columns() - _INDENT, break_on_hyphens=False)]
    say("\n".join(f"  {name if i == 0 else '':{_INDENT - 2}}{line}" for i, line in enumerate(lines)))


def _say_places(entry_points: Mapping[str, str]) -> None:
    """Names and targets of entry points."""
    for name, place in sorted(entry_points.items()):
        say(f"  {name:{_INDENT - 2}}{place}")


def _columns() -> int:
    """The width of the terminal, within readable limits."""
    return min(max(shutil.get_terminal_size((100, 24)).columns, 60), 140)
