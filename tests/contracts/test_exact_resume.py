"""N + M iterations in one go equal N, a checkpoint, M: every algorithm in every family of environments that it can train in, two seeds.

Here the checkpoint is written, checked against its manifest and read back in one process; `tests/training/test_resume.py` and
`bench/faults.py` go through new processes, and `test_algorithms.py` has one environment among the fast tests.
"""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import Any

import jax
import pytest

import dop
from dop import envs
from dop.algorithms import algorithms
from dop.devices import parallel
from dop.training.program import Program
from helpers import assert_resumes, toy

SEEDS = (3, 4)
FIRST = {name.partition(":")[0]: name for name in reversed(envs.names())}
"""One environment of each family."""
PAIRS = [(algorithm, family) for algorithm in algorithms() for family in FIRST]


@functools.cache
def environment(family: str) -> Any:
    """With episodes as short as the family allows."""
    shorter = {"time_limit": 3, "steps": 3}.items()
    takes = inspect.signature(envs.families()[family].make).parameters
    return envs.make(FIRST[family], **{name: value for name, value in shorter if name in takes})


@pytest.mark.slow
@pytest.mark.parametrize(("name", "family"), PAIRS)
def test_it_goes_on_as_if_never_stopped(name: str, family: str, tmp_path: Path):
    try:
        algorithm, env = toy(algorithms()[name]()), environment(family)
        algorithm.check(env.spec)
    except dop.MissingExtraError as error:
        pytest.skip(str(error))
    except dop.ConfigError as error:
        pytest.skip(f"{name} does not train in {family}: {error}")
    program, devices = Program(algorithm=algorithm, environment=env), parallel.mesh(len(SEEDS))
    start = parallel.over_seeds(lambda key: program.warm_up(program.start(key)), devices)
    iterate = parallel.over_seeds(lambda state: program.chunk(state, 1), devices)
    assert_resumes(start(parallel.keys(SEEDS)), iterate, tmp_path)
    jax.clear_caches()
