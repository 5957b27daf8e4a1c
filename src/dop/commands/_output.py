"""What several commands print."""

from __future__ import annotations

import sys
from pathlib import Path

from dop import api
from dop.errors import printable


def say(text: object, *, aside: bool = False) -> None:
    """Print lines, the only way in which a command does: what they are made of may come from files (`printable`).

    Args:
        text: what there is to say.
        aside: on standard error, which leaves standard output to results.
    """
    print(printable(str(text)), file=sys.stderr if aside else sys.stdout)


def tell(run: api.Run) -> None:
    """How a run ended, and where everything is."""
    outcome = run.outcome
    then = "; greedy episodes now:" if outcome.evaluation else ", and saved"
    say(f"\n{'finished' if outcome.finished else 'stopped'} after {min(outcome.env_steps):,} environment steps{then}")
    table(outcome.evaluation)
    if not outcome.finished:
        say(f"go on with:     dop resume {run.path}")
    say(f"learning curve: {run.curve}\nrun directory:  {run.path}")


def table(result: dict[str, tuple[float, ...]]) -> None:
    """One metric a line: its mean over seeds, and each seed's."""
    for name, values in sorted(result.items()):
        mean = sum(values) / len(values)
        each = f"   (per seed: {', '.join(f'{value:.3f}' for value in values)})" if len(values) > 1 else ""
        say(f"  {name:26}{mean:.3f}{each}")


def listed(written: dict[str, Path]) -> None:
    """What was written, a line each."""
    for name, path in written.items():
        say(f"{name + ':':18}{path}")
