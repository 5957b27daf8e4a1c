"""Fig. 3 and Sec. 5.1: stochastic DOP, its ablations and its baselines on maps of SMAX, and on the paper's own maps in `skirmish`.

Every piece (map, variant, seed) is one run. A finished run leaves a small data file, from which table and figure are made. Finished pieces
are not repeated, interrupted ones are resumed, and several processes may share the work. A longer scale continues the runs of a shorter
one; the shorter scale uses their evaluations up to its own length.
"""

from __future__ import annotations

import datetime
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import jax

import dop
from dop.analysis import statistics
from dop.errors import RunError, check_positive
from dop.paper import pieces
from dop.paper.comparisons import SKIRMISH, SMAX, Comparison, chosen
from dop.paper.variants import VARIANTS, algorithm_of
from dop.storage import files, records
from dop.storage.records import Record
from dop.storage.run_directory import RunFolder

WIN = "test_battle_won_mean"
TITLES = {SMAX: "SMAX", SKIRMISH: "skirmish"}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `dop reproduce fig3`."""

    scale: Literal["small", "paper", "long-coma"] = "small"
    """small: 300,000 environment steps and 5 seeds, hours on two cores. paper: 3 million, 12 seeds and more maps, weeks on two cores.
    long-coma: COMA alone on skirmish:so_many_baneling, 2 million steps and 2 seeds."""
    maps: tuple[str, ...] = ()
    """Only these of the scale's maps: those of SMAX by their names, or `skirmish` for the paper's own maps, or single ones as
    `skirmish:MMM`. Default: all of SMAX."""
    variants: tuple[str, ...] = ()
    """Only these of the variants: dop, dop-paper, on-policy-dop, undecomposed-dop, coma, coma-as-dop, qmix, qmix-fine-tuned, qmix-jaxmarl,
    vdn. Default: all; on skirmish dop, on-policy-dop, undecomposed-dop, coma and qmix."""
    seeds: int | None = None
    """Number of seeds; default: all of the scale."""
    only_summary: bool = False
    """Do not train; make table and figure from finished runs."""
    runs: Path = Path("runs/fig3")
    """Folder for run directories."""
    out: Path = Path("results/fig3")
    """Output folder for data files, table and figure."""

    def __post_init__(self) -> None:
        if self.seeds is not None:
            check_positive(self, "seeds")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One run of the comparison."""

    family: str
    map: str
    variant: str
    seed: int
    env_steps: int

    def __str__(self) -> str:
        task = self.map if self.family == SMAX else self.environment
        return f"{task} {self.variant} seed {self.seed}"

    @property
    def environment(self) -> str:
        return f"{self.family}:{self.map}"

    @property
    def place(self) -> Path:
        """Its place within a folder of pieces. Maps of SMAX have no folder of their family: they were the first."""
        family = Path() if self.family == SMAX else Path(self.family)
        return family / self.map / self.variant / f"seed-{self.seed}"

    def folder(self, options: Options) -> RunFolder:
        return RunFolder(options.runs / self.place)

    def data(self, options: Options) -> Path:
        return (options.out / "data" / self.place).with_suffix(".json")


def reproduce(options: Options, log: Callable[[str], None]) -> None:
    """Train unfinished pieces, seed by seed over all maps and variants, then summarise all finished ones.

    Raises:
        UnknownNameError: a map or variant that the scale does not have.
        ConfigError: a map or variant given twice.
    """
    comparisons = check(options)
    for piece in [] if options.only_summary else all_pieces(options):
        if not finished_evaluations(piece, options) and not run_piece(piece, options, log):
            break
    for comparison in comparisons:
        summarise(comparison, options, log)


def check(options: Options) -> tuple[Comparison, ...]:
    """The requested comparisons. Unknown and repeated maps and variants are refused."""
    pieces.check_names("variant", options.variants, VARIANTS)
    return chosen(options.scale, options.maps)


def all_pieces(options: Options) -> Iterator[Piece]:
    """All requested pieces, with seeds outermost, so that all comparisons have equally many seeds at any time."""
    by_comparison = [list(pieces_of(comparison, options)) for comparison in chosen(options.scale, options.maps)]
    yield from sorted(itertools.chain(*by_comparison), key=lambda piece: piece.seed)


