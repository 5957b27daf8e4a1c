"""Learning in Python environments: DOP and baselines on lbforaging and mpe2, compared with random and scripted policies.

python bench/python_learning.py [--tasks lbforaging spread spread-box] [--methods stochastic-dop qmix ...] [--seeds 5]
python bench/python_learning.py --only-summary      # table and figure of finished trainings

Every (task, method, seed) is one training and leaves a data file. Finished trainings are not repeated, so the program may be interrupted
and started again. The reward is the sum of the agents' rewards. The random policy is uniform over legal actions. On spread, the scripted
policies accelerate straight towards landmarks and ignore collisions.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import dop
from dop.analysis import statistics
from dop.envs.validation.episodes import random_action
from dop.paper import pieces
from dop.paper.fig4 import SHARED
from dop.storage import files
from dop.storage.records import Record
from dop.visualise import curves
from machine import describe

Policy = Callable[[dop.EnvSpec, dop.TimeStep], np.ndarray]
RETURN = "test_return_mean"


@dataclass(frozen=True, kw_only=True)
class Task:
    """A Python environment and the methods trained on it."""

    environment: str
    env_steps: int
    methods: Mapping[str, dop.Algorithm[Any, Any]]
    options: dict[str, Any] = field(default_factory=dict)


SPREAD = "pettingzoo:mpe2.simple_spread_v3"
DISCRETE = {"stochastic-dop": dop.StochasticDOP(entropy_bonus=0.03), "qmix": dop.QMIX(), "vdn": dop.VDN(), "coma": dop.COMA()}
BOX = {"deterministic-dop": dop.DeterministicDOP(**SHARED), "maddpg": dop.MADDPG(**SHARED)}
TASKS = {
    "lbforaging": Task(
        environment="gymnasium:lbforaging:Foraging-8x8-2p-3f-v3",
        env_steps=500_000,
        methods=DISCRETE,
    ),
    "spread": Task(
        environment=SPREAD,
        env_steps=300_000,
        methods=DISCRETE,
    ),
    "spread-box": Task(
        environment=SPREAD,
        options={"continuous_actions": True},
        env_steps=200_000,
        methods=BOX,
    ),
}
METHODS = ("stochastic-dop", "deterministic-dop", "qmix", "vdn", "coma", "maddpg")
"""All methods, in the order of table and figure."""


def train(task: Task, algorithm: dop.Algorithm[Any, Any], seed: int) -> dict[str, Any]:
    """Train one seed; its evaluations."""
    with tempfile.TemporaryDirectory() as folder:
        run = dop.train(
            algorithm,
            task.environment,
            environment_options=task.options,
            env_steps=task.env_steps,
            seeds=[seed],
            run_dir=Path(folder) / "run",
            checkpoint_interval=task.env_steps,
        )
        if not run.outcome.finished:
            raise SystemExit("interrupted; run the same command again to continue")
        return {"evaluations": [json.loads(record.to_json()) for record in run.records if record.kind == "evaluation"]}


# ------------------------------------------------------------------------------------------------- fixed policies


def uniform(seed: int) -> Policy:
    rng = np.random.default_rng(seed)
    return lambda spec, step: random_action(rng, spec, np.asarray(step.action_mask))


def nearest(distance: np.ndarray) -> np.ndarray:
    """Each agent's nearest landmark, independently of the others; `distance` is by agent and landmark."""
    return distance.argmin(axis=1)


def assigned(distance: np.ndarray) -> np.ndarray:
    """The assignment of landmarks to agents with the smallest sum of distances."""
    agents = np.arange(len(distance))
    return np.array(min(itertools.permutations(agents), key=lambda goals: distance[agents, goals].sum()))


def towards(choose: Callable[[np.ndarray], np.ndarray]) -> Policy:
    """A scripted policy for simple_spread. Observation: own velocity (2), own position (2), relative landmarks (2 each), others."""

    def policy(spec: dop.EnvSpec, step: dop.TimeStep) -> np.ndarray:
        obs, n = np.asarray(step.obs), spec.n_agents
        away = obs[:, 4 : 4 + 2 * n].reshape(n, n, 2)
        goal = choose(np.linalg.norm(away, axis=-1))
        # mpe2 multiplies forces by 5, keeps 0.75 of the velocity and moves by a tenth of it: this force would arrive in one step.
        force = np.clip((10 * away[np.arange(n), goal] - 0.75 * obs[:, :2]) / 0.5, -1, 1)
        right, up = force[:, 0], force[:, 1]
        if spec.action_kind == "box":  # nothing, left, right, down, up: in [0, 1] there and in [-1, 1] here
            return (2 * np.maximum(np.stack([0 * up, -right, right, -up, up], axis=1), 0) - 1).astype(np.float32)
        sideways, upright = np.where(right > 0, 2, 1), np.where(up > 0, 4, 3)
        action = np.where(np.abs(right) > np.abs(up), sideways, upright)
        return np.where(np.abs(force).max(axis=1) < 0.5, 0, action).astype(np.int32)

    return policy


