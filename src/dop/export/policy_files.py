"""Export of a greedy policy: ONNX and safetensors files, and a description of their inputs and outputs.

Every agent has its own file, `policy-<agent>.onnx`, with its own numbers of observations and actions: its network, shared or not, with
the agent id as a constant. An agent whose name is no file name (`red/1`), or differs from another's in capitals alone, gets a similar one,
which the description records. The batch size is free; everything is float32, discrete actions are int64.

    inputs     obs [batch, obs]   action_mask [batch, action] bool   last_action [batch]   hidden [batch, hidden]
    outputs    action [batch] or [batch, action]   scores [batch, action]            next_hidden [batch, hidden]

At the start of an episode `hidden` is 0 and `last_action` is -1; later they are `next_hidden` and `action` of the previous step. `scores`
are the network's outputs (logits or values), `action` is the greedy choice among them (`dop.networks.teams.greedy_policy.Policy`).
`last_action` exists if it is an input of the actors, `hidden` if the network has a hidden state; several are `hidden_0`, `hidden_1`, ...

A network writes its own graph, by its method `export` (`dop.networks.protocols.ExportsItself`), operator by operator: jax2onnx 0.13 can
trace neither the GRU's split under a free batch size nor networks that are stacked over agents.
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
from equinox.nn import LayerNorm

from dop import plugins
from dop.errors import ConfigError, MissingExtraError
from dop.export.graph import INPUT, Graph, hidden_names
from dop.networks.entities import EntityNetwork
from dop.networks.layer_norm_gru import LayerNormGRUCell
from dop.networks.layers import MLP, Agent, GRUCell, Linear, PerAgent
from dop.networks.mlp import FeedForward
from dop.networks.protocols import ExportsItself
from dop.networks.recurrent import RecurrentNetwork
from dop.networks.teams.greedy_policy import Policy
from dop.storage import files as disk
from dop.storage.checkpoints import flatten
from dop.types import EnvSpec

OPSET = 17
"""Version of the ONNX operators; supported since 2022."""


def write_policies(policy: Policy, spec: EnvSpec, folder: Path) -> dict[str, Path]:
    """Write one ONNX file per agent; by agent."""
    return write_models(models(policy, spec), folder)


def models(policy: Policy, spec: EnvSpec) -> dict[str, Any]:
    """The ONNX model of every agent.

    Raises:
        MissingExtraError: `onnx` is not installed.
        ConfigError: the policy cannot be exported.
    """
    check_known(policy, spec)
    return {agent: agent_model(policy, spec, place) for place, agent in enumerate(spec.agents)}


def write_models(models: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Write one file per agent; by agent."""
    written = {}
    for (agent, model), name in zip(models.items(), disk.safe_names(list(models)), strict=True):
        written[agent] = folder / f"policy-{name}.onnx"
        disk.write_bytes(written[agent], model.SerializeToString())
    return written


def write_weights(policy: Policy, path: Path) -> Path:
    """Write all weights of the team, named by their paths (`network/cell/input_layer/weight` ...)."""
    safetensors = _extra("safetensors.numpy", "safetensors")
    own = "team/network/"
    weights = {name.removeprefix(own): np.ascontiguousarray(array) for name, array in flatten(policy).items() if name.startswith(own)}
    disk.write_bytes(path, safetensors.save(weights))
    return path


def describe(policy: Policy, spec: EnvSpec, files: dict[str, Path]) -> dict[str, Any]:
    """A description of the files, for people and programs."""
    discrete = policy.chosen == "argmax"
    states = _hidden_states(policy)
    sizes = {name: shape[0] if len(shape) == 1 else list(shape) for name, shape in states.items()}
    agents = {
        agent: {"file": files[agent].name, "obs": spec.obs_sizes[place], "actions": spec.action_sizes[place], **sizes}
        for place, agent in enumerate(spec.agents)
    }
    last = policy.team.network.sees_last_action
    return {
        "format": 1,
        "agents": agents,
        "inputs": {name: f"{kind} [{', '.join(map(str, shape))}]" for name, kind, shape in _inputs(policy, spec, 0, words=True)},
        "outputs": {
            "action": "int64 [batch]" if discrete else "float32 [batch, actions]",
            "scores": "float32 [batch, actions]: the network's outputs",
            **{f"next_{name}": f"float32 [{', '.join(_words(name, shape))}]" for name, shape in states.items()},
        },
        "action": _ACTION_WORDS[policy.chosen],
        "at_the_start": dict.fromkeys(states, "zeros") | ({"last_action": -1} if last else {}),
        "later": {name: f"next_{name} of the previous step" for name in states}
        | ({"last_action": "action of the previous step"} if last else {}),
    }


