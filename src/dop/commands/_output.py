"""What several commands print."""

from __future__ import annotations

from pathlib import Path

from dop import api


def tell(run: api.Run) -> None:
    """How a run ended, and where everything is."""
    outcome = run.outcome
    then = "; greedy episodes now:" if outcome.evaluation else ", and saved"
    print(f"\n{'finished' if outcome.finished else 'stopped'} after {min(outcome.env_steps):,} environment steps{then}")
    table(outcome.evaluation)
    if not outcome.finished:
        print(f"go on with:     dop resume {run.path}")
    print(f"learning curve: {run.curve}\nrun directory:  {run.path}")


def table(result: dict[str, tuple[float, ...]]) -> None:
    """One metric a line: its mean over seeds, and each seed's."""
    for name, values in sorted(result.items()):
        mean = sum(values) / len(values)
        each = f"   (per seed: {', '.join(f'{value:.3f}' for value in values)})" if len(values) > 1 else ""
        print(f"  {name:26}{mean:.3f}{each}")


def listed(written: dict[str, Path]) -> None:
    """What was written, a line each."""
    for name, path in written.items():
        print(f"{name + ':':18}{path}")
