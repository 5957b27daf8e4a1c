"""Methods on SMAX: DOP, MAPPO, IPPO, QMIX, VDN and COMA on the maps where the field measures, at equal steps and at equal processor time.

Every piece (map, method, seed) is one run of `dop.paper.runs`. Methods are compared twice: at the same environment steps, and at the same
processor seconds of training (`Record.processor_seconds`), which are those of the same seed of stochastic DOP at its environment steps.
Cheaper methods are trained further for that. A win rate is the mean of a run's last three evaluations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from jaxtyping import Float

from dop.analysis import statistics
from dop.analysis.compare import LAST
from dop.analysis.statistics import Axis, Estimate, Interval
from dop.paper import pieces, runs
from dop.paper.comparisons import SMAX_SCALES, Comparison
from dop.paper.pieces import Log
from dop.paper.runs import WIN
from dop.paper.variants import SMAX_METHODS
from dop.storage import files
from dop.storage.records import Record

if TYPE_CHECKING:
    from dop.visualise.curves import Line, Panel

GROUPS = {
    "DOP, MAPPO and IPPO": ("dop", "mappo", "mappo-jaxmarl", "ippo", "ippo-jaxmarl"),
    "DOP, QMIX, VDN and COMA": ("dop", "qmix", "vdn", "coma"),
}
"""The methods of each column of a figure."""
STYLES = {"dop": 0, "mappo": 1, "ippo": 2, "qmix": 3, "vdn": 4, "coma": 5, "mappo-jaxmarl": 8, "ippo-jaxmarl": 9}
"""The style of each method's line; a preset has the colour of its method."""
LEVELS = (0.9, 1.0)
"""Fractions of the best peer's final win rate that DOP's steps are counted to."""
FRACTIONS = np.linspace(0.1, 1, 10)
"""Fractions of a run at which the curves over all maps have points."""


@dataclass(frozen=True, kw_only=True)
class Options(runs.RunOptions):
    """Options of `dop reproduce smax`."""

    SCALES = SMAX_SCALES
    KNOWN = tuple(SMAX_METHODS)

    scale: Literal["small", "full"] = "small"
    """small: 300,000 environment steps on 2s3z, 3s5z and 6h_vs_8z, 3 seeds; about six hours of one core. full: 1 million (2 million on
    27m_vs_30m, 3s5z_vs_3s6z and 5m_vs_6m) on 9 maps, 3 or 5 seeds; one to two weeks of one core, more than half of it 27m_vs_30m. Start it
    several times to use several cores."""
    maps: tuple[str, ...] = ()
    """Only these of the scale's maps; full has also 5m_vs_6m, 10m_vs_11m, 27m_vs_30m, 3s5z_vs_3s6z, smacv2_5_units and smacv2_10_units."""
    variants: tuple[str, ...] = ()
    """Only these of the methods: dop, mappo, mappo-jaxmarl, ippo, ippo-jaxmarl, qmix, vdn, coma. The comparison at equal processor time
    needs dop's runs."""
    runs: Path = Path("runs/smax")
    out: Path = Path("results/smax")


Seeds: TypeAlias = list[list[Record]]
"""Evaluations of each seed."""
EQUAL: Mapping[Axis, str] = {"env_steps": "environment steps", "processor_seconds": "processor minutes"}
"""What is equal in each of the two comparisons."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The finished runs of one method on one map."""

    map: str
    method: str
    seeds: Mapping[Axis, Seeds]
    """For each comparison, the seeds that have reached the environment steps, or the reference's processor seconds, up to there."""


def reproduce(options: Options, log: Log) -> None:
    """Train unfinished pieces, seed by seed over all maps and methods, then summarise all finished ones.

    Raises:
        UnknownNameError: a map or method that the scale does not have.
        ConfigError: a map or method given twice.
    """
    (comparison,) = runs.check(options)
    if not options.only_summary:
        runs.finish_all(options, log)
    summarise(comparison, read(comparison, options), options, log)


def read(comparison: Comparison, options: Options) -> list[Finished]:
    """The finished runs, by map and method in the comparison's order."""
    assert comparison.reference is not None, "a comparison at equal processor seconds has a reference"
    found: dict[tuple[str, str], Finished] = {}
    for piece in runs.pieces_of(comparison, options):
        empty: dict[Axis, Seeds] = {"env_steps": [], "processor_seconds": []}
        own = found.setdefault((piece.map, piece.variant), Finished(map=piece.map, method=piece.variant, seeds=empty))
        kept = pieces.evaluations(piece.data(options))
        if runs.reaches(kept, piece.env_steps):
            own.seeds["env_steps"].append(runs.up_to(kept, piece.env_steps))
        seconds = runs.reference_seconds(piece, comparison.reference, options)
        if seconds is not None and runs.reaches(kept, piece.env_steps, seconds):
            own.seeds["processor_seconds"].append(runs.up_to(kept, seconds=seconds))
    return [own for own in found.values() if own.seeds["env_steps"]]