_ACTION_WORDS = {
    "argmax": "the number of the largest score among the available actions; 0 where none is available",
    "corner": "1 for the largest score among the components that exist, 0 for the others",
    "softmax": "softmax of scores / temperature over the components that exist: a point of the simplex",
    "tanh": "tanh of the scores: a point of the box [-1, 1]",
}


# -------------------------------------------------------------------------------------------------------------------- kinds

_NETWORKS = (RecurrentNetwork, FeedForward, EntityNetwork)
_KNOWN = (Policy, PerAgent, Agent, *_NETWORKS, GRUCell, LayerNormGRUCell, LayerNorm, MLP, Linear)
"""Classes with a known graph. A subclass may compute something else."""


def check_known(policy: Any, spec: EnvSpec) -> None:
    """Raise ConfigError for a policy that cannot be exported: its network has no `export`, or it does not fit `spec`."""
    part = policy
    for name, kind, inner in (
        ("the policy", Policy, "team"),
        ("policy.team", PerAgent, "network"),
        ("policy.team.network", Agent, "network"),
    ):
        if type(part) is not kind:
            raise ConfigError(f"Only a Policy with a PerAgent of Agent can be exported; here {name} is a {type(part).__name__}.")
        part = getattr(part, inner)
    if policy.chosen not in _ACTION_WORDS:
        raise ConfigError(
            f"Only policies that choose by one of {', '.join(_ACTION_WORDS)} can be exported; this one chooses by {policy.chosen!r}."
        )
    if (policy.chosen == "argmax") != (spec.action_kind == "discrete"):
        raise ConfigError(f"Actions of {spec.name} are {spec.action_kind}, which a policy that chooses by {policy.chosen} does not give.")
    network = policy.team.network.network
    name = plugins.import_path(type(network))
    if not isinstance(network, ExportsItself):
        raise ConfigError(f"{name} cannot be exported: it has no `export` method (see docs/own-network.md).")
    if any(type(network).export is own.export for own in _NETWORKS):
        _check_layers(policy)
    _check_fits(policy, spec, name)


def _check_layers(policy: Policy) -> None:
    """Raise ConfigError if a network with a library `export` has parts that may compute something else."""
    for name, part in _parts(policy, "the policy"):
        if type(part) not in _KNOWN:
            raise ConfigError(
                f"Networks export themselves, but {name} is a {type(part).__name__}, which may compute something else than what "
                f"the library would write. Known are {', '.join(kind.__name__ for kind in _KNOWN)}."
            )


def _check_fits(policy: Policy, spec: EnvSpec, name: str) -> None:
    """Raise ConfigError if the team's networks are not float32, have a nonzero initial state, or do not fit `spec`."""
    agent = policy.team.of(0)
    for path, leaf in jax.tree.leaves_with_path(policy.team):
        if eqx.is_inexact_array(leaf) and leaf.dtype != np.float32:
            where = jax.tree_util.keystr(path).lstrip(".")
            raise ConfigError(f"{name} cannot be exported: {where} is {leaf.dtype}; exports are float32.")
    state = agent.init_state()
    if any(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(state)):
        raise ConfigError(f"{name} cannot be exported: its hidden state does not start at 0.")
    seen: Any = (np.zeros(spec.obs_size, np.float32), np.int32(0), np.int32(0))
    refusal = f"The team's networks are not made for {spec.name}, and cannot be exported"
    with plugins.named(refusal):
        _, scores = jax.eval_shape(lambda agent, *seen: agent(*seen), agent, state, *seen)
    made_for = (policy.team.n_agents, agent.n_agents, agent.action_size, scores.shape)
    if made_for != (spec.n_agents, spec.n_agents, spec.action_size, (spec.action_size,)):
        raise ConfigError(f"{refusal}: they have other agents or actions.")


