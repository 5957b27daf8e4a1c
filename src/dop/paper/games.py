"""Small games with published results: the two-step game, climbing and penalty, for VDN, QMIX, COMA and stochastic DOP.

    two-step     Rashid et al. 2018, Sec. 5 and Table 2: under uniform exploration VDN ends at 7 and QMIX at 8; and their Q_tot tables
    climbing     Papoudakis et al. 2021 (EPyMARL), Table 3: 175 over 25 repetitions for VDN and QMIX, 185 for COMA; the optimum is 275
    penalty      the same, k = -100: all three end at 50, the safe outcome; the optimum is 250

These figures are quoted from memory: the papers were not at hand. Compare with the originals before you rely on a verdict.

VDN and QMIX use the published settings on the two-step game: epsilon 1, a replay of 500 episodes, batches of 32, target updates every 100
episodes; but Adam and an update every 8 episodes, which needs fewer updates. Nothing is published for COMA and DOP there; they explore as
in the other games, where epsilon anneals from each method's default to 0.05 over a quarter of the run. Climbing and penalty have one
repetition per episode (`steps`), and published returns of 25 repetitions are divided by 25: observations do not show earlier repetitions.
"""

from __future__ import annotations

import collections
import itertools
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from dop import envs
from dop.analysis import statistics
from dop.devices import compilation
from dop.errors import check_positive
from dop.hyper_parameters import changed
from dop.networks.teams import recurrent
from dop.networks.teams.recurrent import Carry
from dop.paper import pictures, pieces
from dop.paper.pieces import Log
from dop.paper.variants import algorithm_of
from dop.training.program import Program, RunState
from dop.types import TimeStep
from dop.visualise import curves

METHODS = ("vdn", "qmix", "coma", "dop")
COMMON: dict[str, Any] = {"episodes_per_iteration": 8}
Q_LEARNING: dict[str, Any] = {
    "optimiser": "adam",
    "lr": 2e-3,
    "optimiser_eps": 1e-8,
    "target_interval": 100,
    "replay_capacity": 500,
}
"""Changes to VDN's and QMIX's defaults."""
ACTOR_CRITIC: dict[str, Any] = {"critic.hidden_size": 64}
"""Changes to COMA's and DOP's defaults."""
POINTS = 20
"""Evaluations of a run."""


@dataclass(frozen=True)
class Game:
    """A game and its run length."""

    env: str
    episodes: int
    best: float
    """Return of the optimal joint actions."""
    uniform: bool = False
    """Whether value-based methods explore uniformly throughout."""
    repeated: bool = False
    """Whether an episode has `Options.steps` repetitions, whose rewards add up."""


GAMES = {
    "two-step": Game("two-step", episodes=8000, best=8.0, uniform=True),
    "climbing": Game("payoff-game:climbing", episodes=8000, best=11.0, repeated=True),
    "penalty": Game("payoff-game:penalty", episodes=8000, best=10.0, repeated=True),
}


@dataclass(frozen=True)
class Published:
    """Published return of one repetition: mean and standard deviation over seeds."""

    mean: float
    deviation: float = 0.0
    seeds: int = 5

    def __str__(self) -> str:
        return f"{self.mean:g} (s.d. {self.deviation:.2g})" if self.deviation else f"{self.mean:g}"

    @property
    def half_width(self) -> float:
        """Half the width of the mean's 95% interval."""
        return float(scipy.special.stdtrit(self.seeds - 1, 0.975)) * self.deviation / np.sqrt(self.seeds - 1)


