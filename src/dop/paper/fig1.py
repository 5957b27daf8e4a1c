"""Fig. 1 and Sec. 3.1, the centralised-decentralised mismatch: 10 agents win +10 if all take the first of 10 actions, else lose 10.

Read literally the game is a search for one joint action in 10^10, so two things are measured apart:

    discovery    agents start uniform; epsilon falls from 1 to 0.05 over the first half. Also with 2, 3 and 4 agents.
    retention    policies start at pi_i(a_1) = 0.8, and epsilon is 0.05
    replay       the replay starts with episodes of such policies, and epsilon is 0.05: for what has no policy, and for DOP

and, in training from such policies, the variance of one agent's policy gradient with the team's critic and with its own (Theorem 3).
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dop import agents, envs, policies
from dop.agents import Team
from dop.engine.collect import collect
from dop.engine.learn import Program, RunState
from dop.engine.runs import surroundings
from dop.paper.variants import VARIANTS, algorithm_of
from dop.report import curves, statistics
from dop.types import Choice, Environment, EnvSpec, TimeStep

Setting = Literal["discovery", "retention", "replay"]
START = 0.8
"""pi_i(a_1) at the start, for retention."""
EPSILON = 0.05
SEEDED = 1000
"""Episodes in the replay at the start, for `replay`; a tenth of them hit."""
POINTS = 20
"""Evaluations of a run."""
ACTORS = ("dop", "dop-paper", "on-policy-dop", "coma", "coma-as-dop")
LEARNERS_FROM_REPLAY = ("dop", "dop-paper", "qmix", "vdn")
MAIN = ("dop", "coma", "qmix", "vdn")
SMALLER = (2, 3, 4)
"""Teams that discovery is also measured for."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `dop reproduce fig1` takes."""

    seeds: int = 12
    """Independent runs of each case."""
    episodes: int = 2000
    """Episodes (of one step) of each run."""
    agents: int = 10
    """Size of the team (Sec. 3.1: 10)."""
    actions: int = 10
    """Actions of each agent (Sec. 3.1: 10)."""
    critic_hidden: int = 64
    """Units in the critics' hidden layers; the game has one state."""
    variance_agents: tuple[int, ...] = (2, 4, 6, 8, 12, 16, 20)
    """Team sizes for the variance of gradients."""
    only_summary: bool = False
    """Train nothing: table and figure of what is there."""
    out: Path = Path("results/fig1")
    """Where data files, table and figure go."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One setting of one method."""

    setting: Setting
    variant: str
    n_agents: int

    @property
    def name(self) -> str:
        return f"{self.setting}-{self.variant}-{self.n_agents}"


def cases(options: Options) -> list[Case]:
    """Everything that is trained."""
    big = options.agents
    return [
        *(Case(setting="retention", variant=variant, n_agents=big) for variant in ACTORS),
        *(Case(setting="replay", variant=variant, n_agents=big) for variant in LEARNERS_FROM_REPLAY),
        *(Case(setting="discovery", variant=variant, n_agents=n) for n in (*SMALLER, big) for variant in MAIN),
    ]


def reproduce(options: Options, say: Callable[[str], None]) -> None:
    """Train what is not there yet, case by case, then summarise all that is there."""
    if not options.only_summary:
        for case in cases(options):
            if not data_file(options, case.name).exists():
                say(f"== {case.name}: {options.seeds} seeds")
                write(options, case.name, train(case, options))
        for n in options.variance_agents:
            if not data_file(options, f"variance-{n}").exists():
                say(f"== variance of gradients, {n} agents")
                write(options, f"variance-{n}", gradient_variances(n, options))
    summarise(options, say)


# ----------------------------------------------------------------------------------------------------------------- training


