"""Exported policies do what the library's own greedy play does, to 1e-5 over 1,000 random steps, for every algorithm and kind of action."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dop
from dop import algorithms, views
from dop.engine.learn import Program
from dop.report import export
from dop.report.playback import Player
from dop.types import Exportable, TimeStep
from helpers import make_spec
from workers import small

ort = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
STEPS, EPISODE = 1000, 25
EXPORTABLE = [name for name, algorithm in algorithms.algorithms().items() if issubclass(algorithm, Exportable)]
CASES = [
    *((name, "discrete", "all") for name in EXPORTABLE),
    ("stochastic-dop", "discrete", "none"),
    ("coma", "discrete", "by_type"),
    ("deterministic-dop", "simplex", "none"),
    ("maddpg", "box", "all"),
    ("maac", "simplex", "all"),
]


def test_all_of_the_papers_methods_can_be_exported():
    assert {"stochastic-dop", "deterministic-dop", "coma", "vdn", "qmix", "maac", "maddpg"} <= set(EXPORTABLE)


@pytest.mark.parametrize(("name", "kind", "sharing"), CASES)
def test_parity_over_a_thousand_random_steps(tmp_path: Path, name: str, kind: Any, sharing: str):
    spec = replace(make_spec(), action_kind=kind, types=("one", "two", "one"))
    algorithm = small(name, share_parameters=sharing, temperature_start=0.7)
    learner = algorithm.init(jax.random.key(1), spec)
    files = export.write_policies(algorithm.policy(learner), spec, tmp_path)
    steps = random_steps(spec)
    _, (ours, hidden) = jax.jit(lambda: greedy_play(algorithm, learner, spec, steps))()
    for place, agent in enumerate(spec.agents):
        theirs = replay(ort.InferenceSession(files[agent]), spec, place, jax.tree.map(np.asarray, steps))
        own = np.asarray(ours)[:, place]
        np.testing.assert_allclose(own if kind == "discrete" else own[:, : spec.action_sizes[place]], theirs["action"], atol=1e-5)
        if hidden is not None:
            np.testing.assert_allclose(np.asarray(hidden)[:, place], theirs["next_hidden"], atol=1e-5)


def random_steps(spec: dop.EnvSpec) -> TimeStep:
    """What agents might see, time first; action 0 is always legal, or, of vectors, everything that exists is."""
    k_obs, k_legal = jax.random.split(jax.random.key(2))
    n, a = spec.n_agents, spec.action_size
    exists = jnp.arange(a) < jnp.asarray(spec.action_sizes)[:, None]
    seen = jnp.arange(spec.obs_size) < jnp.asarray(spec.obs_sizes)[:, None]
    legal = exists & (jax.random.bernoulli(k_legal, 0.6, (STEPS, n, a)) | (jnp.arange(a) == 0) | (spec.action_kind != "discrete"))
    zeros = jnp.zeros(STEPS)
    return TimeStep(
        obs=jax.random.normal(k_obs, (STEPS, n, spec.obs_size)) * 2 * seen,
        state=jnp.zeros((STEPS, spec.state_size)),
        legal=legal,
        reward=zeros,
        terminated=zeros > 0,
        truncated=zeros > 0,
        metrics=jnp.zeros((STEPS, 0)),
    )


def greedy_play(algorithm: Any, learner: Any, spec: dop.EnvSpec, steps: TimeStep) -> Any:
    """The library's own actions and memories; every `EPISODE` steps an episode begins."""
    fresh = algorithm.initial_memory(spec)

    def body(memory: Any, x: Any) -> Any:
        t, step = x
        memory = jax.tree.map(lambda new, old: jnp.where(t % EPISODE == 0, new, old), fresh, memory)
        choice, memory = algorithm.act(learner, memory, step, jax.random.key(0), explore=False)
        return memory, (choice.action, getattr(memory, "hidden", None))

    return jax.lax.scan(body, fresh, (jnp.arange(STEPS), steps))


def replay(session: Any, spec: dop.EnvSpec, place: int, steps: TimeStep) -> dict[str, np.ndarray]:
    """The exported policy's outputs, all episodes as one batch, step by step."""
    names = [node.name for node in session.get_outputs()]
    batch = STEPS // EPISODE
    seen = {
        "obs": np.asarray(steps.obs)[:, place, : spec.obs_sizes[place]].reshape(batch, EPISODE, -1),
        "legal": np.asarray(steps.legal)[:, place, : spec.action_sizes[place]].reshape(batch, EPISODE, -1),
    }
    sizes = {node.name: node.shape for node in session.get_inputs()}
    memory = {}
    if "hidden" in sizes:
        memory = {"hidden": np.zeros((batch, sizes["hidden"][1]), np.float32), "last_action": np.full(batch, -1)}
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for t in range(EPISODE):
        out = dict(zip(names, session.run(None, {name: x[:, t] for name, x in seen.items()} | memory), strict=True))
        memory = {"hidden": out["next_hidden"], "last_action": out["action"]} if memory else {}
        for name in names:
            found[name].append(out[name])
    return {name: np.stack(values, axis=1).reshape(STEPS, *values[0].shape[1:]) for name, values in found.items()}