PUBLISHED = {
    ("two-step", "vdn"): Published(7.0),
    ("two-step", "qmix"): Published(8.0),
    ("climbing", "vdn"): Published(175 / 25, 54.77 / 25),
    ("climbing", "qmix"): Published(175 / 25, 54.77 / 25),
    ("climbing", "coma"): Published(185 / 25, 48.99 / 25),
    ("penalty", "vdn"): Published(50 / 25),
    ("penalty", "qmix"): Published(50 / 25),
    ("penalty", "coma"): Published(50 / 25),
}
GAME_STATES: dict[str, tuple[tuple[int, int], ...]] = {"1": (), "2A": ((0, 0),), "2B": ((1, 0),)}
"""The states of the two-step game, with the joint actions that lead there."""
PUBLISHED_TABLES = {
    ("vdn", "1"): ((6.94, 6.94), (6.35, 6.36)),
    ("vdn", "2A"): ((6.99, 7.02), (6.99, 7.02)),
    ("vdn", "2B"): ((-1.87, 2.31), (2.33, 6.51)),
    ("qmix", "1"): ((6.93, 6.93), (7.92, 7.92)),
    ("qmix", "2A"): ((7.0, 7.0), (7.0, 7.0)),
    ("qmix", "2B"): ((0.0, 1.0), (1.0, 8.0)),
}
"""Q_tot(a_0, a_1), by row a_0 (Rashid et al. 2018, Table 2)."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `dop reproduce games`."""

    seeds: int = 12
    """Runs of each method."""
    games: tuple[str, ...] = tuple(GAMES)
    """Only these games."""
    methods: tuple[str, ...] = METHODS
    """Only these methods."""
    steps: int = 1
    """Repetitions of climbing and penalty per episode (EPyMARL: 25, which takes longer; Claus and Boutilier: 1)."""
    only_summary: bool = False
    """Do not train; make tables and figure from finished runs."""
    out: Path = Path("results/games")
    """Output folder for data files, tables and figure."""

    def __post_init__(self) -> None:
        check_positive(self, "seeds", "steps")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One method on one game, all seeds."""

    game: str
    method: str

    def data(self, options: Options) -> Path:
        return options.out / "data" / f"{self.game}-{self.method}.json"


def reproduce(options: Options, log: Log) -> None:
    """Train unfinished pieces, then summarise all finished ones.

    Raises:
        UnknownNameError: an unknown game or method.
        ConfigError: a game or method given twice.
    """
    pieces.check_names("game", options.games, GAMES)
    pieces.check_names("method", options.methods, METHODS)
    for piece in [] if options.only_summary else all_pieces(options):
        changes = changes_of(piece)
        about = {**asdict(piece), "steps": options.steps, "changes": changes}
        pieces.finish(piece.data(options), f"{piece.game} {piece.method}", log, about, partial(train, piece, options, changes))
    summarise(options, log)


def all_pieces(options: Options) -> Iterator[Piece]:
    """All requested pieces."""
    for game, method in itertools.product(options.games, options.methods):
        yield Piece(game=game, method=method)


# ----------------------------------------------------------------------------------------------------------------- training


def changes_of(piece: Piece) -> dict[str, Any]:
    """Changes to the method's defaults."""
    game, value_based = GAMES[piece.game], piece.method in ("vdn", "qmix")
    changes = COMMON | (Q_LEARNING if value_based else ACTOR_CRITIC)
    if value_based and game.uniform:
        return changes | {"epsilon_end": 1.0, "share_parameters": "none"}
    return changes | {"epsilon_end": 0.05}


def program_of(piece: Piece, options: Options, changes: dict[str, Any]) -> Program:
    game = GAMES[piece.game]
    environment = envs.make(game.env, **({"steps": options.steps} if game.repeated else {}))
    algorithm: Any = algorithm_of(piece.method)
    anneal_steps = game.episodes * environment.spec.time_limit // 4
    return Program(algorithm=changed(algorithm, {"epsilon_anneal_steps": anneal_steps} | changes), environment=environment)


def train(piece: Piece, options: Options, changes: dict[str, Any], episodes: int | None = None) -> dict[str, Any]:
    """Returns of every seed at `POINTS` points, and final Q_tot tables of methods that have them (axes: seed, a_0, a_1)."""
    program, start = program_of(piece, options, changes), time.time()
    state, found = pieces.train_seeds(
        program,
        lambda key: program.warm_up(program.start(key)),
        lambda state: {"greedy_return": program.evaluate(state, 1)["test_return_mean"]},
        seeds=options.seeds,
        episodes=episodes or GAMES[piece.game].episodes,
        points=POINTS,
    )
    tables = {} if piece.method == "coma" else tables_of(piece, program, state)
    return {**found, "tables": tables, "seconds": time.time() - start}


def tables_of(piece: Piece, program: Program, state: RunState) -> dict[str, Any]:
    """Q_tot in the states of the game, for every seed of `state` (leading axis)."""
    prefixes = GAME_STATES if piece.game == "two-step" else {"start": ()}

    def of_seed(state: RunState) -> dict[str, Array]:
        return {name: value_table(program, state.learner, actions) for name, actions in prefixes.items()}

    return {
        name: np.asarray(x).tolist()
        for name, x in jax.jit(jax.vmap(of_seed), compiler_options=compilation.options(compilation.ONCE))(state).items()
    }


def value_table(program: Program, learner: Any, actions: tuple[tuple[int, int], ...]) -> Float[Array, "action action"]:
    """Q_tot of every joint action of two agents, after the joint actions `actions`."""
    algorithm, key = program.algorithm, jax.random.key(0)
    state, step = program.environment.reset(key)
    carry: Any = algorithm.initial_carry(program.environment.spec)
    for joint in actions:
        action = jnp.array(joint, jnp.int32)
        _, carry = algorithm.act(learner, carry, step, key, explore=False)
        carry = replace(carry, last_action=action)
        state, step = program.environment.step(key, state, action)
    return joint_values(learner, carry, step)