def program_of(case: Case, options: Options) -> Program:
    """The method on the game, with the exploration that all share in this setting."""
    algorithm: Any = algorithm_of(case.variant)
    start, steps = (1.0, options.episodes // 2) if case.setting == "discovery" else (EPSILON, 0)
    changes = {"epsilon_start": start, "epsilon_end": EPSILON, "epsilon_steps": steps}
    if hasattr(algorithm, "critic_hidden"):
        changes["critic_hidden"] = options.critic_hidden
    game = envs.make("matrix-game", n_agents=case.n_agents, n_actions=options.actions)
    return Program(algorithm=dataclasses.replace(algorithm, **changes), environment=game)


def begin(program: Program, setting: Setting, key: PRNGKeyArray) -> RunState:
    """A fresh run, its policies or its replay as the setting wants them, warmed up."""
    key_run, key_seeded = jax.random.split(key)
    state = program.start(key_run)
    if setting == "retention":
        learner: Any = state.learner
        actors = (start_at(learner.actor, START), start_at(learner.greedy_actor, START))
        state = eqx.tree_at(lambda s: (s.learner.actor, s.learner.greedy_actor), state, actors)
    if setting == "replay":
        state = eqx.tree_at(lambda s: s.replay, state, state.replay.add(episodes_of(START, program.environment, key_seeded)))
    return program.warm_up(state)


def start_at(team: Team, probability: float) -> Team:
    """The actors with pi_i(a_1) = `probability`, the other actions alike, whatever they see."""
    layer = team.network.output_layer
    assert layer.bias is not None
    others = (1 - probability) / (layer.bias.shape[-1] - 1)
    bias = jnp.log(jnp.full_like(layer.bias, others).at[..., 0].set(probability))
    where = lambda team: (team.network.output_layer.weight, team.network.output_layer.bias)  # noqa: E731
    return eqx.tree_at(where, team, (jnp.zeros_like(layer.weight), bias))


@dataclass(frozen=True)
class FixedPolicy:
    """Agents that take the first action with one probability, the others alike: as much of an algorithm as playing needs."""

    probability: float

    def initial_memory(self, spec: EnvSpec) -> tuple[()]:
        del spec
        return ()

    def act(self, learner: Any, memory: tuple[()], step: TimeStep, key: PRNGKeyArray, *, explore: bool) -> tuple[Choice, tuple[()]]:
        del learner, explore
        n, size = step.legal.shape
        policy = jnp.full((size,), (1 - self.probability) / (size - 1)).at[0].set(self.probability)
        action = policies.sample_many(key, policy, n)
        return Choice(action=action, probability=policy[action]), memory


def episodes_of(probability: float, game: Environment, key: PRNGKeyArray) -> Any:
    """`SEEDED` episodes of `FixedPolicy`."""
    player: Any = FixedPolicy(probability)
    nothing: Any = ()
    return collect(player, game, nothing, key, episodes=SEEDED, explore=True)[0]


def train(case: Case, options: Options) -> dict[str, Any]:
    """Greedy and exploring returns of every seed at `POINTS` points of the run."""
    jax.clear_caches()
    program = program_of(case, options)
    per_iteration = program.algorithm.episodes_per_iteration
    iterations = max(1, options.episodes // (POINTS * per_iteration))
    state = jax.jit(jax.vmap(lambda key: begin(program, case.setting, key)))(jax.random.split(jax.random.key(0), options.seeds))
    chunk = jax.jit(jax.vmap(lambda s: program.chunk(s, iterations)), donate_argnums=0)
    play = jax.jit(jax.vmap(lambda s: program.evaluate(s, 1)["test_return_mean"]))
    greedy, exploring = [play(state)], []
    for _ in range(POINTS):
        state, metrics = chunk(state)
        greedy.append(play(state))
        exploring.append(metrics["return_mean"])
    episodes = [point * iterations * per_iteration for point in range(POINTS + 1)]
    return {
        "case": dataclasses.asdict(case),
        "episodes": episodes,
        "greedy_return": np.stack(greedy, axis=1).tolist(),
        "exploring_return": np.stack(exploring, axis=1).tolist(),
    }


# ---------------------------------------------------------------------------------------------------- variance of gradients


def gradient_variances(n: int, options: Options) -> dict[str, Any]:
    """Var(g_1), Var(g_2) of Theorem 3 for every agent's logits, in DOP's training from the policies of `retention`; by seed and point."""
    case = Case(setting="retention", variant="dop", n_agents=n)
    program = program_of(case, options)
    iterations = max(1, options.episodes // (POINTS * program.algorithm.episodes_per_iteration))
    state = jax.jit(jax.vmap(lambda key: begin(program, case.setting, key)))(jax.random.split(jax.random.key(0), options.seeds))
    chunk = jax.jit(jax.vmap(lambda s: program.chunk(s, iterations)[0]), donate_argnums=0)
    measure = jax.jit(jax.vmap(lambda s: variances_of(program, s)))
    found = []
    for _ in range(POINTS):
        state = chunk(state)
        found.append(measure(state))
    joint, own = (np.stack(x, axis=1).tolist() for x in zip(*found, strict=True))
    return {"n_agents": n, "joint_critic_variance": joint, "own_critic_variance": own}


def variances_of(program: Program, state: RunState) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Var(g_1) and Var(g_2), means over agents, of the learner as it stands."""
    learner: Any = state.learner
    _, step = program.environment.reset(jax.random.key(0))
    memory: Any = program.algorithm.initial_memory(program.environment.spec)
    _, logits = agents.step_team(learner.actor, memory.hidden, step.obs, memory.last_action)
    policy = jax.vmap(policies.masked_softmax)(logits, step.legal)
    seen = learner.state_moments.standardise(step.state)
    k, b = learner.critic.mixer(seen)
    return logit_gradient_variances(policy, k[:, None] * learner.critic.local_q(seen, step.obs), b)


def logit_gradient_variances(
    policy: Float[Array, "agent action"], value: Float[Array, "agent action"], b: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Variances, summed over logits and averaged over agents, of (Theorem 3)

        g_1 = grad log pi_i(a_i) Q_tot(a),   g_2 = grad log pi_i(a_i) k_i Q_i(a_i)

    with respect to the logits, whose gradient is onehot(a_i) - pi_i. They are exact: given a_i, Q_tot has the mean k_i Q_i(a_i) + m_i and
    the variance v_i, of the sum of the other agents' independent values. `value` is k_i Q_i(a_i).
    """
    mean = jnp.sum(policy * value, axis=-1)
    variance = jnp.sum(policy * (value - mean[:, None]) ** 2, axis=-1)
    others_mean = jnp.sum(mean) - mean + b
    others_variance = jnp.sum(variance) - variance
    score = jnp.eye(policy.shape[-1]) - policy[:, None, :]

    def of_scalar(first: Float[Array, "agent action"], second: Float[Array, "agent action"]) -> Float[Array, ""]:
        """Variance of score times a number that has, given a_i, these first and second moments."""
        average = jnp.einsum("ia,iax,ia->ix", policy, score, first)
        square = jnp.einsum("ia,iax,ia->ix", policy, score**2, second)
        return jnp.mean(jnp.sum(square - average**2, axis=-1))

    joint = value + others_mean[:, None]
    return of_scalar(joint, joint**2 + others_variance[:, None]), of_scalar(value, value**2)


# --------------------------------------------------------------------------------------------------------------- data files


def data_file(options: Options, name: str) -> Path:
    return options.out / "data" / f"{name}.json"


def write(options: Options, name: str, found: dict[str, Any]) -> None:
    """One finished piece, with what made it, in one step."""
    path = data_file(options, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    made_by = {"episodes": options.episodes, "actions": options.actions, "critic_hidden": options.critic_hidden}
    about = {"date": datetime.date.today().isoformat(), **made_by, **surroundings()}
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"about": about, **_rounded(found)}) + "\n", encoding="utf-8")
    temporary.replace(path)


def _rounded(found: Any) -> Any:
    """Numbers to six figures: the files stay small."""
    if isinstance(found, dict):
        return {name: _rounded(value) for name, value in found.items()}
    if isinstance(found, list):
        return [_rounded(value) for value in found]
    return float(f"{found:.6g}") if isinstance(found, float) else found


def read(options: Options, name: str) -> dict[str, Any] | None:
    """A finished piece; None if it is not there."""
    path = data_file(options, name)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


# ------------------------------------------------------------------------------------------------------------------ summary


def summarise(options: Options, say: Callable[[str], None]) -> None:
    """The tables, said and written, and the figure."""
    found = {case: piece for case in cases(options) if (piece := read(options, case.name)) is not None}
    variances = {n: piece for n in options.variance_agents if (piece := read(options, f"variance-{n}")) is not None}
    lines = ["| setting | method | agents | seeds | greedy return at the end | exploring return at the end | seeds at the optimum |"]
    lines += ["|---|---|---|---|---|---|---|", *(row(case, piece) for case, piece in found.items())]
    lines += ["", "| agents | seeds | Var(g_1) / Var(g_2), start | middle | end |", "|---|---|---|---|---|"]
    lines += [variance_row(n, piece) for n, piece in variances.items()]
    table = "\n".join(lines)
    say(table)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "table.md").write_text(table + "\n", encoding="utf-8")
    path = options.out / "fig1.png"
    temporary = path.with_suffix(".tmp")
    figure(options, found, variances).savefig(temporary, format="png", dpi=150)
    temporary.replace(path)
    say(f"figure: {path}")


