"""Fig. 3 and Sec. 5.1: stochastic DOP, its ablations and its baselines, on SMAX maps in one protocol.

Every piece (map, variant, seed) is a run of its own. A finished one leaves a small data file, from which table and figure are made; a piece
whose file is there is never trained again, one that was stopped is resumed, and several processes may share the work. A piece of a longer
scale goes on with the run of a shorter one, and is the shorter one's too, up to its end.
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

from dop import api
from dop.analysis import statistics
from dop.errors import RunError, check_positive
from dop.paper import pieces
from dop.paper.variants import VARIANTS, algorithm_of
from dop.storage import files, records
from dop.storage.records import Record
from dop.storage.run_directory import RunFolder
from dop.visualise import curves

WIN = "test_battle_won_mean"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is run."""

    maps: tuple[str, ...]
    env_steps: int
    seeds: int


SCALES = {
    "small": Scale(maps=("3m", "2s3z", "3s_vs_3z", "3s5z"), env_steps=300_000, seeds=5),
    "paper": Scale(maps=("2s3z", "3s_vs_3z", "3s5z", "5m_vs_6m", "10m_vs_11m", "27m_vs_30m"), env_steps=3_000_000, seeds=12),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `dop reproduce fig3` takes."""

    scale: Literal["small", "paper"] = "small"
    """How much: 300,000 environment steps and 5 seeds, hours on two cores; or 3 million and 12 seeds on more maps, weeks there."""
    maps: tuple[str, ...] = ()
    """Only these of the scale's SMAX maps."""
    variants: tuple[str, ...] = ()
    """Only these of the variants: dop, dop-paper, on-policy-dop, undecomposed-dop, coma, coma-as-dop, qmix, qmix-fine-tuned, qmix-jaxmarl,
    vdn."""
    seeds: int | None = None
    """Only the first so many seeds."""
    only_summary: bool = False
    """Train nothing: table and figure of what is there."""
    runs: Path = Path("runs/fig3")
    """Where the runs go."""
    out: Path = Path("results/fig3")
    """Where data files, table and figure go."""

    def __post_init__(self) -> None:
        if self.seeds is not None:
            check_positive(self, "seeds")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One run of the comparison."""

    map: str
    variant: str
    seed: int
    env_steps: int

    def __str__(self) -> str:
        return f"{self.map} {self.variant} seed {self.seed}"

    def folder(self, options: Options) -> RunFolder:
        return RunFolder(options.runs / self.map / self.variant / f"seed-{self.seed}")

    def data(self, options: Options) -> Path:
        return options.out / "data" / self.map / self.variant / f"seed-{self.seed}.json"


def reproduce(options: Options, say: Callable[[str], None]) -> None:
    """Train what is not there yet, seed by seed over all maps and variants, then summarise all that is there.

    Raises:
        UnknownNameError: a map or variant that the scale does not have.
        ConfigError: one that is named twice.
    """
    check(options)
    for piece in [] if options.only_summary else all_pieces(options):
        if not found(piece, options) and not work(piece, options, say):
            break
    summarise(options, say)


def check(options: Options) -> None:
    """Refuse maps and variants that are not there, or named twice."""
    pieces.check_names("map", options.maps, SCALES[options.scale].maps)
    pieces.check_names("variant", options.variants, VARIANTS)


def all_pieces(options: Options) -> Iterator[Piece]:
    """All that is asked for, seeds outermost, so that every comparison grows evenly."""
    scale = SCALES[options.scale]
    seeds = range(scale.seeds if options.seeds is None else options.seeds)
    for seed, name, variant in itertools.product(seeds, options.maps or scale.maps, options.variants or VARIANTS):
        yield Piece(map=name, variant=variant, seed=seed, env_steps=scale.env_steps)


def found(piece: Piece, options: Options) -> list[Record]:
    """The evaluations in the piece's data file up to its end; none if they do not reach it."""
    kept = pieces.evaluations(piece.data(options))
    return up_to(kept, piece.env_steps) if reach(kept, piece.env_steps) else []


def work(piece: Piece, options: Options, say: Callable[[str], None]) -> bool:
    """Train a piece to its end and write its data file. False if it was stopped by the user."""
    folder = piece.folder(options)
    say(f"== {piece}")
    try:
        if not finished(folder, piece.env_steps):
            jax.clear_caches()
            if not train(piece, folder):
                return False
    except RunError as error:
        if not in_use(folder):
            raise
        say(str(error))
        return True
    write_data(piece, folder, piece.data(options))
    return True


def train(piece: Piece, folder: RunFolder) -> bool:
    """Start the run, or go on with it. Whether it came to its end."""
    if folder.config.exists():
        return api.resume(folder.path, env_steps=piece.env_steps).outcome.finished
    run = api.train(algorithm_of(piece.variant), f"smax:{piece.map}", env_steps=piece.env_steps, seeds=[piece.seed], run_dir=folder.path)
    return run.outcome.finished


def finished(folder: RunFolder, env_steps: int) -> bool:
    """Whether the run's evaluations reach its goal: that of the last state is recorded after its training."""
    return folder.metrics.exists() and reach(evaluations(folder), env_steps)


def evaluations(folder: RunFolder) -> list[Record]:
    return [record for record in records.read(folder.metrics) if record.kind == "evaluation"]


def reach(kept: list[Record], env_steps: int) -> bool:
    return any(record.env_steps >= env_steps for record in kept)


def in_use(folder: RunFolder) -> bool:
    """Whether another process trains it."""
    try:
        with folder.locked():
            return False
    except RunError:
        return True


# --------------------------------------------------------------------------------------------------------------- data files


def write_data(piece: Piece, folder: RunFolder, path: Path) -> None:
    """The run's evaluations and what made them, as one small JSON file, in one step."""
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
    """Those of a run of that length, whose last is the first to reach it."""
    end = min((record.env_steps for record in kept if record.env_steps >= env_steps), default=env_steps)
    return [record for record in kept if record.env_steps <= end]


def read_data(options: Options) -> dict[str, dict[str, list[Record]]]:
    """Every evaluation of a finished piece: by map, then by variant."""
    kept: dict[str, dict[str, list[Record]]] = {}
    for piece in all_pieces(options):
        kept.setdefault(piece.map, {}).setdefault(piece.variant, []).extend(found(piece, options))
    return kept


# ------------------------------------------------------------------------------------------------------------------ summary


def summarise(options: Options, say: Callable[[str], None]) -> None:
    """The table, said and written, and the figure."""
    by_map = {name: variants for name, variants in read_data(options).items() if any(variants.values())}
    if not by_map:
        say("nothing has finished yet")
        return
    header = "| map | variant | seeds | a third | two thirds | end | return at the end | minutes a seed |"
    rows = [row(name, variant, kept) for name, variants in by_map.items() for variant, kept in variants.items() if kept]
    table = "\n".join(pieces.table(header, rows))
    say(table)
    files.write_text(options.out / "table.md", table + "\n")
    curves.draw_grid(by_map, options.out / "fig3.png", metric=WIN, title="Greedy win rate on SMAX")
    say(f"figure: {options.out / 'fig3.png'}")


def row(name: str, variant: str, kept: list[Record]) -> str:
    """Win rates about a third, two thirds and the end of the run, each the mean of three evaluations, with 95% intervals over seeds."""
    by_seed = statistics.curves(kept, WIN)
    aligned = statistics.align(list(by_seed.values()))
    cells = []
    for fraction in (1 / 3, 2 / 3, 1):
        end = max(3, round(fraction * len(aligned.x)))
        cells.append(f"{aligned.x[end - 1] / 1e3:.0f}k: {pieces.interval(aligned.y[:, end - 3 : end].mean(axis=1), pieces.share_of)}")
    returns = statistics.align(list(statistics.curves(kept, "test_return_mean").values()))
    last = pieces.interval(returns.y[:, -3:].mean(axis=1), "{:.1f}".format)
    return f"| {name} | {variant} | {len(by_seed)} | {' | '.join(cells)} | {last} | {pieces.minutes(kept)} |"
