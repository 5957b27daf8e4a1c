"""What `fig3` and `smax` compare: methods on the maps of a family of environments, with run lengths and seeds.

The maps of SMAX have their plain names, those of another family are `FAMILY:MAP`, and `FAMILY` is all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dop.errors import ConfigError
from dop.paper import pieces
from dop.paper.variants import FIG3, SMAX_METHODS

SMAX = "smax"
SKIRMISH = "skirmish"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Methods on the maps of one family, with a table and a figure of their own."""

    family: str
    variants: tuple[str, ...]
    """Unless others are requested."""
    env_steps: Mapping[str, int]
    """Environment steps of a run, by map."""
    seeds: Mapping[str, int]
    """Number of seeds, by map."""
    reference: str | None = None
    """The method that sets the processor seconds of a second comparison: the runs of the others continue until they have taken as many."""
    suffix: str = ""
    """Of the names of table and figure, which keeps comparisons in one folder apart."""

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """The maps that each name on the command line stands for."""
        if self.family == SMAX:
            return {name: (name,) for name in self.env_steps}
        return {self.family: tuple(self.env_steps)} | {f"{self.family}:{name}": (name,) for name in self.env_steps}


_PAPER_METHODS = ("dop", "on-policy-dop", "undecomposed-dop", "coma", "qmix")
"""The methods of the paper's Fig. 3 that exist here."""
_SKIRMISH_MAPS = ("MMM", "so_many_baneling", "2s_vs_1sc", "3s_vs_3z", "2s3z", "3s5z", "10m_vs_11m", "MMM2")
"""The maps that the paper's text names, and others of up to ten agents; MMM, 10m_vs_11m and MMM2 have ten."""


def _smax(maps: tuple[str, ...], env_steps: int, seeds: int) -> Comparison:
    return Comparison(family=SMAX, variants=tuple(FIG3), env_steps=dict.fromkeys(maps, env_steps), seeds=dict.fromkeys(maps, seeds))


def _skirmish(env_steps: Mapping[str, int], seeds: int) -> Comparison:
    return Comparison(
        family=SKIRMISH, variants=_PAPER_METHODS, env_steps=env_steps, seeds=dict.fromkeys(env_steps, seeds), suffix="-skirmish"
    )


FIG3_SCALES = {
    "small": (
        _smax(("3m", "2s3z", "3s_vs_3z", "3s5z"), 300_000, seeds=5),
        _skirmish(dict.fromkeys(_SKIRMISH_MAPS, 500_000), seeds=5),
    ),
    "paper": (
        _smax(("2s3z", "3s_vs_3z", "3s5z", "5m_vs_6m", "10m_vs_11m", "27m_vs_30m"), 3_000_000, seeds=12),
        _skirmish(dict.fromkeys(_SKIRMISH_MAPS, 3_000_000), seeds=12),
    ),
    "long-coma": (
        Comparison(
            family=SKIRMISH,
            variants=("coma",),
            env_steps={"so_many_baneling": 2_000_000},
            seeds={"so_many_baneling": 2},
            suffix="-long-coma",
        ),
    ),
}
"""The comparisons of Fig. 3, by scale. Without `--maps`, the first one is made."""


def _peers(env_steps: Mapping[str, int], seeds: Mapping[str, int]) -> Comparison:
    return Comparison(family=SMAX, variants=tuple(SMAX_METHODS), env_steps=env_steps, seeds=seeds, reference="dop")


_MAPS = ("2s3z", "3s5z", "5m_vs_6m", "10m_vs_11m", "27m_vs_30m", "3s5z_vs_3s6z", "6h_vs_8z", "smacv2_5_units", "smacv2_10_units")
"""The maps on which methods are usually compared on SMAX."""
_HARDEST = ("27m_vs_30m", "3s5z_vs_3s6z", "5m_vs_6m")
_FIVE_SEEDS = ("2s3z", "3s5z", "6h_vs_8z", "smacv2_5_units")
_SMALL = ("2s3z", "3s5z", "6h_vs_8z")

SMAX_SCALES = {
    "small": (_peers(dict.fromkeys(_SMALL, 300_000), seeds=dict.fromkeys(_SMALL, 3)),),
    "full": (
        _peers(
            {name: 2_000_000 if name in _HARDEST else 1_000_000 for name in _MAPS},
            seeds={name: 5 if name in _FIVE_SEEDS else 3 for name in _MAPS},
        ),
    ),
}
"""The comparison of methods on SMAX, by scale."""


def chosen(comparisons: Sequence[Comparison], maps: Sequence[str]) -> tuple[Comparison, ...]:
    """The comparisons on these maps, in this order; without maps, the first one.

    Raises:
        UnknownNameError: a map that none of them has.
        ConfigError: a map given twice.
    """
    if not maps:
        return tuple(comparisons[:1])
    _check(maps, comparisons)
    found = []
    for comparison in comparisons:
        kept = [name for given in maps for name in comparison.names.get(given, ())]
        if kept:
            found.append(replace(comparison, env_steps={name: comparison.env_steps[name] for name in kept}))
    return tuple(found)


def _check(maps: Sequence[str], comparisons: Sequence[Comparison]) -> None:
    """Refuse unknown maps, and maps given twice, alone or as a part of their family."""
    known = {given: names for comparison in comparisons for given, names in comparison.names.items()}
    pieces.check_names("map", maps, known)
    for comparison in comparisons:
        single = [given for given in maps if given in comparison.names and given != comparison.family]
        if comparison.family in maps and single:
            raise ConfigError(f"{comparison.family} has all of its maps, also {single[0]}: give one of the two.")
