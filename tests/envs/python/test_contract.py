"""The adapters agree with a loop over the raw environment, step by step: random teams, sizes, masks, deaths and time limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dop.envs.python.base.common import Common
from dop.envs.python.gymnasium import Gymnasium
from dop.envs.python.pettingzoo import PettingZoo
from dop.envs.python.pymarl import PyMARL
from dop.envs.validation.episodes import Played, play, random_action
from dop.envs.validation.faults import faults
from dop.types import EnvSpec, TimeStep
from python_games import Marl, Parallel, Script, Tuples

LIMITS = st.just(9) | st.integers(1, 6)


@st.composite
def scripts(draw: Any, **fixed: Any) -> Script:
    """Any episode; its own limit, if any, is not before its end."""
    length = draw(st.integers(1, 6))
    fields = {
        "seed": draw(st.integers(0, 2**31)),
        "n_agents": draw(st.integers(1, 4)),
        "own_limit": draw(st.sampled_from([None, length, length, length + 2])),
        "box": draw(st.booleans()),
        "has_state": draw(st.booleans()),
        "masks": draw(st.sampled_from(["obs", "info", "both", "none"])),
    }
    return Script(length=length, **{**fields, **fixed})


def rows(parts: list[np.ndarray | None], sizes: tuple[int, ...]) -> list[list[float]]:
    """Each part with zeros up to the largest size; all zeros for None."""
    return [[*(() if part is None else part), *[0] * (max(sizes) - (0 if part is None else len(part)))] for part in parts]


def assert_step(step: TimeStep, **expected: Any) -> None:
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(step, name), np.asarray(value, np.float64), rtol=1e-6, err_msg=name)


def episode(environment: Any) -> Played:
    """Random play to the end, without faults."""
    played = Played()
    play(environment, played, seed=0, rng=np.random.default_rng(0))
    assert list(faults(environment.spec, played)) == []
    assert played.over
    return played


def raw_action(spec: EnvSpec, script: Script, i: int, action: np.ndarray) -> Any:
    """Agent i's action in the raw environment's form: the number, or the point of the box from -2 to 4."""
    return (1 + 3 * action[i, : spec.action_sizes[i]]).astype(np.float32).clip(-2, 4) if script.box else int(action[i])


def ends(t: int, own: tuple[bool, bool], certain: bool, script: Script, limit: int) -> tuple[bool, bool]:
    """Terminated and truncated, if the raw environment reports `own`; termination at its own limit, or, where it has none, at the limit of
    the option, counts as truncation unless `certain`."""
    terminated, truncated = own
    if terminated and not certain and t == (script.own_limit or limit):
        terminated, truncated = False, True
    return terminated, truncated or (not terminated and t == limit)


# ------------------------------------------------------------------------------------------------------------------ PettingZoo


@settings(max_examples=60, deadline=None)
@given(script=scripts(), limit=LIMITS, reward=st.sampled_from(["sum", "mean"]))
def test_pettingzoo(script: Script, limit: int, reward: str):
    environment = PettingZoo("test", Parallel(script), version="1", common=Common(reward=reward, time_limit=limit, metrics=("score",)))
    spec, raw = environment.spec, Parallel(script)
    assert (spec.agents, spec.obs_sizes, spec.action_sizes) == (tuple(raw.possible_agents), script.obs_sizes, script.action_sizes)
    assert spec.time_limit == min(limit, script.own_limit or limit)
    played, seen = episode(environment), {}
    score = 0.0
    for t, step in enumerate(played.steps):
        team_reward, flags, cut = 0.0, (False, False), set()
        if t == 0:
            obs, infos = raw.reset(seed=0)
        else:
            index = {agent: raw.possible_agents.index(agent) for agent in raw.agents}
            obs, rewards, terminations, truncations, infos = raw.step(
                {agent: raw_action(spec, script, i, played.actions[t - 1]) for agent, i in index.items()}
            )
            team_reward = sum(rewards.values()) / (spec.n_agents if reward == "mean" else 1)
            cut = {agent for agent in truncations if truncations[agent] and not terminations[agent]}
            flags = (not raw.agents and not cut, not raw.agents and bool(cut))
            seen = index
        certain = t > 0 and any(truncations.values())  # type: ignore
        terminated, truncated = ends(t, flags, certain, script, spec.time_limit)
        able = set(raw.agents) or (cut or set(seen) if truncated else set())
        scores = [info["score"] for info in infos.values() if "score" in info]
        score = float(np.mean(scores)) if scores else score
        plain = [None if a not in obs else obs[a]["observation"] if isinstance(obs[a], dict) else obs[a] for a in raw.possible_agents]
        joined = np.concatenate([np.zeros(size) if x is None else x for x, size in zip(plain, script.obs_sizes, strict=True)])
        assert_step(
            step,
            obs=rows(plain, script.obs_sizes),
            state=raw.state() if script.has_state else joined,
            action_mask=rows(
                [script.action_mask(t, i) if a in able else None for i, a in enumerate(raw.possible_agents)], script.action_sizes
            ),
            reward=team_reward,
            terminated=terminated,
            truncated=truncated,
            metrics=[score],
        )
        assert step.truncated or bool(step.action_mask.any()) == bool(raw.agents)
    assert len(played.actions) == min(script.length, spec.time_limit)


# ------------------------------------------------------------------------------------------------------------------- Gymnasium


@settings(max_examples=60, deadline=None)
@given(script=scripts(), limit=LIMITS, reward=st.sampled_from(["sum", "mean"]))
def test_gymnasium(script: Script, limit: int, reward: str):
    environment = Gymnasium("test", Tuples(script), version="1", common=Common(reward=reward, time_limit=limit, metrics=("score",)))
    spec, raw = environment.spec, Tuples(script)
    played = Played()
    play(environment, played, seed=0, rng=np.random.default_rng(0))
    for t, step in enumerate(played.steps):
        rewards, terminated, truncated = [0.0], False, False
        if t == 0:
            _, info = raw.reset(seed=0)
        else:
            actions = tuple(raw_action(spec, script, i, played.actions[t - 1]) for i in range(spec.n_agents))
            _, rewards, terminated, truncated, info = raw.step(actions)
        own = (terminated, truncated and not terminated)
        plain: list[Any] = script.obs[t]
        masked = not script.box and script.masks != "none"
        terminated, truncated = ends(t, own, truncated, script, spec.time_limit)
        assert_step(
            step,
            obs=rows(plain, script.obs_sizes),
            state=script.state[t] if script.has_state else np.concatenate(plain),
            action_mask=rows([raw.mask(i) if masked else np.ones(n) for i, n in enumerate(script.action_sizes)], script.action_sizes),
            reward=np.sum(rewards) if reward == "sum" else np.mean(rewards),
            terminated=terminated,
            truncated=truncated,
            metrics=[info["score"]],
        )
    assert played.over
    assert len(played.actions) == min(script.length, spec.time_limit)


# ---------------------------------------------------------------------------------------------------------------------- PyMARL


@settings(max_examples=60, deadline=None)
@given(script=scripts(equal=True, box=False), limit=LIMITS, answers=st.sampled_from([3, 5]), says_limit=st.booleans())
def test_pymarl(script: Script, limit: int, answers: int, says_limit: bool):
    options = {"script": script, "answers": answers, "says_limit": says_limit}
    environment = PyMARL("test", Marl, options, version="1", common=Common(reward="mean", time_limit=limit, metrics=("score",)))
    spec, raw = environment.spec, Marl(**options)
    raw.reset()
    for t, step in enumerate(episode(environment).steps):
        over, cut = t == script.length, t == script.length and bool(script.truncates[t, 0])
        said = cut and says_limit if answers == 3 else cut and not script.terminates[t, 0]
        certain = says_limit if answers == 3 else cut
        terminated, truncated = ends(t, (over and not said, said), certain, script, spec.time_limit)
        raw.t = t
        assert_step(
            step,
            obs=raw.get_obs(),
            state=raw.get_state().ravel(),
            action_mask=raw.get_avail_actions(),
            reward=0 if t == 0 else script.reward[t].sum() / (1 if answers == 3 else spec.n_agents),
            terminated=terminated,
            truncated=truncated,
            metrics=[script.score[t, 0] if t else 0],
        )


def test_random_actions_are_legal():
    spec = EnvSpec(name="x", version="1", agents=("a", "b"), obs_sizes=(1, 1), action_sizes=(4, 2), state_size=1, time_limit=1)
    action_mask = np.array([[False, True, False, True], [False, False, False, False]])
    drawn = {tuple(random_action(np.random.default_rng(i), spec, action_mask)) for i in range(20)}
    assert drawn == {(1, 0), (3, 0)}


@pytest.mark.parametrize("kind", ["box", "simplex"])
def test_random_vectors_are_zero_in_the_padding(kind: Any):
    sizes: dict[str, Any] = {"obs_sizes": (1, 1), "action_sizes": (4, 2), "state_size": 1, "time_limit": 1}
    spec = EnvSpec(name="x", version="1", agents=("a", "b"), action_kind=kind, **sizes)
    action_mask = np.array([[True, True, True, True], [True, True, False, False]])
    action = random_action(np.random.default_rng(0), spec, action_mask)
    assert action.shape == spec.action_shape
    assert not action[~action_mask].any()
    assert kind == "box" or action.sum(axis=1) == pytest.approx(1, rel=1e-5)
