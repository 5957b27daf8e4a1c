"""Runs of comparisons: one run per piece (map, method, seed), which trains once and leaves a small data file.

Finished pieces are not repeated, interrupted ones are resumed, and several processes may divide the work. A longer scale continues the
runs of a shorter one, and so does a comparison at equal processor seconds; each uses the evaluations up to its own length.
"""

from __future__ import annotations

import datetime
import itertools
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar

import dop
from dop import envs
from dop.errors import RunError, check_positive
from dop.paper import pieces
from dop.paper.comparisons import SMAX, Comparison, chosen
from dop.paper.pieces import Log
from dop.paper.variants import METHODS, algorithm_of
from dop.storage import files, records
from dop.storage.config import TrainConfig
from dop.storage.records import Record
from dop.storage.run_directory import RunFolder
from dop.training import compiled

WIN = "test_battle_won_mean"


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of a reproduction that compares runs."""

    SCALES: ClassVar[Mapping[str, tuple[Comparison, ...]]]
    """The comparisons of each scale."""
    KNOWN: ClassVar[Collection[str]]
    """The methods that may be requested."""

    scale: str
    """One of `SCALES`."""
    maps: tuple[str, ...] = ()
    """Only these of the scale's maps."""
    variants: tuple[str, ...] = ()
    """Only these of the methods."""
    seeds: int | None = None
    """Number of seeds; default: all of the scale."""
    only_summary: bool = False
    """Do not train; make tables and figures from finished runs."""
    runs: Path
    """Folder for run directories."""
    out: Path
    """Output folder for data files, tables and figures."""

    def __post_init__(self) -> None:
        if self.seeds is not None:
            check_positive(self, "seeds")

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """The requested comparisons."""
        return chosen(self.SCALES[self.scale], self.maps)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One run of a comparison."""

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

    def folder(self, options: RunOptions) -> RunFolder:
        return RunFolder(options.runs / self.place)

    def data(self, options: RunOptions) -> Path:
        return (options.out / "data" / self.place).with_suffix(".json")


# ----------------------------------------------------------------------------------------------------------------- the work


def check(options: RunOptions) -> tuple[Comparison, ...]:
    """The requested comparisons. Unknown and repeated maps and methods are refused."""
    pieces.check_names("variant", options.variants, options.KNOWN)
    return options.comparisons


def all_pieces(options: RunOptions) -> Iterator[Piece]:
    """All requested pieces, with seeds outermost, so that all comparisons have equally many seeds at any time."""
    by_comparison = [list(pieces_of(comparison, options)) for comparison in options.comparisons]
    yield from sorted(itertools.chain(*by_comparison), key=lambda piece: piece.seed)


def pieces_of(comparison: Comparison, options: RunOptions) -> Iterator[Piece]:
    """The requested pieces of one comparison, seed by seed."""
    seeds = comparison.seeds if options.seeds is None else dict.fromkeys(comparison.env_steps, options.seeds)
    variants = options.variants or comparison.variants
    for seed, (name, env_steps), variant in itertools.product(range(max(seeds.values())), comparison.env_steps.items(), variants):
        if seed < seeds[name]:
            yield Piece(family=comparison.family, map=name, variant=variant, seed=seed, env_steps=env_steps)


def finish_all(options: RunOptions, log: Log) -> None:
    """Finish the requested pieces, seed by seed: first up to their environment steps, then up to their reference's processor seconds.

    Pieces that another process is training are skipped. An interrupt ends the work.
    """
    references = {(comparison.family, name): comparison.reference for comparison in options.comparisons for name in comparison.env_steps}
    for _, same_seed in itertools.groupby(all_pieces(options), key=lambda piece: piece.seed):
        group = list(same_seed)
        for piece in group:
            if not finished_evaluations(piece, options) and not run_piece(piece, options, log):
                return
        for piece in group:
            reference = references[piece.family, piece.map]
            if reference is not None and not run_to_reference(piece, reference, options, log):
                return


def run_to_reference(piece: Piece, reference: str, options: RunOptions, log: Log) -> bool:
    """Train a finished piece until it has taken the processor seconds of its reference, whose run may not be finished yet.

    Returns:
        False if the user interrupted it.
    """
    seconds = reference_seconds(piece, reference, options)
    if seconds is None:
        log(f"{piece}: at equal processor seconds later, when {reference} has finished the same seed; re-run then")
        return True
    return bool(finished_evaluations(piece, options, seconds=seconds)) or run_piece(piece, options, log, seconds=seconds)


def reference_seconds(piece: Piece, reference: str, options: RunOptions) -> float | None:
    """The processor seconds that the reference method takes for the same map, seed and environment steps.

    None: its run is not finished, or its seconds are unknown.
    """
    kept = finished_evaluations(replace(piece, variant=reference), options)
    return kept[-1].processor_seconds if kept else None


def run_piece(piece: Piece, options: RunOptions, log: Log, *, seconds: float = 0.0) -> bool:
    """Train a piece until its evaluations reach both its environment steps and so many processor seconds, and write its data file.

    Returns:
        False if the user interrupted it.
    """
    folder = piece.folder(options)
    log(f"== {piece}{f', to {seconds / 60:.1f} processor minutes' if seconds else ''}")
    try:
        while not finished(folder, piece.env_steps, seconds):
            compiled.clear()
            if not train(replace(piece, env_steps=next_length(piece, folder, seconds)), folder):
                return False
    except RunError as error:
        if not in_use(folder):
            raise
        log(str(error))
        return True
    write_data(piece, folder, piece.data(options), seconds)
    return True


def train(piece: Piece, folder: RunFolder) -> bool:
    """Start or resume the run. Returns whether it finished."""
    if folder.config.exists():
        return dop.resume(folder.path, env_steps=piece.env_steps).outcome.finished
    algorithm = algorithm_of(piece.variant)
    run = dop.train(
        algorithm,
        piece.environment,
        env_steps=piece.env_steps,
        seeds=[piece.seed],
        run_dir=folder.path,
        chunk_iterations=chunk_iterations(algorithm.episodes_per_iteration * envs.make(piece.environment).spec.time_limit),
    )
    return run.outcome.finished


def chunk_iterations(steps: int) -> int:
    """Iterations of at most `steps` environment steps per chunk, at most the usual interval of evaluations if possible."""
    return min(max(TrainConfig.eval_interval // steps, 1), TrainConfig().iterations_per_chunk)


def next_length(piece: Piece, folder: RunFolder, seconds: float) -> int:
    """The environment steps to train to: the piece's own, then as many as so many processor seconds should take.

    Raises:
        RunError: the run's processor seconds are unknown.
    """
    kept = evaluations(folder) if folder.metrics.exists() else []
    if not reaches(kept, piece.env_steps):
        return piece.env_steps
    middle, last = kept[len(kept) // 2 - 1], kept[-1]
    if middle.processor_seconds is None or last.processor_seconds is None:
        raise RunError(f"{folder.path} has no processor seconds, as version 0.1 did not record them. Delete it to train it again.")
    # Of the later half, as short episodes come early. A little more, since steps do not take equally long.
    per_step = (last.processor_seconds - middle.processor_seconds) / max(last.env_steps - middle.env_steps, 1)
    per_step = per_step or last.processor_seconds / last.env_steps
    return last.env_steps + round(1.02 * max(seconds - last.processor_seconds, 0.0) / per_step) + 1


def finished(folder: RunFolder, env_steps: int, seconds: float = 0.0) -> bool:
    """Whether the run's evaluations reach its length. The final evaluation is recorded after the last training record."""
    return folder.metrics.exists() and reaches(evaluations(folder), env_steps, seconds)


