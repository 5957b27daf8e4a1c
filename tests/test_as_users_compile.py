"""The golden iteration and exact resume once more, compiled as users compile: at XLA's usual level of optimisation.

All other tests run at level 0 (conftest.py), at which XLA fuses and reorders less than it does in a real run. Each of these is a process of
its own, since XLA reads its flags once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import dop

TESTS = Path(__file__).parent
RESUME = """
    import sys
    from pathlib import Path

    import jax

    from dop import StochasticDOP, TrainConfig
    from dop.training.program import Program
    from helpers import assert_resumes, toy
    from probes import Recurrent

    train_config = TrainConfig(normalise_rewards=True)
    program = Program(algorithm=toy(StochasticDOP(actor_steps=1)), environment=Recurrent(delay=1), train_config=train_config)
    quickly = {"xla_backend_optimization_level": 0}
    state = jax.jit(lambda key: program.warm_up(program.start(key)), compiler_options=quickly)(jax.random.key(0))
    assert_resumes(state, jax.jit(lambda state: program.chunk(state, 1)), Path(sys.argv[1]))
    print("the same bits")
"""


def as_users(*arguments: object) -> str:
    """What Python says with these arguments, where XLA has no flags and no program that was compiled with others."""
    ours = ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR", "PYTEST_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= {"XLA_FLAGS": "", "PYTHONPATH": f"{Path(dop.__file__).parent.parent}:{TESTS}"}
    command = [sys.executable, *map(str, arguments)]
    result = subprocess.run(command, cwd=TESTS.parent, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_golden_iteration():
    chosen = "(iteration_weights or iteration_metrics or iteration_keeps) and 0"
    said = as_users("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_golden.py", "-k", chosen)
    assert "..." in said


def test_exact_resume(tmp_path: Path):
    assert "the same bits" in as_users("-c", textwrap.dedent(RESUME), tmp_path)