def summarise(comparison: Comparison, found: Sequence[Finished], options: Options, log: Log) -> None:
    """Log and write the tables, and draw the figures."""
    if not found:
        log("nothing has finished yet")
        return
    tables = [map_table(found, comparison), all_maps_table(found)]
    if comparison.reference in {own.method for own in found}:
        tables.append(efficiency_table(found, comparison.reference))
    text = "\n\n".join("\n".join(lines) for lines in tables)
    log(text)
    files.write_text(options.out / "table.md", text + "\n")
    for name in draw(found, options.out):
        log(f"figure: {options.out / name}")


# ------------------------------------------------------------------------------------------------------------------- scores


def learned(kept: list[Record]) -> list[Record]:
    """The evaluations after learning began, or all if there is none."""
    return [record for record in kept if record.iteration > 0] or kept


def scores(seeds: Seeds) -> Float[np.ndarray, " seed"]:
    """The win rate of each seed: the mean of its last three evaluations."""
    return np.array([np.mean([record.metrics[WIN] for record in learned(kept)[-LAST:]]) for kept in seeds])


def mean_curve(seeds: Seeds) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """Environment steps, and the mean win rate over seeds of the last three evaluations there."""
    aligned = statistics.align(list(statistics.curves([record for kept in seeds for record in learned(kept)], WIN).values()))
    means = aligned.y.mean(axis=0)
    return aligned.x, np.array([means[max(0, end - LAST) : end].mean() for end in range(1, len(means) + 1)])


def steps_to(level: float, seeds: Seeds) -> float:
    """The environment steps at which the mean curve first reaches a win rate; infinite if it does not."""
    x, y = mean_curve(seeds)
    return float(min(x[y >= level - 1e-9], default=np.inf))


def common_maps(found: Sequence[Finished], equal: Axis) -> list[str]:
    """The maps on which all methods have finished seeds."""
    methods = {own.method for own in found}
    by_map: dict[str, set[str]] = {}
    for own in found:
        by_map.setdefault(own.map, set()).update([own.method] if own.seeds[equal] else [])
    return [name for name, finished in by_map.items() if finished == methods]


def overall(found: Sequence[Finished], method: str, equal: Axis, fraction: float = 1.0) -> Estimate:
    """The interquartile mean of a method's win rates after a fraction of its runs, over the maps that all methods have finished."""
    maps = common_maps(found, equal)
    tasks = [own.seeds[equal] for own in found if own.method == method and own.map in maps]
    return statistics.interquartile_mean([scores([part(kept, equal, fraction) for kept in seeds]) for seeds in tasks])


def part(kept: list[Record], equal: Axis, fraction: float) -> list[Record]:
    """The evaluations within a fraction of a run's environment steps or processor seconds."""
    if equal == "env_steps":
        return runs.up_to(kept, fraction * kept[-1].env_steps)
    return runs.up_to(kept, seconds=fraction * (kept[-1].processor_seconds or 0.0))


# ------------------------------------------------------------------------------------------------------------------- tables


def map_table(found: Sequence[Finished], comparison: Comparison) -> list[str]:
    """Win rates by map and method in both comparisons, with environment steps and processor minutes."""
    words = (
        "First at equal environment steps, then at equal processor minutes of training: those that the same seed of "
        f"{comparison.reference} takes for its environment steps. Win rate: mean of the last three evaluations, with a 95% interval over "
        "seeds."
    )
    header = "| map | method | seeds | environment steps | minutes | win rate | seeds | environment steps | minutes | win rate |"
    rows = (f"| {own.map} | {own.method} | {' | '.join([cell for equal in EQUAL for cell in cells(own.seeds[equal])])} |" for own in found)
    return [words, "", *pieces.table(header, rows)]


def cells(seeds: Seeds) -> list[str]:
    """Number of seeds, mean environment steps and processor minutes, and win rate."""
    if not seeds:
        return ["0", "", "", ""]
    seconds = [kept[-1].processor_seconds for kept in seeds]
    minutes = "unknown" if None in seconds else f"{np.mean([s for s in seconds if s is not None]) / 60:.1f}"
    steps = f"{np.mean([kept[-1].env_steps for kept in seeds]) / 1e3:,.0f}k"
    return [str(len(seeds)), steps, minutes, pieces.interval(scores(seeds), pieces.percentage)]


def all_maps_table(found: Sequence[Finished]) -> list[str]:
    """Interquartile means over maps and seeds, on the maps that all methods have finished."""
    rows = []
    for method in dict.fromkeys(own.method for own in found):
        estimates = [shown(overall(found, method, equal)) if common_maps(found, equal) else "" for equal in EQUAL]
        rows.append(f"| {method} | {' | '.join(estimates)} |")
    maps = [f"At equal {words}: {', '.join(common_maps(found, equal)) or 'none yet'}." for equal, words in EQUAL.items()]
    caption = "Interquartile mean (IQM) over the maps that all methods have finished, with 95% intervals by stratified bootstrap."
    header = f"| method | {' | '.join(f'IQM at equal {words}' for words in EQUAL.values())} |"
    return [f"{caption} {' '.join(maps)}", "", *pieces.table(header, rows)]


def shown(estimate: Estimate) -> str:
    value, low, high = map(pieces.percentage, estimate)
    return f"{value} [{low}, {high}]" if np.isfinite([estimate.low, estimate.high]).all() else value


