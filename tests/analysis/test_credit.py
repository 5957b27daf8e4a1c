"""Credit against what is known: properties that hold for any critic, and, learned, the wages of `workers`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

import dop
from dop import algorithms, views
from dop.analysis import credit
from dop.analysis.playback import Player
from dop.training.program import Program
from dop.types import AssignsCredit
from dop.visualise import credit_figures
from helpers import make_spec
from workers import WAGES, Workers, small

KEY = jax.random.key(0)


def credit_estimate(name: str, kind: Any, role: int, action: list[Any], **changes: Any) -> tuple[Any, Any, Any, Any]:
    """An untrained team's judgement of one step, with what made it."""
    algorithm, env = small(name, **changes), Workers(kind)
    learner, carry = algorithm.init(KEY, env.spec), algorithm.initial_carry(env.spec)
    step, done = env.look(role, 0.0, False), jnp.array(action)
    return algorithm, learner, step, credit.estimate_credit(algorithm, learner, carry, step, done, KEY, env.spec.action_kind)


SAYING = [name for name, algorithm in algorithms.algorithms().items() if issubclass(algorithm, AssignsCredit)]


def test_all_of_the_papers_methods_say_something():
    assert {"stochastic-dop", "deterministic-dop", "coma", "vdn", "qmix", "maac", "maddpg"} <= set(SAYING)


@pytest.mark.parametrize("name", SAYING)
def test_every_algorithm_says_who_earned_what(name: str):
    """Averaged over what it is compared with, the credit is 0, and so is the advantage; agent i's value is its own action's."""
    said = {a: credit_estimate(name, "discrete", 2, list(a))[3] for a in ((0, 0), (0, 1), (1, 0), (1, 1))}
    for agent, pair in ((0, ((0, 1), (1, 1))), (1, ((1, 0), (1, 1)))):
        each = [said[a] for a in pair]
        np.testing.assert_allclose([x.q[agent] for x in each], each[1].values[agent], rtol=1e-5)
        if each[0].b is not None:  # else the other values are the team's, and k does not depend on what is done
            k = np.array([x.k[agent] for x in each])
            np.testing.assert_allclose(np.sum(np.array([x.credit[agent] for x in each]) / k), 0, atol=1e-5)
        if each[0].policy is not None:
            np.testing.assert_allclose(sum(x.advantage[agent] * p for x, p in zip(each, each[0].policy[agent], strict=True)), 0, atol=1e-6)
        else:
            np.testing.assert_array_equal(each[0].advantage, each[0].credit)


@pytest.mark.parametrize(
    ("name", "kind", "action"), [("stochastic-dop", "discrete", [1, 0]), ("deterministic-dop", "simplex", [[0.2, 0.8], [1.0, 0.0]])]
)
def test_the_parts_of_a_decomposed_critic_add_up_to_the_whole(name: str, kind: str, action: list[Any]):
    _, learner, step, said = credit_estimate(name, kind, 0, action, normalise_state=False)
    total = learner.critic.total(step.state, step.obs, jnp.array(action))
    np.testing.assert_allclose(jnp.sum(said.contribution) + said.b, total, rtol=1e-5)


def test_a_mixer_that_is_not_linear_is_taken_by_its_tangent():
    _, learner, step, said = credit_estimate("qmix", "discrete", 0, [1, 0])
    np.testing.assert_allclose(jnp.sum(said.contribution) + said.b, learner.online.mixer(said.q, step.state), rtol=1e-5)
    moved = said.q.at[0].add(1e-2)
    np.testing.assert_allclose(
        (learner.online.mixer(moved, step.state) - learner.online.mixer(said.q, step.state)) / 1e-2, said.k[0], rtol=0.02
    )


def test_an_agent_without_a_legal_action_earns_nothing():
    algorithm, env = small("stochastic-dop"), Workers()
    step = replace(env.look(0, 0.0, False), action_mask=jnp.array([[False, False], [True, True]]))
    learner, carry = algorithm.init(KEY, env.spec), algorithm.initial_carry(env.spec)
    said = credit.estimate_credit(algorithm, learner, carry, step, jnp.array([0, 1]), KEY, "discrete")
    assert (said.credit[0], said.advantage[0]) == (0, 0)
    assert said.credit[1] != 0


def test_moving_along_a_component_stays_in_the_space_of_actions():
    action_mask = jnp.array([[True, True, True], [True, True, False]])
    point = jnp.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    moved = credit.along(point, action_mask, jnp.array(0), jnp.array(0.6), "simplex")
    np.testing.assert_allclose(moved, [[0.6, 0.15, 0.25], [0.6, 0.4, 0.0]], rtol=1e-6)
    boxed = credit.along(jnp.array([[0.5, -0.5, 0.1], [0.2, 0.4, 0.0]]), action_mask, jnp.array(2), jnp.array(-1.0), "box")
    np.testing.assert_allclose(boxed, [[0.5, -0.5, -1.0], [0.2, 0.4, 0.0]])


# ------------------------------------------------------------------------------------------------------------------ learned


def mean_by_role(trajectories: list[Any], field: str) -> np.ndarray:
    roles = np.array([trajectory.steps.state[0].argmax() for trajectory in trajectories])
    return np.stack(
        [
            np.mean(
                [getattr(trajectory.credit_estimate, field)[0] for trajectory, r in zip(trajectories, roles, strict=True) if r == role], 0
            )
            for role in range(3)
        ]
    )


