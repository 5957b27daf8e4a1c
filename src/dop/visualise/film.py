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
from matplotlib.ticker import MaxNLocator
from PIL import Image

from dop import plugins
from dop.analysis.playback import Trajectory
from dop.errors import ConfigError, RunError, shown
from dop.storage import files
from dop.types import Drawable, EnvSpec
from dop.visualise.curves import COLOURS
from dop.visualise.texts import as_written, visible

Picture = UInt8[np.ndarray, "height width 3"]
FORMATS = ("gif", "mp4")
_INK = "#333333"


def colours_of(n_agents: int) -> list[str]:
    """One for each agent: those that colour-blind people can tell apart while they last, then a scale less its ends, which are too dark on
    the page's dark side."""
    if n_agents <= len(COLOURS):
        return list(COLOURS[:n_agents])
    return [to_hex(colour) for colour in mpl.colormaps["turbo"](np.linspace(0.1, 0.9, n_agents))]


def film(environment: Any, trajectory: Trajectory, *, title: str) -> Iterator[Picture]:
    """Every step of an episode as a picture, the last state too."""
    picture = Figure(figsize=(6.4, 4.2), dpi=100, layout="constrained", facecolor="white")
    scene, words = picture.subplots(1, 2, width_ratios=(2.6, 1))
    earned = np.cumsum(trajectory.steps.reward)
    for t in range(trajectory.length + 1):
        draw_scene(scene, environment, trajectory, t)
        scene.set_title(f"{title}\nstep {t} of {trajectory.length}, return so far {earned[t]:.2f}", loc="left", fontsize=9, color=_INK)
        _list_actions(words, trajectory, t)
        yield pixels(picture)
        scene.clear()
        words.clear()


def over_training(spec: EnvSpec, played: Mapping[int, Sequence[Trajectory]], *, title: str) -> Iterator[Picture]:
    """What the team does in its first step, moment by moment of its training (environment steps, then episodes): means over episodes."""
    picture = Figure(figsize=(6.4, 4.2), dpi=100, layout="constrained", facecolor="white")
    axes = picture.subplots()
    for env_steps, trajectories in played.items():
        draw_table(axes, spec, np.mean([action_texts(trajectory)[0] for trajectory in trajectories], axis=0))
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
    """How likely each agent's policy is to take each action; where it is deterministic, what it does: 1 for a number, else the vector."""
    if trajectory.credit_estimate is not None and trajectory.credit_estimate.policy is not None:
        return np.asarray(trajectory.credit_estimate.policy)
    return (
        np.eye(trajectory.spec.action_size)[trajectory.actions]
        if trajectory.spec.action_kind == "discrete"
        else np.asarray(trajectory.actions)
    )


def draw_table(axes: Axes, spec: EnvSpec, doing: Float[np.ndarray, "agent action"]) -> None:
    """Agents by actions, darker where there is more of it."""
    low = -1.0 if spec.action_kind == "box" else 0.0
    axes.imshow(doing, vmin=low, vmax=1.0, cmap="PuOr" if low else "Blues", aspect="auto")
    axes.set_yticks(range(spec.n_agents), map(visible, spec.agents), fontsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    axes.tick_params(axis="x", labelsize=7)
    axes.set_xlabel("action" if spec.action_kind == "discrete" else "component of the action", fontsize=8, color=_INK)
    if doing.size <= 120:
        for (row, column), value in np.ndenumerate(doing):
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=6, color="white" if abs(value) > 0.6 else _INK)


def _list_actions(axes: Axes, trajectory: Trajectory, t: int) -> None:
    """Every agent in its colour with what it does."""
    axes.set_axis_off()
    spacing = min(0.09, 0.95 / trajectory.spec.n_agents)
    for agent, (name, colour) in enumerate(zip(trajectory.spec.agents, colours_of(trajectory.spec.n_agents), strict=True)):
        doing = words(trajectory.spec, trajectory.actions[t][agent], agent) if t < trajectory.length else "-"
        size = min(8.0, 100 * spacing)
        axes.text(0, 1 - spacing * (agent + 0.5), f"{name}: {doing}", color=colour, fontsize=size, transform=axes.transAxes)


def words(spec: EnvSpec, action: Any, agent: int) -> str:
    """One agent's action: its number, or its components."""
    if spec.action_kind == "discrete":
        return str(int(action))
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
