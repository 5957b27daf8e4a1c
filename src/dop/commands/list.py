"""Algorithms and environments."""

from __future__ import annotations

from collections.abc import Sequence

from dop import algorithms, envs

USAGE = ""


def run(_: Sequence[str]) -> None:
    """`dop list`"""
    print("algorithms:")
    for name, algorithm in sorted(algorithms.algorithms().items()):
        summary = (algorithm.__doc__ or "").split("\n")[0]
        print(f"  {name:24}{summary}\n  {'':24}presets: {', '.join(algorithm.presets())}")
    print("environments:")
    for name in (*envs.names(), *envs.adapters()):
        print(f"  {name}")
