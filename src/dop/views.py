"""Looking at trained teams from Python: `credit`, `render`, `export`, `report`, `plot`. The command line is a thin layer over these.

All of them restore what a run has learned, and change nothing that the run needs.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import jax
import numpy as np
from matplotlib.figure import Figure

from dop import api
from dop.analysis import compare, marl_eval
from dop.analysis.playback import Player, Trajectory, best_and_worst
from dop.analysis.statistics import Axis
from dop.devices.parallel import keys
from dop.errors import ConfigError, DopError, RunError, check_flags, checked_episodes, checked_integer, checked_seed, printable, shown
from dop.export import parity
from dop.export import policy_files as exporting
from dop.renamed import formerly
from dop.rollout.program import PythonProgram
from dop.storage import files
from dop.storage.run_directory import RunConfig, RunFolder
from dop.storage.snapshots import Snapshots
from dop.training.program import Program
from dop.training.trainer import At, Trainer, checked_at, lowest_steps
from dop.types import Drawable, Exportable, Learner
from dop.visualise import credit_figures, curves, film, tables
from dop.visualise.report import page


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """One seed of a run, as its newest checkpoint has it, or as it was at another moment."""

    folder: RunFolder
    """The run on disk."""
    config: RunConfig
    """Algorithm, hyper-parameters, environment, seeds and protocol."""
    program: Program | PythonProgram
    """The algorithm with its environment."""
    seed: int
    """Which of the run's seeds."""
    env_steps: int
    """Environment steps that the checkpoint comes after."""
    learner: Learner
    """The networks of this seed."""
    moment: At = "latest"
    """Which moment of the run: the newest checkpoint, the best evaluation, or a snapshot."""

    @property
    def title(self) -> str:
        """Algorithm, environment and moment, for headings."""
        moment = (
            "" if self.moment == "latest" else f", {self.moment if self.moment == 'best' else 'snapshot'} after {self.env_steps:,} steps"
        )
        return f"{self.config.algorithm} on {self.program.spec.name}{moment}"

    def at(self, env_steps: int) -> Learner:
        """The learner as the run's snapshot of that moment has it."""
        like = jax.eval_shape(jax.vmap(self.program.start), keys(self.config.train_config.seeds)).learner
        return self._own(Snapshots(self.folder.snapshots).restore(env_steps, like))

    @property
    def snapshots(self) -> list[int]:
        """The moments to look back on, in environment steps."""
        return Snapshots(self.folder.snapshots).steps

    def _own(self, learners: Any) -> Any:
        return _one_of(learners, self.config.train_config.seeds.index(self.seed))


@formerly(trust="trust_env")
def load(
    run_dir: Path | str,
    *,
    run_seed: int | None = None,
    at: At | str = "latest",
    environment: api.AnyEnvironment | str | None = None,
    algorithm: api.AnyAlgorithm | None = None,
    trust: bool = False,
) -> Trained:
    """Restore what a run has learned.

    Args:
        run_dir: a run directory.
        run_seed: which of the run's seeds; the first if it is not given.
        at: as in `dop.evaluate_episodes`.
        environment: as in `dop.resume`.
        algorithm: as in `dop.resume`.
        trust: as in `dop.resume`.

    Raises:
        RunError: this is not a run, it has no checkpoint yet or none that can be read, or it has no such seed.
    """
    at = checked_at(at)
    folder = RunFolder(files.checked_path("run_dir", run_dir))
    config, program = api.rebuild(folder, environment, algorithm=algorithm, trust=trust)
    seed = config.train_config.seeds[0] if run_seed is None else run_seed
    if seed not in config.train_config.seeds:
        raise RunError(f"{folder.path} has no seed {shown(seed)}; its seeds are {', '.join(map(str, config.train_config.seeds))}.")
    if not folder.checkpoints.is_dir():
        raise RunError(f"{folder.path} has no checkpoint yet. The first is written when training has started: wait, or `dop resume` it.")
    with contextlib.closing(Trainer(program, config, folder)) as trainer:
        state = trainer.restore_at(at)
    learner = _one_of(state.learner, config.train_config.seeds.index(seed))
    steps = int(learner.env_steps) if at == "best" else lowest_steps(state)
    return Trained(folder=folder, config=config, program=program, seed=seed, env_steps=steps, learner=learner, moment=at)


