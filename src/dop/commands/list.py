"""Algorithms and environments."""

from __future__ import annotations

from collections.abc import Sequence

from dop import algorithms, envs
from dop.commands._output import say

USAGE = ""


def run(_: Sequence[str]) -> None:
    """`dop list`"""
    say("algorithms:")
    for name, algorithm in sorted(algorithms.algorithms().items()):
        summary = (algorithm.__doc__ or "").split("\n")[0]
        say(f"  {name:24}{summary}\n  {'':24}presets: {', '.join(algorithm.presets())}")
    say("environments:")
    for name in (*envs.names(), *envs.adapters()):
        say(f"  {name}")
