from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dop.networks.gru import GRU
from dop.networks.layers import Agent, GRUCell, Linear, PerAgent
from dop.networks.recurrent import RecurrentNetwork
from dop.networks.split_critics import LocalCritic

KEY = jax.random.key(0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_gru_equals_its_equations() -> None:
    cell = GRUCell(3, 2, key=KEY)
    rng = np.random.default_rng(0)
    x, h = rng.normal(size=3).astype(np.float32), rng.normal(size=2).astype(np.float32)
    w, b = np.asarray(cell.input_layer.weight), np.asarray(cell.input_layer.bias)
    u, c = np.asarray(cell.hidden_layer.weight), np.asarray(cell.hidden_layer.bias)
    r, z, n = slice(0, 2), slice(2, 4), slice(4, 6)
    reset = sigmoid(w[r] @ x + b[r] + u[r] @ h + c[r])
    update = sigmoid(w[z] @ x + b[z] + u[z] @ h + c[z])
    new = np.tanh(w[n] @ x + b[n] + reset * (u[n] @ h + c[n]))
    np.testing.assert_allclose(cell(jnp.asarray(x), jnp.asarray(h)), (1 - update) * new + update * h, rtol=1e-5)


# ------------------------------------------------------------------------------------------------------------------- PerAgent


def linear_team(*groups: int) -> PerAgent[Linear]:
    return PerAgent(lambda key: Linear(2, 4, key=key), groups, key=KEY)


def outputs(team: PerAgent[Linear], x: jax.Array) -> jax.Array:
    return team.map(lambda net, x: net(x), x, in_axes=(0,))


def test_separate_agents_do_not_touch_each_other() -> None:
    team, x = linear_team(0, 1, 2), jnp.ones((3, 2))
    slopes = jax.jacobian(lambda team: jnp.sum(outputs(team, x), axis=-1))(team).network.weight
    assert slopes.shape == (3, 3, 4, 2)  # output of agent, parameters of agent, ...
    np.testing.assert_array_equal(jnp.any(slopes != 0, axis=(2, 3)), np.eye(3, dtype=bool))
    assert not np.allclose(outputs(team, x)[0], outputs(team, x)[1])


def test_shared_agents_are_one_network() -> None:
    team, x = linear_team(0, 0, 0), jnp.arange(6.0).reshape(3, 2)
    assert team.network.weight.shape == (4, 2)
    np.testing.assert_allclose(outputs(team, x), jnp.stack([team.network(row) for row in x]), rtol=1e-6)


def test_agents_of_one_group_are_one_network_and_those_of_another_another() -> None:
    team, x = linear_team(0, 1, 0), jnp.arange(6.0).reshape(3, 2)
    assert team.network.weight.shape == (2, 4, 2)
    assert team.n_agents == 3
    of = [team.of(agent) for agent in range(3)]
    np.testing.assert_array_equal(of[1].weight, team.network.weight[1])
    np.testing.assert_array_equal(of[2].weight, team.network.weight[0])
    np.testing.assert_allclose(outputs(team, x), jnp.stack([net(row) for net, row in zip(of, x, strict=True)]), rtol=1e-6)
    slopes = jax.jacobian(lambda team: jnp.sum(outputs(team, x), axis=-1))(team).network.weight  # output of agent, parameters of group, ...
    np.testing.assert_array_equal(jnp.any(slopes != 0, axis=(2, 3)), [[True, False], [False, True], [True, False]])


@pytest.mark.parametrize("groups", [(0, 0, 0), (0, 1, 2), (0, 0, 1)])
def test_arguments_without_an_agent_axis_go_to_every_agent(groups: tuple[int, ...]) -> None:
    team, x = linear_team(*groups), jnp.array([1.0, -2.0])
    got = team.map(lambda net, x: net(x), x, in_axes=(None,))
    np.testing.assert_allclose(got, outputs(team, jnp.tile(x, (3, 1))), rtol=1e-6)


# --------------------------------------------------------------------------------------------------------------- LocalCritic


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def dense(layer: Linear, x: np.ndarray) -> np.ndarray:
    return np.asarray(layer.weight) @ x + np.asarray(layer.bias)


@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("local_inputs", [False, True])
def test_local_critic_is_dense_on_the_concatenated_inputs(local_inputs: bool, dueling: bool) -> None:
    critic = LocalCritic(4, 3, 5, 2, 8, local_inputs=local_inputs, dueling=dueling, key=KEY)
    rng = np.random.default_rng(0)
    state, obs = rng.normal(size=4).astype(np.float32), rng.normal(size=3).astype(np.float32)
    for agent in range(2):
        weight, x = np.asarray(critic.from_state.weight), state
        if local_inputs:
            assert critic.from_obs is not None
            assert critic.from_id is not None
            weight = np.concatenate([weight, critic.from_obs.weight, critic.from_id.T], axis=1)
            x = np.concatenate([state, obs, np.eye(2, dtype=np.float32)[agent]])
        h = relu(dense(critic.hidden_layers[0], relu(weight @ x + np.asarray(critic.from_state.bias))))
        expected = dense(critic.action_layer, h)
        if dueling:
            assert critic.value_layer is not None
            expected = expected + dense(critic.value_layer, h)
        np.testing.assert_allclose(critic(jnp.asarray(state), jnp.asarray(obs), jnp.array(agent)), expected, rtol=1e-4, atol=1e-6)


# ------------------------------------------------------------------------------------------------------------ initial weights


def assert_uniform_within(fan_in: int, *arrays: jax.Array | None) -> None:
    """All within +-1/sqrt(fan-in), and spread over it: the standard deviation of that uniform distribution is 1/sqrt(3) of it."""
    values = np.concatenate([np.ravel(np.asarray(x)) for x in arrays if x is not None])
    assert np.max(np.abs(values)) <= 1 / np.sqrt(fan_in)
    np.testing.assert_allclose(np.std(values) * np.sqrt(3 * fan_in), 1, atol=0.1)


def test_local_critic_starts_as_one_dense_layer_would() -> None:
    critic = LocalCritic(40, 20, 6, 4, 64, local_inputs=True, dueling=True, key=KEY)
    assert critic.from_obs is not None
    # The first layer is kept in parts, but its fan-in is that of the whole: 40 + 20 + 4.
    assert_uniform_within(64, critic.from_state.weight, critic.from_state.bias)
    assert_uniform_within(64, critic.from_obs.weight)
    assert_uniform_within(64, critic.from_id)
    assert critic.from_obs.bias is None
    assert_uniform_within(64, critic.hidden_layers[0].weight, critic.hidden_layers[0].bias)
    assert_uniform_within(64, critic.action_layer.weight, critic.action_layer.bias)


def test_actor_starts_as_pytorchs_would() -> None:
    actor = GRU(64).build(30, 6, key=KEY)
    assert_uniform_within(30, actor.input_layer.weight, actor.input_layer.bias)
    for layer in (actor.cell.input_layer, actor.cell.hidden_layer, actor.output_layer):
        assert_uniform_within(64, layer.weight, layer.bias)


# --------------------------------------------------------------------------------------------------------------------- Agent


def test_actor_sees_observation_last_action_and_id_in_that_order() -> None:
    actor: RecurrentNetwork = GRU(5).build(2 + 3 + 4, 3, key=KEY)
    whole = Agent(network=actor, kind="discrete", n_agents=4, action_size=3, sees_last_action=True)
    hidden, obs = jnp.linspace(-1, 1, 5), jnp.array([0.5, -0.5])

    def expected(last: np.ndarray, own: np.ndarray) -> jax.Array:
        x = jax.nn.relu(actor.input_layer(jnp.concatenate([obs, jnp.asarray(last), jnp.asarray(own)])))
        return actor.cell(x, hidden)

    one_hot = lambda i, n: np.eye(n, dtype=np.float32)[i]  # noqa: E731
    for last_action, last in ((-1, np.zeros(3, np.float32)), (0, one_hot(0, 3)), (2, one_hot(2, 3))):
        for agent in (0, 3):
            new, logits = whole(hidden, obs, jnp.array(last_action), jnp.array(agent))
            np.testing.assert_allclose(new, expected(last, one_hot(agent, 4)), rtol=1e-6)
            np.testing.assert_allclose(logits, actor.output_layer(new), rtol=1e-6)
