"""How long the runs of `dop reproduce fig3` and `smax` take: processor time of training and of evaluations, by map and variant.

    PJRT_NPROC=1 taskset -c 0 python bench/fig3.py --maps skirmish:MMM --chunks 2     one map; about a minute per variant
    PJRT_NPROC=1 taskset -c 0 python bench/fig3.py --maps skirmish --variants dop     one variant on all maps
    PJRT_NPROC=1 taskset -c 0 python bench/fig3.py --of smax --scale full --variants dop --chunks 2           DOP on the maps of `smax`

Policies are untrained, so their episodes differ in length from those of a whole run. Times are processor times, which exclude other
processes.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import jax
import numpy as np

from dop import envs
from dop.paper import fig3, smax
from dop.paper.runs import Piece, all_pieces
from dop.paper.variants import algorithm_of
from dop.storage.config import TrainConfig
from dop.training import compiled
from dop.training.program import Program
from machine import describe

REPRODUCTIONS = {"fig3": fig3.Options, "smax": smax.Options}
CONFIG = TrainConfig(seeds=(0,), chunk_iterations=4)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Processor seconds."""

    start: float
    """Of the warm-up and the first chunk, with compilation."""
    per_step: float
    """Of training, per environment step."""
    evaluation: float
    """Of one evaluation."""

    def minutes(self, env_steps: int) -> float:
        """Of a run of that length."""
        evaluations = env_steps / CONFIG.eval_interval
        return (self.start + self.per_step * env_steps + self.evaluation * evaluations) / 60


def cost(piece: Piece, chunks: int) -> Cost:
    """Time one run's parts: `chunks` chunks after the first, and an evaluation after the first."""
    compiled.clear()
    begun = time.process_time()
    program = Program(algorithm=algorithm_of(piece.variant), environment=envs.make(piece.environment), train_config=CONFIG)
    driver = program.drive()
    state, _ = driver.chunk(driver.start(jax.random.split(jax.random.key(0), 1)))
    steps_before = int(np.sum(state.learner.env_steps))
    started = time.process_time()
    for _ in range(chunks):
        state, _ = driver.chunk(state)
    steps = int(np.sum(state.learner.env_steps)) - steps_before
    trained = time.process_time()
    driver.evaluate(state)
    evaluated = time.process_time()
    driver.evaluate(state)
    return Cost(start=started - begun, per_step=(trained - started) / steps, evaluation=time.process_time() - evaluated)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", choices=tuple(REPRODUCTIONS), default="fig3")
    parser.add_argument("--scale", default="small")
    parser.add_argument("--maps", nargs="*", default=())
    parser.add_argument("--variants", nargs="*", default=())
    parser.add_argument("--chunks", type=int, default=4, help=f"timed chunks of {CONFIG.iterations_per_chunk} iterations")
    options = parser.parse_args()
    print(describe())
    print("| map | variant | first chunk (s) | steps per second | evaluation (s) | environment steps of a run | minutes of a run |")
    print("|---|---|---|---|---|---|---|")
    chosen = REPRODUCTIONS[options.of](scale=options.scale, maps=tuple(options.maps), variants=tuple(options.variants), seeds=1)
    for piece in all_pieces(chosen):
        found = cost(piece, options.chunks)
        cells = [f"{found.start:.0f}", f"{1 / found.per_step:,.0f}", f"{found.evaluation:.2f}", f"{piece.env_steps:,}"]
        row = [piece.environment, piece.variant, *cells, f"{found.minutes(piece.env_steps):.0f}"]
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
