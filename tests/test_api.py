"""The library from Python."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import dop
from dop import hyper_parameters
from dop.api import planning
from dop.devices import cpu_threads
from dop.envs.mill import Mill
from dop.loggers import jsonl
from dop.storage import records
from dop.storage.run_directory import RunFolder
from dop.visualise import curves
from probes import ObservationValue

TINY = dop.StochasticDOP(
    critic=dop.MLP(hidden_size=8),
    actor=dop.GRU(hidden_size=8),
    actor_steps=1,
    replay_capacity=16,
    on_policy_capacity=16,
    on_policy_batch=4,
    off_policy_batch=4,
)
PROTOCOL: dict[str, Any] = {"eval_interval": 16, "eval_episodes": 4, "chunk_iterations": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dop.Run:
    """Two seeds of an environment that `dop.make` does not know, stopped by Ctrl-C after the first chunk and resumed."""
    folder = tmp_path_factory.mktemp("run")
    write = jsonl.JsonLines.write

    def write_and_interrupt(self: jsonl.JsonLines, found: Sequence[records.Record]) -> None:
        write(self, found)
        if found[0].kind == "train":
            os.kill(os.getpid(), signal.SIGINT)

    draw = curves.draw

    def draw_methods(found: dict[str, Any], path: Path, *, title: str) -> None:
        assert list(found) == ["stochastic-dop"]  # not the name of a folder
        draw(found, path, title=title)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "draw", draw_methods)
        patch.setattr(jsonl.JsonLines, "write", write_and_interrupt)
        stopped = dop.train(TINY, ObservationValue(), env_steps=32, seeds=[1, 5], run_dir=folder, quiet=True, **PROTOCOL)
    assert not stopped.outcome.finished
    assert stopped.outcome.env_steps == (24, 24)
    return dop.resume(folder, environment=ObservationValue(), quiet=True)


def test_train_with_an_environment_of_ones_own(run: dop.Run):
    assert run.outcome.finished
    assert run.outcome.env_steps == (32, 32)
    names = {f"test_{name}" for name in ("return_mean", "return_std", "return_min", "return_max", "ep_length_mean")}
    assert {name: len(values) for name, values in run.outcome.evaluation.items()} == dict.fromkeys(names, 2)
    assert run.curve.is_file()


def test_records_are_those_on_the_disk(run: dop.Run):
    assert run.records == records.read(run.path / "metrics.jsonl")
    assert [(r.kind, r.seed, r.env_steps) for r in run.records if r.seed == 5] == [
        ("evaluation", 5, 16),
        ("train", 5, 24),
        ("train", 5, 32),
        ("evaluation", 5, 32),
    ]
    last = {r.seed: r.metrics["test_return_mean"] for r in run.records if r.kind == "evaluation"}
    np.testing.assert_allclose(run.outcome.evaluation["test_return_mean"], [last[1], last[5]])


def test_an_environment_of_ones_own_must_be_given_again(run: dop.Run):
    with pytest.raises(dop.DopError, match="probe:ObservationValue"):
        dop.resume(run.path)


def test_resuming_a_finished_run_changes_nothing(run: dop.Run):
    before = run.records
    again = dop.resume(run.path, environment=ObservationValue(), quiet=True)
    assert again.outcome == run.outcome
    assert again.records == before


def test_evaluation_repeats_itself_and_changes_nothing(run: dop.Run):
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    first = dop.evaluate(run.path, episodes=8, seed=2, environment=ObservationValue())
    assert first["test_ep_length_mean"] == (1.0, 1.0)
    assert first == dop.evaluate(run.path, episodes=8, seed=2, environment=ObservationValue())
    assert before == {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}


def test_every_episode_of_an_evaluation_is_told(run: dop.Run):
    chosen: dict[str, Any] = {"episodes": 8, "seed": 2, "environment": ObservationValue()}
    found = dop.evaluate_episodes(run.path, **chosen)
    assert (found.policy, found.seeds, found.env_steps) == ("greedy", (1, 5), run.outcome.env_steps)
    assert found.returns.shape == found.lengths.shape == (2, 8)
    assert found.means() == dop.evaluate(run.path, **chosen)
    np.testing.assert_allclose(found.means()["test_return_mean"], np.mean(found.returns, axis=1), rtol=1e-6)
    assert set(found.returns.ravel()) <= {-1.0, 1.0}  # of this game


def test_sampled_episodes_say_so(run: dop.Run):
    chosen: dict[str, Any] = {"episodes": 4, "seed": 2, "environment": ObservationValue(), "sampled": True}
    found = dop.evaluate_episodes(run.path, **chosen)
    assert found.policy == "sampled"
    assert found.means() == dop.evaluate(run.path, **chosen)


def test_evaluation_needs_episodes(run: dop.Run):
    with pytest.raises(dop.ConfigError, match="episodes must be positive, got 0"):
        dop.evaluate(run.path, episodes=0)


def test_train_by_name_and_quietly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    options = {"n_agents": 2, "n_actions": 2}
    run = dop.train(TINY, "matrix-game", env_steps=16, environment_options=options, quiet=True, **PROTOCOL)
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "")
    assert run.path.parent == Path("runs/matrix-game/stochastic-dop")
    config = RunFolder(run.path).read_config()
    assert config.environment_options == options
    assert config.train_config == dop.TrainConfig(env_steps=16, seeds=(0,), threads=cpu_threads.in_use(), devices=1, **PROTOCOL)
    given = {name: hyper_parameters.deserialise(value) for name, value in config.hyper_parameters.items()}
    assert dop.StochasticDOP(**given) == TINY


@pytest.mark.parametrize("seeds", [0, [], [1, 1], [-1]])
def test_impossible_seeds(tmp_path: Path, seeds: Any):
    with pytest.raises(dop.ConfigError, match="seeds must be different non-negative numbers"):
        dop.train(TINY, ObservationValue(), seeds=seeds, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_unknown_names(tmp_path: Path):
    with pytest.raises(dop.UnknownNameError, match="Did you mean 'matrix-game'"):
        dop.train(TINY, "matrixgame", run_dir=tmp_path / "run")
    with pytest.raises(dop.UnknownNameError, match=r"no SMAX map '3mm'\. Did you mean '3m'"):
        dop.make("smax:3mm")


# ------------------------------------------------------------------------------------------------------- what is given by mistake

VDN = dop.VDN(actor=dop.GRU(hidden_size=4), replay_batch=2, replay_capacity=4, episodes_per_iteration=2)
MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    ("train", {"algorithm": dop.VDN}, r"algorithm is the class VDN; pass an instance: VDN\(\)"),
    ("train", {"algorithm": "vdn"}, r"algorithm must be one of .*dop\.VDN\(\)"),
    ("train", {"algorithm": None}, "algorithm must be one of"),
    ("train", {"environment": None}, "environment must be a name, an environment, or a function that makes one; got None"),
    ("train", {"environment": 3}, "environment must be a name"),
    ("train", {"environment_options": [1]}, r"options of an environment must be a dict.*got \[1\]"),
    ("train", {"environment_options": {3: 1}}, "must be a dict, from names to values"),
    ("train", {"environment_options": {"n_agents": 10**5000}}, "n_agents is a number of 16610 bits; it must be at most"),
    (
        "train",
        {"environment_options": {"x": functools.reduce(lambda inner, _: [inner], range(30), 0)}},
        "option x nests lists or dicts more than 20 deep",
    ),
    ("train", {"seeds": None}, "seeds must be a number of seeds or a list of seeds, got None"),
    ("train", {"seeds": "3"}, "seeds must be a number of seeds or a list of seeds, got '3'"),
    ("train", {"seeds": True}, "seeds must be a number of seeds"),
    ("train", {"seeds": 2.0}, r"got 2\.0\. Write 2\."),
    ("train", {"seeds": [1.5]}, r"seeds must be a tuple of whole numbers, got \(1\.5,\)"),
    ("train", {"seeds": [2**32]}, r"seeds must be below 2\*\*32"),
    ("train", {"seeds": 10**30}, "At most 256 seeds"),
    ("train", {"eval_intervall": 3}, "no argument or field of dop.TrainConfig 'eval_intervall'. Did you mean 'eval_interval'"),
    ("train", {"env_steps": 1e6}, r"env_steps must be a whole number, got 1000000\.0\. Write 1000000\."),
    ("train", {"env_steps": 10**5000}, "env_steps must be below .* got a number of 16610 bits"),
    ("train", {"env_workers": "ray:" + "9" * 5000}, "env_workers must be 0, a number of processes, or ray:N"),
    ("train", {"loggers": None}, r"loggers must be a list of names or objects, for example \['wandb'\], or empty; got None"),
    ("train", {"loggers": "wandb"}, "loggers must be a list of names.*got 'wandb'"),
    ("train", {"loggers": [3]}, "int is not a logger: it has no open, write, close"),
    ("train", {"callbacks": print}, "callbacks must be a list of objects like dop.Callback, or names"),
    ("train", {"callbacks": [print]}, "is not a callback: it has no on_chunk, on_evaluation, on_checkpoint"),
    ("train", {"callbacks": [dop.Callback]}, "the class Callback; pass an instance"),
    ("train", {"quiet": "no"}, "quiet must be True or False, got 'no'"),
    ("train", {"run_dir": "x" * 300}, "run_dir: File name too long"),
    ("train", {"run_dir": ""}, "run_dir must be a path, got ''"),
    ("train", {"run_dir": "a\0b"}, "run_dir must be a path"),
    ("train", {"run_dir": 3}, "run_dir must be a path, got 3"),
    ("resume", {"run_dir": None}, "run_dir must be a path, got None"),
    ("resume", {"run_dir": dop.Run(Path("a"), None)}, r"Give its path: run_dir\.path"),  # pyright: ignore[reportArgumentType]
    ("evaluate", {"run_dir": "a", "seed": 1.5}, r"seed must be a whole number, got 1\.5"),
    ("evaluate", {"run_dir": "a", "seed": -1}, "seed must not be negative, got -1"),
    ("evaluate", {"run_dir": "a", "seed": 2**63}, "seed must be below 4,294,967,296"),
    ("evaluate", {"run_dir": "a", "episodes": 1.5}, "episodes must be a whole number"),
    ("evaluate", {"run_dir": "a", "episodes": 10**30}, "episodes must be below 1,000,001"),
    ("evaluate", {"run_dir": "a", "episodes": None}, "episodes must be a whole number, got None"),
    ("evaluate", {"run_dir": "a", "trust": "no"}, "trust must be True or False, got 'no'"),
    ("credit", {"run_dir": "a", "training_episodes": 0}, "training_episodes must be positive"),
    ("credit", {"run_dir": "a", "films": 1}, "films must be True or False"),
    ("render", {"run_dir": "a", "kind": 3}, "Films are written as gif or mp4, not as 3"),
    ("export", {"run_dir": "a", "out": 3}, "out must be a path, got 3"),
    ("report", {"runs": "a"}, "runs must be a list of paths, got 'a'"),
    ("report", {"runs": [None]}, r"runs\[0\] must be a path, got None"),
    ("plot", {"runs": [], "others": "o.json", "out": "a.png"}, "others must be a list of paths"),
    ("plot", {"runs": ["a"], "out": "a.png", "axes": "env_steps"}, "axes must have env_steps"),
    ("plot", {"runs": ["a"], "out": "a.png", "metric": 3}, "title and metric must be texts"),
    ("make", {"name": 3}, "An environment's name must be a string"),
    ("make", {"name": None}, "An environment's name must be a string"),
]


@pytest.mark.parametrize(("function", "given", "words"), MISTAKES)
def test_what_is_given_by_mistake_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, given: dict[str, Any], words: str
):
    monkeypatch.chdir(tmp_path)
    usual = {"train": {"algorithm": VDN, "environment": "matrix-game"}}.get(function, {}) | given
    places = [usual.pop(name) for name in ("algorithm", "environment", "run_dir", "runs", "name") if name in usual and function != "train"]
    called: Any = getattr(dop, function) if function in ("train", "resume", "evaluate", "make") else getattr(dop.views, function)
    with pytest.raises(dop.ConfigError, match=words):
        called(*places, **usual)
    assert not any(tmp_path.iterdir())


def test_numbers_of_numpy_are_numbers(tmp_path: Path):
    """The run is that of the same numbers of Python, also where it goes on from its files, which hold no others."""
    measured: dict[str, Any] = {"eval_interval": 8, "eval_episodes": 2, "chunk_iterations": 2, "checkpoint_interval": 8}
    steps, third = np.float32(0.3), float(np.float32(0.3))
    size: Any = np.uint8(4)
    numpys: Any = dataclasses.replace(VDN, gamma=np.float32(0.9), replay_batch=np.int64(2), actor=dop.GRU(hidden_size=size))
    pythons = dataclasses.replace(VDN, gamma=float(np.float32(0.9)))
    options = {"n_agents": np.int64(2), "n_actions": np.int32(2), "optimal_reward": steps, "relaxed": np.bool_(False)}
    train_config: dict[str, Any] = {name: np.int64(value) for name, value in measured.items()}
    train_config |= {"env_steps": np.int32(8), "seeds": [np.int64(3)]}
    more: dict[str, Any] = {"env_steps": np.int64(16)}
    shown: dict[str, Any] = {"episodes": np.int32(4), "seed": np.uint8(3)}
    run = dop.train(numpys, "matrix-game", environment_options=options, run_dir=tmp_path / "a", quiet=True, **train_config)
    run = dop.resume(run.path, quiet=True, **more)
    game = dop.make("matrix-game", n_agents=2, n_actions=2, optimal_reward=third)
    other = dop.train(pythons, game, seeds=[3], env_steps=16, run_dir=tmp_path / "b", quiet=True, **measured)
    timeless = [[dataclasses.replace(record, wall_seconds=0) for record in found.records] for found in (run, other)]
    assert timeless[0] == timeless[1]
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in "ab"]
    assert configs[0] == configs[1] | {"environment_options": configs[0]["environment_options"]}
    assert configs[0]["hyper_parameters"]["gamma"] == 0.8999999761581421
    assert configs[0]["environment_options"] == {"n_agents": 2, "n_actions": 2, "optimal_reward": third, "relaxed": False}
    assert dop.evaluate(run.path, **shown).keys() == {name for name in run.outcome.evaluation if name.endswith("_mean")}


@pytest.mark.parametrize("seeds", [3, np.int64(3), [0, 1, 2], (0, np.int8(1), 2), range(3), np.arange(3), iter([0, 1, 2]), jnp.arange(3)])
def test_seeds_are_how_many_or_which(seeds: Any):
    rules = planning._train_config(10, seeds, {})
    assert rules.seeds == (0, 1, 2)
    assert all(type(seed) is int for seed in rules.seeds)


def test_environments_and_specs_of_numpys_numbers_are_those_of_pythons():
    for number in (np.float32(0.25), np.float64(0.25), jnp.float32(0.25), np.array(0.25)):
        assert dop.make("mill", alpha=number, n_agents=np.int64(3)) == Mill(alpha=0.25, n_agents=3)
        assert type(Mill(alpha=number).alpha) is float  # pyright: ignore[reportArgumentType]
    sizes: Any = {"obs_sizes": (np.int64(2),), "action_sizes": (np.uint8(3),), "state_size": np.int16(1), "time_limit": np.int32(4)}
    spec = dop.EnvSpec(name="x", version="1", agents=("a",), **sizes, options=(("k", [np.float32(0.25)]),))
    assert json.loads(json.dumps(dataclasses.asdict(spec)))["options"] == [["k", [0.25]]]
    with pytest.raises(dop.ConfigError, match="a finite number"):
        dop.VDN(gamma=np.float32("nan")).check(spec)  # pyright: ignore[reportArgumentType]


def test_environment_options_beside_a_function_are_refused():
    """They would be in config.json, and nobody would have had them."""
    with pytest.raises(dop.ConfigError, match=r"environment_options \{'n_agents': 3\} need an environment given by name"):
        dop.preflight(TINY, dop.make("matrix-game"), environment_options={"n_agents": 3})


def test_each_seed_is_evaluated_on_episodes_of_its_own(run: dop.Run):
    """Else their means would agree by luck, and the interval over seeds would be too narrow."""
    found = dop.evaluate_episodes(run.path, episodes=32, environment=ObservationValue())
    assert not np.array_equal(found.returns[0], found.returns[1])
    again = dop.evaluate_episodes(run.path, episodes=32, environment=ObservationValue())
    np.testing.assert_array_equal(found.returns, again.returns)


def test_a_run_that_is_over_after_its_warm_up_says_that_nothing_is_learned(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("WARNING", "dop"):
        dop.train(TINY, ObservationValue(), env_steps=5, run_dir=tmp_path / "run", quiet=True, eval_episodes=4)
    assert "nothing is learned: the warm-up alone took 16 environment steps, and the run has 5" in caplog.text


@pytest.mark.parametrize("scale", [1e-50, 1e39])
def test_a_scale_that_float32_does_not_hold_is_refused(scale: float):
    with pytest.raises(dop.ConfigError, match="reward_scale must be a number that float32 holds"):
        dop.preflight(TINY, "matrix-game", reward_scale=scale)


def test_trust_is_taken_by_its_earlier_name_too(trained: Path):
    earlier: dict[str, Any] = {"trust_env": True}
    assert dop.evaluate(trained, episodes=2, **earlier) == dop.evaluate(trained, episodes=2, trust=True)
    with pytest.raises(TypeError, match="both trust and trust_env"):
        dop.evaluate(trained, episodes=2, trust=True, **earlier)


def test_a_run_of_an_object_is_found_again_by_the_object_only(trained: Path, tmp_path: Path):
    """No word of trust makes it from its name."""
    folder = RunFolder(Path(shutil.copytree(trained, tmp_path / "run")))
    folder.config.write_text(json.dumps(json.loads(folder.config.read_text()) | {"environment": "relay"}))
    for trust in (False, True):
        with pytest.raises(
            dop.RunError, match=r"environment object 'relay', which cannot be made from its name. From Python pass it again"
        ):
            dop.evaluate(folder.path, trust=trust)
