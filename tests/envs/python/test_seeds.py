"""A seed among the options: mixed with that of the episode, so that no two environments, and no two seeds of a run, are copies."""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pytest

import dop.envs
from dop.envs.making import seeding
from dop.envs.python.pymarl import PyMARL
from dop.envs.validation.survey import survey
from dop.errors import ConfigError
from dop.types import PythonEnvironment
from python_games import Parallel, Script, Tuples

EPISODES = (11, 22, 33, 44)


class Drawn:
    """PyMARL's interface; observations are drawn from the generator with the maker's seed."""

    def __init__(self, seed: int | None = None) -> None:
        self.given, self.rng = seed, np.random.default_rng(seed)

    def get_env_info(self) -> dict[str, int]:
        return {"n_agents": 2, "n_actions": 2, "obs_shape": 1, "state_shape": 1, "episode_limit": 2}

    def get_obs(self) -> list[np.ndarray]:
        return [self.x] * 2

    def get_state(self) -> np.ndarray:
        return self.x

    def get_avail_actions(self) -> list[list[int]]:
        return [[1, 1]] * 2

    def reset(self) -> None:
        self.t, self.x = 0, self.rng.random(1)

    def step(self, _: Any) -> tuple:
        self.t += 1
        return 1.0, self.t == 2, {}

    def close(self) -> None: ...


class Reset(Drawn):
    """Its reset takes a seed."""

    def reset(self, seed: int | None = None) -> None:
        self.rng = np.random.default_rng(seed)
        super().reset()


class Deaf(Drawn):
    """Its reset takes a seed and ignores it."""

    def reset(self, seed: int | None = None) -> None:
        super().reset()


def renamed(random_seed: int = 0) -> Drawn:
    return Drawn(random_seed)


def first_seen(maker: Any, **options: Any) -> list[float]:
    """The first observation of each of four episodes, each in its own environment, like a run's parallel ones."""
    return [float(PyMARL("drawn", maker, options, version="1").reset(seed).obs[0, 0]) for seed in EPISODES]


@pytest.mark.parametrize("maker", [Drawn, Reset, renamed])
def test_without_the_option_each_episode_has_its_own_seed(maker: Any):
    assert len(set(first_seen(maker))) == 4
    assert first_seen(maker) == first_seen(maker)


@pytest.mark.parametrize(("maker", "option"), [(Drawn, "seed"), (Reset, "seed"), (Deaf, "seed"), (renamed, "random_seed")])
def test_with_the_option_each_episode_has_its_own_seed(maker: Any, option: str):
    seen = first_seen(maker, **{option: 7})
    assert len(set(seen)) == 4
    assert seen == first_seen(maker, **{option: np.int64(7)})
    assert seen != first_seen(maker, **{option: 8})


def test_the_maker_never_gets_the_seed_itself():
    environment = PyMARL("drawn", Drawn, {"seed": 7}, version="1")
    assert environment.env.given not in (None, 7)
    environment.reset(3)
    made = environment.env
    assert made.given == seeding.mixed(7, 3)
    environment.reset(4)
    assert environment.env is made  # remade once, not for each episode: StarCraft takes a minute
    assert dict(environment.spec.options)["seed"] == 7


@pytest.mark.parametrize("seed", ["x", -1, 1.5, True, [7]])
def test_invalid_seeds_are_refused(seed: Any):
    with pytest.raises(ConfigError, match=r"drawn: seed is .*; it must be a whole number of at least 0.* Or leave it out"):
        PyMARL("drawn", Drawn, {"seed": seed}, version="1")


def test_no_seed_is_none():
    assert len(set(first_seen(Drawn, seed=None))) == 4


class Stubborn(Parallel):
    """PettingZoo's interface; its reset ignores the seed, and episodes follow from the maker's seed."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(Script(seed=seed, n_agents=2, length=3, own_limit=3, equal=True, masks="none"))


class StubbornTuples(Tuples):
    def __init__(self, random_seed: int = 0, **_: Any) -> None:
        super().__init__(Script(seed=random_seed, n_agents=2, length=3, own_limit=3, equal=True, masks="none"))


@pytest.fixture
def fake_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PettingZoo module, and a Gymnasium id."""
    import gymnasium  # noqa: PLC0415

    module: Any = types.ModuleType("fake_zoo")
    module.parallel_env = Stubborn
    monkeypatch.setitem(sys.modules, "fake_zoo", module)
    make = lambda _, disable_env_checker, **options: StubbornTuples(**options)  # noqa: E731
    monkeypatch.setattr(gymnasium, "make", make)


@pytest.mark.usefixtures("fake_packages")
@pytest.mark.parametrize(("name", "option"), [("pettingzoo:fake_zoo", "seed"), ("gymnasium:StubbornTuples-v0", "random_seed")])
def test_other_makers_get_a_mixed_seed_too(name: str, option: str):
    def first(seed: int, asked: int) -> list[float]:
        environment = dop.envs.make(name, **{option: asked})
        assert isinstance(environment, PythonEnvironment)
        assert dict(environment.spec.options)[option] == asked
        step = environment.reset(seed)
        assert len(environment.step(np.zeros(2, np.int32)).obs) == 2
        environment.close()
        return step.obs.ravel().tolist()

    seen = [first(seed, 7) for seed in EPISODES]
    assert len({tuple(one) for one in seen}) == 4
    assert seen[0] == first(EPISODES[0], 7) != first(EPISODES[0], 8)


def test_a_seed_for_a_maker_without_one_is_refused():
    with pytest.raises(ConfigError, match="seed"):
        dop.envs.make("pettingzoo:mpe2.simple_spread_v3", seed=7)


def test_dependence_on_the_previous_episode_gives_a_note():
    """lbforaging places players on cells that were free when the last episode ended (`findings/`)."""
    found = survey(lambda: dop.envs.make("gymnasium:lbforaging:Foraging-8x8-2p-3f-v3"), episodes=1, seed=0)
    assert any("in a used environment the same seed gives another episode" in note for note in found.notes)
    assert not any("not deterministic" in note for note in found.notes)
