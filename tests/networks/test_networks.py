"""Networks as parts: what they compute, by hand; what one agent sees is its own; critics of a network of one's own are the library's."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dop.networks import critics, layers
from dop.networks.gru import GRU
from dop.networks.layer_norm_gru import LayerNormGRU, LayerNormGRUCell
from dop.networks.mlp import MLP, FeedForward
from dop.networks.protocols import NetworkConfig
from dop.networks.teams import recurrent
from helpers import make_spec
from outside import OwnLSTM, OwnTanh

KEY, SPEC = jax.random.key(0), make_spec()
NETWORKS = [GRU(8), LayerNormGRU(8), MLP(8), MLP(8, layers=1), OwnLSTM(), OwnTanh()]
RNG = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_layer_norm_gru_equals_its_equations() -> None:
    cell = LayerNormGRUCell(3, 2, key=KEY)
    scaled = [eqx.tree_at(lambda n: (n.weight, n.bias), norm, (jnp.asarray(numbers(*norm.shape)), jnp.asarray(numbers(*norm.shape))))
              for norm in (cell.input_gates, cell.hidden_gates, cell.input_new, cell.hidden_new)]  # fmt: skip
    cell = eqx.tree_at(lambda c: (c.input_gates, c.hidden_gates, c.input_new, c.hidden_new), cell, tuple(scaled))
    x, h = numbers(3), numbers(2)

    def norm(layer: Any, x: np.ndarray) -> np.ndarray:
        return np.asarray(layer.weight) * (x - x.mean()) / np.sqrt(x.var() + 1e-5) + np.asarray(layer.bias)

    w, u = np.asarray(cell.input_layer.weight), np.asarray(cell.hidden_layer.weight)
    gates = sigmoid(norm(cell.input_gates, w[:4] @ x) + norm(cell.hidden_gates, u[:4] @ h))
    new = np.tanh(norm(cell.input_new, w[4:] @ x) + gates[:2] * norm(cell.hidden_new, u[4:] @ h))
    np.testing.assert_allclose(cell(jnp.asarray(x), jnp.asarray(h)), (1 - gates[2:]) * new + gates[2:] * h, rtol=1e-4, atol=1e-5)
    assert cell.input_layer.bias is None
    assert cell.hidden_layer.bias is None


def test_layer_norm_gru_does_not_see_the_scale_of_its_input() -> None:
    """What normalisation is for: a hundred times the input is the same to the cell."""
    cell, x, h = LayerNormGRUCell(3, 8, key=KEY), jnp.asarray(numbers(3)), jnp.asarray(numbers(8))
    np.testing.assert_allclose(cell(100 * x, h), cell(x, h), atol=1e-3)
    assert not np.allclose(layers.GRUCell(3, 8, key=KEY)(100 * x, h), layers.GRUCell(3, 8, key=KEY)(x, h), atol=1e-2)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_mlp_is_so_many_layers_with_relu_between(layers: int) -> None:
    network, x = MLP(4, layers=layers).build(3, 2, key=KEY), numbers(3)
    expected = x
    for i, layer in enumerate(network.layers.layers):
        expected = np.asarray(layer.weight) @ (expected if i == 0 else np.maximum(expected, 0)) + np.asarray(layer.bias)
    state, y = network(network.init_state(), jnp.asarray(x))
    assert (state, len(network.layers.layers)) == ((), layers + 1)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_what_one_agent_sees_and_keeps_is_its_own(network: NetworkConfig) -> None:
    team = recurrent.make_team(SPEC, network, sharing="by_type", key=KEY)
    hidden = jax.tree.map(lambda x: jnp.asarray(numbers(*x.shape)), recurrent.initial_hidden(team))
    obs, last = jnp.asarray(numbers(SPEC.n_agents, SPEC.obs_size)), jnp.array([0, 2, -1])
    state, y = recurrent.step_team(team, hidden, obs, last)
    other, changed = recurrent.step_team(team, jax.tree.map(lambda x: x.at[1].add(1), hidden), obs.at[1].add(1), last.at[1].set(1))
    kept = np.array([0, 2])
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[kept], y[kept]), (state, y), (other, changed))
    assert not np.allclose(y[1], changed[1])
    alone = [team.of(i)(jax.tree.map(lambda x, i=i: x[i], hidden), obs[i], last[i], jnp.array(i)) for i in range(SPEC.n_agents)]
    for i, own in enumerate(alone):  # in any order: each is what it is alone
        jax.tree.map(lambda x, y, i=i: np.testing.assert_allclose(x, y[i], rtol=1e-5, atol=1e-6), own, (state, y))


# ----------------------------------------------------------------------------------------------- critics of a network of one's own


def as_mlp(first: list[Any], bias: Any, hidden: tuple[layers.Linear, ...], last: layers.Linear) -> FeedForward:
    """A critic whose first layer is split, as one network of everything end to end."""

    def linear(weight: Any, bias: Any) -> layers.Linear:
        layer = layers.Linear(weight.shape[1], weight.shape[0], key=KEY)
        return eqx.tree_at(lambda m: (m.weight, m.bias), layer, (weight, bias))

    all_layers = (linear(jnp.concatenate(first, axis=1), bias), *hidden, linear(last.weight, last.bias))
    whole = MLP(8, layers=len(hidden) + 1).build(3, 2, key=KEY)
    return eqx.tree_at(lambda m: m.layers.layers, whole, all_layers, is_leaf=lambda x: isinstance(x, tuple))


STATE, OBS = jnp.asarray(numbers(SPEC.state_size)), jnp.asarray(numbers(SPEC.n_agents, SPEC.obs_size))
VECTORS, DONE = jnp.asarray(numbers(SPEC.n_agents, SPEC.action_size)), jnp.array([2, 0, 1])


@pytest.mark.parametrize("local_inputs", [True, False])
def test_a_local_critic_of_an_own_network(local_inputs: bool) -> None:
    split = critics.local_critic(MLP(8, layers=3), SPEC, local_inputs=local_inputs, dueling=False, key=KEY)
    first = [split.from_state.weight, *((split.from_obs.weight, split.from_id.T) if local_inputs else ())]
    network = as_mlp(first, split.from_state.bias, split.hidden_layers, split.action_layer)
    own = critics.ConcatLocalCritic(network=network, n_agents=SPEC.n_agents, local_inputs=local_inputs, dueling=False)
    for i in range(SPEC.n_agents):
        np.testing.assert_allclose(own(STATE, OBS[i], jnp.array(i)), split(STATE, OBS[i], jnp.array(i)), rtol=1e-4, atol=1e-5)


def test_a_dueling_critic_of_an_own_network_adds_its_last_output() -> None:
    own = critics.local_critic(OwnTanh(), SPEC, local_inputs=False, dueling=True, key=KEY)
    _, y = own.network((), STATE)
    np.testing.assert_allclose(own(STATE, OBS[0], jnp.array(0)), y[:-1] + y[-1])
    assert y.shape == (SPEC.action_size + 1,)


@pytest.mark.parametrize("obs_size", [0, SPEC.obs_size])
def test_a_critic_of_vector_actions_of_an_own_network(obs_size: int) -> None:
    split = critics.action_critic(MLP(8), SPEC, obs_size, key=KEY)
    network = as_mlp([split.from_state.weight, split.from_own.weight], split.from_state.bias, split.hidden_layers, split.value_layer)
    own = critics.ConcatActionCritic(network=network, n_agents=SPEC.n_agents)
    for i in range(SPEC.n_agents):
        seen = (STATE, OBS[i, :obs_size], VECTORS[i], jnp.array(i))
        np.testing.assert_allclose(own(*seen), split(*seen), rtol=1e-4, atol=1e-5)


def test_a_joint_critic_of_an_own_network() -> None:
    split = critics.joint_critic(MLP(8), SPEC, key=KEY)
    of_actions = split.from_action.reshape(-1, 8).T
    own = critics.ConcatJointCritic(
        as_mlp([split.from_state.weight, of_actions], split.from_state.bias, split.hidden_layers, split.value_layer)
    )
    np.testing.assert_allclose(own(STATE, VECTORS), split(STATE, VECTORS), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        own.deviations(STATE, VECTORS, OBS[:, :4]), split.deviations(STATE, VECTORS, OBS[:, :4]), rtol=1e-4, atol=1e-5
    )


def test_a_counterfactual_critic_of_an_own_network() -> None:
    split = critics.counterfactual_critic(MLP(8), SPEC, key=KEY)
    first = [split.from_state.weight, split.from_obs.weight, split.from_action.reshape(-1, 8).T, split.from_id.T]
    network = as_mlp(first, split.from_state.bias, split.hidden_layers, split.action_layer)
    own = critics.ConcatCounterfactualCritic(network=network, action_size=SPEC.action_size)
    np.testing.assert_allclose(own(STATE, OBS, DONE), split(STATE, OBS, DONE), rtol=1e-4, atol=1e-5)
    changed = own(STATE, OBS, DONE.at[1].set(3))
    np.testing.assert_array_equal(changed[1], own(STATE, OBS, DONE)[1])  # what an agent does itself makes no difference to its row
    assert (changed[0] != own(STATE, OBS, DONE)[0]).any()