def row(case: Case, piece: dict[str, Any]) -> str:
    greedy = np.array(piece["greedy_return"])[:, -1]
    cells = [_interval(greedy), _interval(np.array(piece["exploring_return"])[:, -1])]
    return f"| {case.setting} | {case.variant} | {case.n_agents} | {len(greedy)} | {cells[0]} | {cells[1]} | {np.sum(greedy > 0)} |"


def variance_row(n: int, piece: dict[str, Any]) -> str:
    ratios = variance_ratio(piece)
    cells = [_interval(ratios[:, point]) for point in (0, ratios.shape[1] // 2, -1)]
    return f"| {n} | {len(ratios)} | {' | '.join(cells)} |"


def variance_ratio(piece: dict[str, Any]) -> np.ndarray:
    """Var(g_1) / Var(g_2); axes: seed, point."""
    return np.array(piece["joint_critic_variance"]) / np.array(piece["own_critic_variance"])


def _interval(values: np.ndarray) -> str:
    found = statistics.mean_interval(values)
    return f"{found.mean:.2f}" if len(values) == 1 else f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"


def figure(options: Options, found: dict[Case, dict[str, Any]], variances: dict[int, dict[str, Any]]) -> Figure:
    """Greedy and exploring returns of each setting, discovery by size, and the ratio of variances."""
    picture = Figure(figsize=(13, 7.4), layout="constrained", facecolor="white")
    panels = picture.subplots(2, 3)
    titles = {
        "retention": f"Retention: policies start at pi(a1) = {START}",
        "replay": f"Retention: the replay starts with pi(a1) = {START}",
        "discovery": "Discovery: from uniform policies",
    }
    for axes, (setting, title) in zip(panels[0], titles.items(), strict=True):
        draw_returns(axes, {case: piece for case, piece in found.items() if (case.setting, case.n_agents) == (setting, options.agents)})
        axes.set(title=f"{title}, {options.agents} agents", xlabel="episodes", ylabel="greedy return", ylim=(-11, 11))
    retained = {case: piece for case, piece in found.items() if case.setting == "retention"}
    draw_returns(panels[1, 0], retained, "exploring_return")
    panels[1, 0].set(title="Retention: while exploring", xlabel="episodes", ylabel="return with epsilon 0.05", ylim=(-11, 11))
    draw_sizes(panels[1, 1], {case: piece for case, piece in found.items() if case.setting == "discovery"})
    draw_variances(panels[1, 2], variances)
    handles = {label: line for axes in panels.flat for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    picture.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=max(1, len(handles)), frameon=False)
    for axes in panels.flat:
        if not any(len(np.atleast_1d(line.get_xdata())) for line in axes.lines):
            axes.text(0.5, 0.5, "not run yet", ha="center", transform=axes.transAxes, color="#777777")
        axes.title.set_fontsize(10)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return picture


def draw_returns(axes: Axes, found: dict[Case, dict[str, Any]], which: str = "greedy_return") -> None:
    """Means over seeds with 95% intervals."""
    for case, piece in found.items():
        values = np.array(piece[which])
        interval = statistics.mean_interval(values)
        episodes = piece["episodes"][-values.shape[1] :]
        axes.plot(episodes, interval.mean, label=case.variant, color=colour(case.variant), linewidth=1.8)
        axes.fill_between(episodes, interval.low, interval.high, color=colour(case.variant), alpha=0.15, linewidth=0)


def draw_sizes(axes: Axes, found: dict[Case, dict[str, Any]]) -> None:
    """The share of seeds whose greedy agents end at the optimum, by size of the team."""
    for variant in MAIN:
        shares = {c.n_agents: float(np.mean(np.array(p["greedy_return"])[:, -1] > 0)) for c, p in found.items() if c.variant == variant}
        axes.plot(list(shares), list(shares.values()), marker="o", color=colour(variant), linewidth=1.8)
    axes.set(title="Discovery by size of the team", xlabel="agents", ylabel="share of seeds at the optimum", ylim=(-0.05, 1.05))


def draw_variances(axes: Axes, variances: dict[int, dict[str, Any]]) -> None:
    """Var(g_1) / Var(g_2) against n at three moments of training, and n itself, which Theorem 3 says it grows as."""
    sizes = list(variances)
    for place, name, style in ((0, "start", ":"), (POINTS // 2, "middle", "--"), (-1, "end", "-")):
        ratios = [float(np.median(variance_ratio(piece)[:, place])) for piece in variances.values()]
        axes.plot(sizes, ratios, style, marker="o", color=curves.COLOURS[0])
        if sizes:
            axes.annotate(name, (sizes[-1], ratios[-1]), fontsize=8)
    axes.plot(sizes, sizes, color="#999999", linewidth=1)
    axes.set(title="Var(g1) / Var(g2) in DOP's training, median (grey: n)", xlabel="agents", yscale="log")


def colour(variant: str) -> str:
    return curves.COLOURS[list(VARIANTS).index(variant) % len(curves.COLOURS)]
