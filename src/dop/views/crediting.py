"""`credit`: per-agent credit as figures, films and JSON."""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.figure import Figure

from dop import api
from dop.analysis.playback import Player, Trajectory, best_and_worst
from dop.errors import RunError, check_flags, checked_episodes, checked_seed
from dop.export import model
from dop.renamed import formerly
from dop.storage import files
from dop.training.trainer import At
from dop.types import AssignsCredit
from dop.views.rendering import speed_of
from dop.views.trained import Trained, episodes_key, load, output_folder
from dop.visualise import credit_figures, curves, film


@formerly(trust="trust_env")
def credit(
    run_dir: Path | str,
    *,
    out: Path | str | None = None,
    episodes: int = 32,
    training_episodes: int = 8,
    seed: int = 0,
    run_seed: int | None = None,
    at: At | str = "latest",
    films: bool = True,
    environment: api.AnyEnvironment | str | None = None,
    algorithm: api.AnyAlgorithm | None = None,
    trust: bool = False,
) -> dict[str, Path]:
    """Per-agent credit as figures and data, by name, in `out` (default: `credit/` in the run directory).

    Args:
        run_dir: a run directory, or a model (`export_model`).
        out: a folder; existing files of the same names are replaced.
        episodes: number of greedy episodes for the means; the best and the worst are shown step by step.
        training_episodes: number of greedy episodes at each of the run's snapshots.
        seed: seed of the episodes.
        run_seed: one of the run's seeds; default: the first.
        at: as in `dop.evaluate_episodes`. Figures over training show all snapshots.
        films: also write films with the credit over time.
        environment: as in `dop.resume`.
        algorithm: as in `dop.resume`.
        trust: as in `dop.resume`.

    Raises:
        ConfigError: the run's algorithm does not estimate credit.
        RunError: as `load`, or `out` cannot be written to.
    """
    episodes, training_episodes = checked_episodes("episodes", episodes), checked_episodes("training_episodes", training_episodes)
    seed = checked_seed("seed", seed)
    check_flags(films=films)
    folder = output_folder(run_dir, out, "credit")
    trained = load(run_dir, run_seed=run_seed, at=at, environment=environment, algorithm=algorithm, trust=trust)
    can = isinstance(trained.program.algorithm, AssignsCredit)
    if can and trained.folder.is_model and not model.read_card(trained.folder).credit:
        raise RunError(f"{trained.folder.path} has no critic, as its card.json says: export the model again with --credit yes.")
    many, training = credit_episodes(trained, episodes, training_episodes, seed)
    shown, env = best_and_worst(many), trained.program.environment
    written: dict[str, Path] = {}

    def save(name: str, picture: Figure) -> None:
        written[name] = folder / f"{name}.png"
        curves.save(picture, written[name])

    for name, trajectory in shown.items():
        save(name, credit_figures.episode_figure(env, trajectory, title=f"{trained.title}, {name} episode"))
        if films:
            written[f"{name} film"] = folder / f"{name}.gif"
            film.write(credit_figures.film(env, trajectory, title=trained.title), written[f"{name} film"], per_second=speed_of(trajectory))
    save("summary", credit_figures.summary_figure(many, training, title=trained.title))
    written["data"] = folder / "credit.json"
    about = {"run": str(trained.folder.path), "seed": trained.seed, "env_steps": trained.env_steps, "at": str(trained.moment)}
    files.write_text(written["data"], json.dumps(about | credit_figures.as_data(shown, many, training), allow_nan=False) + "\n")
    return written


def credit_episodes(
    trained: Trained, episodes: int, training_episodes: int, seed: int
) -> tuple[list[Trajectory], dict[int, list[Trajectory]]]:
    """Greedy episodes of the restored team, and of each snapshot (environment steps, then episodes)."""
    player = Player(trained.program)
    many = player(trained.learner, episodes_key(seed), episodes, pictures="examples")
    credit_figures.credit_estimate(many[0])
    return many, {steps: player(trained.at(steps), episodes_key(seed), training_episodes, pictures="none") for steps in trained.snapshots}
