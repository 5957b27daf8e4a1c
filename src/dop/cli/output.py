"""Output of several commands."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import dop
from dop.errors import printable


def say(text: object, *, aside: bool = False) -> None:
    """Print text. All commands use this function, since the text may contain contents of files (`printable`).

    Args:
        text: the text.
        aside: print to standard error, not among the results on standard output.
    """
    print(printable(str(text)), file=sys.stderr if aside else sys.stdout)


def run_summary(run: dop.Run) -> None:
    """The outcome of a run, and the paths of its files."""
    outcome, steps = run.outcome, f"{min(run.outcome.env_steps):,}"
    if outcome.finished:
        say(f"\nfinished after {steps} environment steps; greedy evaluation:")
    else:
        say(f"\nInterrupted. The last checkpoint (step {steps}) is intact; resume with: dop resume {run.path}")
    table(outcome.evaluation)
    say(f"learning curve: {run.curve}\nrun directory:  {run.path}")


def table(result: dict[str, tuple[float, ...]]) -> None:
    """One metric per line: its mean over seeds, and that of each seed."""
    for name, values in sorted(result.items()):
        if name.endswith("_mean"):
            say(line(name, values))


def line(name: str, values: tuple[float, ...]) -> str:
    """A metric's mean over seeds, and that of each seed."""
    each = f"   (per seed: {', '.join(f'{value:.3f}' for value in values)})" if len(values) > 1 else ""
    return f"  {name:26}{sum(values) / len(values):.3f}{each}"


def evaluation(found: dop.Evaluation) -> None:
    """One metric per line: means with 95% intervals."""
    n_seeds, n_episodes = found.returns.shape
    steps = ", ".join(f"{steps:,}" for steps in found.env_steps)
    moment = "" if found.at == "latest" else f", {'each at its best' if found.at == 'best' else 'at a snapshot'} (after {steps} steps)"
    say(f"{n_episodes} {found.policy} episodes per seed{moment}; 95% intervals of the mean by Student's t:")
    means = found.means()
    for name, (over_episodes, over_seeds) in sorted(found.intervals().items()):
        each = ", ".join(_bounds(float(low), float(high)) for low, high in zip(over_episodes.low, over_episodes.high, strict=True))
        over = f"over seeds {_bounds(float(over_seeds.low), float(over_seeds.high))}; per seed, " if n_seeds > 1 else ""
        say(f"{line(name, means[name])}   95%: {over}over episodes {each}")


def _bounds(low: float, high: float) -> str:
    return "unknown" if math.isnan(low) else f"[{low:.3f}, {high:.3f}]"


@contextlib.contextmanager
def only_results() -> Iterator[None]:
    """Redirect other output, of environments and their imports, to standard error, also from other processes."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def listed(written: dict[str, Path]) -> None:
    """The written files, one per line."""
    for name, path in written.items():
        say(f"{name + ':':18}{path}")
