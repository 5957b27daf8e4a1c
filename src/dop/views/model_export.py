"""`export_model`: a trained team to take away."""

from __future__ import annotations

import dataclasses
import math
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np

from dop import api
from dop.analysis.evaluation import Evaluation
from dop.errors import RunError, UnknownNameError, checked_episodes, checked_seed, shown
from dop.export import card as cards
from dop.export import model
from dop.storage import files, surroundings
from dop.storage.run_directory import RunFolder
from dop.storage.snapshots import Snapshots, score
from dop.training.trainer import At, checked_at
from dop.views.trained import Trained, load, output_folder

_INCLUDE: dict[str, bool | None] = {"auto": None, "yes": True, "no": False}


def export_model(
    run_dir: Path | str,
    *,
    out: Path | str | None = None,
    run_seed: int | None = None,
    at: At | str | None = None,
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
        run_seed: one of the run's seeds.
        at: as in `dop.evaluate_episodes`. Without `run_seed`, `at` or both, the candidates, all seeds, or `latest` and `best`, are compared
            by the fraction among the metrics (the win rate), then the return, in `episodes` greedy episodes that are not the card's.
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
    if not isinstance(credit, str) or credit not in _INCLUDE:
        raise UnknownNameError("credit", credit if isinstance(credit, str) else shown(credit), _INCLUDE)
    at = None if at is None else checked_at(at)
    source = RunFolder(files.checked_path("run_dir", run_dir))
    source.check_is_run("it is exported already. Copy the folder.")
    place = output_folder(run_dir, out, "model")
    if place.is_dir() and any(place.iterdir()):
        raise RunError(f"{place} exists already and is not empty: delete it, or choose another --out.")
    given: dict[str, Any] = {"environment": environment, "algorithm": algorithm, "trust": trust}
    run_seed, at, compared = _chosen(source, run_seed, at, episodes, seed ^ 1, given)
    trained = load(run_dir, run_seed=run_seed, at=at, **given)
    # In the same folder, to be renamed once it is complete.
    building = RunFolder(place.parent / f".{secrets.token_hex(8)}.tmp")
    try:
        card = _write(building, trained, compared, credit=_INCLUDE[credit])
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


def _chosen(
    source: RunFolder, run_seed: int | None, at: At | None, episodes: int, seed: int, given: dict[str, Any]
) -> tuple[int, At, dict[str, Any] | None]:
    """The seed and the moment to export, and how they were compared; None if there was no choice."""
    seeds = source.read_config().train_config.seeds
    newest_and_best: list[At] = ["latest", "best"] if Snapshots(source.snapshots).best.exists() else ["latest"]
    moments: list[At] = newest_and_best if at is None else [at]
    if len(moments) == 1 and (run_seed is not None or len(seeds) == 1):
        return seeds[0] if run_seed is None else run_seed, moments[0], None
    played: dict[At, Evaluation] = {
        moment: api.evaluate_episodes(source.path, episodes=episodes, seed=seed, at=moment, **given) for moment in moments
    }
    fractions = [name for name in _fractions(played[moments[0]]) if all(name in _fractions(found) for found in played.values())]
    candidates: list[tuple[tuple[float, float], int, At]] = [
        (score({name: values[place] for name, values in found.means().items()}, fractions), own, moment)
        for moment, found in played.items()
        for place, own in enumerate(seeds)
        if run_seed in (None, own)
    ]
    if not candidates:
        return seeds[0] if run_seed is None else run_seed, moments[0], None  # no such seed, which `load` refuses
    _, best_seed, best_moment = max(candidates, key=lambda candidate: candidate[0])
    compared = {
        "metric": fractions[0] if fractions else "test_return_mean",
        "episodes": episodes,
        "seed": seed,
        "candidates": [{"run_seed": own, "at": str(moment), "mean": _number(found, fractions)} for found, own, moment in candidates],
    }
    return best_seed, best_moment, compared


def _number(found: tuple[float, float], fractions: list[str]) -> float | None:
    """The compared number of a score; None if it is not finite."""
    value = found[0] if fractions else found[1]
    return value if math.isfinite(value) else None


def _fractions(found: Evaluation) -> list[str]:
    """The environment's metrics with all values in [0, 1], such as the win rate."""
    inside = {f"test_{name}_mean": np.all((value >= 0) & (value <= 1)) for name, value in found.metrics.items()}
    return [name for name, is_fraction in inside.items() if is_fraction]


def _write(building: RunFolder, trained: Trained, compared: dict[str, Any] | None, *, credit: bool | None) -> model.Card:
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
        compared=compared,
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
