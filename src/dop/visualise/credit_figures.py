"""Figures of per-agent credit: one episode as a time line with its film, and many episodes by agent, by action and over training.

`dop.analysis.credit` defines the quantities. An agent's colour is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from dop.analysis.credit import CreditEstimate, grid
from dop.analysis.playback import Trajectory
from dop.analysis.statistics import Interval, mean_interval
from dop.errors import ConfigError
from dop.loggers.progress import compact
from dop.types import EnvSpec
from dop.visualise.action_table import cut, letters_in, name_actions, name_agents, own_name, short_number, write_cells
from dop.visualise.film import Picture, action_text, colours_of, draw_scene, pixels

ROWS = (
    ("k", "weight k"),
    ("q", "value Q(a)"),
    ("advantage", "advantage k (Q(a) - E Q)"),
    ("credit", "credit k (Q(a) - mean Q)"),
)
"""Rows of a time line: fields of `CreditEstimate` and their titles."""
_INK, _FAINT = "#333333", "#e6e6e6"
_LONGEST_ACTION = 40
"""Longest action in a row of actions, in letters."""


def credit_estimate(trajectory: Trajectory) -> CreditEstimate:
    """The credit estimate of an episode.

    Raises:
        ConfigError: the algorithm does not assign credit.
    """
    if trajectory.credit_estimate is None:
        raise ConfigError("This algorithm does not assign credit: it has no method `credit` (see dop.types.AssignsCredit).")
    return trajectory.credit_estimate


# -------------------------------------------------------------------------------------------------------------- one episode


def episode_figure(environment: Any, trajectory: Trajectory, *, title: str, scenes: int = 6) -> Figure:
    """Scenes of an episode above, time lines and actions of every agent below."""
    actions_height = _actions_height(trajectory.spec)
    picture = Figure(figsize=(11, 9.25 + actions_height), layout="constrained", facecolor="white")
    above, below = picture.subfigures(2, 1, squeeze=False, height_ratios=(2.2, 7.05 + actions_height)).ravel()
    moments = np.unique(np.linspace(0, trajectory.length, min(scenes, trajectory.length + 1)).round().astype(int))
    for axes, t in zip(above.subplots(1, len(moments), squeeze=False)[0], moments, strict=True):
        draw_scene(axes, environment, trajectory, int(t))
        axes.set_title(f"step {t}", fontsize=8, color=_INK)
    rows = below.subplots(len(ROWS) + 2, 1, sharex=True, height_ratios=[1] * (len(ROWS) + 1) + [actions_height])
    _draw_lines(rows[: len(ROWS)], trajectory)
    style_axes(rows[len(ROWS)], "reward")
    rows[len(ROWS)].bar(range(trajectory.length), trajectory.steps.reward[1:], color="#999999", width=0.8)
    _draw_actions(rows[-1], trajectory, inches=10)
    picture.suptitle(f"{title}: return {trajectory.undiscounted_return:.2f}", fontsize=12, fontweight="bold", color=_INK)
    _name_agents(picture, trajectory.spec, crosses=any(last_steps(trajectory, agent).size for agent in range(trajectory.spec.n_agents)))
    return picture


def film(environment: Any, trajectory: Trajectory, *, title: str) -> Iterator[Picture]:
    """The episode with its time lines and actions, and a cursor at the current step."""
    actions_height = _actions_height(trajectory.spec)
    picture = Figure(figsize=(10, 4.5 + actions_height), dpi=100, layout="constrained", facecolor="white")
    left, right = picture.subfigures(1, 2, squeeze=False, width_ratios=(1, 1.2)).ravel()
    scene = left.subplots()
    lines = right.subplots(len(ROWS) + 1, 1, sharex=True, height_ratios=[1] * len(ROWS) + [actions_height])
    _draw_lines(lines[: len(ROWS)], trajectory)
    _draw_actions(lines[-1], trajectory, inches=4.5)
    cursors = [axes.axvline(0, color=_INK, linewidth=1, alpha=0.5, zorder=0) for axes in lines]
    _name_agents(picture, trajectory.spec, crosses=any(last_steps(trajectory, agent).size for agent in range(trajectory.spec.n_agents)))
    for t in range(trajectory.length + 1):
        draw_scene(scene, environment, trajectory, t)
        scene.set_title(f"{title}\nstep {t} of {trajectory.length}", loc="left", fontsize=9, color=_INK)
        for cursor in cursors:
            cursor.set_xdata([t, t])
        yield pixels(picture)
        scene.clear()


def timeline_figure(trajectory: Trajectory, *, left: float, right: float) -> Figure:
    """The time lines alone; `left` and `right`: the extent of their axes, as fractions of the width."""
    picture = Figure(figsize=(5.4, 5.6), facecolor="white")
    rows = picture.subplots(len(ROWS), 1, sharex=True)
    picture.subplots_adjust(left=left, right=right, top=0.96, bottom=0.08, hspace=0.35)
    _draw_lines(rows, trajectory)
    rows[-1].set_xlim(0, max(1, trajectory.length - 1))
    rows[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    rows[-1].set_xlabel("step", fontsize=8, color=_INK)
    return picture


def _draw_lines(rows: Sequence[Axes], trajectory: Trajectory) -> None:
    estimate, colours = credit_estimate(trajectory), colours_of(trajectory.spec.n_agents)
    for axes, (field, label) in zip(rows, ROWS, strict=True):
        for agent, colour in enumerate(colours):
            values = getattr(estimate, field)[:, agent]
            marker = "o" if trajectory.length < 15 else ""
            axes.plot(values, color=colour, linewidth=1.4, marker=marker, markersize=3)
            last = last_steps(trajectory, agent)
            axes.plot(last, values[last], "x", color=colour, markersize=6)
        style_axes(axes, label)


def last_steps(trajectory: Trajectory, agent: int) -> Int[np.ndarray, " step"]:
    """The steps after which an agent becomes inactive."""
    active = trajectory.active[:, agent]
    return np.flatnonzero(active[:-1] & ~active[1:])


def _actions_height(spec: EnvSpec) -> float:
    """The height of the actions, one row per agent, in inches."""
    return 0.25 + 0.16 * spec.n_agents


def _draw_actions(axes: Axes, trajectory: Trajectory, *, inches: float) -> None:
    """One row per agent: its actions, at as many steps as fit, and a cross where it becomes inactive."""
    n = trajectory.spec.n_agents
    name_agents(axes, trajectory.spec)
    axes.set(ylim=(n - 0.5, -0.5), xlim=(-0.5, trajectory.length - 0.5))
    axes.set_xlabel("step", fontsize=8, color=_INK)
    texts = [[cut(action_text(trajectory, t, agent), _LONGEST_ACTION) for agent in range(n)] for t in range(trajectory.length)]
    longest = max(len(text) for row in texts for text in row)
    size = 7 if longest < 10 else 5
    every = -(-trajectory.length // letters_in(inches / (longest + 1), size))
    side = "center" if every == 1 else "left"  # a long text left of the first step would cover the agents' names
    for t in range(0, max(1, trajectory.length - every + 1), every):
        for agent, colour in enumerate(colours_of(n)):
            if trajectory.active[t, agent]:
                axes.text(t, agent, texts[t][agent], ha=side, va="center", fontsize=size, color=colour)
    for agent, colour in enumerate(colours_of(n)):
        last = last_steps(trajectory, agent)
        axes.plot(last + 1, np.full_like(last, agent), "x", color=colour, markersize=5)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelcolor=_INK)
    axes.tick_params(axis="x", labelsize=7.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _name_agents(picture: Figure, spec: EnvSpec, *, crosses: bool) -> None:
    """A legend of the agents' colours, and of the crosses if there are any."""
    names = [cut(name, 24) for name in spec.agents]
    handles = [Line2D([], [], color=colour, label=name) for name, colour in zip(names, colours_of(spec.n_agents), strict=True)]
    if crosses:
        handles.append(Line2D([], [], color=_INK, marker="x", linestyle="", label="becomes inactive"))
    columns = letters_in(picture.get_figwidth(), 8) // (max(len(str(handle.get_label())) for handle in handles) + 8)
    picture.legend(
        handles=handles, loc="outside lower center", ncols=max(1, min(len(handles), columns, 8)), frameon=False, fontsize=8, labelcolor=_INK
    )


