"""Hyper-parameters that are numbers are data: other values compile nothing, and they do what constants do."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
import pytest

import dop
from dop import algorithms, envs
from dop.devices import compilation, parallel
from dop.errors import ConfigError
from dop.storage.checkpoints import flatten
from dop.storage.config import TrainConfig
from dop.training import compiled
from dop.training.program import Driver, Program, RunState
from dop.types.traced import traced_values, with_values
from helpers import toy

NAMES = sorted(algorithms.algorithms())
USUAL = ("stochastic-dop", "qmix")
"""Not among the slow tests."""
COMPILED: list[str] = []


def count(event: str, duration_secs: float, **kwargs: str | int) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        COMPILED.append(event)


jax.monitoring.register_event_duration_secs_listener(count)


@functools.cache
def environment(name: str) -> Any:
    """The matrix game with the actions that the algorithm takes."""
    for relaxed in (False, True):
        game = envs.make("matrix-game", n_agents=2, n_actions=3, relaxed=relaxed)
        try:
            algorithm(name).check(game.spec)
        except ConfigError:
            continue
        return game
    raise AssertionError(name)


@functools.cache
def algorithm(name: str) -> Any:
    return toy(algorithms.algorithms()[name]())


def trained(of: Any, game: Any, seeds: tuple[int, ...] = (0,)) -> tuple[Driver, RunState, Any, Any]:
    """Driver, state, metrics and evaluation after one chunk."""
    config = TrainConfig(seeds=seeds, chunk_iterations=2, eval_episodes=4)
    driver = Program(algorithm=of, environment=game, train_config=config).drive()
    state = driver.start(parallel.place(parallel.keys(seeds), driver.devices))
    state, metrics = driver.chunk(state)
    return driver, state, metrics, driver.evaluate(state)


def other(value: float | int) -> float | int:
    """Another value that every field allows."""
    return value + 3 if isinstance(value, int) else (0.75 * value or 0.25)


@pytest.mark.parametrize("name", [name if name in USUAL else pytest.param(name, marks=pytest.mark.slow) for name in NAMES])
def test_another_value_compiles_nothing(name: str):
    of, game = algorithm(name), environment(name)
    assert {"gamma", "td_lambda"} & traced_values(of).keys()
    trained(of, game)
    for field, value in traced_values(of).items():
        COMPILED.clear()
        trained(with_values(of, {field: other(value)}), game)
        assert not COMPILED, field
    trained(toy(of, episodes_per_iteration=of.episodes_per_iteration * 2), game)
    assert COMPILED


@pytest.mark.parametrize("name", ["stochastic-dop", "qmix"])
def test_values_do_what_constants_do(name: str):
    of, game = algorithm(name), environment(name)
    program = Program(algorithm=of, environment=game, train_config=TrainConfig())
    driver, state, metrics, _ = trained(of, game)
    start = parallel.over_seeds(lambda key: program.warm_up(program.start(key)), driver.devices)
    chunk = parallel.over_seeds(lambda state: program.chunk(state, 2), driver.devices)
    expected, reports = chunk(start(parallel.place(parallel.keys((0,)), driver.devices)))
    for found, constant in ((flatten(state), flatten(expected)), (metrics, reports)):
        assert found.keys() == constant.keys()
        for place, value in found.items():
            np.testing.assert_allclose(value, constant[place], rtol=1e-4, atol=1e-5, err_msg=place)


def test_fields_that_are_none_or_not_traced_are_constants():
    values = traced_values(dop.StochasticDOP())
    assert values["gamma"] == 0.99
    assert values["epsilon_anneal_steps"] == 20_000
    assert isinstance(values["epsilon_anneal_steps"], int)
    assert not {"kappa", "tb_steps", "actor_steps", "replay_capacity", "critic_schedule"} & values.keys()
    assert traced_values(dop.StochasticDOP(kappa=0.5))["kappa"] == 0.5
    assert isinstance(traced_values(dop.StochasticDOP(gamma=1))["gamma"], float)
    assert traced_values(object()) == {}


def test_what_depends_on_a_value_by_mistake_is_nan():
    blank = compiled.without_values(dop.StochasticDOP(kappa=0.5))
    assert all(np.isnan(getattr(blank, name)) for name in traced_values(dop.StochasticDOP(kappa=0.5)))
    assert blank == compiled.without_values(dop.StochasticDOP(kappa=0.25, gamma=0.5))
    assert blank != compiled.without_values(dop.StochasticDOP(gamma=0.5))


def test_a_users_environment_has_functions_of_its_own():
    class Mine(type(environment("coma"))): ...

    Mine.__module__ = "mine"
    config = TrainConfig()
    mesh = parallel.mesh(1)
    of = algorithm("coma")
    own, again, library = (Program(algorithm=of, environment=game, train_config=config) for game in (Mine(), Mine(), environment("coma")))
    assert compiled.functions_of(own, mesh) is compiled.functions_of(own, mesh)
    assert compiled.functions_of(own, mesh) is not compiled.functions_of(again, mesh)
    made_again = Program(algorithm=of, environment=envs.make("matrix-game", n_agents=2, n_actions=3), train_config=TrainConfig(env_steps=7))
    assert compiled.functions_of(library, mesh) is compiled.functions_of(made_again, mesh)
    rewards = Program(algorithm=of, environment=environment("coma"), train_config=TrainConfig(reward_scale=2.0))
    assert compiled.functions_of(library, mesh) is not compiled.functions_of(rewards, mesh)
    two_seeds = Program(algorithm=of, environment=environment("coma"), train_config=TrainConfig(seeds=(0, 1)))
    assert compiled.functions_of(library, mesh) is not compiled.functions_of(two_seeds, mesh)  # whose compilation is timed, too


def test_cleared_functions_compile_again_and_their_compilation_is_timed():
    of, game = algorithm("qmix"), environment("qmix")
    trained(of, game)
    before = compilation.spent()
    trained(of, game)
    assert compilation.spent() == before
    compiled.clear()
    COMPILED.clear()
    trained(of, game)
    assert COMPILED
    assert compilation.spent() > before
