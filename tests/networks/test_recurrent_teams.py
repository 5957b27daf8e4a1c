"""Teams of agents, recurrent or not: a batch of episodes unrolled is each of them stepped through."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dop.networks.gru import GRU
from dop.networks.layer_norm_gru import LayerNormGRU
from dop.networks.mlp import MLP
from dop.networks.protocols import NetworkConfig
from dop.networks.teams import recurrent
from dop.types import Sharing
from helpers import make_episodes, make_spec

SPEC = make_spec(time_limit=4)
LENGTHS = (2, 3)
EPISODES = make_episodes(jax.random.key(0), SPEC, LENGTHS)


@pytest.mark.parametrize("network", [GRU(8), LayerNormGRU(8), MLP(8)], ids=str)
@pytest.mark.parametrize("sharing", ["all", "by_type", "none"])
def test_unroll_is_one_step_after_another(sharing: Sharing, network: NetworkConfig) -> None:
    team = recurrent.make_team(SPEC, network, sharing=sharing, key=jax.random.key(1))
    got = recurrent.unroll(team, recurrent.time_first(EPISODES), jnp.asarray(3))
    step = jax.jit(lambda *x: recurrent.step_team(team, *x))
    for e in range(len(LENGTHS)):
        carry = recurrent.initial_carry(SPEC, network)
        for t in range(3):
            hidden, expected = step(carry.hidden, EPISODES.obs[e, t], carry.last_action)
            np.testing.assert_allclose(got[t, e], expected, rtol=1e-4, atol=1e-6)
            carry = recurrent.Carry(hidden=hidden, last_action=EPISODES.action[e, t])
    np.testing.assert_array_equal(got[3:], 0)


def test_actions_end_with_what_would_have_been_done() -> None:
    for e, length in enumerate(LENGTHS):
        episode = jax.tree.map(lambda x, e=e: x[e], EPISODES)
        done = recurrent.actions(episode)
        np.testing.assert_array_equal(done[:length], episode.action[:length])
        np.testing.assert_array_equal(done[length], episode.final_action)
        assert done.shape == (SPEC.time_limit + 1, SPEC.n_agents)


def test_max_length_and_flatten_time() -> None:
    by_time = recurrent.time_first(EPISODES)
    assert int(recurrent.max_length(by_time)) == 3
    np.testing.assert_array_equal(recurrent.flatten_time(by_time.mask), [True, True, True, True, False, True, False, False])


@pytest.mark.parametrize(
    ("episodes", "size", "turns"), [(6, 2, [[0, 3], [1, 4], [2, 5], [3, 0]]), (5, 2, [[0, 2], [1, 3], [2, 4], [3, 0]])]
)
def test_episodes_in_turns(episodes: int, size: int, turns: list[list[int]]) -> None:
    batch = {"x": jnp.arange(3)[:, None] * 10 + jnp.arange(episodes)}
    for first, expected in enumerate(turns):
        np.testing.assert_array_equal(recurrent.strided_minibatch(batch, size, jnp.asarray(first))["x"][1], np.asarray(expected) + 10)
    assert recurrent.strided_minibatch(batch, None, jnp.asarray(1)) is batch
    assert recurrent.strided_minibatch(batch, episodes + 1, jnp.asarray(1)) is batch
