"""Films of greedy episodes: GIF by Pillow, MP4 by the program ffmpeg.

An environment draws itself (`dop.types.Drawable` or `PythonEnvironment.render`); one that cannot is shown as a table of actions or action
probabilities. Next to the scene, each agent and its action are listed in the agent's colour.
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
"""Width of the list of actions in inches."""


def colours_of(n_agents: int) -> list[str]:
    """One colour per agent: up to seven for colour-blind readers, then a colour map without its ends, which are too dark on a dark page."""
    if n_agents <= len(COLOURS):
        return list(COLOURS[:n_agents])
    return [to_hex(colour) for colour in mpl.colormaps["turbo"](np.linspace(0.1, 0.9, n_agents))]


def film(environment: Any, trajectory: Trajectory, *, title: str) -> Iterator[Picture]:
    """The states of an episode as images, the last one included."""
    height = picture_height(trajectory.spec.n_agents)
    picture = Figure(figsize=(4.5 + _COLUMN, height), dpi=100, layout="constrained", facecolor="white")
    scene, words = picture.subplots(1, 2, width_ratios=(4.5, _COLUMN))
    returns = np.cumsum(trajectory.steps.reward)
    for t in range(trajectory.length + 1):
        draw_scene(scene, environment, trajectory, t)
        scene.set_title(f"{title}\nstep {t} of {trajectory.length}, return so far {returns[t]:.2f}", loc="left", fontsize=9, color=_INK)
        _list_actions(words, trajectory, t)
        yield pixels(picture)
        scene.clear()
        words.clear()


def picture_height(n_agents: int) -> float:
    """The height in inches with one line per agent."""
    return max(4.2, 0.5 + 0.14 * n_agents)


def over_training(spec: EnvSpec, played: Mapping[int, Sequence[Trajectory]], *, title: str) -> Iterator[Picture]:
    """The team's actions in the first step over training (`played`: episodes by environment steps): means over episodes."""
    picture = Figure(figsize=(6.4, picture_height(spec.n_agents)), dpi=100, layout="constrained", facecolor="white")
    axes = picture.subplots()
    for env_steps, trajectories in played.items():
        draw_table(axes, spec, mean_interval(np.stack([table_values(trajectory)[0] for trajectory in trajectories])).mean)
        returns = np.mean([trajectory.undiscounted_return for trajectory in trajectories])
        axes.set_title(f"{title}\nafter {env_steps:,} environment steps, greedy return {returns:.2f}", loc="left", fontsize=9, color=_INK)
        yield pixels(picture)
        axes.clear()


def draw_scene(axes: Axes, environment: Any, trajectory: Trajectory, t: int) -> None:
    """The environment after `t` steps, and the next actions."""
    action = trajectory.actions[t] if t < trajectory.length else None
    if trajectory.pictures:
        axes.imshow(trajectory.pictures[t])
        axes.set_axis_off()
    elif isinstance(environment, Drawable):
        with plugins.named(f"{trajectory.spec.name}: draw raised"):
            environment.draw(axes, trajectory.state(t), action, colours_of(trajectory.spec.n_agents))
    else:
        draw_table(axes, trajectory.spec, table_values(trajectory)[min(t, trajectory.length - 1)])


def table_values(trajectory: Trajectory) -> Float[np.ndarray, "time agent action"]:
    """Each agent's action probabilities; of a deterministic policy its action, one-hot or as a vector. NaN for inactive agents."""
    if trajectory.credit_estimate is not None and trajectory.credit_estimate.policy is not None:
        return np.asarray(trajectory.credit_estimate.policy)
    values = (
        np.eye(trajectory.spec.action_size)[trajectory.actions]
        if trajectory.spec.action_kind == "discrete"
        else np.asarray(trajectory.actions)
    )
    return np.where(trajectory.active[..., None], values, np.nan)


