"""Time to a trained team, this checkout and version 0.1: start-up, learning, cores, memory.

    python bench/speed.py start                      until the first training record, with an empty cache and with a full one
    python bench/speed.py learn --maps 2s3z 3s5z 3m  environment steps and processor seconds to a greedy win rate, start-up included
    python bench/speed.py cores --devices 1 2        wall time of one seed over devices, and what more devices would bring
    python bench/speed.py table                      the kept results, and OUT/speed.png
    python bench/speed.py levers --out docs/results/speed   the settings that were tried, from levers.jsonl

Every run is a process of its own. Processor seconds are user and system time of all its threads, read where its records appear, so other
processes distort them little; `cores` needs an idle machine. Results are kept in OUT/speed.jsonl, and `learn` does not repeat those of
before. Version 0.1 is checked out into OUT/baseline.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
import psutil
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

import dop
from dop import envs
from dop.analysis.statistics import mean_interval
from dop.loggers.progress import compact
from dop.training.program import Program
from dop.visualise import curves
from machine import describe

HERE = Path(__file__).parent.parent
EARLIER = "v0.1.0"
"""Version 0.1, by the name that results have for it."""
COMMIT = "7072b7dad89297c0d63520e3911a3f016458ae6c"
"""Of version 0.1: a clone may lack the tag."""
GOALS = {"3m": 0.8}
"""The greedy win rate to reach on a map; elsewhere 90%."""
TRAIN = """
import json, sys
import dop
environment, steps, seed, path, options = sys.argv[1:]
dop.train(dop.StochasticDOP(), environment, env_steps=int(steps), seeds=[int(seed)], run_dir=path, quiet=True, **json.loads(options))
"""


SYNC = """
import sys, time
import jax
devices, floats = map(int, sys.argv[1:])
jax.config.update("jax_num_cpu_devices", devices)
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
mesh = jax.sharding.Mesh(jax.devices(), ("shard",))
loop = lambda x: jax.lax.fori_loop(0, 300, lambda _, x: 0.5 * jax.lax.psum(x, "shard"), x)
add = jax.shard_map(loop, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False)
run, x = jax.jit(add), jnp.ones(floats)
jax.block_until_ready(run(x))
start = time.perf_counter()
jax.block_until_ready(run(x))
print((time.perf_counter() - start) / 300)
"""


@dataclass
class Measured:
    """One run."""

    what: str
    version: str
    """`now` or the tag."""
    map: str
    seed: int
    cache: str
    """empty or full."""
    devices: int
    machine: str
    date: str
    first_record: list[float] = field(default_factory=list)
    """Wall and processor seconds until the first training record."""
    memory: float = 0.0
    """Resident memory at the end, in GB."""
    curve: list[list[float]] = field(default_factory=list)
    """Environment steps, wall seconds, processor seconds and greedy win rate of each evaluation."""


@functools.cache
def machine() -> str:
    return describe()


def tree(version: str, out: Path) -> Path:
    """The folder of a version's source."""
    if version == "now":
        return HERE
    folder = out / "baseline"
    if not folder.exists():
        subprocess.run(["git", "-C", str(HERE), "worktree", "add", "--detach", str(folder.absolute()), COMMIT], check=True)
    return folder