def mean_return(task: Task, policy: Policy, episodes: int = 1000) -> float:
    """Mean return of a policy without a hidden state."""
    environment: Any = dop.make(task.environment, **task.options)
    total = 0.0
    for seed in range(episodes):
        step = environment.reset(seed)
        while not (step.terminated or step.truncated):
            step = environment.step(policy(environment.spec, step))
            total += float(step.reward)
    environment.close()
    return total / episodes


def references(task: Task) -> dict[str, Any]:
    """Mean returns of the fixed policies, by name."""
    fixed = {"random play": uniform(seed=0)}
    if task.environment == SPREAD:
        fixed |= {"scripted: each to the nearest landmark": towards(nearest), "scripted: landmarks shared out": towards(assigned)}
    return {"returns": {name: mean_return(task, policy) for name, policy in fixed.items()}}


# ------------------------------------------------------------------------------------------------------------------- pieces


def data(out: Path, name: str, what: str) -> Path:
    """The file of a piece: `references`, or `METHOD-SEED`."""
    return out / "data" / name / f"{what}.json"


def work(options: argparse.Namespace) -> None:
    """Run all requested and unfinished pieces, seeds outermost, so that all comparisons have equally many seeds at any time."""
    for name in options.tasks:
        task = TASKS[name]
        about = {"task": name, "environment": task.environment, "options": task.options}
        pieces.finish(data(options.out, name, "references"), f"{name}, references", print, about, partial(references, task))
    for seed in range(options.seeds):
        for name in options.tasks:
            for method in TASKS[name].methods:
                if method in options.methods:
                    learn(options.out, name, method, seed)


def learn(out: Path, name: str, method: str, seed: int) -> None:
    """Run one training, unless it is finished."""
    task = TASKS[name]
    algorithm: Any = task.methods[method]
    about = {
        "task": name,
        "environment": task.environment,
        "options": task.options,
        "env_steps": task.env_steps,
        "seed": seed,
        "method": method,
        "hyper_parameters": dataclasses.asdict(algorithm),
    }
    what = partial(train, task, algorithm, seed)
    pieces.finish(data(out, name, f"{method}-{seed}"), f"{name}, {method}, seed {seed}", print, about, what)


# ------------------------------------------------------------------------------------------------------------------ summary


def summarise(out: Path, seeds: int) -> None:
    """Print and write the table, and write the figure, from finished trainings."""
    records = {name: {method: evaluations(out, name, method, seeds) for method in METHODS} for name in TASKS}
    rows: list[str] = []
    for name, by_method in records.items():
        found = pieces.read(data(out, name, "references")) or {"returns": {}}
        rows += [f"| {name} | {policy} | | | {mean:.2f} | | |" for policy, mean in found["returns"].items()]
        rows += [row(name, method, kept) for method, kept in by_method.items() if kept]
    table = "\n".join(pieces.table("| task | method | seeds | steps | return at the end | best return | minutes per seed |", rows))
    print(table)
    files.write_text(out / "table.md", table + "\n")
    curves.draw_grid(
        records, out / "python-learning.png", metric=RETURN, title="Greedy return, Python environments", axes_of=("env_steps",)
    )


def evaluations(out: Path, name: str, method: str, seeds: int) -> list[Record]:
    """Evaluations of all finished seeds."""
    return [record for seed in range(seeds) for record in pieces.evaluations(data(out, name, f"{method}-{seed}"))]


def row(name: str, method: str, kept: list[Record]) -> str:
    """A table row: the last and the best mean of three successive evaluations, with 95% intervals over seeds."""
    by_seed = statistics.curves(kept, RETURN)
    aligned = statistics.align(list(by_seed.values()))
    means = np.stack([np.convolve(y, np.full(3, 1 / 3), "valid") for y in aligned.y])
    end, best = (pieces.interval(values, "{:.2f}".format) for values in (means[:, -1], means.max(axis=1)))
    return f"| {name} | {method} | {len(by_seed)} | {aligned.x[-1] / 1e3:.0f}k | {end} | {best} | {pieces.minutes(kept)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("results/python-learning"), help="folder for data files, table and figure")
    parser.add_argument("--only-summary", action="store_true", help="train nothing")
    options = parser.parse_args()
    print(describe())
    if not options.only_summary:
        work(options)
    summarise(options.out, options.seeds)


if __name__ == "__main__":
    main()
