"""One seed on several devices: the same learning to rounding, the same bits on all devices, and exact resume; on any number of cores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from test_resume import arrays

import dop
from dop.api import planning
from dop.devices import parallel
from dop.storage import records
from dop.storage.run_directory import RunFolder
from dop.training.program import Program

TESTS = Path(__file__).parent.parent
SPLIT = """
    import json, sys
    import jax, numpy as np
    from dop.algorithms import get
    from dop.devices import parallel
    from dop.storage.checkpoints import flatten
    from dop.training.program import Program
    from helpers import toy
    from probes import Recurrent

    parallel.use_host_devices(8)
    algorithm = toy(get(sys.argv[1])(), episodes_per_iteration=8, **json.loads(sys.argv[2]))
    program = Program(algorithm=algorithm, environment=Recurrent(delay=3))

    def bits(array):
        is_key = jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(array) if is_key else array)

    found = {}
    for count in (1, 2, 4, 8):
        devices = parallel.mesh(1, count)
        assert dict(devices.shape) == {"seed": 1, "shard": count}
        run = parallel.over_seeds(lambda key: program.chunk(program.warm_up(program.start(key)), 3), devices)
        state, metrics = run(parallel.place(parallel.keys((7,)), devices))
        for array in jax.tree.leaves(state):
            first, *others = [bits(shard.data) for shard in array.addressable_shards]
            assert len(others) == count - 1
            assert all((other == first).all() for other in others)
        found[count] = flatten((state, metrics))
        for name, values in found[count].items():
            np.testing.assert_allclose(values, found[1][name], rtol=2e-3, atol=2e-5, err_msg=f"{count} devices, {name}")
    print("computed in parts:", any((values != found[1][name]).any() for name, values in found[8].items()))
"""
RUN = """
    import sys
    import dop
    mode, path, steps = sys.argv[1:]
    if mode == "resume":
        dop.resume(path, env_steps=int(steps), quiet=True, trust=True)
    else:
        networks = dict(critic=dop.MLP(hidden_size=8), actor=dop.GRU(hidden_size=8))
        algorithm = dop.StochasticDOP(episodes_per_iteration=8, replay_capacity=64, **networks)
        options = dict(devices=2, eval_interval=80, chunk_iterations=2, quiet=True)
        dop.train(algorithm, "matrix-game", env_steps=int(steps), run_dir=path, **options)
"""
ACTOR_CRITIC = {"on_policy_batch": 8, "on_policy_capacity": 8, "off_policy_batch": 16, "replay_capacity": 32}
CASES: list[Any] = [  # those of slow tests compute by the same code
    ("stochastic-dop", ACTOR_CRITIC),
    pytest.param("stochastic-dop", {**ACTOR_CRITIC, "critic_schedule": "full"}, marks=pytest.mark.slow),
    pytest.param("coma", {"on_policy_batch": 8}, marks=pytest.mark.slow),
    pytest.param("ippo", {"minibatches": 1}, marks=pytest.mark.slow),
    pytest.param("qmix", {"replay_batch": 8, "replay_capacity": 32}, marks=pytest.mark.slow),
    pytest.param("maddpg", {"replay_batch": 16, "replay_capacity": 32, "warmup_episodes": 8}, marks=pytest.mark.slow),
]


def child(program: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    usual = {**os.environ, "PYTHONPATH": f"{Path(dop.__file__).parent.parent}:{TESTS}"}
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    return subprocess.run(command, env=usual | environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize(("algorithm", "fields"), CASES)
def test_learning_is_the_same_to_rounding_on_more_devices(algorithm: str, fields: dict[str, Any]):
    """On 1, 2, 4 and 8 devices, which share one thread; the copies of a seed's state stay the same, bit for bit."""
    done = child(SPLIT, algorithm, json.dumps(fields), PJRT_NPROC="1")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "computed in parts: True"


def test_a_run_on_two_devices_resumes_exactly(tmp_path: Path):
    for mode, path, steps in (("train", "whole", 320), ("train", "broken", 160), ("resume", "broken", 320)):
        done = child(RUN, mode, tmp_path / path, steps)
        assert done.returncode == 0, done.stderr[-3000:]
    whole, broken = (RunFolder(tmp_path / name) for name in ("whole", "broken"))
    assert json.loads(broken.config.read_text())["train_config"]["devices"] == 2
    found, expected = ([replace(record, wall_seconds=0) for record in records.read(run.metrics)] for run in (broken, whole))
    assert found == expected
    assert len(found) > 8
    for name, array in arrays(whole.path).items():
        np.testing.assert_array_equal(arrays(broken.path)[name], array, err_msg=name)


@pytest.mark.parametrize(
    ("seeds", "devices", "shape"),
    [(1, None, (1, 1)), (2, None, (2, 1)), (2, 4, (2, 2)), (3, 2, (1, 1)), (4, 3, (2, 1)), (3, "all", (3, 1))],
)
def test_seeds_are_split_first(monkeypatch: pytest.MonkeyPatch, seeds: int, devices: parallel.Devices, shape: tuple[int, int]):
    found = [types.SimpleNamespace(platform="cpu", id=i) for i in range(5)]
    monkeypatch.setattr(jax, "devices", lambda: found)
    made: list[Any] = []
    monkeypatch.setattr(
        parallel, "Mesh", lambda devices, names: made.append((devices.shape, names)) or types.SimpleNamespace(size=devices.size)
    )
    parallel.mesh(seeds, devices)
    assert made == [(shape, ("seed", "shard"))]