def number(value: float) -> str:
    """Three significant digits; a dash for an inactive agent."""
    return "-" if np.isnan(value) else f"{value:.3g}"


def style_axes(axes: Axes, label: str) -> None:
    """Set scales, labels and a faint grid."""
    axes.set_title(label, loc="left", fontsize=8.5, color=_INK)
    axes.grid(color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=7.5, color=_FAINT, labelcolor=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")


# ------------------------------------------------------------------------------------------------------------ many episodes


class ByAction(NamedTuple):
    """Credit of discrete actions."""

    credit: Float[np.ndarray, "agent action"]
    """Mean over the steps with the action; NaN without any."""
    times: Int[np.ndarray, "agent action"]
    """Number of these steps, inactive agents excluded."""


def by_agent(trajectories: Sequence[Trajectory], field: str = "credit") -> Interval:
    """Every agent's mean over its active steps of an episode, then over episodes, with 95% intervals over episodes.

    Episodes without an active step do not count."""
    return mean_interval(
        np.stack([mean_interval(np.asarray(getattr(credit_estimate(trajectory), field))).mean for trajectory in trajectories])
    )


def by_action(trajectories: Sequence[Trajectory]) -> ByAction:
    """Mean credit of each chosen action, for discrete actions."""
    spec = trajectories[0].spec
    total, count = np.zeros((spec.n_agents, spec.action_size)), np.zeros((spec.n_agents, spec.action_size), int)
    for trajectory in trajectories:
        credit = np.asarray(credit_estimate(trajectory).credit)
        _, agents = active = np.nonzero(~np.isnan(credit))
        np.add.at(total, (agents, trajectory.actions[active]), credit[active])
        np.add.at(count, (agents, trajectory.actions[active]), 1)
    return ByAction(credit=np.where(count > 0, total / np.maximum(count, 1), np.nan), times=count)


def over_action(trajectories: Sequence[Trajectory]) -> Float[np.ndarray, "agent component point"]:
    """k_i Q_i over each component of a continuous action (Fig. 4 right), averaged over all steps and centred."""
    curves = np.concatenate(
        [np.asarray(credit_estimate(trajectory).k)[..., None, None] * credit_estimate(trajectory).values for trajectory in trajectories]
    )
    mean = mean_interval(curves).mean
    return mean - mean.mean(axis=-1, keepdims=True)


def summary_figure(trajectories: Sequence[Trajectory], training: Mapping[int, Sequence[Trajectory]], *, title: str) -> Figure:
    """Credit by agent, by action, and over the run's snapshots (`training`: episodes by environment steps)."""
    spec = trajectories[0].spec
    picture = Figure(figsize=(12.5, 4.2 + 0.08 * spec.n_agents), layout="constrained", facecolor="white")
    left, middle, right = picture.subplots(1, 3)
    _draw_by_agent(left, spec, by_agent(trajectories))
    if spec.action_kind == "discrete":
        _draw_by_action(middle, spec, by_action(trajectories))
    else:
        _draw_over_action(middle, trajectories)
    _draw_training(right, spec, training)
    picture.suptitle(f"{title}: credit in {len(trajectories)} greedy episodes", fontsize=12, fontweight="bold", color=_INK)
    _name_agents(picture, spec, crosses=False)
    return picture


def _draw_by_agent(axes: Axes, spec: EnvSpec, found: Interval) -> None:
    half = np.nan_to_num(found.high - found.mean)
    axes.barh(range(spec.n_agents), found.mean, xerr=half, color=colours_of(spec.n_agents), ecolor=_INK, capsize=2)
    style_axes(axes, "mean credit of a step, by agent")
    name_agents(axes, spec)
    axes.invert_yaxis()
    axes.axvline(0, color=_INK, linewidth=0.8)


def _draw_by_action(axes: Axes, spec: EnvSpec, found: ByAction) -> None:
    style_axes(axes, "mean credit of an action when it is taken (how often)")
    top = float(np.max(np.abs(np.nan_to_num(found.credit)))) or 1.0
    shown = axes.imshow(found.credit, cmap="PuOr", vmin=-top, vmax=top, aspect="auto")
    name_agents(axes, spec)
    axes.grid(visible=False)
    steps = np.maximum(1, found.times.sum(axis=1))

    def text(agent: int, action: int) -> str:
        count = found.times[agent, action]
        return f"{own_name(spec, agent, action)}{short_number(found.credit[agent, action])}\n{count / steps[agent]:.0%}" if count else ""

    write_cells(axes, text, found.credit.shape, np.abs(np.nan_to_num(found.credit)) > 0.6 * top)
    name_actions(axes, spec, below="action")
    axes.figure.colorbar(shown, ax=axes, shrink=0.8).ax.tick_params(labelsize=7)


def _draw_over_action(axes: Axes, trajectories: Sequence[Trajectory]) -> None:
    spec = trajectories[0].spec
    # A dash, with one more dot for each further component.
    styles = ["-", *((0, (5, 2) + (1, 2) * dots) for dots in range(spec.action_size - 1))]
    style_axes(axes, "k Q over one component of the action, less its mean")
    axes.set_xlabel("the component's value", fontsize=8, color=_INK)
    for agent, curves in enumerate(over_action(trajectories)):
        for component in range(spec.action_sizes[agent]):
            colour = colours_of(spec.n_agents)[agent]
            axes.plot(grid(spec.action_kind), curves[component], linestyle=styles[component], color=colour, linewidth=1.3)
    shared = len(set(spec.action_names)) == 1
    names = [cut(spec.action_name(0, component) if shared else str(component), 18) for component in range(spec.action_size)]
    handles = [Line2D([], [], color=_INK, linestyle=style, label=name) for name, style in zip(names, styles, strict=True)]
    axes.legend(handles=handles, title="component", title_fontsize=7, fontsize=7, handlelength=7, labelcolor=_INK, framealpha=0.7)


def _draw_training(axes: Axes, spec: EnvSpec, training: Mapping[int, Sequence[Trajectory]]) -> None:
    style_axes(axes, "mean credit of a step, over training")
    axes.set_xlabel("environment steps", fontsize=8, color=_INK)
    if len(training) < 2:
        axes.text(0.5, 0.5, "this run has no snapshots", ha="center", transform=axes.transAxes, color="#777777", fontsize=9)
        return
    found = np.stack([by_agent(trajectories).mean for trajectories in training.values()])
    for agent, colour in enumerate(colours_of(spec.n_agents)):
        axes.plot(list(training), found[:, agent], color=colour, marker="o", markersize=3, linewidth=1.4)
    axes.xaxis.set_major_formatter(lambda value, _: compact(value))


def as_data(
    trajectories: Mapping[str, Trajectory], many: Sequence[Trajectory], training: Mapping[int, Sequence[Trajectory]]
) -> dict[str, Any]:
    """The data of the figures."""
    spec = many[0].spec
    episodes = {
        name: {field: _listed(getattr(credit_estimate(trajectory), field)) for field, _ in ROWS}
        | {
            "action": _actions(trajectory),
            "active": _listed(trajectory.active),
            "reward": _listed(trajectory.steps.reward[1:]),
            "return": trajectory.undiscounted_return,
        }
        for name, trajectory in trajectories.items()
    }
    found = by_agent(many)
    summary: dict[str, Any] = {"episodes": len(many), "credit": _listed(found.mean), "low": _listed(found.low), "high": _listed(found.high)}
    if spec.action_kind == "discrete":
        over_actions = by_action(many)
        summary |= {"credit_by_action": _listed(over_actions.credit), "times_taken": _listed(over_actions.times)}
    else:
        summary |= {"component": _listed(grid(spec.action_kind)), "value_over_component": _listed(over_action(many))}
    over = [{"env_steps": steps, "credit": _listed(by_agent(played).mean)} for steps, played in training.items()]
    names = [list(names) for names in spec.action_names]
    return {"agents": list(spec.agents), "action_names": names, "episodes": episodes, "summary": summary, "training": over}


def _actions(trajectory: Trajectory) -> list[list[Any]]:
    """Actions by step and agent; None for inactive agents."""
    rows = zip(trajectory.actions.tolist(), trajectory.active, strict=True)
    return [[action if is_active else None for action, is_active in zip(actions, active, strict=True)] for actions, active in rows]


def _listed(values: Any) -> Any:
    """An array as lists, with None for numbers that are not finite."""
    array = np.asarray(values)
    if array.dtype.kind != "f":
        return array.tolist()
    known = array.astype(object)
    known[~np.isfinite(array)] = None
    return known.tolist()
