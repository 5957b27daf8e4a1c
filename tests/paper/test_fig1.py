"""Fig. 1: initial policies and replay, exact variances, and one small case from training to table."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dop import envs, policies
from dop.devices import compilation
from dop.networks.gru import GRU
from dop.networks.teams import recurrent
from dop.paper import fig1, pieces
from dop.paper.fig1 import Case, Options
from dop.paper.variants import METHODS, RELAXED
from dop.types import Sharing
from helpers import make_spec

KEY = jax.random.key(0)


@pytest.mark.parametrize("variant", RELAXED)
def test_relaxed_methods_start_at_the_given_policy(variant: str) -> None:
    """Deterministic actors play the point itself, of return -10 + 20 * 0.8^2; MAAC its most probable corner, the optimum."""
    case = Case(setting="retention", variant=variant, n_agents=2)
    options = Options(actions=3, critic_hidden=8)
    program = fig1.program_of(case, options)
    small: Any = replace(program.algorithm, warmup_episodes=4, episodes_per_iteration=4, replay_capacity=8)  # type: ignore[call-arg]
    program = replace(program, algorithm=small)
    state = jax.jit(lambda key: fig1.initial_state(program, "retention", key), compiler_options=compilation.options(compilation.ONCE))(KEY)
    found = jax.jit(lambda s: program.evaluate(s, 1)["test_return_mean"], compiler_options=compilation.options(compilation.ONCE))(state)
    assert float(found) == pytest.approx(10 if variant == "maac" else -10 + 20 * 0.64, rel=1e-5)


def test_initial_episodes_are_corners_if_actions_are_relaxed() -> None:
    game: Any = envs.make("matrix-game", n_agents=2, n_actions=3, relaxed=True)
    episodes = fig1.fixed_policy_episodes(0.8, game, KEY)
    assert set(np.unique(episodes.action)) == {0, 1}
    np.testing.assert_array_equal(episodes.action.sum(axis=-1), 1)
    np.testing.assert_array_equal(episodes.reward[:, 0] > 0, episodes.action[:, 0, :, 0].all(axis=1))


@pytest.mark.parametrize("sharing", ["all", "none"])
def test_initial_policies_are_the_given_ones_for_every_observation(sharing: Sharing) -> None:
    spec = make_spec(action_sizes=(4,))
    team = fig1.with_initial_policy(recurrent.make_team(spec, GRU(8), sharing=sharing, key=KEY), 0.7)
    carry = recurrent.initial_carry(spec, GRU(8))
    _, logits = recurrent.step_team(team, carry.hidden, jax.random.normal(KEY, (3, spec.obs_size)), carry.last_action)
    policy = jax.vmap(policies.masked_softmax)(logits, jnp.ones((3, 4), bool))
    np.testing.assert_allclose(policy, np.tile([0.7, 0.1, 0.1, 0.1], (3, 1)), rtol=1e-5)


def test_initial_episodes_reach_the_optimum_with_the_given_probability() -> None:
    game: Any = envs.make("matrix-game", n_agents=2, n_actions=3)
    episodes = fig1.fixed_policy_episodes(0.8, game, KEY)
    assert episodes.reward.shape == (fig1.INITIAL_EPISODES, 1)
    assert float(jnp.mean(episodes.reward > 0)) == pytest.approx(0.64, abs=4 * np.sqrt(0.64 * 0.36 / fig1.INITIAL_EPISODES))
    np.testing.assert_array_equal(episodes.reward[:, 0] > 0, (episodes.action[:, 0] == 0).all(axis=1))


def test_variances_equal_the_sums_over_all_joint_actions() -> None:
    k_policy, k_value = jax.random.split(KEY)
    policy = np.asarray(jax.nn.softmax(jax.random.normal(k_policy, (3, 4))), np.float64)
    value, b = np.asarray(jax.random.normal(k_value, (3, 4)), np.float64), 0.3
    moments = np.zeros((2, 2, 3, 4))  # joint or own critic; first or second moment; agent; logit
    for action in itertools.product(range(4), repeat=3):
        chance = np.prod(policy[range(3), action])
        score = np.eye(4)[list(action)] - policy
        for which, x in enumerate((value[range(3), action].sum() + b, value[range(3), action])):
            gradient = score * np.reshape(x, (-1, 1))
            moments[which] += chance * np.stack([gradient, gradient**2])
    expected = (moments[:, 1] - moments[:, 0] ** 2).sum(axis=-1).mean(axis=-1)
    got = fig1.logit_gradient_variances(jnp.asarray(policy, jnp.float32), jnp.asarray(value, jnp.float32), jnp.asarray(b))
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_every_case_has_a_variant_and_a_name_of_its_own() -> None:
    cases = fig1.cases(Options())
    assert {case.variant for case in cases} <= METHODS.keys()
    assert len({case.name for case in cases}) == len(cases)
    assert {case.setting for case in cases} == {"retention", "replay", "discovery", "variance"}


def test_exploration_is_the_same_for_all_methods_of_a_setting() -> None:
    for case in fig1.cases(Options(episodes=100)):
        algorithm: Any = fig1.program_of(case, Options(episodes=100)).algorithm
        if case.variant == "maac":
            continue  # It has no epsilon.
        found = (algorithm.epsilon_start, algorithm.epsilon_end, algorithm.epsilon_anneal_steps)
        assert found == ((1.0, 0.05, 50) if case.setting == "discovery" else (0.05, 0.05, 0))


def test_a_case_from_training_to_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """VDN with a replay of which 64% of episodes reach the optimum. Finished cases are not trained again."""
    monkeypatch.setattr(fig1, "POINTS", 2)
    monkeypatch.setattr(fig1, "cases", lambda _: [Case(setting="replay", variant="vdn", n_agents=2)])
    options = Options(seeds=2, episodes=100, agents=2, actions=3, variance_agents=(), out=tmp_path)
    lines: list[str] = []
    fig1.reproduce(options, lines.append)
    piece = pieces.read(fig1.data_file(options, Case(setting="replay", variant="vdn", n_agents=2)))
    assert piece is not None
    assert np.shape(piece["greedy_return"]) == (2, 3)
    assert np.shape(piece["exploring_return"]) == (2, 2)
    assert piece["episodes"] == [0, 50, 100]
    assert "| replay | vdn | 2 | 2 |" in lines[-2]
    assert (tmp_path / "fig1.png").stat().st_size > 10_000
    monkeypatch.setattr(fig1, "train", lambda *_: pytest.fail("trained again"))
    fig1.reproduce(options, lines.append)
    assert lines.count("== replay-vdn-2: 2 seeds") == 1
