"""Fig. 1 and Sec. 3.1, the centralised-decentralised mismatch: reward +10 if all 10 agents take the first of 10 actions, else -10.

Taken literally, the game is a search for one joint action in 10^10. Finding the optimum and keeping it are therefore measured separately:

    discovery    policies start uniform; epsilon anneals from 1 to 0.05 over the first half. Also with 2, 3 and 4 agents.
    retention    policies start at pi_i(a_1) = 0.8, and epsilon is 0.05
    replay       the replay starts with episodes of such policies, and epsilon is 0.05; for value-based methods and DOP
    variance     as retention; the variance of one agent's policy gradient with the joint critic and with its own (Theorem 3)

The methods of Sec. 5.2 use relaxed actions, points of a simplex (`dop.envs.matrix_game`). MAAC explores by its stochastic policy and has
no epsilon.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dop import envs, policies
from dop.errors import ConfigError, check_positive
from dop.hyper_parameters import changed
from dop.networks.layers import Linear
from dop.networks.mlp import FeedForward
from dop.networks.teams import feed_forward, recurrent
from dop.paper import pictures, pieces
from dop.paper.pieces import Log
from dop.paper.variants import METHODS, RELAXED, algorithm_of
from dop.training.collect import collect
from dop.training.program import Program, RunState
from dop.types import ActionKind, Environment, EnvSpec, PolicyOutput, TimeStep
from dop.visualise import curves

Setting = Literal["discovery", "retention", "replay", "variance"]
INITIAL_PROBABILITY = 0.8
"""Initial pi_i(a_1), for retention and replay."""
EPSILON = 0.05
INITIAL_EPISODES = 1000
"""Initial episodes in the replay, for `replay`; with 10 agents a tenth of them reach the optimum."""
POINTS = 20
"""Evaluations of a run."""
ACTOR_METHODS = ("dop", "dop-paper", "on-policy-dop", "coma", "coma-as-dop")
REPLAY_METHODS = ("dop", "dop-paper", "qmix", "vdn")
MAIN_METHODS = ("dop", "coma", "qmix", "vdn")
SMALL_TEAMS = (2, 3, 4)
"""Other team sizes for discovery."""
ONE_STEP_CHANGES: dict[str, Any] = {
    "optimiser": "adam",
    "critic_lr": 1e-3,
    "actor_lr": 1e-3,
    "replay_batch": 128,
    "episodes_per_iteration": 4,
    "rounds_per_iteration": 2,
}
"""Changes to the relaxed methods' defaults: those of Fig. 4, with batch sizes for one-step episodes."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `dop reproduce fig1`."""

    seeds: int = 12
    """Independent runs of each case."""
    episodes: int = 2000
    """One-step episodes of each run."""
    agents: int = 10
    """Size of the team (Sec. 3.1: 10)."""
    actions: int = 10
    """Actions of each agent (Sec. 3.1: 10)."""
    critic_hidden: int = 64
    """Hidden units of the critics; the game has one state."""
    variance_agents: tuple[int, ...] = (2, 4, 6, 8, 12, 16, 20)
    """Team sizes for the variance of gradients."""
    only_summary: bool = False
    """Do not train; make table and figure from finished runs."""
    out: Path = Path("results/fig1")
    """Output folder for data files, table and figure."""

    def __post_init__(self) -> None:
        check_positive(self, "seeds", "episodes", "agents", "critic_hidden")
        if self.actions < 2:
            raise ConfigError(f"actions must be at least 2, got {self.actions}.")
        if min(self.variance_agents, default=1) < 1:
            raise ConfigError(f"variance_agents must be positive, got {self.variance_agents}.")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One setting of one method."""

    setting: Setting
    variant: str
    n_agents: int

    @property
    def name(self) -> str:
        return f"{self.setting}-{self.variant}-{self.n_agents}"

    @property
    def sort_key(self) -> tuple[int, int, int]:
        """Order of table rows."""
        return get_args(Setting).index(self.setting), self.n_agents, list(METHODS).index(self.variant)


def cases(options: Options) -> list[Case]:
    """All cases, in training order."""
    n, sizes = options.agents, (*SMALL_TEAMS, options.agents)
    relaxed_settings = ("retention", "replay", "discovery")
    return [
        *(Case(setting="retention", variant=variant, n_agents=n) for variant in ACTOR_METHODS),
        *(Case(setting="discovery", variant=variant, n_agents=size) for size in sizes for variant in MAIN_METHODS),
        *(Case(setting="variance", variant="dop", n_agents=size) for size in options.variance_agents),
        *(Case(setting="replay", variant=variant, n_agents=n) for variant in REPLAY_METHODS),
        *(Case(setting=setting, variant=variant, n_agents=n) for setting in relaxed_settings for variant in RELAXED),
        *(Case(setting="discovery", variant=variant, n_agents=size) for size in SMALL_TEAMS for variant in RELAXED),
    ]


def reproduce(options: Options, log: Log) -> None:
    """Train unfinished cases, then summarise all finished ones.

    Raises:
        ConfigError: an option is invalid for one of the methods; raised before any training.
    """
    about = {"episodes": options.episodes, "actions": options.actions, "critic_hidden": options.critic_hidden}
    for case in [] if options.only_summary else cases(options):
        program = program_of(case, options)
        program.algorithm.check(program.environment.spec)
    for case in [] if options.only_summary else cases(options):
        pieces.finish(data_file(options, case), f"{case.name}: {options.seeds} seeds", log, about, lambda case=case: train(case, options))
    summarise(options, log)


def data_file(options: Options, case: Case) -> Path:
    return options.out / "data" / f"{case.name}.json"


# ----------------------------------------------------------------------------------------------------------------- training


def program_of(case: Case, options: Options) -> Program:
    """The method on the game, with this setting's exploration."""
    algorithm: Any = algorithm_of(case.variant)
    start, steps = (1.0, options.episodes // 2) if case.setting == "discovery" else (EPSILON, 0)
    shared = {"epsilon_start": start, "epsilon_end": EPSILON, "epsilon_anneal_steps": steps}
    changes = {name: value for name, value in shared.items() if hasattr(algorithm, name)}
    if hasattr(algorithm, "critic"):
        changes["critic.hidden_size"] = options.critic_hidden
    relaxed = case.variant in RELAXED
    game = envs.make("matrix-game", n_agents=case.n_agents, n_actions=options.actions, relaxed=relaxed)
    return Program(algorithm=changed(algorithm, changes | (ONE_STEP_CHANGES if relaxed else {})), environment=game)


def initial_state(program: Program, setting: Setting, key: PRNGKeyArray) -> RunState:
    """The initial state of a run after warm-up, with policies or replay initialised as the setting requires."""
    key_run, key_episodes = jax.random.split(key)
    state = program.start(key_run)
    learner: Any = state.learner
    if setting in ("retention", "variance"):
        actors = ["actor", "actor_ema" if hasattr(learner, "actor_ema") else "target_actor"]
        initial = {name: with_initial_policy(getattr(learner, name), INITIAL_PROBABILITY) for name in actors}
        state = dataclasses.replace(state, learner=dataclasses.replace(learner, **initial))
    if setting == "replay":
        state = dataclasses.replace(
            state, replay=state.replay.add(fixed_policy_episodes(INITIAL_PROBABILITY, program.environment, key_episodes))
        )
    return program.warm_up(state)


def with_initial_policy(team: Any, probability: float) -> Any:
    """The actors, recurrent or feed-forward, with pi_i(a_1) = `probability` and the rest uniform, for every observation."""

    def last_layer(team: Any) -> Linear:
        network = team.network.network
        return network.layers.layers[-1] if isinstance(network, FeedForward) else network.output_layer

    layer = last_layer(team)
    assert layer.bias is not None
    others = (1 - probability) / (layer.bias.shape[-1] - 1)
    bias = jnp.log(jnp.full_like(layer.bias, others).at[..., 0].set(probability))
    return eqx.tree_at(lambda t: (last_layer(t).weight, last_layer(t).bias), team, (jnp.zeros_like(layer.weight), bias))


@dataclass(frozen=True)
class FixedPolicy:
    """A fixed policy: `probability` for the first action, uniform over the others. Implements what `collect` needs of an algorithm."""

    probability: float
    kind: ActionKind

    def initial_carry(self, spec: EnvSpec) -> tuple[()]:
        del spec
        return ()

    def act(self, learner: Any, carry: tuple[()], step: TimeStep, key: PRNGKeyArray, *, explore: bool) -> tuple[PolicyOutput, tuple[()]]:
        del learner, explore
        n, size = step.action_mask.shape
        policy = jnp.full((size,), (1 - self.probability) / (size - 1)).at[0].set(self.probability)
        action = policies.sample_many(key, policy, n)
        stored = feed_forward.as_stored(self.kind, jax.nn.one_hot(action, size))
        return PolicyOutput(action=stored, behaviour_prob=policy[action] if self.kind == "discrete" else jnp.ones(n)), carry


def fixed_policy_episodes(probability: float, game: Environment, key: PRNGKeyArray) -> Any:
    """`INITIAL_EPISODES` episodes of `FixedPolicy`."""
    player: Any = FixedPolicy(probability, game.spec.action_kind)
    no_learner: Any = ()
    return collect(player, game, no_learner, key, episodes=INITIAL_EPISODES, explore=True)[0]


def train(case: Case, options: Options) -> dict[str, Any]:
    """Greedy and exploring returns of every seed at `POINTS` points of the run, or the variances of its gradient there."""
    program = program_of(case, options)

    def measure(state: RunState) -> dict[str, Float[Array, ""]]:
        if case.setting == "variance":
            joint, own = variances_of(program, state)
            return {"joint_critic_variance": joint, "own_critic_variance": own}
        return {"greedy_return": program.evaluate(state, 1)["test_return_mean"]}

    begin, seeds, episodes = partial(initial_state, program, case.setting), options.seeds, options.episodes
    _, found = pieces.train_seeds(program, begin, measure, seeds=seeds, episodes=episodes, points=POINTS)
    return {"case": dataclasses.asdict(case), **found}


# ---------------------------------------------------------------------------------------------------- variance of gradients


def variances_of(program: Program, state: RunState) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Var(g_1) and Var(g_2) of the current learner, averaged over agents."""
    learner: Any = state.learner
    _, step = program.environment.reset(jax.random.key(0))
    carry: Any = program.algorithm.initial_carry(program.environment.spec)
    _, logits = recurrent.step_team(learner.actor, carry.hidden, step.obs, carry.last_action)
    policy = jax.vmap(policies.masked_softmax)(logits, step.action_mask)
    state_input = learner.state_normaliser.normalise(step.state)
    k, b = learner.critic.mixer(state_input)
    return logit_gradient_variances(policy, k[:, None] * learner.critic.local_q(state_input, step.obs), b)


def logit_gradient_variances(
    policy: Float[Array, "agent action"], value: Float[Array, "agent action"], b: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Variances, summed over logits and averaged over agents, of (Theorem 3)

        g_1 = grad log pi_i(a_i) Q_tot(a),   g_2 = grad log pi_i(a_i) k_i Q_i(a_i)

    with respect to the logits, whose gradient is onehot(a_i) - pi_i. They are exact: given a_i, Q_tot has mean k_i Q_i(a_i) + m_i and
    variance v_i, both from the sum of the other agents' independent values. `value` is k_i Q_i(a_i).
    """
    mean = jnp.sum(policy * value, axis=-1)
    variance = jnp.sum(policy * (value - mean[:, None]) ** 2, axis=-1)
    others_mean = jnp.sum(mean) - mean + b
    others_variance = jnp.sum(variance) - variance
    score = jnp.eye(policy.shape[-1]) - policy[:, None, :]

    def of_scalar(first: Float[Array, "agent action"], second: Float[Array, "agent action"]) -> Float[Array, ""]:
        """Variance of score times a scalar with these first and second moments given a_i."""
        average = jnp.einsum("ia,iax,ia->ix", policy, score, first)
        square = jnp.einsum("ia,iax,ia->ix", policy, score**2, second)
        return jnp.mean(jnp.sum(square - average**2, axis=-1))

    joint = value + others_mean[:, None]
    return of_scalar(joint, joint**2 + others_variance[:, None]), of_scalar(value, value**2)


# ------------------------------------------------------------------------------------------------------------------ summary


def summarise(options: Options, log: Log) -> None:
    """Log and write the tables, and write the figure."""
    everything = {case: piece for case in cases(options) if (piece := pieces.read(data_file(options, case))) is not None}
    found = {case: piece for case, piece in everything.items() if case.setting != "variance"}
    variances = {case.n_agents: variance_ratio(piece) for case, piece in everything.items() if case.setting == "variance"}
    header = "| setting | method | agents | seeds | greedy return at the end | exploring return at the end | seeds at the optimum |"
    lines = pieces.table(header, [row(case, piece) for case, piece in sorted(found.items(), key=lambda item: item[0].sort_key)])
    about = "| agents | seeds | Var(g_1) / Var(g_2) after 5% of training | half-way | at the end |"
    lines += ["", *pieces.table(about, [variance_row(n, ratios) for n, ratios in variances.items()])]
    pictures.publish(options.out, "fig1", lines, figure(options, found, variances), log)


def row(case: Case, piece: dict[str, Any]) -> str:
    """A seed is at the optimum if its greedy return is above 0 (with relaxed actions: a probability above 1/2)."""
    greedy = np.array(piece["greedy_return"])[:, -1]
    cells = [pieces.interval(x, "{:.2f}".format) for x in (greedy, np.array(piece["exploring_return"])[:, -1])]
    return f"| {case.setting} | {case.variant} | {case.n_agents} | {len(greedy)} | {cells[0]} | {cells[1]} | {np.sum(greedy > 0)} |"


def variance_row(n: int, ratios: Float[np.ndarray, "seed point"]) -> str:
    cells = [pieces.interval(ratios[:, point], "{:.2f}".format) for point in shown_points(ratios).values()]
    return f"| {n} | {len(ratios)} | {' | '.join(cells)} |"


def variance_ratio(piece: dict[str, Any]) -> Float[np.ndarray, "seed point"]:
    """Var(g_1) / Var(g_2)."""
    return np.array(piece["joint_critic_variance"]) / np.array(piece["own_critic_variance"])


def shown_points(ratios: Float[np.ndarray, "seed point"]) -> dict[str, int]:
    """The points in table and figure. The point before training is left out, since the critic is random there."""
    return {"start": 1, "middle": ratios.shape[1] // 2, "end": -1}


def figure(options: Options, found: dict[Case, dict[str, Any]], variances: dict[int, np.ndarray]) -> Figure:
    """Greedy returns by setting, exploring returns of retention, discovery by team size, and the variance ratio."""
    picture = Figure(figsize=(13, 7.6), layout="constrained", facecolor="white")
    panels = picture.subplots(2, 3)
    titles = {
        "retention": f"Retention: policies start at pi(a1) = {INITIAL_PROBABILITY}",
        "replay": f"Retention: the replay starts with pi(a1) = {INITIAL_PROBABILITY}",
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
    ordered = [name for name in METHODS if name in handles]
    picture.legend([handles[name] for name in ordered], ordered, loc="outside lower center", ncols=max(1, len(handles)), frameon=False)
    for axes in panels.flat:
        pictures.style_axes(axes)
        axes.title.set_fontsize(10)
    return picture


def draw_returns(axes: Axes, found: dict[Case, dict[str, Any]], which: str = "greedy_return") -> None:
    """Means over seeds with 95% intervals."""
    for case, piece in found.items():
        values = np.array(piece[which])
        pictures.draw_mean(axes, piece["episodes"][-values.shape[1] :], values, case.variant, style(case.variant))


def draw_sizes(axes: Axes, found: dict[Case, dict[str, Any]]) -> None:
    """The fraction of seeds whose greedy policies end at the optimum, by team size and method."""
    variants = [name for name in METHODS if any(case.variant == name for case in found)]
    sizes = sorted({case.n_agents for case in found})
    for index, variant in enumerate(variants):
        fractions = {c.n_agents: float(np.mean(np.array(p["greedy_return"])[:, -1] > 0)) for c, p in found.items() if c.variant == variant}
        width = 0.8 / len(variants)
        positions = [sizes.index(n) + (index - (len(variants) - 1) / 2) * width for n in fractions]
        line_style = style(variant)
        # Bars of height 0 stay visible; bars are hatched where lines of the same colour are dashed.
        hatch = "" if line_style["linestyle"] == "-" else "////"
        axes.bar(
            positions,
            [max(fraction, 0.01) for fraction in fractions.values()],
            width,
            color=line_style["color"],
            hatch=hatch,
            edgecolor="white",
            linewidth=0,
        )
    axes.set_xticks(range(len(sizes)), [str(n) for n in sizes])
    axes.set(title="Discovery by team size", xlabel="agents", ylabel="fraction of seeds at the optimum", ylim=(0, 1.05))


def draw_variances(axes: Axes, variances: dict[int, np.ndarray]) -> None:
    """Var(g_1) / Var(g_2) against n at three points of training, and the growth with n of Theorem 3."""
    sizes = list(variances)
    for name, dash in (("start", ":"), ("middle", "--"), ("end", "-")):
        ratios = [float(np.median(found[:, shown_points(found)[name]])) for found in variances.values()]
        axes.plot(sizes, ratios, dash, marker="o", color=curves.COLOURS[0], label=name)
    axes.plot(sizes, sizes, color="#999999", linewidth=1, label="n")
    axes.set(title="Var(g1) / Var(g2) in DOP's training, median", xlabel="agents", yscale="log")
    axes.legend(fontsize=8)


def style(variant: str) -> dict[str, Any]:
    return curves.style(list(METHODS).index(variant))
