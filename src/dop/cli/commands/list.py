"""Algorithms and environments."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence

from dop import algorithms, envs, registry
from dop.cli.output import say

USAGE = ""
_INDENT = 26


def run(_: Sequence[str]) -> None:
    """`dop list`"""
    say("algorithms:")
    for name, algorithm in sorted(algorithms.algorithms().items()):
        presets = f"presets: {', '.join(algorithm.presets())}"
        lines = [
            line
            for text in (registry.first_paragraph(algorithm), presets)
            for line in textwrap.wrap(text, _columns() - _INDENT, break_on_hyphens=False)
        ]
        say("\n".join(f"  {name if i == 0 else '':{_INDENT - 2}}{line}" for i, line in enumerate(lines)))
    for name, place in sorted(algorithms.entry_points().items()):
        say(f"  {name:{_INDENT - 2}}{place}")
    say("environments:")
    for name in (*envs.names(), *envs.adapters()):
        say(f"  {name}")


def _columns() -> int:
    """Of the terminal, but neither too few nor too many to read."""
    return min(max(shutil.get_terminal_size((100, 24)).columns, 60), 140)