def draw_table(axes: Axes, spec: EnvSpec, values: Float[np.ndarray, "agent action"]) -> None:
    """A table of agents by actions, darker for larger values; rows of inactive agents (NaN) stay empty."""
    low = -1.0 if spec.action_kind == "box" else 0.0
    axes.imshow(values, vmin=low, vmax=1.0, cmap="PuOr" if low else "Blues", aspect="auto")
    name_agents(axes, spec)
    what = "action" if spec.action_kind == "discrete" else "component of the action"

    def text(agent: int, action: int) -> str:
        value = values[agent, action]
        return "" if np.isnan(value) else f"{own_name(spec, agent, action)}{value:.2f}"

    written = write_cells(axes, text, values.shape, np.abs(np.nan_to_num(values)) > 0.6)
    scale = "" if written else " (brown -1, violet 1)" if low else " (white 0, dark blue 1)"
    name_actions(axes, spec, below=what + scale)


def _list_actions(axes: Axes, trajectory: Trajectory, t: int) -> None:
    """List each agent with its action, in the agent's colour; long texts are cut."""
    axes.set_axis_off()
    n = trajectory.spec.n_agents
    spacing = min(0.09, 0.95 / n)
    size = min(8.0, 50 * spacing * picture_height(n))
    letters = letters_in(_COLUMN, size)
    for agent, (name, colour) in enumerate(zip(trajectory.spec.agents, colours_of(n), strict=True)):
        action = action_text(trajectory, t, agent) if t < trajectory.length else "-"
        line = f"{cut(name, max(letters - len(action) - 2, letters // 2))}: {action}"
        faint = 1.0 if t == trajectory.length or trajectory.active[t, agent] else 0.5
        axes.text(0, 1 - spacing * (agent + 0.5), cut(line, letters), color=colour, alpha=faint, fontsize=size, transform=axes.transAxes)


def action_text(trajectory: Trajectory, t: int, agent: int) -> str:
    """An agent's action at step `t` as text, or `inactive`."""
    return words(trajectory.spec, trajectory.actions[t][agent], agent) if trajectory.active[t, agent] else "inactive"


def words(spec: EnvSpec, action: Any, agent: int) -> str:
    """One agent's action as text: its name, its number, or its components."""
    if spec.action_kind == "discrete":
        return spec.action_name(agent, int(action))
    return " ".join(f"{x:.1f}" for x in action[: spec.action_sizes[agent]])


def pixels(picture: Figure) -> Picture:
    """Render a figure to an image."""
    canvas = FigureCanvasAgg(picture)
    with as_written(picture):
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


# -------------------------------------------------------------------------------------------------------------------- files


def check_format(kind: str) -> None:
    """Raise ConfigError for an unknown format, or without the program that it needs."""
    if kind not in FORMATS:
        raise ConfigError(f"Films are written as {' or '.join(FORMATS)}, not as {shown(kind)}.")
    if kind == "mp4" and shutil.which("ffmpeg") is None:
        raise ConfigError("MP4 needs the program ffmpeg, which is not on the PATH. Install it (apt install ffmpeg), or use gif.")


def write(pictures: Iterable[Picture], path: Path, *, per_second: float) -> None:
    """Write the film atomically, in the format of the suffix. The last image stays a second longer.

    Raises:
        ConfigError: see `check_format`.
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
    """Write through a temporary folder, since ffmpeg opens its output by name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "film.mp4")
        _run_ffmpeg(frames, path, per_second)
        file.write(path.read_bytes())


def _run_ffmpeg(frames: Sequence[Picture], path: Path, per_second: float) -> None:
    height, width = (size // 2 * 2 for size in frames[0].shape[:2])  # the usual codec needs even sizes
    size = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(per_second), "-i", "-")
    command = ["ffmpeg", "-y", "-loglevel", "error", *size, "-vf", "tpad=stop_mode=clone:stop_duration=1", "-pix_fmt", "yuv420p", str(path)]
    raw = b"".join(np.ascontiguousarray(frame[:height, :width]).tobytes() for frame in frames)
    completed = subprocess.run(command, input=raw, capture_output=True, check=False)
    if completed.returncode:
        raise RunError(f"ffmpeg could not write the film: {completed.stderr.decode(errors='replace').strip()}")
