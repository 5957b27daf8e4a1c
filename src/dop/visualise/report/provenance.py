"""The provenance of a report: differing hyper-parameters, and runs with their versions and machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from dop.analysis import compare
from dop.analysis.compare import Comparison, Entry
from dop.visualise.report import html

_ORIGINS = ("run", "algorithm", "environment, version", "seeds", "dop", "versions", "machine")
_COLUMNS = 6
"""Largest number of methods side by side."""


def hyper_parameters(comparison: Comparison) -> Markup:
    """The hyper-parameters that differ between methods."""
    found = compare.hyper_parameters(comparison)
    names = list(next(iter(found.values())))
    if len(found) < 2 or not names:
        return Markup()
    caption = "Hyper-parameters and evaluation settings that differ"
    if len(found) <= _COLUMNS:
        rows = [[name, *("-" if own[name] is None else str(own[name]) for own in found.values())] for name in names]
        shown = html.table(caption, ("field", *found), rows, wrap=True)
    else:
        shown = html.table(caption, ("field", "value: methods"), [[name, _by_value(found, name)] for name in names], wrap=True)
    return html.piece("differences", count=len(names), fields=shown)


def _by_value(found: Mapping[str, Mapping[str, Any]], name: str) -> str:
    """A field's values, each with its methods."""
    having: dict[str, list[str]] = {}
    for label, own in found.items():
        if own[name] is not None:
            having.setdefault(str(own[name]), []).append(label)
    return "; ".join(f"{value}: {', '.join(labels)}" for value, labels in having.items())


def origin(comparison: Comparison) -> Markup:
    """The origin of each run; what all runs share comes first."""
    rows = [_made_by(entry) for entry in comparison.entries]
    common = {name: rows[0][name] for name in _ORIGINS[4:] if len(rows) > 1 and len({row[name] for row in rows}) == 1}
    header = [name for name in _ORIGINS if name not in common]
    shown = html.table("Origin of the numbers", header, [[row[name] for name in header] for row in rows], wrap=True)
    return html.piece("origin", common=[f"{name}: {value}" for name, value in common.items()], runs=shown)


def _made_by(entry: Entry) -> dict[str, str]:
    """One run's origin, by the names in `_ORIGINS`."""
    spec, made_by = entry.config.environment_spec, entry.made_by
    versions = ", ".join(f"{name} {version}" for name, version in (made_by["versions"] or {}).items())
    seeds = ", ".join(map(str, entry.config.train_config.seeds))
    machine = f"{made_by['device']}; {made_by['machine']}"
    place = (entry.name, entry.config.algorithm, f"{spec['name']}, {spec['version']}", seeds)
    return dict(zip(_ORIGINS, (*place, str(made_by["library_version"]), versions, machine), strict=True))
