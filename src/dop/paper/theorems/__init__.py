"""The paper's theorems as programs: Eq. 16, Propositions 1 and 2, Lemma 3, Theorems 1 to 7, on random problems that are enumerated in full.

One file per statement: `stochastic/` has Eq. 16, the propositions and Theorems 1, 2, 3 and 7; `deterministic/` has Theorem 4, Lemma 3,
Theorem 5, App. D.2 and Theorem 6. `measurements` puts them in the order of the table, and `output` writes the data file and the figure.

Every claim has a function of its own, which measures it and compares: nothing is taken from a proof. Where a proof makes an assumption,
the claim is also measured where that assumption fails, as an entry of its own with `assumptions` False; its verdict is what was found.
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
    """What `dop reproduce theorems` takes."""

    seed: int = 0
    """Of the random problems; the same seed gives the same numbers."""
    problems: int = 1000
    """Random problems for Eq. 16, Proposition 2 and Theorem 2. The other claims, which cost more, take a tenth as many."""
    out: Path = Path("results/theorems")
    """Where table, data file and figure go."""

    def __post_init__(self) -> None:
        check_positive(self, "problems")
        check_not_negative(self, "seed")


def reproduce(options: Options, say: Callable[[str], None]) -> None:
    """Measure every claim; say the table, and write it, the data and the figure."""
    measured = measure(options.seed, options.problems)
    table = as_table(measured.claims)
    say(table)
    options.out.mkdir(parents=True, exist_ok=True)
    files.write_text(options.out / "table.txt", table + "\n")
    files.write_text(options.out / "theorems.json", output.as_json(measured, seed=options.seed, problems=options.problems))
    curves.save(output.figure(measured), options.out / "theorems.png")
    say(f"figure: {options.out / 'theorems.png'}")
