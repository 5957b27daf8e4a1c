"""`report`: a comparison of runs on one page."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dop.analysis import compare
from dop.analysis.playback import Player, best_and_worst
from dop.errors import DopError, RunError, check_flags, checked_episodes
from dop.renamed import formerly
from dop.storage import files
from dop.views.trained import episodes_key, load
from dop.visualise.report import page


@formerly(trust="trust_env")
def report(
    runs: Sequence[Path | str],
    *,
    out: Path | str = "report.html",
    episodes: int = 16,
    films: bool = True,
    trust: bool = False,
    bounds: Mapping[str, page.Bounds] | None = None,
) -> Path:
    """One self-contained HTML file about several runs.

    Args:
        runs: run directories, or folders of run directories.
        out: the file; an existing one is replaced.
        episodes: number of greedy episodes to choose films from, per method and task.
        films: play episodes for films and credit; without them no checkpoint is restored.
        trust: as in `dop.resume`, for all runs; without it, runs that need it have no film.
        bounds: per task, by its name on the page, the returns that count as 0 and as 1. Required for a common mean over several tasks'
            returns.

    Raises:
        ConfigError: `bounds` name no task of these runs, or are not two ascending numbers.
        RunError: a path neither is nor contains a run, a run is damaged or has no evaluation yet, or `out` cannot be written to.
    """
    return report_with_remarks(runs, out=out, episodes=episodes, films=films, trust=trust, bounds=bounds)[0]


def report_with_remarks(
    runs: Sequence[Path | str],
    *,
    out: Path | str,
    episodes: int,
    films: bool,
    trust: bool,
    bounds: Mapping[str, page.Bounds] | None,
) -> tuple[Path, list[str]]:
    """`report`, with the remarks on the page: limits of the comparison, and films that are missing."""
    episodes = checked_episodes("episodes", episodes)
    check_flags(films=films, trust=trust)
    page_path = files.check_place(files.checked_path("out", out))
    comparison = compare.gather(files.checked_paths("runs", runs))
    page.check_bounds(bounds or {}, comparison)
    all_rollouts, missing = [], []
    for task in comparison.tasks if films else ():
        for line in task.lines:
            try:
                all_rollouts.append(_rollouts(task, line, episodes, trust))
            # The curves are useful without a film; the page says why it is missing.
            except DopError as error:
                missing.append(f"No film and no credit of {line.label} on {task.title}: {error}")
    made = datetime.datetime.now().strftime("%Y-%m-%d %H:%M")
    files.write_text(page_path, page.build(comparison, all_rollouts, missing, made=made, bounds=bounds))
    return page_path, [*comparison.remarks, *missing]


def _rollouts(task: compare.Task, line: compare.Line, episodes: int, trust: bool) -> page.RunRollouts:
    """Greedy episodes of the seed of a line with the best score."""
    scores = line.by_seed("test_return_mean")
    seed = max(scores, key=lambda seed: (np.isfinite(scores[seed]), scores[seed]), default=line.seeds[0])
    entry = next((entry for entry in line.entries if seed in entry.config.train_config.seeds), None)
    if entry is None:
        raise RunError(f"its records are of seed {seed}, which no config.json of its runs has.")
    trained = load(entry.folder.path, run_seed=seed, trust=trust)
    player, key = Player(trained.program), episodes_key(0)
    many = player(trained.learner, key, episodes, pictures="examples")
    moments = trained.snapshots if many[0].credit_estimate is not None else []
    return page.RunRollouts(
        task=task.title,
        label=line.label,
        run=f"{entry.name}, seed {seed}, after {trained.env_steps:,} environment steps",
        environment=trained.program.environment,
        examples=best_and_worst(many),
        many=many,
        training={steps: player(trained.at(steps), key, episodes, pictures="none") for steps in moments},
    )
