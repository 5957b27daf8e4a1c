"""Taking a policy away: ONNX and safetensors files, and a description that says how to play with them.

Every agent has a file of its own, `policy-<agent>.onnx`, with what that agent needs and nothing else: its network (shared or not, its
agent id is folded into the first layer's bias), its own numbers of observations and actions. Where an agent's name cannot be a file's
(`red/1`), or differs from another's in nothing but capitals, the file has a similar one, which the description names. The batch size is
free; everything is float32, numbered actions are int64.

    inputs     obs [batch, obs]   legal [batch, action] bool   and of recurrent agents   last_action [batch], hidden [batch, hidden]
    outputs    action [batch] or [batch, action]   scores [batch, action]               next_hidden [batch, hidden]

At the start of an episode `hidden` is 0 and `last_action` is -1; later they are the step before's `next_hidden` and `action`. `scores` are
what the network gives (logits or values) and `action` is what greedy play makes of them (`dop.networks.greedy_policy.Policy`).

The graphs are written node by node with the `onnx` package: jax2onnx 0.13 can trace neither the GRU's split under a free batch size nor
networks that are stacked over agents.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from dop.errors import ConfigError, MissingExtraError
from dop.networks.greedy_policy import Policy
from dop.networks.layers import MLP, FeedForwardAgent, GRUCell, Linear, PerAgent, RecurrentAgent
from dop.storage import files as disk
from dop.storage.checkpoints import flatten
from dop.types import EnvSpec

OPSET = 17
"""Of the ONNX operators; readers of 2022 and later know it."""


def write_policies(policy: Policy, spec: EnvSpec, folder: Path) -> dict[str, Path]:
    """One ONNX file for each agent, by agent: `models`, written."""
    return write_models(models(policy, spec), folder)


def models(policy: Policy, spec: EnvSpec) -> dict[str, Any]:
    """The ONNX model of every agent.

    Raises:
        MissingExtraError: `onnx` is not installed.
        ConfigError: the policy is of a kind that cannot be written.
    """
    check_known(policy, spec)
    return {agent: agent_model(policy, spec, place) for place, agent in enumerate(spec.agents)}


def write_models(models: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """One file for each agent, by agent."""
    written = {}
    for (agent, model), name in zip(models.items(), disk.safe_names(list(models)), strict=True):
        written[agent] = folder / f"policy-{name}.onnx"
        disk.write_bytes(written[agent], model.SerializeToString())
    return written


def write_weights(policy: Policy, path: Path) -> Path:
    """All of the team's weights as they are, every array by the name of its place (`network/cell/input_layer/weight` ...)."""
    safetensors = _extra("safetensors.numpy", "safetensors")
    weights = {
        name.removeprefix("team/"): np.ascontiguousarray(array) for name, array in flatten(policy).items() if name.startswith("team/")
    }
    disk.write_bytes(path, safetensors.save(weights))
    return path


def describe(policy: Policy, spec: EnvSpec, files: dict[str, Path]) -> dict[str, Any]:
    """How to play with the files, for people and programs."""
    recurrent = isinstance(policy.team.network, RecurrentAgent)
    discrete = policy.chosen == "argmax"
    agents = {
        agent: {
            "file": files[agent].name,
            "obs": spec.obs_sizes[place],
            "actions": spec.action_sizes[place],
            **({"hidden": policy.team.network.output_layer.in_features} if isinstance(policy.team.network, RecurrentAgent) else {}),
        }
        for place, agent in enumerate(spec.agents)
    }
    start = {"hidden": "zeros", "last_action": -1} if recurrent else {}
    after = {"hidden": "next_hidden of the step before", "last_action": "action of the step before"} if recurrent else {}
    return {
        "format": 1,
        "agents": agents,
        "inputs": {name: f"{kind} [{', '.join(map(str, shape))}]" for name, kind, shape in _inputs(policy, spec, 0, words=True)},
        "outputs": {
            "action": "int64 [batch]" if discrete else "float32 [batch, actions]",
            "scores": "float32 [batch, actions]: what the network gives",
            **({"next_hidden": "float32 [batch, hidden]"} if recurrent else {}),
        },
        "action": _ACTION_WORDS[policy.chosen],
        "at_the_start": start,
        "later": after,
    }


_ACTION_WORDS = {
    "argmax": "the number of the largest score among the legal actions; 0 where none is legal",
    "corner": "1 for the largest score among the components that exist, 0 for the others",
    "softmax": "softmax of scores / temperature over the components that exist: a point of the simplex",
    "tanh": "tanh of the scores: a point of the box [-1, 1]",
}


# -------------------------------------------------------------------------------------------------------------------- kinds

_KNOWN = (Policy, PerAgent, RecurrentAgent, FeedForwardAgent, GRUCell, MLP, Linear)
"""What the graphs below are written of. A subclass of one of them may compute something else."""