def _one_of(tree: Any, place: int) -> Any:
    """What stands at `place` of the leading axis, on the first device."""
    return jax.device_put(jax.tree.map(lambda x: x[place], tree), jax.devices()[0])


def episodes_key(seed: int) -> Any:
    """What random episodes are shown; not the key that a run with this seed starts from."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(b"dop.views"))


def _folder(run_dir: Path | str, out: Path | str | None, name: str) -> Path:
    """Where a view's files go: `out`, or the folder of that name in the run directory, which is no link."""
    if out is not None:
        return files.check_place(files.checked_path("out", out), folder=True)
    run = RunFolder(files.checked_path("run_dir", run_dir)).path
    files.check_kinds(run, plain_files=(), folders=(name,))
    return files.check_place(run / name, folder=True)


# ------------------------------------------------------------------------------------------------------------------- credit


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
    """Who earned what: pictures and data, by name, in `out` (default: `credit/` in the run directory).

    Args:
        run_dir: a run directory.
        out: a folder; files that it has from before are replaced.
        episodes: greedy episodes that means are taken over; the best and the worst of them are shown step by step.
        training_episodes: the same at each of the run's snapshots.
        seed: which episodes: the same number gives the same ones.
        run_seed: which of the run's seeds; the first if it is not given.
        at: as in `dop.evaluate_episodes`. The view over training is of all snapshots.
        films: also write the films with the time line beside.
        environment: as in `dop.resume`.
        algorithm: as in `dop.resume`.
        trust: as in `dop.resume`.

    Raises:
        ConfigError: the run's algorithm does not say who earned what.
        RunError: as `load`, or `out` cannot be written to.
    """
    episodes, training_episodes = checked_episodes("episodes", episodes), checked_episodes("training_episodes", training_episodes)
    seed = checked_seed("seed", seed)
    check_flags(films=films)
    folder = _folder(run_dir, out, "credit")
    trained = load(run_dir, run_seed=run_seed, at=at, environment=environment, algorithm=algorithm, trust=trust)
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
            film.write(credit_figures.film(env, trajectory, title=trained.title), written[f"{name} film"], per_second=_speed(trajectory))
    save("summary", credit_figures.summary_figure(many, training, title=trained.title))
    written["data"] = folder / "credit.json"
    about = {"run": str(trained.folder.path), "seed": trained.seed, "env_steps": trained.env_steps, "at": str(trained.moment)}
    files.write_text(written["data"], json.dumps(about | credit_figures.as_data(shown, many, training), allow_nan=False) + "\n")
    return written


def credit_episodes(
    trained: Trained, episodes: int, training_episodes: int, seed: int
) -> tuple[list[Trajectory], dict[int, list[Trajectory]]]:
    """Greedy episodes of the team as it is now, and as it was at each snapshot (environment steps, then episodes)."""
    player = Player(trained.program)
    many = player(trained.learner, episodes_key(seed), episodes, pictures="examples")
    credit_figures.credit_estimate(many[0])
    return many, {steps: player(trained.at(steps), episodes_key(seed), training_episodes, pictures="none") for steps in trained.snapshots}


# ------------------------------------------------------------------------------------------------------------------- render


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
    """Films of the team, by name, in `out` (default: `films/` in the run directory).

    Of an environment of several steps: the best and the worst by return of `episodes` greedy episodes. Of one of a single step, where there
    is nothing to watch: what the team does at each of the run's snapshots until then, one after another.

    Args:
        run_dir: a run directory.
        out: a folder; files that it has from before are replaced.
        kind: `gif`, or `mp4` where ffmpeg is installed.
        episodes: how many to choose from.
        seed: which episodes: the same number gives the same ones.
        run_seed: which of the run's seeds; the first if it is not given.
        at: as in `dop.evaluate_episodes`.
        environment: as in `dop.resume`.
        algorithm: as in `dop.resume`.
        trust: as in `dop.resume`.

    Raises:
        ConfigError: `kind` is not known, `mp4` is asked for without ffmpeg, or `episodes` or `seed` is not a whole number in its range.
        RunError: as `load`, or `out` cannot be written to.
    """
    episodes, seed = checked_episodes("episodes", episodes), checked_seed("seed", seed)
    film.check_format(kind)
    folder = _folder(run_dir, out, "films")
    trained = load(run_dir, run_seed=run_seed, at=at, environment=environment, algorithm=algorithm, trust=trust)
    return {name: _write_film(folder / f"{name}.{kind}", *made) for name, made in films_of(trained, episodes, seed).items()}


