"""`render`: films of greedy episodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from dop import api
from dop.analysis.playback import Player, Trajectory, best_and_worst
from dop.errors import checked_episodes, checked_seed
from dop.renamed import formerly
from dop.training.trainer import At
from dop.types import Drawable
from dop.views.trained import Trained, episodes_key, load, output_folder
from dop.visualise import film


@formerly(trust="trust_env")
def render(
    run_dir: Path | str,
    *,
    out: Path | str | None = None,
    kind: str = "gif",
    episodes: int = 32,
    seed: int = 0,
    run_seed: int | None = None,
    at: At | str = "latest",
    environment: api.AnyEnvironment | str | None = None,
    algorithm: api.AnyAlgorithm | None = None,
    trust: bool = False,
) -> dict[str, Path]:
    """Films of greedy episodes, by name, in `out` (default: `films/` in the run directory).

    For environments of several steps: the best and the worst of `episodes` greedy episodes, by return. For environments of a single step:
    the team's behaviour at each of the run's snapshots up to `at`.

    Args:
        run_dir: a run directory, or a model (`export_model`).
        out: a folder; existing files of the same names are replaced.
        kind: `gif`, or `mp4`, which needs ffmpeg.
        episodes: number of episodes to choose from.
        seed: seed of the episodes.
        run_seed: one of the run's seeds; default: the first.
        at: as in `dop.evaluate_episodes`.
        environment: as in `dop.resume`.
        algorithm: as in `dop.resume`.
        trust: as in `dop.resume`.

    Raises:
        ConfigError: `kind` is unknown, `mp4` is chosen without ffmpeg, or `episodes` or `seed` is not a whole number in its range.
        RunError: as `load`, or `out` cannot be written to.
    """
    episodes, seed = checked_episodes("episodes", episodes), checked_seed("seed", seed)
    film.check_format(kind)
    folder = output_folder(run_dir, out, "films")
    trained = load(run_dir, run_seed=run_seed, at=at, environment=environment, algorithm=algorithm, trust=trust)
    return {name: _write_film(folder / f"{name}.{kind}", *made) for name, made in films_of(trained, episodes, seed).items()}


def films_of(trained: Trained, episodes: int, seed: int) -> Mapping[str, tuple[Iterator[film.Picture], float]]:
    """The pictures of every film, and the pictures per second."""
    player, env = Player(trained.program), trained.program.environment
    until = [steps for steps in trained.snapshots if steps <= trained.env_steps]
    if trained.program.spec.time_limit == 1 and not isinstance(env, Drawable) and len(until) > 1:
        played = {steps: player(trained.at(steps), episodes_key(seed), episodes, pictures="none") for steps in until}
        return {"training": (film.over_training(trained.program.spec, played, title=trained.title), 2.0)}
    shown = best_and_worst(player(trained.learner, episodes_key(seed), episodes, pictures="examples"))
    return {
        name: (film.film(env, trajectory, title=f"{trained.title}: {name}"), speed_of(trajectory)) for name, trajectory in shown.items()
    }


def _write_film(path: Path, pictures: Iterator[film.Picture], per_second: float) -> Path:
    film.write(pictures, path, per_second=per_second)
    return path


def speed_of(trajectory: Trajectory) -> float:
    """Steps per second: short episodes are shown slowly."""
    return float(min(max(trajectory.length / 8, 1.5), 10))
