"""Learning curves on SMAX: trains what is not there yet, one seed after another, then summarises and draws everything that is.

    taskset -c 0 python bench/learning.py --maps 2s3z 3m 3s5z --seeds 5        (hours on one core; stop and start it as you like)
    python bench/learning.py --maps 2s3z 3m 3s5z --seeds 5 --only-summary

Runs go to OUT/smax-MAP/PRESET/seed-K. The summary (table, one picture a map, the evaluations as JSON lines) goes to DOCS.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import dop
from dop.engine.records import Record, read
from dop.engine.runs import RunFolder
from dop.report import curves, statistics
from machine import describe

WIN = "test_battle_won_mean"


def folder(options: argparse.Namespace, name: str, seed: int) -> RunFolder:
    """Where a run is."""
    return RunFolder(options.out / f"smax-{name}" / options.preset / f"seed-{seed}")


def train(options: argparse.Namespace, name: str, seed: int) -> None:
    """Start the run, or go on with it if it was interrupted."""
    place = folder(options, name, seed)
    algorithm = dop.StochasticDOP.presets()[options.preset]
    if not place.config.exists():
        dop.train(algorithm, f"smax:{name}", env_steps=options.env_steps, seeds=[seed], run_dir=place.path)
    else:
        dop.resume(place.path, env_steps=options.env_steps)


def records_of(options: argparse.Namespace, name: str) -> list[Record]:
    """Every record of every seed that has a run."""
    found = [folder(options, name, seed).metrics for seed in range(options.seeds)]
    return [record for path in found if path.exists() for record in read(path)]


def row(records: list[Record]) -> str:
    """Win rates at fractions of the run (each the mean of three evaluations about there), with 95% intervals, and the time it took."""
    by_seed = statistics.curves(records, WIN)
    aligned = statistics.align(list(by_seed.values()))
    cells = []
    for share in (1 / 3, 2 / 3, 1):
        end = max(3, round(share * len(aligned.x)))
        interval = statistics.mean_interval(aligned.y[:, end - 3 : end].mean(axis=1))
        low, high = np.clip((interval.low, interval.high), 0, 1)
        cells.append(f"{aligned.x[end - 1] / 1e3:.0f}k: {interval.mean:.0%} [{low:.0%}, {high:.0%}]")
    minutes = [max(r.wall_seconds for r in records if r.seed == seed) / 60 for seed in by_seed]
    best = statistics.mean_interval(np.max(aligned.y, axis=1)).mean
    return " | ".join([str(len(by_seed)), *cells, f"{best:.0%}", f"{min(minutes):.1f}-{max(minutes):.1f}"])


def summarise(options: argparse.Namespace) -> None:
    """Print the table, and write pictures and data."""
    options.docs.mkdir(parents=True, exist_ok=True)
    print(f"preset {options.preset}; {describe()}\n")
    print("| map | seeds | a third | two thirds | end | best evaluation | minutes a seed |\n|---|---|---|---|---|---|---|")
    for name in options.maps:
        records = records_of(options, name)
        if not records:
            continue
        evaluations = [record for record in records if record.kind == "evaluation"]
        print(f"| {name} | {row(evaluations)} |")
        stem = options.docs / f"smax-{name}-{options.preset}"
        curves.draw({options.preset: records}, stem.with_suffix(".png"), title=f"Stochastic DOP on smax:{name}")
        stem.with_suffix(".jsonl").write_text("".join(record.to_json() + "\n" for record in evaluations), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", nargs="+", default=["3m", "2s3z", "3s5z"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--env-steps", type=int, default=300_000)
    parser.add_argument("--preset", default="default", choices=tuple(dop.StochasticDOP.presets()))
    parser.add_argument("--out", type=Path, default=Path("runs/learning"))
    parser.add_argument("--docs", type=Path, default=Path("docs/results"))
    parser.add_argument("--only-summary", action="store_true")
    options = parser.parse_args()
    if not options.only_summary:
        for seed in range(options.seeds):
            for name in options.maps:
                train(options, name, seed)
    summarise(options)


if __name__ == "__main__":
    main()