def efficiency_table(found: Sequence[Finished], reference: str) -> list[str]:
    """The environment steps to fractions of the best peer's final win rate, of the reference and of that peer, and their ratio."""
    words = (
        f"Environment steps until the mean over seeds, of three evaluations, first reaches a fraction of the best peer's final win rate: "
        f"of {reference}, of that peer, and {reference}'s divided by the peer's."
    )
    columns = (f"{reference}'s steps to {level:.0%} | peer's | ratio" for level in LEVELS)
    header = f"| map | best peer | its win rate | {' | '.join(columns)} |"
    rows = []
    for own in (own for own in found if own.method == reference):
        peers = {peer.method: peer.seeds["env_steps"] for peer in found if peer.map == own.map and peer.method != reference}
        if peers:
            rows.append(efficiency_row(own, peers))
    return [words, "", *pieces.table(header, rows)]


def efficiency_row(own: Finished, peers: dict[str, Seeds]) -> str:
    finals = {name: mean_curve(seeds)[1][-1] for name, seeds in peers.items()}
    best = max(finals, key=lambda name: finals[name])
    if finals[best] == 0:
        return f"| {own.map} | none wins | 0% | {' | '.join([''] * 3 * len(LEVELS))} |"
    row = [own.map, best, pieces.percentage(finals[best])]
    for level in LEVELS:
        ours, theirs = steps_to(level * finals[best], own.seeds["env_steps"]), steps_to(level * finals[best], peers[best])
        reached = np.isfinite(ours)
        row += [f"{ours / 1e3:,.0f}k" if reached else "not reached", f"{theirs / 1e3:,.0f}k", f"{ours / theirs:.2f}" if reached else ""]
    return f"| {' | '.join(row)} |"


# ------------------------------------------------------------------------------------------------------------------ figures


def draw(found: Sequence[Finished], out: Path) -> Iterator[str]:
    """Draw win rates by map over environment steps and over processor time, and their IQM over maps. Yields the files' names."""
    from dop.visualise import curves  # noqa: PLC0415  # Matplotlib is slow to import

    bands = "lines: mean over seeds, bands: 95% confidence interval of the mean (from three seeds on)"
    names: dict[Axis, str] = {"env_steps": "smax-steps.png", "processor_seconds": "smax-seconds.png"}
    for equal, name in names.items():
        kept = [own for own in found if own.seeds[equal]]
        panels = [[map_panel(kept, title, equal, group) for group in groups(found)] for title in dict.fromkeys(own.map for own in kept)]
        if panels:
            curves.draw_multiples(panels, out / name, metric=WIN, title="Greedy win rate on SMAX", remark=bands)
            yield name
    overall_panels = [[overall_panel(found, equal, group) for group in groups(found)] for equal in EQUAL if common_maps(found, equal)]
    if overall_panels:
        remark = "lines: interquartile mean over maps and seeds, bands: 95% intervals by stratified bootstrap (from three seeds on)"
        curves.draw_multiples(overall_panels, out / "smax-iqm.png", metric=WIN, title="Greedy win rate over maps of SMAX", remark=remark)
        yield "smax-iqm.png"


def groups(found: Sequence[Finished]) -> list[str]:
    """The columns in which there is a method that no other column has; without one, the first column."""
    methods = {own.method for own in found} - {"dop"}
    return [group for group, members in GROUPS.items() if methods & set(members)] or list(GROUPS)[:1]


def map_panel(found: Sequence[Finished], name: str, equal: Axis, group: str) -> tuple[Panel, list[Line]]:
    """The win rates on one map, of the methods of one group."""
    from dop.visualise import curves  # noqa: PLC0415

    panel = curves.Panel(metric=WIN, axis=equal, title=f"{name}: {group}", fraction=True)
    seeds = {own.method: own.seeds[equal] for own in found if own.map == name and own.method in GROUPS[group]}
    records = {method: [record for kept in each for record in kept] for method, each in seeds.items()}
    return panel, [replace(line, place=STYLES[line.label]) for line in curves.lines_of(panel, records, curves.Look())]


def overall_panel(found: Sequence[Finished], equal: Axis, group: str) -> tuple[Panel, list[Line]]:
    """The interquartile means over maps, of the methods of one group, over fractions of their runs."""
    from dop.visualise import curves  # noqa: PLC0415

    count = len(common_maps(found, equal))
    words = f"of the {EQUAL[equal]}{'' if equal == 'env_steps' else ' of training that dop takes'}"
    title = f"{count} map{'s' if count > 1 else ''}: {group}"
    panel = curves.Panel(metric=WIN, axis=equal, title=title, fraction=True, x_words=words)
    lines = []
    for method in (method for method in GROUPS[group] if any(own.method == method for own in found)):
        estimates = np.array([overall(found, method, equal, fraction) for fraction in FRACTIONS])
        interval = Interval(mean=estimates[:, 0], low=estimates[:, 1], high=estimates[:, 2])
        lines.append(curves.Line(label=method, place=STYLES[method], x=FRACTIONS, interval=interval))
    return panel, lines