def test_stochastic_dop_learns_who_works_who_is_lazy_and_what_each_is_worth(trained: Path):
    team = views.load(trained, trust=True)
    trajectories = Player(team.program)(team.learner, KEY, 64)
    np.testing.assert_allclose(mean_by_role(trajectories, "credit"), WAGES / 2, atol=0.12)
    assert np.mean([trajectory.undiscounted_return for trajectory in trajectories]) > 0.95


def test_the_untrained_team_has_not_learned_it(trained: Path):
    team = views.load(trained, trust=True)
    trajectories = Player(team.program)(views.load(trained, trust=True).at(team.snapshots[0]), KEY, 64)
    assert np.abs(mean_by_role(trajectories, "credit") - WAGES / 2).max() > 0.3


def learned(name: str, kind: Any, **changes: Any) -> list[Any]:
    """Episodes after a short training."""
    fast = {
        "critic_lr": 5e-3,
        "actor_lr": 5e-3,
        "lr": 5e-3,
        "replay_batch": 32,
        "replay_capacity": 256,
        "warmup_episodes": 32,
        "epsilon_start": 1.0,
        "epsilon_end": 0.5,
        "target_interval": 10,
    }
    program = Program(algorithm=small(name, **(fast | changes)), environment=Workers(kind))
    state = jax.jit(lambda key: program.chunk(program.warm_up(program.start(key)), 300)[0])(KEY)
    return Player(program)(state.learner, KEY, 48)


def test_the_curve_of_deterministic_dop_rises_as_much_as_the_work_is_worth():
    trajectories = learned("deterministic-dop", "simplex", epsilon_end=1.0)
    for role in range(3):
        curves = credit_figures.over_action([trajectory for trajectory in trajectories if trajectory.steps.state[0].argmax() == role])
        np.testing.assert_allclose(curves[:, 1, -1] - curves[:, 1, 0], WAGES[role], atol=0.15)
        np.testing.assert_allclose(curves[:, 0], curves[:, 1, ::-1], atol=1e-4)  # the rest goes to the other component


@pytest.mark.slow
@pytest.mark.parametrize("name", ["coma", "vdn", "qmix", "maac", "maddpg"])
def test_so_do_the_others(name: str):
    trajectories = learned(name, "discrete")
    np.testing.assert_allclose(mean_by_role(trajectories, "credit"), WAGES / 2, atol=0.2)


# ----------------------------------------------------------------------------------------------------------------- pictures


def test_dop_credit_writes_pictures_films_and_the_same_numbers(trained: Path, tmp_path: Path):
    written = views.credit(trained, trust=True, out=tmp_path / "out", episodes=16, training_episodes=4, seed=1, run_seed=5)
    assert set(written) == {"best", "best film", "summary", "data"} | ({"worst", "worst film"} if "worst" in written else set())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in written.values())
    data = json.loads(written["data"].read_text())
    assert (data["seed"], data["agents"]) == (5, ["agent_0", "agent_1"])
    assert [moment["env_steps"] for moment in data["training"]] == views.load(trained, trust=True).snapshots
    trajectories, _ = views.credit_episodes(views.load(trained, trust=True, run_seed=5), 16, 4, 1)
    np.testing.assert_allclose(data["summary"]["credit"], credit_figures.by_agent(trajectories).mean)
    assert np.sum(data["summary"]["times_taken"]) == 2 * 16
    assert written["best film"].read_bytes()[:6] == b"GIF89a"


@pytest.mark.parametrize(("length", "shown"), [(4, 4), (200, 66)])
def test_actions_stand_beside_the_film_as_many_as_fit(length: int, shown: int):
    axes, done = Figure().subplots(), np.ones((length, 2), int)
    trajectory: Any = SimpleNamespace(spec=Workers().spec, actions=done, length=length, active=np.ones((length, 2), bool))
    credit_figures._draw_actions(axes, trajectory, inches=10)
    assert [text.get_text() for text in axes.texts] == ["1"] * 2 * shown


def test_every_component_has_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(credit_figures, "over_action", lambda _: np.zeros((1, 7, 21)))
    axes, spec = Figure().subplots(), replace(make_spec(n_agents=1, action_sizes=(7,)), action_kind="box")
    credit_figures._draw_over_action(axes, [SimpleNamespace(spec=spec)])  # pyright: ignore[reportArgumentType]
    assert len({str(line._dash_pattern) for line in axes.lines}) == 7  # pyright: ignore[reportAttributeAccessIssue]


def test_means_by_agent_and_action_by_hand():
    episodes: Any = (([[1.0, 0.0], [3.0, 0.0]], [[0, 0], [1, 0]]), ([[4.0, 2.0]], [[1, 1]]))
    trajectories: Any = [
        SimpleNamespace(spec=Workers().spec, credit_estimate=SimpleNamespace(credit=np.array(earned)), actions=np.array(done))
        for earned, done in episodes
    ]
    np.testing.assert_allclose(credit_figures.by_agent(trajectories).mean, [3.0, 1.0])  # episodes count alike: (2 + 4) / 2 and (0 + 2) / 2
    found = credit_figures.by_action(trajectories)
    np.testing.assert_allclose(found.credit, [[1.0, 3.5], [0.0, 2.0]])
    np.testing.assert_array_equal(found.times, [[1, 2], [2, 1]])


def test_an_algorithm_that_says_nothing_is_told_so(trained: Path):
    trajectories = views.credit_episodes(views.load(trained, trust=True), 1, 1, 0)[0]
    with pytest.raises(dop.ConfigError, match="no method `credit`"):
        credit_figures.credit_estimate(replace(trajectories[0], credit_estimate=None))