def films_of(trained: Trained, episodes: int, seed: int) -> Mapping[str, tuple[Iterator[film.Picture], float]]:
    """The pictures of every film, and how many of them to show in a second."""
    player, env = Player(trained.program), trained.program.environment
    until = [steps for steps in trained.snapshots if steps <= trained.env_steps]
    if trained.program.spec.time_limit == 1 and not isinstance(env, Drawable) and len(until) > 1:
        played = {steps: player(trained.at(steps), episodes_key(seed), episodes, pictures="none") for steps in until}
        return {"training": (film.over_training(trained.program.spec, played, title=trained.title), 2.0)}
    shown = best_and_worst(player(trained.learner, episodes_key(seed), episodes, pictures="examples"))
    return {name: (film.film(env, trajectory, title=f"{trained.title}: {name}"), _speed(trajectory)) for name, trajectory in shown.items()}


def _write_film(path: Path, pictures: Iterator[film.Picture], per_second: float) -> Path:
    film.write(pictures, path, per_second=per_second)
    return path


def _speed(trajectory: Trajectory) -> float:
    """Steps a second: short episodes are shown slowly."""
    return float(min(max(trajectory.length / 8, 1.5), 10))


# ------------------------------------------------------------------------------------------------------------------- export


@formerly(trust="trust_env")
def export(
    run_dir: Path | str,
    *,
    out: Path | str | None = None,
    run_seed: int | None = None,
    at: At | str = "latest",
    environment: api.AnyEnvironment | str | None = None,
    algorithm: api.AnyAlgorithm | None = None,
    trust: bool = False,
) -> dict[str, Path]:
    """The policies that play greedily, for use without this library: `dop.export.policy_files` says what is written.

    Args:
        run_dir: a run directory.
        out: a folder; default: `export/` in the run directory.
        run_seed: which of the run's seeds; the first if it is not given.
        at: as in `dop.evaluate_episodes`.
        environment: as in `dop.resume`.
        algorithm: as in `dop.resume`.
        trust: as in `dop.resume`.

    Raises:
        MissingExtraError: onnx, onnxruntime or safetensors is not installed.
        ConfigError: the algorithm does not give its policy away, or its networks are of an unknown kind.
        RunError: as `load`, or what would be written does not do what the library does (`dop.export.parity`); then nothing is.
    """
    exporting.check_extra()
    folder = _folder(run_dir, out, "export")
    trained = load(run_dir, run_seed=run_seed, at=at, environment=environment, algorithm=algorithm, trust=trust)
    learned_by, spec = trained.program.algorithm, trained.program.spec
    if not isinstance(learned_by, Exportable):
        raise ConfigError(f"{trained.config.algorithm} cannot be exported: it has no method `policy` (see dop.types.Exportable).")
    policy = learned_by.policy(trained.learner)
    models = exporting.models(policy, spec)
    parity.check(models, policy, trained.program, trained.learner, episodes_key(0))
    written = exporting.write_models(models, folder)
    made_by = {
        "algorithm": trained.config.algorithm,
        "environment": spec.name,
        "environment_version": spec.version,
        "run_seed": trained.seed,
        "env_steps": trained.env_steps,
        "at": str(trained.moment),
        "library_version": metadata.version("dop-marl"),
    }
    text = json.dumps(exporting.describe(policy, spec, written) | {"made_by": made_by}, indent=2)
    files.write_text(folder / "policy.json", text + "\n")
    weights = exporting.write_weights(policy, folder / "policy.safetensors")
    return {**written, "description": folder / "policy.json", "weights": weights}


