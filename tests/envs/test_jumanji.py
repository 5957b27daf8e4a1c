"""Jumanji's team tasks by name, with and without Jumanji; with it, our adapter against its own steps, termination and truncation."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dop.envs
from dop.envs.jumanji import _maze, _wires, variants
from dop.envs.validation.episodes import random_action
from dop.errors import ConfigError, MissingExtraError, UnknownNameError

compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # compiles in half the time


@pytest.fixture
def jumanji() -> None:
    pytest.importorskip("jumanji")


with_jumanji = pytest.mark.usefixtures("jumanji")


def test_without_jumanji_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"jumanji:Cleaner-v0 needs jumanji.* pip install 'dop-marl\[jumanji\]'"):
        dop.envs.make("jumanji:Cleaner-v0")


def test_unknown_tasks_and_options():
    with pytest.raises(UnknownNameError, match="'Cleaner-v0'"):
        dop.envs.make("jumanji:Cleaner-v1")
    with pytest.raises(ConfigError, match="reward is 'max'"):
        dop.envs.make("jumanji:Cleaner-v0", reward="max")


class Seen:
    """A stand-in for Jumanji's observations."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update({name: jnp.asarray(x) for name, x in fields.items()})


def test_a_maze_is_its_cells_the_own_position_and_the_others():
    seen = _maze(Seen(grid=[[0, 1], [2, 0]], agents_locations=[[0, 0], [1, 1], [1, 1]]), 3)
    cells = [1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0]
    np.testing.assert_array_equal(seen[0], [*cells, 1, 0, 0, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(seen[1], [*cells, 0, 0, 0, 1, 1, 0, 0, 1])


def test_wires_are_the_own_and_the_others():
    seen = _wires(Seen(grid=[[1, 2], [0, 6]]), 2)  # agent 0's wire and head, nothing, agent 1's target
    wire, head, target, nothing = [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]
    np.testing.assert_array_equal(seen[0], [*wire, *head, *nothing, *nothing, *nothing, *nothing, *nothing, *target])
    np.testing.assert_array_equal(seen[1], [*nothing, *nothing, *nothing, *target, *wire, *head, *nothing, *nothing])


@with_jumanji
@pytest.mark.parametrize("variant", variants())
def test_random_play_is_jumanjis_own(variant: str):
    """Three episodes of at most six steps, against Jumanji's reset and step with the same actions."""
    environment: Any = dop.envs.make(f"jumanji:{variant}", time_limit=6)
    dop.envs.validate(environment)
    spec, game, rng = environment.spec, environment.game, np.random.default_rng(0)
    reset = compiled(lambda key: (environment.reset(key), game.reset(key)))
    step = compiled(lambda key, ours, theirs, action: (environment.step(key, ours, action), game.step(theirs, action)))
    for seed in range(3):
        key = jax.random.key(seed)
        (state, ours), (inner, _) = reset(key)
        assert not ours.terminated | ours.truncated
        for t in range(1, 7):
            (state, ours), (inner, theirs) = step(key, state, inner, random_action(rng, spec, np.asarray(ours.action_mask)))
            np.testing.assert_allclose(ours.reward, np.sum(theirs.reward), rtol=1e-5)
            np.testing.assert_allclose(ours.obs, environment.read(theirs.observation, spec.n_agents), rtol=1e-5)
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(ours))
            assert bool(theirs.last()) == bool(ours.terminated) ^ bool(ours.truncated)
            assert not ours.truncated or t == 6
            if theirs.last():
                break
        else:
            pytest.fail("the episode continues after its time limit")
