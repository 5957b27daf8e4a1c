"""Films of greedy episodes: GIF by Pillow, MP4 by the program ffmpeg.

An environment that can draw itself does (`dop.types.Drawable`, or `PythonEnvironment.render`); any other is shown as a table of what each
agent does, or how likely its policy is to do it. Beside the picture stands every agent in its colour with its action.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from dop import plugins
from dop.analysis.playback import Trajectory
from dop.analysis.statistics import mean_interval
from dop.errors import ConfigError, RunError, shown
from dop.storage import files
from dop.types import Drawable, EnvSpec
from dop.visualise.action_table import cut, letters_in, name_actions, name_agents, own_name, write_cells
from dop.visualise.curves import COLOURS
from dop.visualise.texts import as_written

Picture = UInt8[np.ndarray, "height width 3"]
FORMATS = ("gif", "mp4")
_INK = "#333333"
_COLUMN = 1.9
"""Inches for the words beside a scene."""


def colours_of(n_agents: int) -> list[str]:
    """One for each agent: those that colour-blind people can tell apart while they last, then a scale less its ends, which are too dark on
    the page's dark side."""
    if n_agents <= len(COLOURS):
        return list(COLOURS[:n_agents])
    return [to_hex(colour) for colour in mpl.colormaps["turbo"](np.linspace(0.1, 0.9, n_agents))]


def film(environment: Any, trajectory: Trajectory, *, title: str) -> Iterator[Picture]:
    """Every step of an episode as a picture, the last state too."""
    height = picture_height(trajectory.spec.n_agents)
    picture = Figure(figsize=(4.5 + _COLUMN, height), dpi=100, layout="constrained", facecolor="white")
    scene, words = picture.subplots(1, 2, width_ratios=(4.5, _COLUMN))
    earned = np.cumsum(trajectory.steps.reward)
    for t in range(trajectory.length + 1):
        draw_scene(scene, environment, trajectory, t)
        scene.set_title(f"{title}\nstep {t} of {trajectory.length}, return so far {earned[t]:.2f}", loc="left", fontsize=9, color=_INK)
        _list_actions(words, trajectory, t)
        yield pixels(picture)
        scene.clear()
        words.clear()


def picture_height(n_agents: int) -> float:
    """Inches, so that as many agents have a line each."""
    return max(4.2, 0.5 + 0.14 * n_agents)


def over_training(spec: EnvSpec, played: Mapping[int, Sequence[Trajectory]], *, title: str) -> Iterator[Picture]:
    """What the team does in its first step, moment by moment of its training (environment steps, then episodes): means over episodes."""
    picture = Figure(figsize=(6.4, picture_height(spec.n_agents)), dpi=100, layout="constrained", facecolor="white")
    axes = picture.subplots()
    for env_steps, trajectories in played.items():
        draw_table(axes, spec, mean_interval(np.stack([action_texts(trajectory)[0] for trajectory in trajectories])).mean)
        earned = np.mean([trajectory.undiscounted_return for trajectory in trajectories])
        axes.set_title(f"{title}\nafter {env_steps:,} environment steps, greedy return {earned:.2f}", loc="left", fontsize=9, color=_INK)
        yield pixels(picture)
        axes.clear()


def draw_scene(axes: Axes, environment: Any, trajectory: Trajectory, t: int) -> None:
    """The environment after `t` steps, and what is done then."""
    action = trajectory.actions[t] if t < trajectory.length else None
    if trajectory.pictures:
        axes.imshow(trajectory.pictures[t])
        axes.set_axis_off()
    elif isinstance(environment, Drawable):
        with plugins.named(f"{trajectory.spec.name}: draw raised"):
            environment.draw(axes, trajectory.state(t), action, colours_of(trajectory.spec.n_agents))
    else:
        draw_table(axes, trajectory.spec, action_texts(trajectory)[min(t, trajectory.length - 1)])


def action_texts(trajectory: Trajectory) -> Float[np.ndarray, "time agent action"]:
    """How likely each agent's policy is to take each action; where it is deterministic, what it does: 1 for a number, else the vector.
    NaN of agents that are inactive."""
    if trajectory.credit_estimate is not None and trajectory.credit_estimate.policy is not None:
        return np.asarray(trajectory.credit_estimate.policy)
    doing = (
        np.eye(trajectory.spec.action_size)[trajectory.actions]
        if trajectory.spec.action_kind == "discrete"
        else np.asarray(trajectory.actions)
    )
    return np.where(trajectory.active[..., None], doing, np.nan)