def check_known(policy: Any, spec: EnvSpec) -> None:
    """Raise ConfigError for a policy that is not exactly what the graphs are written of, in every part down to the layers' shapes."""
    for name, part in _parts(policy, "the policy"):
        if type(part) not in _KNOWN:
            raise ConfigError(
                f"Only policies of the library's own networks can be exported, but {name} is a {type(part).__name__}, which may compute "
                f"something else. Known are {', '.join(kind.__name__ for kind in _KNOWN)}."
            )
    if type(policy) is not Policy or type(policy.team) is not PerAgent or policy.chosen not in _ACTION_WORDS:
        found = f"{type(policy).__name__} that chooses by {getattr(policy, 'chosen', None)!r}"
        raise ConfigError(f"A policy that can be exported has a team and one of {', '.join(_ACTION_WORDS)}; this one is a {found}.")
    if (policy.chosen == "argmax") != (spec.action_kind == "discrete"):
        raise ConfigError(f"Actions of {spec.name} are {spec.action_kind}, which a policy that chooses by {policy.chosen} does not give.")
    (here, form), (there, usual_form) = map(
        jax.tree.flatten_with_path, (policy.team, eqx.filter_eval_shape(_usual_team, policy.team, spec))
    )
    pairs = zip(here, there, strict=False)
    differ = [jax.tree_util.keystr(path) for (path, x), (_, y) in pairs if (x.shape, x.dtype) != (y.shape, y.dtype)]
    if form != usual_form or differ:
        what = f"{differ[0].lstrip('.')} is of another shape or type" if form == usual_form else "it has other layers, agents or actions"
        raise ConfigError(f"The team's networks are not made for {spec.name} as the library makes them: {what}. They cannot be exported.")


def _parts(part: Any, name: str) -> Iterator[tuple[str, Any]]:
    """`part` and everything in it that computes: modules and functions, with their places in words."""
    if isinstance(part, eqx.Module):
        yield name, part
        for field in dataclasses.fields(part):
            yield from _parts(getattr(part, field.name), f"{name}.{field.name}")
    elif isinstance(part, tuple | list):
        for place, inner in enumerate(part):
            yield from _parts(inner, f"{name}[{place}]")
    elif callable(part):
        yield name, part


def _usual_team(team: PerAgent, spec: EnvSpec) -> PerAgent:
    """What the library would have made for `spec`, with as many hidden units."""
    network = team.network
    units = network.output_layer.in_features if isinstance(network, RecurrentAgent) else network.layers.layers[0].out_features
    hidden = 1 if isinstance(units, str) else units  # equinox's word for one without an axis

    def make(key: PRNGKeyArray) -> RecurrentAgent | FeedForwardAgent:
        if isinstance(network, RecurrentAgent):
            return RecurrentAgent(spec.obs_size, spec.action_size, spec.n_agents, hidden, key=key)
        return FeedForwardAgent(spec.obs_size, spec.action_size, spec.n_agents, hidden, kind=spec.action_kind, key=key)

    return PerAgent(make, team.groups, key=jax.random.key(0))


# ------------------------------------------------------------------------------------------------------------------- graphs


