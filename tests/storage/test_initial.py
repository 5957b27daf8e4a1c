"""Starting from the networks of another run: which arrays are taken, which start anew, and what does not fit."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import dop
from dop import algorithms, api
from dop.api import planning
from dop.storage import initial
from dop.storage.checkpoints import flatten
from dop.storage.run_directory import RunFolder
from dop.training.trainer import Trainer
from helpers import make_spec, toy
from probes import ConstantReward
from run_factories import GAME, TINY, make_run, reopen


@pytest.fixture
def source(tmp_path: Path) -> RunFolder:
    """A run whose arrays are all zeros, which no network starts from."""
    return make_run(tmp_path / "source")


def train(folder: Path, source: Path, **changes: Any) -> dop.Run:
    """Collects 2 episodes of one step, evaluates, saves, and is finished."""
    rules: dict[str, Any] = {"env_steps": 2, "eval_interval": 2, "eval_episodes": 2, "chunk_iterations": 1, "quiet": True}
    return dop.train(TINY, "matrix-game", environment_options=GAME, run_dir=folder, init_from=source, **(rules | changes))


@pytest.mark.parametrize("name", algorithms.algorithms())
def test_what_is_taken_of_every_algorithm(name: str):
    """Networks and moments; neither counters nor optimisers."""
    learner = jax.eval_shape(lambda key: toy(algorithms.get(name)()).init(key, make_spec()), jax.random.key(0))
    taken = initial.parts(learner)
    expected = {field for field in vars(learner) if not field.endswith("optimiser")} - {"env_steps", "since_target"}
    assert taken.keys() == expected
    assert len(taken) >= 3


def test_networks_are_taken_and_the_rest_starts_anew(source: RunFolder, tmp_path: Path):
    run = train(tmp_path / "run", source.path, seeds=[4])
    learner = flatten(reopen(RunFolder(run.path)).learner)
    taken = {name for name in learner if name.split("/")[0] in ("online", "target", "state_normaliser")}
    assert any(name.startswith("target/") for name in taken)
    assert not any(array.any() for name, array in learner.items() if name in taken)
    fresh = train(tmp_path / "fresh", None, seeds=[4])  # pyright: ignore[reportArgumentType]
    for name, array in flatten(reopen(RunFolder(fresh.path)).learner).items():
        if name not in taken:
            np.testing.assert_array_equal(learner[name], array, err_msg=name)
    assert learner["env_steps"].tolist() == [2]


def test_a_run_says_what_it_started_from_and_needs_it_no_more(source: RunFolder, tmp_path: Path):
    """Killed before its first checkpoint, it starts again from its own copy."""
    run = train(tmp_path / "run", source.path)
    folder = RunFolder(run.path)
    origin = {"run": str(source.path.resolve()), "iteration": 0, "env_steps": [0], "seeds": [0]}
    assert json.loads(folder.config.read_text())["init_from"] == origin
    before = flatten(reopen(folder))
    shutil.rmtree(source.path)
    shutil.rmtree(folder.checkpoints)
    dop.resume(folder.path, quiet=True)
    after = flatten(reopen(folder))
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)
    shutil.rmtree(folder.checkpoints)
    folder.initial.unlink()
    with pytest.raises(dop.RunError, match=r"initial\.npz cannot be read.*start it again under another name"):
        dop.resume(folder.path, quiet=True)


def test_of_as_many_seeds_each_has_its_own_else_all_the_first(trained: Path, caplog: pytest.LogCaptureFixture):
    config, program = api.rebuild(RunFolder(trained), None, trust=True)
    learner = jax.eval_shape(program.start, jax.random.key(0)).learner
    there: Any = initial.parts(Trainer(program, config, RunFolder(trained)).restore().learner)
    for seeds, places in (((8, 9), [0, 1]), ((1, 2, 3), [0, 0, 0]), ((7,), [0])):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="dop"):
            taken, origin = initial.read(RunFolder(trained), "stochastic-dop", learner, seeds)
        jax.tree.map(lambda x, y, places=places: np.testing.assert_array_equal(x, np.asarray(y)[np.array(places)]), taken, there)
        assert origin["seeds"] == [(3, 5)[place] for place in places]
        assert min(origin["env_steps"]) >= 1600
        assert ("all start from its seed 3" in caplog.text) == (len(seeds) != 2)


def test_the_environment_may_be_another_where_sizes_agree(tmp_path: Path):
    """And that of the other run is not even imported."""
    source = make_run(tmp_path / "source", "probes:ObservationValue", options={})
    source.config.write_text(source.config.read_text().replace("probes:ObservationValue", "no_such_module:make"))
    plan = planning.make_plan(TINY, ConstantReward(), 100, 1, tmp_path / "run", None, {}, source.path)
    assert plan.initial_networks is not None
    assert plan.config.init_from is not None


@pytest.mark.parametrize(
    ("algorithm", "options", "words"),
    [
        (dop.QMIX(), GAME, "is a run of vdn: qmix cannot start from its networks"),
        (
            replace(TINY, actor=dop.GRU(hidden_size=5)),
            GAME,
            r"do not fit: its online/agents/\S+ is float32\[.*\], this run needs float32\[.*\]",
        ),
        (replace(TINY, share_parameters="none"), GAME, "do not fit"),
        (TINY, {"n_agents": 2, "n_actions": 3}, "do not fit"),
    ],
)
def test_what_does_not_fit_is_named_before_anything_is_written(
    source: RunFolder, tmp_path: Path, algorithm: Any, options: dict[str, Any], words: str
):
    chosen: dict[str, Any] = {"environment_options": options, "run_dir": tmp_path / "run", "init_from": source.path}
    for begin in (dop.train, dop.preflight):
        with pytest.raises(dop.ConfigError, match=words):
            begin(algorithm, "matrix-game", **chosen)
    assert not (tmp_path / "run").exists()


def test_runs_that_there_is_nothing_to_take_from(source: RunFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with pytest.raises(dop.RunError, match="is not a run directory"):
        train(tmp_path / "run", tmp_path / "nowhere")
    damaged = source.checkpoints / "2" / "manifest.json"
    damaged.write_text("{")
    with pytest.raises(dop.RunError, match="holds only damaged checkpoints"):
        train(tmp_path / "run", source.path)
    shutil.rmtree(source.checkpoints)
    with pytest.raises(dop.RunError, match="holds no checkpoint"):
        train(tmp_path / "run", source.path)
    assert not (tmp_path / "run").exists()


def test_configurations_without_it_are_read(source: RunFolder):
    found = json.loads(source.config.read_text())
    assert found.pop("init_from") is None
    source.config.write_text(json.dumps(found))
    assert source.read_config().init_from is None
