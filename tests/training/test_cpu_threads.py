"""The number of threads that JAX computes with is a part of a run: kept on other cores, and named where it cannot be.

Every process here is a new one, since JAX reads the number once. `os.sched_setaffinity` stands for a container with other cores.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.version import Version
from test_resume import arrays

import dop
from dop import api
from dop.devices import cpu_threads
from dop.storage.run_directory import RunFolder

SUM = """
import hashlib, sys
import jax, jax.numpy as jnp, numpy as np
from dop.devices import cpu_threads
if sys.argv[1] != "0":
    cpu_threads.use(int(sys.argv[1]))
numbers = jnp.asarray(np.random.default_rng(0).normal(size=(1250, 256)), jnp.float32)
total = np.asarray(jax.jit(jnp.sum)(numbers))
cpu_threads.use(7)  # too late
print(hashlib.sha256(total.tobytes()).hexdigest()[:12], cpu_threads.in_use())
"""
TRAIN = "from dop.cli import main; main()"
SUMS_BY_THREADS = Version(metadata.version("jaxlib")) >= Version("0.10.2")  # 0.8.0 to 0.10.1: the same sums on any number of cores
two_cores = pytest.mark.skipif(cpu_threads.allowed_cores() < 2, reason="needs two cores")


def on_cores(count: int, program: str, *arguments: object) -> str:
    """What a new process, which may use `count` of the cores that this one may, prints."""
    cores = sorted(os.sched_getaffinity(0))[:count]
    usual = {name: value for name, value in os.environ.items() if name not in ("PJRT_NPROC", "NPROC")}
    command = [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {cores})\n{program}", *map(str, arguments)]
    done = subprocess.run(command, env=usual, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@two_cores
def test_bits_follow_the_threads_and_not_the_cores():
    one, two = on_cores(1, SUM, 0), on_cores(2, SUM, 0)  # left alone
    assert (one.split()[1], two.split()[1]) == ("1", "2")
    assert on_cores(2, SUM, 1) == one
    assert on_cores(1, SUM, 2) == two
    if SUMS_BY_THREADS:
        assert one.split()[0] != two.split()[0], "with another XLA, whose sums are the same on any number of cores, all of this can go"


@pytest.mark.parametrize(
    ("pjrt", "older", "expected"), [("3", "2", 3), ("", "2", 2), ("x", "2", 2), ("0", "", None), ("-1", "9" * 5000, None), ("²", "", None)]
)
def test_variables_that_are_no_number_do_not_count(pjrt: str, older: str, expected: int | None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PJRT_NPROC", pjrt)
    monkeypatch.setenv("NPROC", older)
    assert cpu_threads.default() == (expected or cpu_threads.allowed_cores())


def records(run: Path) -> list[dict[str, Any]]:
    """What a run reported, but for its times."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if "seconds" not in name} for record in found]


@pytest.mark.slow
@two_cores
def test_a_run_of_networks_of_usual_size_goes_on_to_the_same_bits_on_other_cores(tmp_path: Path):
    measured = ["--eval-interval=100000", "--checkpoint-interval=1000000", "--chunk-iterations=5", "--quiet"]

    def train(name: str, steps: int) -> Path:
        on_cores(
            1, TRAIN, "train", "stochastic-dop", "--env=matrix-game", *measured, f"--env-steps={steps}", f"--run-dir={tmp_path / name}"
        )
        return tmp_path / name

    whole, half = train("whole", 700), train("half", 500)
    on_cores(2, TRAIN, "resume", half, "--env-steps=700", "--quiet")
    assert json.loads((half / "config.json").read_text())["train_config"]["threads"] == 1
    assert records(half) == records(whole)
    jax_arrays, expected = arrays(half), arrays(whole)
    for name, array in expected.items():
        np.testing.assert_array_equal(jax_arrays[name], array, err_msg=name)


# -------------------------------------------------------------------------------------------------------- where it is impossible


@pytest.fixture
def elsewhere(trained: Path, tmp_path: Path) -> RunFolder:
    """A run that was made with one more thread than this process, in which JAX has started long ago."""
    folder = RunFolder(Path(shutil.copytree(trained, tmp_path / "run")))
    config = json.loads(folder.config.read_text())
    config["train_config"]["threads"] = cpu_threads.in_use() + 1
    folder.config.write_text(json.dumps(config))
    return folder


def test_resuming_with_other_threads_warns_with_both_numbers_and_keeps_the_runs_own(elsewhere: RunFolder, caplog: pytest.LogCaptureFixture):
    was, now = cpu_threads.in_use() + 1, cpu_threads.in_use()
    with caplog.at_level(logging.WARNING, "dop"):
        dop.resume(elsewhere.path, trust=True, quiet=True)
    said = [record.getMessage() for record in caplog.records if "threads" in record.getMessage()]
    assert len(said) == 1
    assert f"computed with {was} threads, now with {now}" in said[0]
    assert f"PJRT_NPROC={was}" in said[0]
    assert elsewhere.read_config().train_config.threads == was


def test_resuming_with_as_many_threads_says_nothing(trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    with caplog.at_level(logging.WARNING, "dop"):
        dop.resume(run, trust=True, quiet=True)
    assert not [record for record in caplog.records if "threads" in record.getMessage()]


def test_asking_for_other_threads_on_resumption_is_kept_in_the_configuration(elsewhere: RunFolder, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "dop"):
        dop.resume(elsewhere.path, trust=True, quiet=True, threads=cpu_threads.in_use())
    assert "This was requested." in caplog.text
    assert elsewhere.read_config().train_config.threads == cpu_threads.in_use()


def test_training_with_other_threads_than_jax_runs_with_is_refused():
    wanted = cpu_threads.in_use() + 1
    with pytest.raises(dop.ConfigError, match=f"threads={wanted} is not possible: JAX has started with {cpu_threads.in_use()}"):
        dop.preflight(dop.VDN(), "matrix-game", threads=wanted)


@pytest.mark.parametrize("threads", [0, -1, 10**6])
def test_numbers_of_threads_that_cannot_be_are_refused(threads: int):
    with pytest.raises(dop.ConfigError, match="threads must be between 1 and"):
        api.preflight(dop.VDN(), "matrix-game", threads=threads)