def pieces_of(comparison: Comparison, options: Options) -> Iterator[Piece]:
    """The requested pieces of one comparison, seed by seed."""
    seeds = range(comparison.seeds if options.seeds is None else options.seeds)
    variants = options.variants or comparison.variants
    for seed, (name, env_steps), variant in itertools.product(seeds, comparison.env_steps.items(), variants):
        yield Piece(family=comparison.family, map=name, variant=variant, seed=seed, env_steps=env_steps)


def finished_evaluations(piece: Piece, options: Options) -> list[Record]:
    """The evaluations in the piece's data file up to its run length; empty if they are shorter."""
    kept = pieces.evaluations(piece.data(options))
    return up_to(kept, piece.env_steps) if reaches(kept, piece.env_steps) else []


def run_piece(piece: Piece, options: Options, log: Callable[[str], None]) -> bool:
    """Finish a piece's training and write its data file. Returns False if the user interrupted it."""
    folder = piece.folder(options)
    log(f"== {piece}")
    try:
        if not finished(folder, piece.env_steps):
            jax.clear_caches()
            if not train(piece, folder):
                return False
    except RunError as error:
        if not in_use(folder):
            raise
        log(str(error))
        return True
    write_data(piece, folder, piece.data(options))
    return True


def train(piece: Piece, folder: RunFolder) -> bool:
    """Start or resume the run. Returns whether it finished."""
    if folder.config.exists():
        return dop.resume(folder.path, env_steps=piece.env_steps).outcome.finished
    run = dop.train(algorithm_of(piece.variant), piece.environment, env_steps=piece.env_steps, seeds=[piece.seed], run_dir=folder.path)
    return run.outcome.finished


def finished(folder: RunFolder, env_steps: int) -> bool:
    """Whether the run's evaluations reach its length. The final evaluation is recorded after the last training record."""
    return folder.metrics.exists() and reaches(evaluations(folder), env_steps)


def evaluations(folder: RunFolder) -> list[Record]:
    return [record for record in records.read(folder.metrics) if record.kind == "evaluation"]


def reaches(kept: list[Record], env_steps: int) -> bool:
    return any(record.env_steps >= env_steps for record in kept)


def in_use(folder: RunFolder) -> bool:
    """Whether another process is training it."""
    try:
        with folder.locked():
            return False
    except RunError:
        return True


# --------------------------------------------------------------------------------------------------------------- data files


def write_data(piece: Piece, folder: RunFolder, path: Path) -> None:
    """Write the run's evaluations and configuration to one small JSON file, atomically."""
    algorithm, preset = VARIANTS[piece.variant]
    made_by = json.loads(folder.config.read_text(encoding="utf-8"))
    about = {
        **asdict(piece),
        "algorithm": algorithm,
        "preset": preset,
        "date": datetime.date.fromtimestamp(folder.metrics.stat().st_mtime).isoformat(),
        **{name: made_by[name] for name in ("hyper_parameters", "library_version", "versions", "device", "machine")},
    }
    lines = ",\n".join(json.dumps(json.loads(record.to_json())) for record in up_to(evaluations(folder), piece.env_steps))
    files.write_text(path, f'{{"about": {json.dumps(about)},\n"evaluations": [\n{lines}\n]}}\n')


def up_to(kept: list[Record], env_steps: int) -> list[Record]:
    """The evaluations of a run of that length: up to the first one that reaches it."""
    end = min((record.env_steps for record in kept if record.env_steps >= env_steps), default=env_steps)
    return [record for record in kept if record.env_steps <= end]


def read_data(comparison: Comparison, options: Options) -> dict[str, dict[str, list[Record]]]:
    """The evaluations of a comparison's finished pieces, by map, then by variant."""
    kept: dict[str, dict[str, list[Record]]] = {}
    for piece in pieces_of(comparison, options):
        kept.setdefault(piece.map, {}).setdefault(piece.variant, []).extend(finished_evaluations(piece, options))
    return kept


# ------------------------------------------------------------------------------------------------------------------ summary


def summarise(comparison: Comparison, options: Options, log: Callable[[str], None]) -> None:
    """Log and write a comparison's table, and write its figure."""
    by_map = {name: variants for name, variants in read_data(comparison, options).items() if any(variants.values())}
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
