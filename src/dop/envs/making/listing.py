"""Readable lists of agents' names: a few are listed, many are counted by their common prefix."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Sequence
from typing import Any

LISTED = 8
"""Most names that are listed one by one."""


def listed(names: Iterable[Any]) -> str:
    """The names, or, if there are many, the count per prefix: `agent_* x 300`."""
    words = [str(name) for name in names]
    if len(words) <= LISTED:
        return ", ".join(words)
    kinds = by_stem(words)
    if len(kinds) > LISTED:
        return f"{', '.join(words[: LISTED - 1])} and {len(words) - LISTED + 1} more"
    return ", ".join(f"{kind}* x {len(of)}" if len(of) > 1 else of[0] for kind, of in kinds.items())


def quoted(names: Iterable[Any]) -> str:
    """The names as a Python list, or, if there are many, `listed` in brackets."""
    words = [str(name) for name in names]
    return str(words) if len(words) <= LISTED else f"[{listed(words)}]"


def by_stem(names: Iterable[str]) -> dict[str, list[str]]:
    """The names grouped by their prefix, without trailing digits."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(name.rstrip("0123456789"), []).append(name)
    return kinds


def patterns(names: Sequence[str], all_names: Collection[str]) -> list[str]:
    """Patterns that match exactly `names` among `all_names`: `agent_*` where one prefix suffices, else the names themselves."""
    found = []
    for stem, of in by_stem(names).items():
        pattern = f"{stem}*"
        matched = {name for name in all_names if fnmatch.fnmatchcase(name, pattern)}
        found += [pattern] if len(of) > 1 and matched == set(of) else of
    return found