def agent_model(policy: Policy, spec: EnvSpec, place: int) -> Any:
    """The ONNX model of the agent at `place`, of a policy that `check_known` lets pass."""
    onnx = _extra("onnx", "onnx")
    network = policy.team.of(place)
    graph = _Graph(onnx)
    if isinstance(network, RecurrentAgent):
        _recurrent(graph, network, spec, place)
    else:
        _feed_forward(graph, network, spec, place)
    _choose(graph, policy)
    types = {"float32": onnx.TensorProto.FLOAT, "int64": onnx.TensorProto.INT64, "bool": onnx.TensorProto.BOOL}
    size = spec.action_sizes[place]
    action = ("action", "int64", ("batch",)) if policy.chosen == "argmax" else ("action", "float32", ("batch", size))
    outputs = [action, ("scores", "float32", ("batch", size))]
    if isinstance(network, RecurrentAgent):
        outputs.append(("next_hidden", "float32", ("batch", network.output_layer.in_features)))
    ends = [[onnx.helper.make_tensor_value_info(n, types[k], s) for n, k, s in end] for end in (_inputs(policy, spec, place), outputs)]
    body = onnx.helper.make_graph(graph.nodes, f"policy of {spec.agents[place]}", *ends, initializer=graph.constants)
    model = onnx.helper.make_model(body, opset_imports=[onnx.helper.make_opsetid("", OPSET)], producer_name="dop", ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def _inputs(policy: Policy, spec: EnvSpec, place: int, *, words: bool = False) -> Iterator[tuple[str, str, tuple[str | int, ...]]]:
    """Name, type and shape of what a policy takes; `words`: with names for sizes, which differ between agents."""
    yield "obs", "float32", ("batch", "obs" if words else spec.obs_sizes[place])
    yield "action_mask", "bool", ("batch", "actions" if words else spec.action_sizes[place])
    network = policy.team.network
    if isinstance(network, RecurrentAgent):
        yield "last_action", "int64", ("batch",)
        yield "hidden", "float32", ("batch", "hidden" if words else network.output_layer.in_features)


class _Graph:
    """Nodes and constants as they are added; a node's result has the name that `add` returns."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(kind, inputs, [output], **attributes))
        return output

    def linear(self, x: str, weight: Any, bias: Any, output: str | None = None) -> str:
        """weight x + bias, as a layer of the library has them."""
        return self.add("Gemm", x, self.constant(_float(weight)), self.constant(_float(bias)), output=output, transB=1)


def _recurrent(graph: _Graph, network: RecurrentAgent, spec: EnvSpec, place: int) -> None:
    """`dop.networks.layers.RecurrentAgent`: scores and next_hidden."""
    weight, bias = np.asarray(network.input_layer.weight), np.asarray(network.input_layer.bias)
    of_obs, of_last, of_id = np.split(weight, np.cumsum([spec.obs_size, network.action_size]), axis=1)
    # A row for each action, and zeros for -1, which picks the last.
    rows = np.concatenate([of_last.T, np.zeros((1, len(weight)))])
    last = graph.add("Gather", graph.constant(_float(rows)), "last_action")
    seen = graph.linear("obs", of_obs[:, : spec.obs_sizes[place]], bias + of_id[:, place])
    x = graph.add("Relu", graph.add("Add", seen, last))
    hidden = _gru(graph, x, network)
    own = slice(spec.action_sizes[place])
    graph.add("Identity", hidden, output="next_hidden")
    graph.linear(hidden, np.asarray(network.output_layer.weight)[own], np.asarray(network.output_layer.bias)[own], output="scores")


def _gru(graph: _Graph, x: str, network: RecurrentAgent) -> str:
    """ONNX's cell on one step. Its gates are in another order: update, reset, new."""

    def ordered(array: Any) -> np.ndarray:
        reset, update, new = np.split(np.asarray(array), 3)
        return np.concatenate([update, reset, new])

    cell = network.cell
    weights = [graph.constant(_float(ordered(layer.weight)[None])) for layer in (cell.input_layer, cell.hidden_layer)]
    bias = graph.constant(_float(np.concatenate([ordered(cell.input_layer.bias), ordered(cell.hidden_layer.bias)])[None]))
    first = graph.constant(np.array([0]))
    step, before = graph.add("Unsqueeze", x, first), graph.add("Unsqueeze", "hidden", first)
    size = int(cell.hidden_layer.in_features)
    after = graph.add("GRU", step, *weights, bias, "", before, hidden_size=size, linear_before_reset=1)
    return graph.add("Squeeze", after, graph.constant(np.array([0, 1])))


def _feed_forward(graph: _Graph, network: FeedForwardAgent, spec: EnvSpec, place: int) -> None:
    """`dop.networks.layers.FeedForwardAgent`: scores."""
    first, *rest = network.layers.layers
    of_obs, of_id = np.split(np.asarray(first.weight), [spec.obs_size], axis=1)
    x = graph.linear("obs", of_obs[:, : spec.obs_sizes[place]], np.asarray(first.bias) + of_id[:, place])
    for layer in rest[:-1]:
        x = graph.linear(graph.add("Relu", x), layer.weight, layer.bias)
    own = slice(spec.action_sizes[place])
    graph.linear(graph.add("Relu", x), np.asarray(rest[-1].weight)[own], np.asarray(rest[-1].bias)[own], output="scores")


def _choose(graph: _Graph, policy: Policy) -> None:
    """The action that greedy play makes of the scores."""
    if policy.chosen == "tanh":
        zero = graph.constant(np.float32(0))
        graph.add("Where", "action_mask", graph.add("Tanh", "scores"), zero, output="action")
        return
    lowest = graph.constant(np.finfo(np.float32).min)
    if policy.chosen == "softmax":
        warm = graph.add("Div", "scores", graph.constant(_float(policy.temperature)))
        graph.add("Softmax", graph.add("Where", "action_mask", warm, lowest), output="action", axis=-1)
        return
    best = graph.add("Where", "action_mask", "scores", lowest)
    if policy.chosen == "argmax":
        graph.add("ArgMax", best, output="action", axis=-1, keepdims=0)
        return
    number = graph.add("ArgMax", best, axis=-1, keepdims=0)
    size = graph.add("Shape", "scores", start=1)
    graph.add("OneHot", number, size, graph.constant(np.array([0, 1], np.float32)), output="action", axis=-1)


def _float(value: Any) -> np.ndarray:
    return np.asarray(value, np.float32)


def _extra(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(package, "onnx", "dop export") from error


def check_extra(names: Sequence[str] = ("onnx", "onnxruntime", "safetensors.numpy")) -> None:
    """Raise MissingExtraError before anything is restored or written."""
    for name in names:
        _extra(name, name.partition(".")[0])
