"""Fig. 3 and Sec. 5.1: stochastic DOP, its ablations and its baselines on maps of SMAX, and on the paper's own maps in `skirmish`.

Every piece (map, variant, seed) is one run of `dop.paper.runs`, with a small data file, from which table and figure are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dop.analysis import statistics
from dop.paper import pieces, runs
from dop.paper.comparisons import FIG3_SCALES, SKIRMISH, SMAX, Comparison
from dop.paper.pieces import Log
from dop.paper.runs import WIN
from dop.paper.variants import FIG3
from dop.storage import files
from dop.storage.records import Record

TITLES = {SMAX: "SMAX", SKIRMISH: "skirmish"}


@dataclass(frozen=True, kw_only=True)
class Options(runs.RunOptions):
    """Options of `dop reproduce fig3`."""

    SCALES = FIG3_SCALES
    KNOWN = tuple(FIG3)

    scale: Literal["small", "paper", "long-coma"] = "small"
    """small: 300,000 environment steps and 5 seeds, hours on two cores. paper: 3 million, 12 seeds and more maps, weeks on two cores.
    long-coma: COMA alone on skirmish:so_many_baneling, 2 million steps and 2 seeds."""
    maps: tuple[str, ...] = ()
    """Only these of the scale's maps: those of SMAX by their names, or `skirmish` for the paper's own maps, or single ones as
    `skirmish:MMM`. Default: all of SMAX."""
    variants: tuple[str, ...] = ()
    """Only these of the variants: dop, dop-paper, on-policy-dop, undecomposed-dop, coma, coma-as-dop, qmix, qmix-fine-tuned, qmix-jaxmarl,
    vdn. Default: all; on skirmish dop, on-policy-dop, undecomposed-dop, coma and qmix."""
    runs: Path = Path("runs/fig3")
    out: Path = Path("results/fig3")


def reproduce(options: Options, log: Log) -> None:
    """Train unfinished pieces, seed by seed over all maps and variants, then summarise all finished ones.

    Raises:
        UnknownNameError: a map or variant that the scale does not have.
        ConfigError: a map or variant given twice.
    """
    comparisons = runs.check(options)
    if not options.only_summary:
        runs.finish_all(options, log)
    for comparison in comparisons:
        summarise(comparison, options, log)


def summarise(comparison: Comparison, options: Options, log: Log) -> None:
    """Log and write a comparison's table, and write its figure."""
    by_map = {name: variants for name, variants in runs.read_data(comparison, options).items() if any(variants.values())}
    if not by_map:
        log("nothing has finished yet")
        return
    header = "| map | variant | seeds | a third | two thirds | end | return at the end | minutes per seed |"
    rows = [row(name, variant, kept) for name, variants in by_map.items() for variant, kept in variants.items() if kept]
    table = "\n".join(pieces.table(header, rows))
    from dop.visualise import curves  # noqa: PLC0415  # Matplotlib is slow to import

    log(table)
    files.write_text(options.out / f"table{comparison.suffix}.md", table + "\n")
    picture = options.out / f"fig3{comparison.suffix}.png"
    curves.draw_grid(by_map, picture, metric=WIN, title=f"Greedy win rate on {TITLES[comparison.family]}")
    log(f"figure: {picture}")


def row(name: str, variant: str, kept: list[Record]) -> str:
    """Win rates at a third, two thirds and the end of the run: means of three evaluations, with 95% intervals over seeds."""
    by_seed = statistics.curves(kept, WIN)
    aligned = statistics.align(list(by_seed.values()))
    cells = []
    for fraction in (1 / 3, 2 / 3, 1):
        end = max(3, round(fraction * len(aligned.x)))
        cells.append(f"{aligned.x[end - 1] / 1e3:.0f}k: {pieces.interval(aligned.y[:, end - 3 : end].mean(axis=1), pieces.percentage)}")
    returns = statistics.align(list(statistics.curves(kept, "test_return_mean").values()))
    last = pieces.interval(returns.y[:, -3:].mean(axis=1), "{:.1f}".format)
    return f"| {name} | {variant} | {len(by_seed)} | {' | '.join(cells)} | {last} | {pieces.minutes(kept)} |"
