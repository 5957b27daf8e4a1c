"""The paper's theorems as programs: Eq. 16, Propositions 1 and 2, Lemma 3, Theorems 1 to 7, on random problems, by full enumeration.

One file per statement: `stochastic/` has Eq. 16, the propositions and Theorems 1, 2, 3 and 7; `deterministic/` has Theorem 4, Lemma 3,
Theorem 5, App. D.2 and Theorem 6. `measurements` puts them in the order of the table, and `output` writes the data file and the figure.

Each claim has its own function, which measures it independently of the proof. Where a proof makes an assumption, the claim is also
measured where the assumption fails, as a separate entry with `assumptions` False.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dop.errors import check_not_negative, check_positive
from dop.paper.theorems import output
from dop.paper.theorems.claims import as_table
from dop.paper.theorems.measurements import measure
from dop.storage import files
from dop.visualise import curves


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `dop reproduce theorems`."""

    seed: int = 0
    """Seed of the random problems; the same seed gives the same numbers."""
    problems: int = 1000
    """Random problems for Eq. 16, Proposition 2 and Theorem 2. Other claims, which cost more, use a tenth as many."""
    out: Path = Path("results/theorems")
    """Output folder for table, data file and figure."""

    def __post_init__(self) -> None:
        check_positive(self, "problems")
        check_not_negative(self, "seed")


def reproduce(options: Options, log: Callable[[str], None]) -> None:
    """Measure every claim, log the table, and write table, data and figure."""
    measured = measure(options.seed, options.problems)
    table = as_table(measured.claims)
    log(table)
    options.out.mkdir(parents=True, exist_ok=True)
    files.write_text(options.out / "table.txt", table + "\n")
    files.write_text(options.out / "theorems.json", output.as_json(measured, seed=options.seed, problems=options.problems))
    curves.save(output.figure(measured), options.out / "theorems.png")
    log(f"figure: {options.out / 'theorems.png'}")