@contextlib.contextmanager
def training(source: Path, cache: Path, run: Path, options: argparse.Namespace, job: dict[str, Any]) -> Iterator[psutil.Popen]:
    """A process that trains, with one thread on one core for each device; it is ended at the end."""
    devices = job["devices"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XLA_", "JAX_", "DOP_"))}
    environment |= {"PYTHONPATH": str(source / "src"), "DOP_COMPILATION_CACHE": str(cache), "PJRT_NPROC": str(devices)}
    further = {"devices": devices} if devices > 1 else {}
    arguments = (f"smax:{job['map']}", str(options.env_steps), str(job["seed"]), str(run), json.dumps(further))
    process = psutil.Popen([sys.executable, "-c", TRAIN, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    process.cpu_affinity(options.cores[:devices])
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def measure(options: argparse.Namespace, version: str, compiled: Path, **job: Any) -> Measured:
    """Train until the goal is reached (`learn`), until the first training record (`start`), or for some evaluations (`cores`).

    Args:
        compiled: the folder of the compilation cache.
        job: map, seed, cache and devices, as in `Measured`.
    """
    what = options.what
    out = Measured(what=what, version=version, machine=machine(), date=f"{datetime.date.today()}", **job)
    with tempfile.TemporaryDirectory() as folder:
        run, seen = Path(folder) / "run", 0
        started = time.perf_counter()
        with training(tree(version, options.out), compiled, run, options, job) as process:
            while process.poll() is None:
                time.sleep(0.05)
                lines = (run / "metrics.jsonl").read_text().splitlines() if (run / "metrics.jsonl").exists() else []
                used = process.cpu_times()
                clock = [time.perf_counter() - started, used.user + used.system]
                for line in lines[seen:]:
                    try:
                        record = json.loads(line)
                    except ValueError:  # half a line
                        break
                    seen += 1
                    out.memory = process.memory_info().rss / 1e9
                    if record["kind"] == "train" and not out.first_record:
                        out.first_record = clock
                    if record["kind"] == "evaluation":
                        out.curve.append([record["env_steps"], *clock, record["test_battle_won_mean"]])
                if what == "learn" and reached(out.curve, out.map):
                    break
                if what == "start" and out.first_record:
                    break
                if what == "cores" and len(out.curve) > options.evaluations:
                    break
            else:
                if process.returncode:
                    raise SystemExit(process.stderr.read().decode()[-2000:])
    return out


def keep(options: argparse.Namespace, found: Measured) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "speed.jsonl").open("a") as file:
        file.write(json.dumps(asdict(found)) + "\n")


def kept(options: argparse.Namespace) -> list[Measured]:
    path = options.out / "speed.jsonl"
    return [Measured(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def run_all(options: argparse.Namespace) -> None:
    """The runs of a measurement, the two versions in turns; those of `learn` that are kept are not repeated."""
    done = {(m.version, m.map, m.seed, m.cache) for m in kept(options) if m.what == options.what == "learn"}
    for map_name in options.maps:
        for seed in range(options.seeds):
            for version in options.versions:
                caches = ("empty", "full") if version == "now" and options.what != "cores" else ("empty",)
                with tempfile.TemporaryDirectory() as folder:
                    for cache in caches:
                        for devices in options.devices if version == "now" else (1,):
                            if (version, map_name, seed, cache) in done:
                                continue
                            job = {"map": map_name, "seed": seed, "cache": cache, "devices": devices}
                            found = measure(options, version, Path(folder), **job)
                            keep(options, found)
                            print(words(found), flush=True)
    if options.what == "cores":
        model(options)


def rate(found: Measured) -> float:
    """Environment steps per second of wall time between its first evaluation and its last."""
    (first, *_, last) = found.curve
    return (last[0] - first[0]) / (last[1] - first[1])


def model(options: argparse.Namespace) -> None:
    """Seconds of 1,000 steps on more devices: a part that all do, a part that is split, and sums of gradients.

        T(N) = common + split / N + sums (N - 1)

    `common + split` is the time on one device, `sums` measured alone, and `common` what is then left of the time on two.
    """
    runs = [m for m in kept(options) if m.what == "cores" and len(m.curve) > 1]
    for map_name in dict.fromkeys(m.map for m in runs):
        times = {n: np.mean([1000 / rate(m) for m in runs if (m.map, m.devices) == (map_name, n)]) for n in (1, 2) if n in options.devices}
        if len(times) < 2:
            continue
        algorithm = dop.StochasticDOP()
        program = Program(algorithm=algorithm, environment=envs.make(f"smax:{map_name}"))
        learner = jax.eval_shape(program.start, jax.random.key(0)).learner
        sizes = [sum(x.size for x in jax.tree.leaves(part)) for part in (learner.critic, learner.actor)]
        each = [float(subprocess.check_output([sys.executable, "-c", SYNC, "2", str(size)], stderr=subprocess.DEVNULL)) for size in sizes]
        # One sum of the critic's gradient for each step of an episode (48 rows of 48 episodes), and few of the actors'.
        sums = 1000 * (each[0] + algorithm.actor_steps * each[1] / program.spec.time_limit) / algorithm.episodes_per_iteration
        common = 2 * (times[2] - sums) - times[1]
        split = times[1] - common
        print(
            f"{map_name}: 1,000 steps: common {common:.3f} s, split {split:.3f} s, sums of gradients {sums:.3f} s for each further device"
        )
        for n in (1, 2, 4, 8):
            total = common + split / n + sums * (n - 1)
            print(f"  {n} devices: {total:.3f} s, {times[1] / total:.2f} times faster{' (measured)' if n <= 2 else ' by the model'}")


def reached(curve: Sequence[Sequence[float]], map_name: str) -> Sequence[float] | None:
    """The first evaluation that ends three with a mean at the map's goal; win rates are the last entries of evaluations."""
    wins = [win for *_, win in curve]
    ends = (end for end in range(2, len(wins)) if np.mean(wins[end - 2 : end + 1]) >= GOALS.get(map_name, 0.9))
    return next((curve[end] for end in ends), None)


def words(found: Measured) -> str:
    """One line about a run."""
    where = f"{found.what:6}{found.version:8}{found.map:8}seed {found.seed} cache {found.cache:6}devices {found.devices}"
    start = "first record after {:5.1f} s, {:5.1f} processor s".format(*found.first_record) if found.first_record else ""
    goal = reached(found.curve, found.map)
    end = f"  goal after {goal[0]:,.0f} steps, {goal[2]:.0f} processor s" if goal else ""
    (first, *_, last) = found.curve if len(found.curve) > 1 else (None, None)
    used = f"  {(last[0] - first[0]) / (last[2] - first[2]):,.0f} steps/processor s" if first and last else ""
    wall = f", {rate(found):,.0f} steps/s" if first and last else ""
    return f"{where}  {start}{end}{used}{wall}  {found.memory:.2f} GB"


def table(options: argparse.Namespace) -> None:
    """Every kept run, and means over seeds with 95% intervals."""
    found = kept(options)
    for measured in found:
        print(words(measured))
    draw(found, options.out / "speed.png")
    print()
    for map_name in sorted({m.map for m in found}):
        for version, cache in ((EARLIER, "empty"), ("now", "empty"), ("now", "full")):
            runs = [m for m in found if (m.what, m.map, m.version, m.cache) == ("learn", map_name, version, cache)]
            ends = [goal for m in runs if (goal := reached(m.curve, map_name))]
            if ends:
                steps, _, seconds, _ = zip(*ends, strict=True)
                which = f"{map_name:8}{version:8}cache {cache:7}{len(ends)} of {len(runs)} seeds"
                print(f"{which}: {interval(steps)} steps, {interval(seconds)} processor s")


def levers(options: argparse.Namespace) -> None:
    """Settings that were tried: the mean greedy win rate between 20k and 115k steps, and when it first is 90% over three evaluations.

    Each line of levers.jsonl is a run of stochastic DOP, changed from the preset `v0.1`: environment steps, processor seconds since the
    first evaluation and greedy win rate of its evaluations.
    """
    rows: dict[tuple[str, str], list[np.ndarray]] = {}
    for line in (options.out / "levers.jsonl").read_text().splitlines():
        run = json.loads(line)
        changes = " ".join(f"{name}={value}" for name, value in sorted(run["changes"].items())) or "none"
        rows.setdefault((run["map"], changes), []).append(np.asarray(run["curve"]))
    grid = np.linspace(20_000, 115_000, 50)
    for (map_name, changes), runs in sorted(rows.items()):
        wins = [np.interp(grid, steps, win).mean() for steps, _, win in (run.T for run in runs)]
        speed = [run[-1, 0] / run[-1, 1] for run in runs]
        ends = [reached(run.tolist(), map_name) for run in runs]
        goal = ", ".join("-" if end is None else f"{end[0] / 1000:.0f}k/{end[1]:.0f} s" for end in ends)
        print(f"{map_name}  {np.mean(wins):.1%} of {len(runs)}, {min(speed):,.0f}-{max(speed):,.0f} steps/s, 90%: {goal}  {changes}")


def draw(found: list[Measured], path: Path) -> None:
    """Greedy win rates over processor seconds and environment steps, a line for each seed, to where it reached the goal."""
    maps = list(dict.fromkeys(m.map for m in found if m.what == "learn"))
    if not maps:
        return
    picture = Figure(figsize=(4.6 * len(maps), 6.4), layout="constrained", facecolor="white")
    grid = picture.subplots(2, len(maps), squeeze=False)
    lines = {"0.1": (EARLIER, "empty", "-"), "now": ("now", "empty", "-"), "now, second start": ("now", "full", "--")}
    for column, map_name in enumerate(maps):
        for row, (place, label) in enumerate(((2, "processor seconds, start-up included"), (0, "environment steps"))):
            axes = grid[row, column]
            for index, (name, (version, cache, dash)) in enumerate(lines.items()):
                if row == 1 and cache == "full":
                    continue
                for m in found:
                    if (m.what, m.map, m.version, m.cache) == ("learn", map_name, version, cache) and m.curve:
                        points = np.asarray(m.curve)
                        smooth = np.convolve(points[:, 3], np.ones(3) / 3, "valid")
                        axes.plot(points[2:, place], smooth, dash, color=curves.COLOURS[index], linewidth=1.2, label=name)
                        axes.plot(points[-1, place], smooth[-1], "o", color=curves.COLOURS[index], markersize=3.5)
            axes.set_title(f"{map_name}: mean of three evaluations", loc="left", fontsize=10.5)
            axes.set_xlabel(label, fontsize=9)
            axes.set_xlim(left=0)
            if row == 1:
                axes.xaxis.set_major_formatter(FuncFormatter(lambda steps, _: compact(steps)))
            axes.set_ylim(-0.02, 1.02)
            axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
            axes.grid(color="#e6e6e6", linewidth=0.8)
            axes.spines[["top", "right"]].set_visible(False)
    handles = dict(zip(*reversed(grid[0, 0].get_legend_handles_labels()), strict=True))
    grid[0, 0].legend(handles.values(), handles.keys(), fontsize=8.5, frameon=False, loc="lower right")
    grid[0, 0].set_ylabel("greedy win rate", fontsize=9)
    curves.save(picture, path)


def interval(values: Any) -> str:
    """The mean, from three seeds on with its 95% interval: that of two includes everything."""
    if len(values) < 3:
        return f"{np.mean(values):,.0f}"
    mean, low, high = mean_interval(np.asarray(values, float))
    return f"{mean:,.0f} [{low:,.0f}, {high:,.0f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("start", "learn", "cores", "table", "levers"), help="see above")
    parser.add_argument("--maps", nargs="+", default=["2s3z"], help="maps of SMAX (default: 2s3z)")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0 to SEEDS - 1, one after the other (default: 1)")
    parser.add_argument("--versions", nargs="+", default=[EARLIER, "now"], help=f"{EARLIER}, and `now` for this checkout (default: both)")
    parser.add_argument("--devices", nargs="+", type=int, default=[1], help="numbers of devices to compare, of `now` alone (default: 1)")
    parser.add_argument(
        "--cores", nargs="+", type=int, default=sorted(os.sched_getaffinity(0)), help="cores to run on, one per device (default: all)"
    )
    parser.add_argument("--env-steps", type=int, default=400_000, help="the longest run, in environment steps (default: 400000)")
    parser.add_argument("--evaluations", type=int, default=4, help="evaluations after the first that `cores` waits for (default: 4)")
    parser.add_argument(
        "--out", type=Path, default=Path("results/speed"), help="folder of results; those of docs/results.md are in docs/results/speed"
    )
    options = parser.parse_args()
    {"table": table, "levers": levers}.get(options.what, run_all)(options)


if __name__ == "__main__":
    main()