def _parts(part: Any, name: str) -> Iterator[tuple[str, Any]]:
    """`part` and all modules and functions in it, with their paths."""
    if isinstance(part, eqx.Module):
        yield name, part
        for field in dataclasses.fields(part):
            yield from _parts(getattr(part, field.name), f"{name}.{field.name}")
    elif isinstance(part, tuple | list):
        for place, inner in enumerate(part):
            yield from _parts(inner, f"{name}[{place}]")
    elif callable(part):
        yield name, part


# ------------------------------------------------------------------------------------------------------------------- graphs


def agent_model(policy: Policy, spec: EnvSpec, place: int) -> Any:
    """The ONNX model of the agent with index `place`, for a policy that `check_known` accepts.

    Raises:
        ConfigError: the network writes no valid graph.
    """
    onnx = _extra("onnx", "onnx")
    agent = policy.team.of(place)
    graph = Graph(onnx, agent, spec, place)
    with plugins.named(f"{plugins.import_path(type(agent.network))} cannot be exported"):
        _scores(graph, policy, spec, place)
        _choose(graph, policy)
        size = spec.action_sizes[place]
        action = ("action", "int64", ("batch",)) if policy.chosen == "argmax" else ("action", "float32", ("batch", size))
        after = [(f"next_{name}", "float32", ("batch", *shape)) for name, shape in _hidden_states(policy).items()]
        ends = [_ends(onnx, end) for end in (_inputs(policy, spec, place), (action, ("scores", "float32", ("batch", size)), *after))]
        body = onnx.helper.make_graph(graph.nodes, f"policy of {spec.agents[place]}", *ends, initializer=graph.constants)
        model = onnx.helper.make_model(body, opset_imports=[onnx.helper.make_opsetid("", OPSET)], producer_name="dop", ir_version=8)
        onnx.checker.check_model(model, full_check=True)
    return model


def _scores(graph: Graph, policy: Policy, spec: EnvSpec, place: int) -> None:
    """Add the agent's network: the scores of its own actions, and the next hidden states."""
    network = policy.team.of(place).network
    names, form = list(_hidden_states(policy)), jax.tree.structure(network.init_state())
    after, scores = network.export(graph, jax.tree.unflatten(form, names), INPUT)
    if jax.tree.structure(after) != form:
        raise ConfigError(f"`export` must return hidden states as it gets them, {form}; it returned {jax.tree.structure(after)}.")
    for name, written in zip(names, jax.tree.leaves(after), strict=True):
        graph.add("Identity", written, output=f"next_{name}")
    start, end, axis = (graph.constant(np.array([number])) for number in (0, spec.action_sizes[place], 1))
    graph.add("Slice", scores, start, end, axis, output="scores")


def _hidden_states(policy: Policy) -> dict[str, tuple[int, ...]]:
    """The shape of each hidden state of one agent's network, by its name."""
    leaves = jax.tree.leaves(policy.team.of(0).init_state())
    return {name: leaf.shape for name, leaf in zip(hidden_names(len(leaves)), leaves, strict=True)}


def _inputs(policy: Policy, spec: EnvSpec, place: int, *, words: bool = False) -> Iterator[tuple[str, str, tuple[str | int, ...]]]:
    """Name, type and shape of each input; `words`: with names instead of sizes, which differ between agents."""
    yield "obs", "float32", ("batch", "obs" if words else spec.obs_sizes[place])
    yield "action_mask", "bool", ("batch", "actions" if words else spec.action_sizes[place])
    if policy.team.network.sees_last_action:
        yield "last_action", "int64", ("batch",)
    for name, shape in _hidden_states(policy).items():
        yield name, "float32", _words(name, shape) if words else ("batch", *shape)


def _words(name: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    """The shape of a hidden state as text."""
    return ("batch", name) if len(shape) == 1 else ("batch", *map(str, shape))


def _ends(onnx: Any, ends: Any) -> list[Any]:
    """ONNX descriptions of inputs or outputs."""
    types = {"float32": onnx.TensorProto.FLOAT, "int64": onnx.TensorProto.INT64, "bool": onnx.TensorProto.BOOL}
    return [onnx.helper.make_tensor_value_info(name, types[kind], shape) for name, kind, shape in ends]


def _choose(graph: Graph, policy: Policy) -> None:
    """Add the greedy action."""
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
    """Raise MissingExtraError if a package is missing, before anything is restored or written."""
    for name in names:
        _extra(name, name.partition(".")[0])