# ------------------------------------------------------------------------------------------------------------------- report


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
    """One HTML file about several runs, which needs nothing else.

    Args:
        runs: run directories, or folders that hold some.
        out: the file; replaced if it is there.
        episodes: greedy episodes that the films are chosen from, for each method and task.
        films: play them at all; without, nothing is restored.
        trust: as in `dop.resume`, for all of the runs; without, those that would need it have no film.
        bounds: by task, as the page calls it, the return that counts as 0 and the larger one that counts as 1. Returns of several tasks
            have a common mean only with these.

    Raises:
        ConfigError: `bounds` are of no task of these runs, or not two different numbers in their order.
        RunError: a path is not a run and holds none, a run is damaged or has no evaluation yet, or `out` cannot be written to.
    """
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
            # The curves are worth having without a film; the page says why there is none.
            except DopError as error:
                missing.append(f"No film of {line.label} on {task.title}: {error}")
    made = datetime.datetime.now().strftime("%Y-%m-%d %H:%M")
    files.write_text(page_path, page.build(comparison, all_rollouts, missing, made=made, bounds=bounds))
    return page_path


def _rollouts(task: compare.Task, line: compare.Line, episodes: int, trust: bool) -> page.RunRollouts:
    """The seed of a line that ended best, playing."""
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


# --------------------------------------------------------------------------------------------------------------------- plot


def plot(
    runs: Sequence[Path | str],
    *,
    out: Path | str | None = None,
    data: Path | str | None = None,
    csv: Path | str | None = None,
    latex: Path | str | None = None,
    others: Sequence[Path | str] = (),
    others_scale: Sequence[marl_eval.Scale] = (),
    metric: str | None = None,
    axes: Sequence[Axis] = ("env_steps",),
    seed_lines: bool = False,
    smooth: int = 0,
    title: str = "",
) -> tuple[dict[str, Path], list[str]]:
    """Learning curves for a paper, their numbers, and results as other libraries read and write them (`dop.analysis.marl_eval`).

    Args:
        runs: run directories, or folders that hold some; may be empty if there are `others`.
        out: the figure; its suffix is its format: pdf, svg or png.
        data: all evaluations of the runs, as JSON.
        csv: what is drawn, as it was measured: a row for each seed and record with label, algorithm, environment, seed, env_steps, metric
            and value.
        latex: a table of values at the end, their means over seeds and 95% intervals, for LaTeX with the package booktabs.
        others: files of that layout, drawn on the same axes; their lines have the file's name in brackets, its path if two have that name.
        others_scale: what win rates are in these files, `fraction` or `percent`: one for all of them, or one for each. It must be said
            where win rates are drawn.
        metric: what to draw, for example `test_return_mean`. Default: the share that is won, if all tasks have it, else the return.
        axes: a row of the figure each.
        seed_lines: also draw a thin line for each seed. Two seeds, which have no interval, always have theirs.
        smooth: draw trailing means over so many environment steps, seed by seed, in place of single values. Only the figure is smoothed.
        title: stands above.

    Returns:
        What was written, by name, and remarks on what should not be compared.

    Raises:
        ConfigError: nothing is asked for, or a format that there is not, or `smooth` is negative or no whole number.
        RunError: a run or a file cannot be read, there is nothing to draw, or what is asked for cannot be written.
    """
    runs, others = files.checked_paths("runs", runs), files.checked_paths("others", others)
    places = _places({"out": out, "data": data, "csv": csv, "latex": latex}, runs, others)
    if not isinstance(axes, list | tuple) or not axes or not all(axis in get_args(Axis) for axis in axes):
        raise ConfigError(f"axes must have env_steps, wall_seconds or both, in a list; got {shown(axes)}.")
    if not isinstance(title, str) or not isinstance(metric, str | None):
        raise ConfigError(f"title and metric must be texts; got {shown(title)} and {shown(metric)}.")
    check_flags(seed_lines=seed_lines)
    window = checked_integer("smooth", smooth, least=0, below=2**63)
    comparison = compare.gather(runs) if runs else compare.Comparison(tasks=())
    chosen = metric or _common_metric(comparison, bool(others))
    of_others = _read_others(others, others_scale, chosen, comparison)
    found = marl_eval.merged(comparison, of_others)
    if places.keys() - {"data"}:
        curves.check_measured(chosen, found)
    remarks = list(comparison.remarks)
    fractions = _fractions(comparison)
    if "out" in places:
        look = curves.Look(seed_lines=seed_lines, smooth=window, fractions=fractions)
        timed = _timed(found, axes, remarks)
        curves.draw_grid(timed, places["out"], metric=chosen, title=printable(title), axes_of=axes, look=look)
    if "data" in places:
        files.write_text(places["data"], json.dumps(marl_eval.as_json(comparison, remarks), indent=1, allow_nan=False) + "\n")
    if "csv" in places:
        files.write_text(places["csv"], tables.as_csv(found, marl_eval.algorithms(comparison, of_others), chosen))
    if "latex" in places:
        files.write_text(places["latex"], tables.as_latex(found, chosen, fractions=fractions))
    return {"figure" if name == "out" else name: place for name, place in places.items()}, remarks