def test_nothing_legal_and_a_batch_of_one(tmp_path: Path):
    spec, algorithm = make_spec(), small("vdn")
    files = export.write_policies(algorithm.policy(algorithm.init(jax.random.key(1), spec)), spec, tmp_path)
    session = ort.InferenceSession(files["agent_2"])
    seen = {"obs": np.zeros((1, 5), np.float32), "legal": np.zeros((1, 3), bool), "hidden": np.zeros((1, 8), np.float32)}
    action, scores, hidden = session.run(None, seen | {"last_action": np.array([-1])})
    assert (action.shape, scores.shape, hidden.shape, action[0]) == ((1,), (1, 3), (1, 8), 0)


NAMES = [("red/1", "blue/1"), ("/../../x", "b"), ("A", "a"), (".", ".."), ("a:b", "a/b"), ("a\\b", "a-b"), ("\ufb01", "fi")]


@pytest.mark.parametrize("names", [*NAMES, ("x" * 300, "x" * 301)])
def test_files_lie_in_the_folder_whatever_agents_are_called(tmp_path: Path, names: tuple[str, str]):
    spec, algorithm = replace(make_spec(n_agents=2), agents=names), small("vdn")
    policy = algorithm.policy(algorithm.init(jax.random.key(1), spec))
    written = export.write_policies(policy, spec, tmp_path / "a" / "export")
    said = export.describe(policy, spec, written)["agents"]
    assert list(said) == list(names)
    for name in names:
        path = tmp_path / "a" / "export" / said[name]["file"]
        assert path.parent.resolve() == tmp_path / "a" / "export"
        assert onnx.load(path).graph.name == f"policy of {name}"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert len({path.name.casefold() for path in (tmp_path / "a" / "export").iterdir()}) == 2


def test_an_exported_run_says_how_to_use_it_and_has_its_weights(trained: Path, tmp_path: Path):
    from safetensors.numpy import load_file  # noqa: PLC0415  (an extra)

    written = views.export(trained, trust_env=True, out=tmp_path, run_seed=5)
    said = json.loads(written["description"].read_text())
    assert said["agents"]["agent_1"] == {"file": "policy-agent_1.onnx", "obs": 3, "actions": 2, "hidden": 8}
    assert said["made_by"]["run_seed"] == 5
    inputs = {node.name: node.type for node in ort.InferenceSession(written["agent_0"]).get_inputs()}
    assert inputs == {"obs": "tensor(float)", "legal": "tensor(bool)", "last_action": "tensor(int64)", "hidden": "tensor(float)"}
    assert said["inputs"].keys() == inputs.keys()
    learner: Any = views.load(trained, trust_env=True, run_seed=5).learner
    weights = load_file(written["weights"])
    np.testing.assert_array_equal(weights["network/cell/hidden_layer/weight"], learner.greedy_actor.network.cell.hidden_layer.weight)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in written.values())


@pytest.mark.parametrize(("name", "actions"), [("stochastic-dop", "discrete"), ("deterministic-dop", "simplex")])
def test_the_example_plays_without_jax(tmp_path: Path, name: str, actions: str):
    """The policies are untrained; the episode is the library's own."""
    env = dop.make("mill", n_agents=3, actions=actions)
    algorithm = small(name)
    learner = algorithm.init(jax.random.key(3), env.spec)
    policy = algorithm.policy(learner)
    (tmp_path / "policy.json").write_text(json.dumps(export.describe(policy, env.spec, export.write_policies(policy, env.spec, tmp_path))))
    example = Path(__file__).parents[2] / "examples" / "play_exported.py"
    blocked = f"import sys; sys.modules['jax'] = None; sys.argv = ['', {str(tmp_path)!r}]; exec(open({str(example)!r}).read())"
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, check=True)
    (take,) = Player(Program(algorithm=algorithm, environment=env))(learner, jax.random.key(0), 1)
    assert done.stdout == f"{take.length} steps, omega {take.states.omega[-1]:.2f}, return {take.undiscounted_return:g}\n"


def test_a_missing_extra_is_named(trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(dop.MissingExtraError, match=r"pip install 'dop-marl\[onnx\]'"):
        views.export(trained, trust_env=True, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
