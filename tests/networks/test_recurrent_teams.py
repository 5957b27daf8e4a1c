"""Teams of recurrent agents: a batch of episodes unrolled is each of them stepped through."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dop.networks import recurrent_teams
from dop.types import Sharing
from helpers import make_episodes, make_spec

SPEC = make_spec(time_limit=4)
LENGTHS = (2, 3)
EPISODES = make_episodes(jax.random.key(0), SPEC, LENGTHS)


@pytest.mark.parametrize("sharing", ["all", "by_type", "none"])
def test_unroll_is_one_step_after_another(sharing: Sharing) -> None:
    team = recurrent_teams.make_team(SPEC, 8, sharing=sharing, key=jax.random.key(1))
    got = recurrent_teams.unroll(team, recurrent_teams.time_first(EPISODES), jnp.asarray(3))
    step = jax.jit(lambda *x: recurrent_teams.step_team(team, *x))
    for e in range(len(LENGTHS)):
        carry = recurrent_teams.initial_carry(SPEC.n_agents, 8)
        for t in range(3):
            hidden, expected = step(carry.hidden, EPISODES.obs[e, t], carry.last_action)
            np.testing.assert_allclose(got[t, e], expected, rtol=1e-4, atol=1e-6)
            carry = recurrent_teams.Carry(hidden=hidden, last_action=EPISODES.action[e, t])
    np.testing.assert_array_equal(got[3:], 0)


def test_actions_end_with_what_would_have_been_done() -> None:
    for e, length in enumerate(LENGTHS):
        episode = jax.tree.map(lambda x, e=e: x[e], EPISODES)
        done = recurrent_teams.actions(episode)
        np.testing.assert_array_equal(done[:length], episode.action[:length])
        np.testing.assert_array_equal(done[length], episode.final_action)
        assert done.shape == (SPEC.time_limit + 1, SPEC.n_agents)


def test_longest_and_end_to_end() -> None:
    by_time = recurrent_teams.time_first(EPISODES)
    assert int(recurrent_teams.longest(by_time)) == 3
    np.testing.assert_array_equal(recurrent_teams.end_to_end(by_time.mask), [True, True, True, True, False, True, False, False])
