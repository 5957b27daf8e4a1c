"""What several commands print."""

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
    """Print lines, the only way in which a command does: what they are made of may come from files (`printable`).

    Args:
        text: what there is to say.
        aside: on standard error, which leaves standard output to results.
    """
    print(printable(str(text)), file=sys.stderr if aside else sys.stdout)


def tell(run: dop.Run) -> None:
    """How a run ended, and where everything is."""
    outcome = run.outcome
    then = "; greedy episodes now:" if outcome.evaluation else ", and saved"
    say(f"\n{'finished' if outcome.finished else 'stopped'} after {min(outcome.env_steps):,} environment steps{then}")
    table(outcome.evaluation)
    if not outcome.finished:
        say(f"go on with:     dop resume {run.path}")
    say(f"learning curve: {run.curve}\nrun directory:  {run.path}")


def table(result: dict[str, tuple[float, ...]]) -> None:
    """One mean over episodes a line: the mean of it over seeds, and each seed's."""
    for name, values in sorted(result.items()):
        if name.endswith("_mean"):
            say(line(name, values))


def line(name: str, values: tuple[float, ...]) -> str:
    """A metric's mean over seeds, and each seed's."""
    each = f"   (per seed: {', '.join(f'{value:.3f}' for value in values)})" if len(values) > 1 else ""
    return f"  {name:26}{sum(values) / len(values):.3f}{each}"


def evaluation(found: dop.Evaluation) -> None:
    """One metric a line: means, and their 95% intervals."""
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
    """Whatever is printed meanwhile, by an environment or by what it imports, goes to standard error, also from other processes."""
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
    """What was written, a line each."""
    for name, path in written.items():
        say(f"{name + ':':18}{path}")