def joint_values(learner: Any, carry: Carry, step: TimeStep) -> Float[Array, "action action"]:
    """Q_tot of every joint action of two agents at one step, by VDN's, QMIX's or DOP's networks."""
    each = jnp.arange(step.action_mask.shape[1])

    def over_pairs(total: Any) -> Float[Array, "action action"]:
        return jax.vmap(lambda a: jax.vmap(lambda b: total(jnp.stack([a, b])))(each))(each)

    if hasattr(learner, "critic"):
        state = learner.state_normaliser.normalise(step.state)
        return over_pairs(lambda joint: learner.critic.total(state, step.obs, joint))
    _, q = recurrent.step_team(learner.online.agents, carry.hidden, step.obs, carry.last_action)
    return over_pairs(lambda joint: learner.online.mixer(q[jnp.arange(2), joint], step.state))


# ------------------------------------------------------------------------------------------------------------------ summary


def summarise(options: Options, log: Log) -> None:
    """Log and write the tables, and write the figure."""
    found = {piece: run for piece in all_pieces(options) if (run := pieces.read(piece.data(options))) is not None}
    header = "| game | method | seeds | published | greedy return at the end | seeds by return | seeds at the optimum | verdict | seconds |"
    lines = pieces.table(header, [row(piece, run) for piece, run in found.items()])
    header = "| game | method | state | Q_tot(a_0, a_1) published | learned, mean over seeds | largest deviation of a seed from the mean |"
    rows = [table_row(piece, state, np.array(table)) for piece, run in found.items() for state, table in run["tables"].items()]
    pictures.publish(options.out, "games", [*lines, "", *pieces.table(header, rows)], figure(found), log)


def row(piece: Piece, run: dict[str, Any]) -> str:
    returns = np.array(run["greedy_return"])[:, -1] / repetitions(piece, run)
    published = PUBLISHED.get((piece.game, piece.method))
    counts = collections.Counter(f"{x:g}" for x in returns)
    by_return = ", ".join(f"{value}: {count}" for value, count in sorted(counts.items(), key=lambda item: -float(item[0])))
    best = int(np.sum(returns >= GAMES[piece.game].best - 0.01))
    cells = [piece.game, piece.method, len(returns), published or "-", pieces.interval(returns, "{:.1f}".format), by_return, best]
    return f"| {' | '.join(map(str, cells))} | {verdict(returns, published)} | {run['seconds']:.0f} |"


def repetitions(piece: Piece, run: dict[str, Any]) -> int:
    """Repetitions of the game per episode."""
    return run["about"]["steps"] if GAMES[piece.game].repeated else 1


def verdict(returns: Float[np.ndarray, " seed"], published: Published | None) -> str:
    """Whether the 95% intervals of both means overlap."""
    if published is None:
        return "nothing published"
    found = statistics.mean_interval(returns)
    low, high = (float(found.mean if np.isnan(x) else x) for x in (found.low, found.high))
    overlap = low <= published.mean + published.half_width + 0.01 and high >= published.mean - published.half_width - 0.01
    return "as published" if overlap else "not as published"


def table_row(piece: Piece, state: str, table: Float[np.ndarray, "seed action action"]) -> str:
    mean = table.mean(axis=0)
    published = PUBLISHED_TABLES.get((piece.method, state)) if piece.game == "two-step" else None
    cells = [piece.game, piece.method, state, "-" if published is None else matrix(np.array(published)), matrix(mean)]
    return f"| {' | '.join(cells)} | {np.abs(table - mean).max():.2f} |"


def matrix(values: Float[np.ndarray, "row column"]) -> str:
    """A matrix on one line, rows separated by semicolons."""
    return "; ".join(" ".join(f"{x:.2f}" for x in line) for line in values)


def figure(found: dict[Piece, dict[str, Any]]) -> Figure:
    """Greedy returns over episodes, one panel per game; dotted lines are the optimal and the published returns."""
    picture = Figure(figsize=(13, 4.2), layout="constrained", facecolor="white")
    panels = picture.subplots(1, len(GAMES))
    for axes, (name, game) in zip(panels, GAMES.items(), strict=True):
        for piece, run in found.items():
            if piece.game == name:
                style = curves.style(METHODS.index(piece.method))
                pictures.draw_mean(axes, run["episodes"], np.array(run["greedy_return"]) / repetitions(piece, run), piece.method, style)
        pictures.style_axes(axes)
        if axes.lines:
            for value in {game.best, *(p.mean for (g, _), p in PUBLISHED.items() if g == name)}:
                axes.axhline(value, color="#999999", linewidth=0.8, linestyle=":")
            axes.set_ylim(-1, game.best + 1)  # Returns before training may be far below.
        axes.set(title=f"{name} (optimum: {game.best:g}; dotted: optimum, published)", xlabel="episodes", ylabel="greedy return")
        axes.title.set_fontsize(10)
    handles = {label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    picture.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=max(1, len(handles)), frameon=False)
    return picture
