"""The table of claims: its verdicts."""

from __future__ import annotations

import dataclasses

from dop.paper.theorems.claims import Claim, as_table


def test_the_table_shows_failures_and_claims_beyond_the_proof() -> None:
    claim = Claim(name="n", claim="c", measured="m", holds=False, assumptions=False)
    assert as_table([claim]).splitlines()[2].endswith("  FAILS (beyond the proof)")
    assert dataclasses.replace(claim, holds=True, assumptions=True).verdict == "holds"