def draw_table(axes: Axes, spec: EnvSpec, doing: Float[np.ndarray, "agent action"]) -> None:
    """Agents by actions, darker where there is more of it; rows of inactive agents, which are NaN, stay empty."""
    low = -1.0 if spec.action_kind == "box" else 0.0
    axes.imshow(doing, vmin=low, vmax=1.0, cmap="PuOr" if low else "Blues", aspect="auto")
    name_agents(axes, spec)
    what = "action" if spec.action_kind == "discrete" else "component of the action"

    def text(agent: int, action: int) -> str:
        value = doing[agent, action]
        return "" if np.isnan(value) else f"{own_name(spec, agent, action)}{value:.2f}"

    written = write_cells(axes, text, doing.shape, np.abs(np.nan_to_num(doing)) > 0.6)
    scale = "" if written else " (brown -1, violet 1)" if low else " (white 0, dark blue 1)"
    name_actions(axes, spec, below=what + scale)


def _list_actions(axes: Axes, trajectory: Trajectory, t: int) -> None:
    """Every agent in its colour with what it does; texts that are too long for the column are cut."""
    axes.set_axis_off()
    n = trajectory.spec.n_agents
    spacing = min(0.09, 0.95 / n)
    size = min(8.0, 50 * spacing * picture_height(n))
    letters = letters_in(_COLUMN, size)
    for agent, (name, colour) in enumerate(zip(trajectory.spec.agents, colours_of(n), strict=True)):
        doing = done(trajectory, t, agent) if t < trajectory.length else "-"
        line = f"{cut(name, max(letters - len(doing) - 2, letters // 2))}: {doing}"
        faint = 1.0 if t == trajectory.length or trajectory.active[t, agent] else 0.5
        axes.text(0, 1 - spacing * (agent + 0.5), cut(line, letters), color=colour, alpha=faint, fontsize=size, transform=axes.transAxes)


def done(trajectory: Trajectory, t: int, agent: int) -> str:
    """What an agent does at step `t` in words, or that it is inactive."""
    return words(trajectory.spec, trajectory.actions[t][agent], agent) if trajectory.active[t, agent] else "inactive"


def words(spec: EnvSpec, action: Any, agent: int) -> str:
    """One agent's action: its name, or its number if it has none; or its components."""
    if spec.action_kind == "discrete":
        return spec.action_name(agent, int(action))
    return " ".join(f"{x:.1f}" for x in action[: spec.action_sizes[agent]])


def pixels(picture: Figure) -> Picture:
    """A figure as an image."""
    canvas = FigureCanvasAgg(picture)
    with as_written(picture):
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


# -------------------------------------------------------------------------------------------------------------------- files


def check_format(kind: str) -> None:
    """Raise ConfigError for a format that cannot be written here."""
    if kind not in FORMATS:
        raise ConfigError(f"Films are written as {' or '.join(FORMATS)}, not as {shown(kind)}.")
    if kind == "mp4" and shutil.which("ffmpeg") is None:
        raise ConfigError("MP4 needs the program ffmpeg, which is not on the PATH. Install it (apt install ffmpeg), or take gif.")


def write(pictures: Iterable[Picture], path: Path, *, per_second: float) -> None:
    """The film, in the format of the suffix, in one step. The last picture stays a second longer.

    Raises:
        ConfigError: a format that cannot be written here.
        RunError: ffmpeg failed.
    """
    kind = path.suffix.removeprefix(".").lower()
    check_format(kind)
    frames = list(pictures)
    with files.replacing(path) as file:
        if kind == "gif":
            _write_gif(frames, file, per_second)
        else:
            _write_mp4(frames, file, per_second)


def _write_gif(frames: Sequence[Picture], file: BinaryIO, per_second: float) -> None:
    images = [Image.fromarray(frame).quantize(64) for frame in frames]
    each = round(1000 / per_second)
    durations = [each] * (len(images) - 1) + [each + 1000]
    images[0].save(file, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=True)


def _write_mp4(frames: Sequence[Picture], file: BinaryIO, per_second: float) -> None:
    """By way of a folder of its own, since ffmpeg opens what it writes by name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "film.mp4")
        _run_ffmpeg(frames, path, per_second)
        file.write(path.read_bytes())


def _run_ffmpeg(frames: Sequence[Picture], path: Path, per_second: float) -> None:
    height, width = (size // 2 * 2 for size in frames[0].shape[:2])  # the usual coding wants even sizes
    size = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(per_second), "-i", "-")
    command = ["ffmpeg", "-y", "-loglevel", "error", *size, "-vf", "tpad=stop_mode=clone:stop_duration=1", "-pix_fmt", "yuv420p", str(path)]
    raw = b"".join(np.ascontiguousarray(frame[:height, :width]).tobytes() for frame in frames)
    done = subprocess.run(command, input=raw, capture_output=True, check=False)
    if done.returncode:
        raise RunError(f"ffmpeg could not write the film: {done.stderr.decode(errors='replace').strip()}")
