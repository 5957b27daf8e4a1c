"""A custom logger that writes a table of greedy returns, and a callback that stops a run at a target return.

dop train own_algorithm:Reinforce --env two-step --logger own_logger:Table --callback own_logger:StopAtReturn     # in this file's folder
python own_logger.py                                                                                              # from Python
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import dop
from own_algorithm import Reinforce


class Table:
    """Writes returns.csv into the run directory: seed, env_steps, return."""

    def open(self, run: dop.LoggedRun) -> None:
        self.file = (run.path / "returns.csv").open("w", newline="")
        self.rows = csv.writer(self.file)
        self.rows.writerow(["seed", "env_steps", "return"])
        self.write(run.history)  # earlier records of a resumed run; no record is written twice

    def write(self, records: Sequence[dop.Record]) -> None:
        for record in records:
            if record.kind == "evaluation":
                self.rows.writerow([record.seed, record.env_steps, record.metrics["test_return_mean"]])
        self.file.flush()

    def close(self) -> None:
        self.file.close()


class StopAtReturn(dop.Callback):
    """Stops when every seed's mean exploring return reaches `target`."""

    def __init__(self, target: float = 6.9) -> None:
        self.target = target

    def on_chunk(self, event: dop.TrainingEvent) -> bool:
        return min(record.metrics["return_mean"] for record in event.records) >= self.target


def main(run_dir: Path | None = None) -> dop.Run:
    return dop.train(
        Reinforce(lr=0.3),
        "two-step",
        env_steps=20_000,
        chunk_iterations=10,
        eval_interval=500,
        run_dir=run_dir,
        loggers=[Table()],
        callbacks=[StopAtReturn(6.9)],
    )


if __name__ == "__main__":
    run = main()
    print("finished" if run.outcome.finished else "stopped", run.outcome.env_steps, run.path)
