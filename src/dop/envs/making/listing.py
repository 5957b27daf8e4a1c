"""Names of agents for people to read: a few are listed, hundreds are counted by what stands before their number."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Sequence
from typing import Any

LISTED = 8
"""Names that a sentence lists; more are counted."""


def listed(names: Iterable[Any]) -> str:
    """The names, or, of many, how many there are of each kind: `agent_* x 300`."""
    words = [str(name) for name in names]
    if len(words) <= LISTED:
        return ", ".join(words)
    kinds = by_stem(words)
    if len(kinds) > LISTED:
        return f"{', '.join(words[: LISTED - 1])} and {len(words) - LISTED + 1} more"
    return ", ".join(f"{kind}* x {len(of)}" if len(of) > 1 else of[0] for kind, of in kinds.items())


def quoted(names: Iterable[Any]) -> str:
    """The same as a list."""
    words = [str(name) for name in names]
    return str(words) if len(words) <= LISTED else f"[{listed(words)}]"


def by_stem(names: Iterable[str]) -> dict[str, list[str]]:
    """The names by what they are without the digits that they end in."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(name.rstrip("0123456789"), []).append(name)
    return kinds


def patterns(names: Sequence[str], everybody: Collection[str]) -> list[str]:
    """Patterns that match these of all names and no others: `agent_*` for all whose name begins so, else the names themselves."""
    found = []
    for stem, of in by_stem(names).items():
        pattern = f"{stem}*"
        matched = {name for name in everybody if fnmatch.fnmatchcase(name, pattern)}
        found += [pattern] if len(of) > 1 and matched == set(of) else of
    return found
