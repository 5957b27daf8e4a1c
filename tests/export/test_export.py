"""Exported policies do what the library's own greedy play does, to 1e-5 over 1,000 random steps, for every algorithm and kind of action."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dop
from dop import algorithms, views
from dop.analysis.playback import Player
from dop.export import parity, policy_files
from dop.export.graph import Graph
from dop.networks.layers import Agent, GRUCell, Linear, PerAgent
from dop.networks.recurrent import RecurrentNetwork
from dop.networks.teams.greedy_policy import Policy
from dop.training.program import Program
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
    files = policy_files.write_policies(algorithm.policy(learner), spec, tmp_path)
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
    action_mask = exists & (jax.random.bernoulli(k_legal, 0.6, (STEPS, n, a)) | (jnp.arange(a) == 0) | (spec.action_kind != "discrete"))
    zeros = jnp.zeros(STEPS)
    return TimeStep(
        obs=jax.random.normal(k_obs, (STEPS, n, spec.obs_size)) * 2 * seen,
        state=jnp.zeros((STEPS, spec.state_size)),
        action_mask=action_mask,
        reward=zeros,
        terminated=zeros > 0,
        truncated=zeros > 0,
        metrics=jnp.zeros((STEPS, 0)),
    )


def greedy_play(algorithm: Any, learner: Any, spec: dop.EnvSpec, steps: TimeStep) -> Any:
    """The library's own actions and memories; every `EPISODE` steps an episode begins."""
    fresh = algorithm.initial_carry(spec)

    def body(carry: Any, x: Any) -> Any:
        t, step = x
        carry = jax.tree.map(lambda new, old: jnp.where(t % EPISODE == 0, new, old), fresh, carry)
        choice, carry = algorithm.act(learner, carry, step, jax.random.key(0), explore=False)
        return carry, (choice.action, getattr(carry, "hidden", None))

    return jax.lax.scan(body, fresh, (jnp.arange(STEPS), steps))


def replay(session: Any, spec: dop.EnvSpec, place: int, steps: TimeStep) -> dict[str, np.ndarray]:
    """The exported policy's outputs, all episodes as one batch, step by step."""
    names = [node.name for node in session.get_outputs()]
    batch = STEPS // EPISODE
    seen = {
        "obs": np.asarray(steps.obs)[:, place, : spec.obs_sizes[place]].reshape(batch, EPISODE, -1),
        "action_mask": np.asarray(steps.action_mask)[:, place, : spec.action_sizes[place]].reshape(batch, EPISODE, -1),
    }
    sizes = {node.name: node.shape for node in session.get_inputs()}
    carry = {}
    if "hidden" in sizes:
        carry = {"hidden": np.zeros((batch, sizes["hidden"][1]), np.float32), "last_action": np.full(batch, -1)}
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for t in range(EPISODE):
        out = dict(zip(names, session.run(None, {name: x[:, t] for name, x in seen.items()} | carry), strict=True))
        carry = {"hidden": out["next_hidden"], "last_action": out["action"]} if carry else {}
        for name in names:
            found[name].append(out[name])
    return {name: np.stack(values, axis=1).reshape(STEPS, *values[0].shape[1:]) for name, values in found.items()}


# ----------------------------------------------------------------------------------------------------- what is not exported


class Normed(RecurrentNetwork):
    """The usual network with one more layer, which no file of the usual one has."""

    norm: eqx.nn.LayerNorm

    def __init__(self, *sizes: int, key: Any) -> None:
        super().__init__(GRUCell, *sizes, key=key)
        self.norm = eqx.nn.LayerNorm(sizes[-1])

    def __call__(self, state: Any, x: Any) -> Any:
        state, _ = super().__call__(state, x)
        return state, self.output_layer(self.norm(state))


class Followed(Agent):
    """An agent that does more than its network."""


class Doubled(Linear):
    def __call__(self, x: Any, *, key: Any = None) -> Any:
        return 2 * super().__call__(x)


class Slow(GRUCell):
    pass


class Crowd(PerAgent):
    pass


class Warm(Policy):
    pass


def a_copy(kind: type, module: Any) -> Any:
    """A module of another class with the same fields."""
    made = object.__new__(kind)
    for field in dataclasses.fields(module):
        object.__setattr__(made, field.name, getattr(module, field.name))
    return made


def usual() -> tuple[Policy, dop.EnvSpec]:
    spec, algorithm = make_spec(), small("vdn")
    return algorithm.policy(algorithm.init(jax.random.key(1), spec)), spec


def of_layers() -> tuple[Policy, dop.EnvSpec]:
    spec, algorithm = make_spec(), small("maddpg")
    return algorithm.policy(algorithm.init(jax.random.key(1), spec)), spec


NETWORK, LAYERS = (lambda p: p.team.network.network), (lambda p: p.team.network.network.layers)


def is_tuple(x: Any) -> bool:
    return isinstance(x, tuple)