def evaluations(folder: RunFolder) -> list[Record]:
    return [record for record in records.read(folder.metrics) if record.kind == "evaluation"]


def in_use(folder: RunFolder) -> bool:
    """Whether another process is training it."""
    try:
        with folder.locked():
            return False
    except RunError:
        return True


# --------------------------------------------------------------------------------------------------------------- data files


def reaches(kept: list[Record], env_steps: int, seconds: float = 0.0) -> bool:
    return any(_is_at(record, env_steps, seconds) for record in kept)


def up_to(kept: list[Record], env_steps: float = 0, *, seconds: float = 0.0) -> list[Record]:
    """The evaluations of a run of that length: up to the first one that reaches both; all, if none does."""
    end = min((record.env_steps for record in kept if _is_at(record, env_steps, seconds)), default=float("inf"))
    return [record for record in kept if record.env_steps <= end]


def _is_at(record: Record, env_steps: float, seconds: float) -> bool:
    return record.env_steps >= env_steps and (record.processor_seconds or 0.0) >= seconds


def finished_evaluations(piece: Piece, options: RunOptions, *, seconds: float = 0.0) -> list[Record]:
    """The evaluations in the piece's data file up to its environment steps and so many processor seconds; empty if they end before."""
    kept = pieces.evaluations(piece.data(options))
    return up_to(kept, piece.env_steps, seconds=seconds) if reaches(kept, piece.env_steps, seconds) else []


def write_data(piece: Piece, folder: RunFolder, path: Path, seconds: float = 0.0) -> None:
    """Write the run's evaluations up to its length and its configuration to one small JSON file, atomically."""
    algorithm, preset = METHODS[piece.variant]
    made_by = json.loads(folder.config.read_text(encoding="utf-8"))
    about = {
        **asdict(piece),
        "algorithm": algorithm,
        "preset": preset,
        "date": datetime.date.fromtimestamp(folder.metrics.stat().st_mtime).isoformat(),
        **{name: made_by[name] for name in ("hyper_parameters", "library_version", "versions", "device", "machine")},
    }
    kept = up_to(evaluations(folder), piece.env_steps, seconds=seconds)
    lines = ",\n".join(json.dumps(pieces.rounded(json.loads(record.to_json()))) for record in kept)
    files.write_text(path, f'{{"about": {json.dumps(about)},\n"evaluations": [\n{lines}\n]}}\n')


def read_data(comparison: Comparison, options: RunOptions) -> dict[str, dict[str, list[Record]]]:
    """The evaluations of a comparison's finished pieces up to their environment steps, by map, then by method."""
    kept: dict[str, dict[str, list[Record]]] = {}
    for piece in pieces_of(comparison, options):
        kept.setdefault(piece.map, {}).setdefault(piece.variant, []).extend(finished_evaluations(piece, options))
    return kept
