"""Fig. 4 and Sec. 5.2: deterministic DOP, MADDPG, MAAC and COMA on Aggregation and Mill, and DOP's credit on Mill.

Every piece (task, method, seed) leaves a data file, from which table and figure are made; finished pieces are not repeated. COMA has
discrete actions, the corners of the simplex.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dop import algorithms, envs
from dop.analysis.credit import POINTS as PUSHES
from dop.analysis.credit import values_of
from dop.errors import check_positive
from dop.hyper_parameters import changed
from dop.paper import pictures, pieces
from dop.training.program import Program, RunState
from dop.visualise import curves

GAMMA = 0.95
"""gamma of all methods, as in Lowe et al. With 0.99, deterministic DOP's return on Aggregation collapsed in both runs tried
(docs/results.md). On Mill, holding the stone back has the largest return with either."""
SHARED: dict[str, Any] = {
    "gamma": GAMMA,
    "optimiser": "adam",
    "critic_lr": 1e-3,
    "actor_lr": 1e-3,
    "critic.hidden_size": 128,
    "replay_batch": 512,
    "episodes_per_iteration": 4,
    "rounds_per_iteration": 2,
}
"""Changes to the defaults of the three methods that learn from transitions."""
METHODS: dict[str, dict[str, Any]] = {
    "deterministic-dop": SHARED,
    "maddpg": SHARED,
    "maac": SHARED,
    "coma": {"gamma": GAMMA, "critic.hidden_size": 128},
}
"""Changes to each method's default."""
EPISODES = {"mill": 2000, "aggregation": 16_000}
"""Episodes of a run."""
POINTS = 20
"""Evaluations of a run."""
EVALUATION_EPISODES = 64
"""Greedy episodes of an evaluation."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `dop reproduce fig4`."""

    seeds: int = 12
    """Runs of each method."""
    tasks: tuple[str, ...] = ("mill", "aggregation")
    """Only these tasks."""
    methods: tuple[str, ...] = ("deterministic-dop", "maddpg", "maac", "coma")
    """Only these methods."""
    only_summary: bool = False
    """Do not train; make table and figure from finished runs."""
    out: Path = Path("results/fig4")
    """Output folder for data files, table and figure."""

    def __post_init__(self) -> None:
        check_positive(self, "seeds")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One run."""

    task: str
    method: str
    seed: int

    def data(self, options: Options) -> Path:
        return options.out / "data" / self.task / self.method / f"seed-{self.seed}.json"


def reproduce(options: Options, log: Callable[[str], None]) -> None:
    """Train unfinished pieces, seed by seed, then summarise all finished ones.

    Raises:
        UnknownNameError: an unknown task or method.
        ConfigError: a task or method given twice.
    """
    pieces.check_names("task", options.tasks, EPISODES)
    pieces.check_names("method", options.methods, METHODS)
    for piece in [] if options.only_summary else all_pieces(options):
        about = {**asdict(piece), "changes": METHODS[piece.method]}
        name = f"{piece.task} {piece.method} seed {piece.seed}"
        pieces.finish(piece.data(options), name, log, about, partial(train, piece, EPISODES[piece.task]))
    summarise(options, log)


def all_pieces(options: Options) -> Iterator[Piece]:
    """All requested pieces, with seeds outermost, so that all comparisons have equally many seeds at any time."""
    for seed, task, method in itertools.product(range(options.seeds), options.tasks, options.methods):
        yield Piece(task=task, method=method, seed=seed)


# ----------------------------------------------------------------------------------------------------------------- training


def program_of(piece: Piece, **changes: Any) -> Program:
    algorithm: Any = algorithms.algorithms()[piece.method].presets()["default"]
    task = envs.make(piece.task, actions="discrete" if piece.method == "coma" else "simplex")
    return Program(algorithm=changed(algorithm, METHODS[piece.method] | changes), environment=task)


def train(piece: Piece, episodes: int, **changes: Any) -> dict[str, Any]:
    """Greedy return and win rate at `POINTS` points of the run, and DOP's credit on Mill. `changes` are hyper-parameters."""
    program, start = program_of(piece, **changes), time.time()
    iterations = max(1, episodes // (POINTS * program.algorithm.episodes_per_iteration))
    state = jax.jit(lambda key: program.warm_up(program.start(key)))(jax.random.key(piece.seed))
    chunk = jax.jit(lambda s: program.chunk(s, iterations)[0], donate_argnums=0)
    evaluate = jax.jit(lambda s: program.evaluate(s, EVALUATION_EPISODES))
    found: dict[str, list[Any]] = {"env_steps": [], "greedy_return": [], "won": [], "credit": []}
    for point in range(POINTS + 1):
        state = chunk(state) if point else state
        report = evaluate(state)
        found["env_steps"].append(int(state.learner.env_steps))
        found["greedy_return"].append(float(report["test_return_mean"]))
        found["won"].append(float(report["test_won_mean"]))
        if (piece.task, piece.method) == ("mill", "deterministic-dop"):
            found["credit"].append(np.asarray(credit(program, state)).tolist())
    every = iterations * program.algorithm.episodes_per_iteration
    return {"episodes": [point * every for point in range(POINTS + 1)], **found, "seconds": time.time() - start}


def credit(program: Program, state: RunState) -> Float[Array, "quantity push"]:
    """Q_i and k_i Q_i in the initial state over agent i's push, from counter-clockwise to clockwise, averaged over agents."""
    algorithm: Any = program.algorithm
    spec = program.environment.spec
    _, step = program.environment.reset(jax.random.key(0))
    rest = jnp.full(spec.action_shape, 1 / spec.action_size)
    k = algorithm.credit(state.learner, (), step, rest, rest).k
    clockwise = values_of(algorithm, state.learner, (), step, rest, spec.action_kind)[:, 0]
    return jnp.stack([jnp.mean(clockwise, axis=0), jnp.mean(k[:, None] * clockwise, axis=0)])


# ------------------------------------------------------------------------------------------------------------------ summary


def read(options: Options) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Every finished piece, by task and method."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for piece in all_pieces(options):
        if (run := pieces.read(piece.data(options))) is not None:
            found.setdefault((piece.task, piece.method), []).append(run)
    return found


def summarise(options: Options, log: Callable[[str], None]) -> None:
    """Log and write the table, and write the figure."""
    found = read(options)
    if not found:
        log("nothing has finished yet")
        return
    header = "| task | method | seeds | episodes | greedy return at the end | win rate at the end | best win rate | minutes per seed |"
    lines = pieces.table(header, [row(*name, runs) for name, runs in sorted(found.items(), reverse=True)])
    pictures.publish(options.out, "fig4", lines, figure(found), log)


def row(task: str, method: str, runs: list[dict[str, Any]]) -> str:
    returns, won = (np.array([run[name] for run in runs]) for name in ("greedy_return", "won"))
    cells = [
        pieces.interval(returns[:, -1], "{:.1f}".format),
        pieces.interval(won[:, -1], pieces.percentage),
        pieces.interval(won.max(axis=1), pieces.percentage),
    ]
    minutes = np.mean([run["seconds"] for run in runs]) / 60
    return f"| {task} | {method} | {len(runs)} | {runs[0]['episodes'][-1]} | {' | '.join(cells)} | {minutes:.1f} |"


def figure(found: dict[tuple[str, str], list[dict[str, Any]]]) -> Figure:
    """Greedy returns on both tasks with 95% intervals, and the first seed's credit on Mill at five points of training."""
    picture = Figure(figsize=(13, 3.9), layout="constrained", facecolor="white")
    left, middle, right = picture.subplots(1, 3)
    for axes, task in ((left, "aggregation"), (middle, "mill")):
        draw_returns(axes, {method: runs for (name, method), runs in found.items() if name == task})
        axes.set(title=task.capitalize(), xlabel="episodes", ylabel="greedy return")
    draw_credit(right, found.get(("mill", "deterministic-dop"), []))
    for axes in (left, middle, right):
        pictures.style_axes(axes)
        if axes.lines:
            axes.legend(fontsize=8, frameon=False)
    return picture


def draw_returns(axes: Axes, runs_of: dict[str, list[dict[str, Any]]]) -> None:
    """Means over seeds, with intervals if there are several."""
    for method, runs in runs_of.items():
        returns = np.array([run["greedy_return"] for run in runs])
        style = curves.style(list(METHODS).index(method))
        pictures.draw_mean(axes, runs[0]["episodes"], returns, f"{method} ({len(runs)})", style)


def draw_credit(axes: Axes, runs: list[dict[str, Any]]) -> None:
    """k_i Q_i over the push minus its value at rest; darker lines are later in training."""
    axes.set(title="Mill: credit k_i Q_i(push) - k_i Q_i(0)", xlabel="push, counter-clockwise to clockwise")
    if not runs:
        return
    for point in np.linspace(0, POINTS, 5).astype(int):
        curve = np.array(runs[0]["credit"][point][1])
        label = f"{runs[0]['episodes'][point]} episodes"
        axes.plot(
            np.linspace(-1, 1, PUSHES), curve - curve[PUSHES // 2], color=curves.COLOURS[0], alpha=0.2 + 0.8 * point / POINTS, label=label
        )