def test_an_accelerator_has_all_its_devices_without_a_word(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jax, "devices", lambda: [types.SimpleNamespace(platform="gpu")] * 8)
    monkeypatch.setattr(parallel, "Mesh", lambda devices, names: devices)
    assert parallel.mesh(2).shape == (2, 4)
    assert parallel.mesh(1).shape == (1, 8)
    assert parallel.mesh(1, 3).shape == (1, 3)


def test_idle_devices_are_named(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(jax, "devices", lambda: [types.SimpleNamespace(platform="cpu")] * 6)
    monkeypatch.setattr(parallel, "Mesh", lambda devices, names: devices)
    assert parallel.settled(6, 4) == 4
    assert "2 of 6 devices are idle: 4 seeds can share 4 evenly. Use as many devices as seeds, or a multiple." in caplog.text


def test_more_devices_than_cores_are_named_if_they_were_asked_for(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(jax, "devices", lambda: [types.SimpleNamespace(platform="cpu")] * 4)
    monkeypatch.setattr(parallel, "Mesh", lambda devices, names: devices)
    monkeypatch.setattr(parallel.cpu_threads, "allowed_cores", lambda: 2)
    assert parallel.settled(None, 4) == 4
    assert parallel.settled(2, 1) == 2
    assert not caplog.text
    assert parallel.settled(4, 1) == 4
    assert "4 devices share 2 cores of the CPU: more than one for each core is of no use." in caplog.text


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        (0, "devices must be between 1 and 256, or all; got 0"),
        ("two", "devices must be a number, or 'all'; got 'two'"),
        (
            200,
            "devices=200 is not possible: JAX has started with [0-9]+ in this process. "
            "Train before anything else in the process uses JAX, as `import jaxmarl` does",
        ),
    ],
)
def test_devices_that_cannot_be_had(tmp_path: Path, devices: Any, words: str):
    jax.devices()
    with pytest.raises(dop.ConfigError, match=words):
        dop.train(dop.StochasticDOP(), "matrix-game", run_dir=tmp_path / "run", devices=devices)
    assert not (tmp_path / "run").exists()


def test_a_number_of_episodes_that_cannot_be_split_is_named(tmp_path: Path):
    program = """
        import dop
        algorithm = dop.StochasticDOP(episodes_per_iteration=4)
        print(dop.preflight(algorithm, "matrix-game", devices=3))
    """
    done = child(program)
    assert "Each of the 3 devices of a seed plays all 4 episodes" in done.stderr
    assert done.returncode == 0


def test_minibatches_that_cannot_be_split_are_named(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(parallel, "mesh", lambda seeds, devices: types.SimpleNamespace(shape={"shard": devices}))

    def warn(algorithm: Any, devices: int) -> None:
        train_config = dop.TrainConfig(devices=devices)
        planning.warn_of_unsharded_rows(Program(algorithm=algorithm, environment=dop.make("matrix-game"), train_config=train_config))

    for algorithm in (dop.MADDPG(), dop.MAAC(), dop.QMIX(episodes_per_iteration=2), dop.StochasticDOP(episodes_per_iteration=2)):
        warn(algorithm, 2)
    assert not caplog.records
    warn(dop.MADDPG(episodes_per_iteration=4), 4)
    message = "Each of the 4 devices of a seed computes all of a minibatch: it is split only if replay_batch, 1250, is a multiple."
    assert [record.getMessage() for record in caplog.records] == [message]


def test_resuming_where_jax_has_started_keeps_the_number(tmp_path: Path):
    """A notebook's process has one device; the run keeps its two, and a new number is refused there."""
    assert child(RUN, "train", tmp_path / "run", 160).returncode == 0
    notebook = """
        import sys
        import jax
        jax.devices()
        import dop
        try:
            dop.resume(sys.argv[1], devices=4, quiet=True)
        except dop.ConfigError as error:
            print(error)
        dop.resume(sys.argv[1], env_steps=240, quiet=True)
    """
    done = child(notebook, tmp_path / "run")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "devices=4 is not possible: JAX has started with 1" in done.stdout
    assert "it had 2 devices, now 1" in done.stderr
    assert json.loads((tmp_path / "run" / "config.json").read_text())["train_config"]["devices"] == 2
    more = """
        import sys
        import dop
        dop.resume(sys.argv[1], env_steps=320, devices=3, quiet=True)
    """
    done = child(more, tmp_path / "run")
    assert "it had 2 devices, now 3; results may differ in their last digits. This was requested." in done.stderr
    assert "Each of the 3 devices of a seed plays all 8 episodes" in done.stderr
    assert json.loads((tmp_path / "run" / "config.json").read_text())["train_config"]["devices"] == 3
