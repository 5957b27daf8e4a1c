"""`export_model`: a trained team to take away."""

from __future__ import annotations

import dataclasses
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np

from dop import api
from dop.analysis.evaluation import Evaluation
from dop.errors import RunError, UnknownNameError, checked_episodes, checked_seed
from dop.export import card as cards
from dop.export import model
from dop.storage import files, surroundings
from dop.storage.run_directory import RunFolder
from dop.storage.snapshots import score
from dop.training.trainer import At
from dop.views.trained import Trained, load, output_folder

_INCLUDE: dict[str, bool | None] = {"auto": None, "yes": True, "no": False}


def export_model(
    run_dir: Path | str,
    *,
    out: Path | str | None = None,
    run_seed: int | None = None,
    at: At | str = "best",
    episodes: int = 1024,
    seed: int = 0,
    credit: str = "auto",
    environment: api.AnyEnvironment | str | None = None,
    algorithm: api.AnyAlgorithm | None = None,
    trust: bool = False,
) -> dict[str, Path]:
    """Export one seed of a run as a model: a small folder that `dop evaluate`, `render`, `credit` and `export` read as they read a run.

    The files are those of `dop.export.model`. The card's evaluation is one of the finished folder, so `evaluate_episodes` with the same
    `episodes` and `seed` gives it again.

    Args:
        run_dir: a run directory.
        out: a folder, new or empty; default: `model/` in the run directory.
        run_seed: one of the run's seeds; default: the one with the best of `episodes` greedy episodes, which are others than the card's.
        at: as in `dop.evaluate_episodes`.
        episodes: number of greedy episodes for the card.
        seed: seed of these episodes.
        credit: `yes` or `no`: with or without the critic, which `credit` needs; `auto`: with it if the arrays have at most 1 MB.
        environment: as in `dop.resume`.
        algorithm: as in `dop.resume`.
        trust: as in `dop.resume`.

    Raises:
        ConfigError: an argument is invalid.
        RunError: as `load`; `run_dir` is a model; or `out` exists already or cannot be written to. Nothing half-written is left.
    """
    episodes, seed = checked_episodes("episodes", episodes), checked_seed("seed", seed)
    if credit not in _INCLUDE:
        raise UnknownNameError("credit", credit, _INCLUDE)
    source = RunFolder(files.checked_path("run_dir", run_dir))
    source.check_is_run("it is exported already. Copy the folder.")
    place = output_folder(run_dir, out, "model")
    if place.is_dir() and any(place.iterdir()):
        raise RunError(f"{place} exists already and is not empty: delete it, or choose another --out.")
    given: dict[str, Any] = {"environment": environment, "algorithm": algorithm, "trust": trust}
    chosen: dict[str, float] = {}
    if run_seed is None:
        run_seed, chosen = _best_seed(source, episodes, seed ^ 1, at=at, **given)
    trained = load(run_dir, run_seed=run_seed, at=at, **given)
    # Beside its place, where no command finds it before it is complete.
    building = RunFolder(place.parent / f".{secrets.token_hex(8)}.tmp")
    try:
        card = _write(building, trained, chosen, credit=_INCLUDE[credit])
        found = api.evaluate_episodes(building.path, episodes=episodes, seed=seed, **given)
        card = dataclasses.replace(card, evaluation=cards.evaluation(found, seed))
        model.write_card(building, card)
        files.write_text(building.path / "README.md", cards.readme(card, place))
        if place.is_dir():
            place.rmdir()
        building.path.rename(place)
        files.sync_folder(place.parent)
    finally:
        if os.path.lexists(building.path):
            files.delete(building.path)
    return {"card": place / "card.json", "readme": place / "README.md", "model": place / "model.npz", "config": place / "config.json"}


def _best_seed(source: RunFolder, episodes: int, seed: int, *, at: At | str, **given: Any) -> tuple[int, dict[str, float]]:
    """The seed with the best greedy episodes, and the compared means by seed; none are played if there is only one."""
    seeds = source.read_config().train_config.seeds
    if len(seeds) == 1:
        return seeds[0], {}
    found = api.evaluate_episodes(source.path, episodes=episodes, seed=seed, at=at, **given)
    means = found.means()
    fractions = _fractions(found)
    scores = [score({name: values[i] for name, values in means.items()}, fractions) for i in range(len(seeds))]
    best = max(range(len(seeds)), key=lambda i: scores[i])
    compared = means[(*fractions, "test_return_mean")[0]]
    return seeds[best], {str(of): float(value) for of, value in zip(seeds, compared, strict=True) if np.isfinite(value)}


def _fractions(found: Evaluation) -> list[str]:
    """The environment's metrics with all values in [0, 1], such as the win rate."""
    inside = {f"test_{name}_mean": np.all((value >= 0) & (value <= 1)) for name, value in found.metrics.items()}
    return [name for name, is_fraction in inside.items() if is_fraction]


def _write(building: RunFolder, trained: Trained, chosen: dict[str, float], *, credit: bool | None) -> model.Card:
    """Write config.json, model.npz and a card without evaluation, which make `building` a model."""
    config, spec = trained.config, trained.program.spec
    written = model.write_arrays(building, trained.learner, model.needed(trained.program), credit=credit)
    building.write_config(model.config_of(config, trained.seed))
    preset, changed = cards.settings(trained.program.algorithm, config)
    about = surroundings.surroundings()
    card = model.Card(
        algorithm=config.algorithm,
        preset=preset,
        changed=changed,
        environment=config.environment,
        environment_version=str(spec.version),
        environment_options=config.environment_options,
        run_seed=trained.seed,
        env_steps=trained.env_steps,
        at=str(trained.moment),
        run_env_steps=config.train_config.env_steps,
        run_seeds=dict(chosen),
        starts_from_another_run=config.init_from is not None,
        evaluation=None,
        credit=written.credit,
        left_out=dict(written.left_out),
        bytes=written.bytes,
        sha256=written.sha256,
        library_version=about["library_version"],
        versions=about["versions"],
        device=about["device"],
        commit=surroundings.commit(),
    )
    model.write_card(building, card)
    return card