CHANGES: dict[str, tuple[Any, Any, str]] = {
    "a network": (
        usual,
        lambda p: eqx.tree_at(NETWORK, p, Normed(12, 4, 8, key=jax.random.key(0))),
        "policy.team.network.network is a Normed",
    ),
    "a layer": (
        usual,
        lambda p: eqx.tree_at(lambda p: NETWORK(p).output_layer, p, a_copy(Doubled, NETWORK(p).output_layer)),
        "output_layer is a Doubled",
    ),
    "a cell": (usual, lambda p: eqx.tree_at(lambda p: NETWORK(p).cell, p, a_copy(Slow, NETWORK(p).cell)), "cell is a Slow"),
    "a function": (
        of_layers,
        lambda p: eqx.tree_at(lambda p: LAYERS(p).layers, p, (*LAYERS(p).layers, jnp.tanh), is_leaf=is_tuple),
        r"layers\[3\] is a",
    ),
    "an agent": (
        usual,
        lambda p: eqx.tree_at(lambda p: p.team.network, p, a_copy(Followed, p.team.network)),
        "policy.team.network is a Followed",
    ),
    "a team": (usual, lambda p: eqx.tree_at(lambda p: p.team, p, a_copy(Crowd, p.team)), "policy.team is a Crowd"),
    "a policy": (usual, lambda p: a_copy(Warm, p), "the policy is a Warm"),
    "another choice": (
        usual,
        lambda p: replace(p, chosen="sampled"),
        "one of argmax, corner, softmax, tanh can be exported; this one chooses by 'sampled'",
    ),
    "no policy": (usual, lambda p: p.team, "here the policy is a PerAgent"),
    "half precision": (
        usual,
        lambda p: jax.tree.map(lambda x: x.astype(jnp.float16) if x.ndim else x, p),
        "network.network.input_layer.weight is float16; exports are float32",
    ),
    "one more unit": (
        usual,
        lambda p: eqx.tree_at(lambda p: NETWORK(p).cell.hidden_layer.weight, p, jnp.zeros((27, 9))),
        "are not made for test:random",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_exactly_the_librarys_own_is_refused(tmp_path: Path, change: str):
    make, changed, words = CHANGES[change]
    policy, spec = make()
    policy_files.check_known(policy, spec)
    with pytest.raises(dop.ConfigError, match=words):
        policy_files.write_policies(changed(policy), spec, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_policy_of_another_environment_is_refused():
    policy, spec = usual()
    with pytest.raises(dop.ConfigError, match="are not made for"):
        policy_files.check_known(policy, replace(spec, action_sizes=(7,) * spec.n_agents))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("act", "in greedy episodes, it prefers another action, whose output is larger by"),
        ("choice", "it prefers another action"),
        ("weights", "its outputs differ by|its hidden states differ by"),
    ],
)
def test_a_policy_that_does_something_else_is_not_kept(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, words: str
):
    if change == "act":  # an algorithm that does more with its networks than it says
        act = dop.StochasticDOP.act

        def other(self: Any, *seen: Any, explore: bool) -> Any:
            choice, carry = act(self, *seen, explore=explore)
            action = 1 - choice.action
            return replace(choice, action=action), replace(carry, last_action=action)

        monkeypatch.setattr(dop.StochasticDOP, "act", other)
    elif change == "choice":
        add = Graph.add
        swapped: dict[str, str] = {"ArgMax": "ArgMin"}
        monkeypatch.setattr(Graph, "add", lambda self, kind, *x, **how: add(self, swapped.get(kind) or kind, *x, **how))
    else:
        linear = Graph.linear
        monkeypatch.setattr(Graph, "linear", lambda self, x, weight, *rest, **how: linear(self, x, 1.01 * weight, *rest, **how))
    with pytest.raises(dop.RunError, match=rf"The exported policy of agent_0 would differ from the library's: .*({words})"):
        views.export(trained, trust=True, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "actions"), [("maac", "simplex"), ("deterministic-dop", "simplex"), ("maddpg", "discrete")])
def test_what_does_the_same_passes(name: str, actions: str):
    env, algorithm = dop.make("mill", n_agents=3, actions=actions), small(name)
    learner = algorithm.init(jax.random.key(3), env.spec)
    policy = algorithm.policy(learner)
    program = Program(algorithm=algorithm, environment=env)
    parity.check(policy_files.models(policy, env.spec), policy, program, learner, jax.random.key(0))