def _places(asked: Mapping[str, Path | str | None], runs: Sequence[Path], others: Sequence[Path]) -> dict[str, Path]:
    """Where each thing that is asked for will be written, by the name of its option.

    Raises:
        ConfigError: nothing is asked for, there is nothing to make it of, or two things would be one file.
        RunError: a place cannot be written to.
    """
    named = {name: files.checked_path(name, value) for name, value in asked.items() if value is not None}
    if not named:
        raise ConfigError("There is nothing to do: name a figure (out), a data file (data), or a table (csv, latex).")
    out = named.get("out")
    if out is not None and out.suffix.lower() not in (".pdf", ".svg", ".png"):
        raise ConfigError(f"Figures are written as .pdf, .svg or .png, but {out} ends otherwise.")
    if not runs and not others:
        raise ConfigError("There is nothing to draw: name run directories, or files of others (others).")
    if "data" in named and not runs:
        raise ConfigError("Data are written of runs of one's own: name some.")
    places = {name: files.check_place(place, option=f"--{name}") for name, place in named.items()}
    _check_apart(list(places.values()), others)
    return places


def _check_apart(places: Sequence[Path], others: Sequence[Path]) -> None:
    """Raise ConfigError if what is written is one file, or one that is read."""
    written = [place.resolve() for place in places]
    again = [place for place in written if written.count(place) > 1 or place in {other.resolve() for other in others}]
    if again:
        raise ConfigError(f"{again[0]} would be written over: figure, data, tables and files of others must be different files.")


def _fractions(comparison: compare.Comparison) -> set[str]:
    """Metrics that are from 0 to 1 here."""
    return {*marl_eval.FRACTIONS, *(task.metric for task in comparison.tasks if task.fraction)}


def _read_others(
    others: Sequence[Path], scales: Sequence[marl_eval.Scale], metric: str, comparison: compare.Comparison
) -> dict[str, marl_eval.Results]:
    """What each of these files has, by what its lines have in brackets."""
    known = get_args(marl_eval.Scale)
    if not isinstance(scales, list | tuple) or not all(isinstance(scale, str) and scale in known for scale in scales):
        raise ConfigError(f"others_scale must be a list of {' or '.join(known)}; got {shown(scales)}.")
    if len(scales) not in ((0, 1, len(others)) if others else (0,)):
        raise ConfigError(
            f"There are {len(others)} files of others and {len(scales)} scales: give one scale for all files, or one for each."
        )
    fractions = _fractions(comparison)
    each = list(scales) if len(scales) == len(others) else list(scales) * len(others)
    scale_of = dict(zip(others, each, strict=False))
    found = {}
    for name, path in _named(others):
        found[name] = marl_eval.read(path, scale_of.get(path), fractions)
        if metric in fractions and path not in scale_of:
            marl_eval.check_scale(found[name], path, metric)
    return found


def _named(others: Sequence[Path]) -> list[tuple[str, Path]]:
    """Every file once, with what its lines have in brackets."""
    each = list(dict.fromkeys(others))
    stems = [path.stem for path in each]
    return [(stem if stems.count(stem) == 1 else str(path), path) for stem, path in zip(stems, each, strict=True)]


def _common_metric(comparison: compare.Comparison, others: bool) -> str:
    """The score of the tasks, where it is the same for all, and where others can have it too."""
    metrics = {task.metric for task in comparison.tasks}
    return metrics.pop() if len(metrics) == 1 and not others else "test_return_mean"


def _timed(found: marl_eval.Results, axes: Sequence[Axis], remarks: list[str]) -> marl_eval.Results:
    """Without lines that have no times, if there is an axis of time."""
    if "wall_seconds" not in axes:
        return found
    timeless = {
        label for own in found.values() for label, kept in own.items() if any(record.wall_seconds != record.wall_seconds for record in kept)
    }
    remarks += [f"{label} is left out: it has no elapsed_time." for label in sorted(timeless)]
    return {task: {label: [] if label in timeless else kept for label, kept in own.items()} for task, own in found.items()}