@pytest.mark.parametrize("change", ["no bias", "one more layer"])
def test_other_layers_of_the_librarys_kinds_are_exported(change: str):
    """What a network writes is what it has, whoever put its layers together."""
    policy, spec = of_layers() if change == "one more layer" else usual()
    if change == "no bias":
        changed = eqx.tree_at(lambda p: NETWORK(p).output_layer.bias, policy, None)
    else:
        changed = eqx.tree_at(lambda p: LAYERS(p).layers, policy, LAYERS(policy).layers[:2] + LAYERS(policy).layers[1:], is_leaf=is_tuple)
    model = policy_files.models(changed, spec)["agent_0"]
    obs = np.linspace(-1, 1, 5, dtype=np.float32)
    seen = {"obs": obs[None], "action_mask": np.ones((1, 4), bool)}
    session = ort.InferenceSession(model.SerializeToString())
    names = {node.name for node in session.get_inputs()}
    rest = {"hidden": np.zeros((1, 8), np.float32), "last_action": np.array([-1])}
    _, scores, *_ = session.run(None, seen | {name: value for name, value in rest.items() if name in names})
    agent = changed.team.of(0)
    _, expected = agent(agent.init_state(), jnp.asarray(obs), jnp.array(-1), jnp.array(0))
    np.testing.assert_allclose(np.asarray(scores)[0], expected, atol=1e-5)


def test_nothing_legal_and_a_batch_of_one(tmp_path: Path):
    spec, algorithm = make_spec(), small("vdn")
    files = policy_files.write_policies(algorithm.policy(algorithm.init(jax.random.key(1), spec)), spec, tmp_path)
    session = ort.InferenceSession(files["agent_2"])
    seen = {"obs": np.zeros((1, 5), np.float32), "action_mask": np.zeros((1, 3), bool), "hidden": np.zeros((1, 8), np.float32)}
    action, scores, hidden = session.run(None, seen | {"last_action": np.array([-1])})
    assert (action.shape, scores.shape, hidden.shape, action[0]) == ((1,), (1, 3), (1, 8), 0)


NAMES = [("red/1", "blue/1"), ("/../../x", "b"), ("A", "a"), (".", ".."), ("a:b", "a/b"), ("a\\b", "a-b"), ("\ufb01", "fi")]


@pytest.mark.parametrize("names", [*NAMES, ("x" * 300, "x" * 301)])
def test_files_lie_in_the_folder_whatever_agents_are_called(tmp_path: Path, names: tuple[str, str]):
    spec, algorithm = replace(make_spec(n_agents=2), agents=names), small("vdn")
    policy = algorithm.policy(algorithm.init(jax.random.key(1), spec))
    written = policy_files.write_policies(policy, spec, tmp_path / "a" / "export")
    said = policy_files.describe(policy, spec, written)["agents"]
    assert list(said) == list(names)
    for name in names:
        path = tmp_path / "a" / "export" / said[name]["file"]
        assert path.parent.resolve() == tmp_path / "a" / "export"
        assert onnx.load(path).graph.name == f"policy of {name}"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert len({path.name.casefold() for path in (tmp_path / "a" / "export").iterdir()}) == 2


def test_an_exported_run_says_how_to_use_it_and_has_its_weights(trained: Path, tmp_path: Path):
    from safetensors.numpy import load_file  # noqa: PLC0415  (an extra)

    written = views.export(trained, trust=True, out=tmp_path, run_seed=5)
    said = json.loads(written["description"].read_text())
    assert said["agents"]["agent_1"] == {"file": "policy-agent_1.onnx", "obs": 3, "actions": 2, "hidden": 8}
    assert said["made_by"]["run_seed"] == 5
    inputs = {node.name: node.type for node in ort.InferenceSession(written["agent_0"]).get_inputs()}
    assert inputs == {"obs": "tensor(float)", "action_mask": "tensor(bool)", "last_action": "tensor(int64)", "hidden": "tensor(float)"}
    assert said["inputs"].keys() == inputs.keys()
    learner: Any = views.load(trained, trust=True, run_seed=5).learner
    weights = load_file(written["weights"])
    np.testing.assert_array_equal(weights["network/cell/hidden_layer/weight"], learner.actor_ema.network.network.cell.hidden_layer.weight)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in written.values())


@pytest.mark.parametrize(("name", "actions"), [("stochastic-dop", "discrete"), ("deterministic-dop", "simplex")])
def test_the_example_plays_without_jax(tmp_path: Path, name: str, actions: str):
    """The policies are untrained; the episode is the library's own."""
    env = dop.make("mill", n_agents=3, actions=actions)
    algorithm = small(name)
    learner = algorithm.init(jax.random.key(3), env.spec)
    policy = algorithm.policy(learner)
    (tmp_path / "policy.json").write_text(
        json.dumps(policy_files.describe(policy, env.spec, policy_files.write_policies(policy, env.spec, tmp_path)))
    )
    example = Path(__file__).parents[2] / "examples" / "play_exported.py"
    blocked = f"import sys; sys.modules['jax'] = None; sys.argv = ['', {str(tmp_path)!r}]; exec(open({str(example)!r}).read())"
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, check=True)
    (take,) = Player(Program(algorithm=algorithm, environment=env))(learner, jax.random.key(0), 1)
    assert done.stdout == f"{take.length} steps, omega {take.states.omega[-1]:.2f}, return {take.undiscounted_return:g}\n"


def test_a_missing_extra_is_named(trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(dop.MissingExtraError, match=r"pip install 'dop-marl\[onnx\]'"):
        views.export(trained, trust=True, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
