"""The registry of environments: families are discovered; names are `family:variant` or a user's own `module:function`."""

import sys
from types import ModuleType

import pytest

import dop.envs
from dop.envs.matrix_game import MatrixGame
from dop.errors import ConfigError, UnknownNameError

MODULE = "a_users_own_module"


@pytest.fixture
def users_module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType(MODULE)
    module.__spec__ = sys.__spec__  # any spec makes it importable
    module.__dict__.update(make=MatrixGame, number=lambda: 3)
    monkeypatch.setitem(sys.modules, MODULE, module)
    return module


def test_families_are_found_and_helpers_are_not():
    assert {"matrix-game", "mpe", "smax"} <= set(dop.envs.families())
    assert not any(family.startswith("_") for family in dop.envs.families())


def test_names_list_variants_and_bare_families():
    assert {"matrix-game", "mpe:spread", "smax:2s3z", "smax:3s_vs_3z"} <= set(dop.envs.names())
    assert len(set(dop.envs.names())) == len(dop.envs.names())


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("smax:2s3x", "'2s3z'"), ("mpe:spred", "'spread'"), ("matrixgame", "'matrix-game'"), ("smacks:3m", "'smax:3m'"), ("smax", "3m")],
)
def test_an_unknown_name_suggests_the_nearest(wrong: str, nearest: str):
    with pytest.raises(UnknownNameError, match=nearest):
        dop.envs.make(wrong)


@pytest.mark.parametrize(
    ("wrong", "instead"),
    [("smax:MMM", "in the family skirmish, as skirmish:MMM"), ("own.toml", "A file of your own is named skirmish:own.toml")],
)
def test_an_unknown_name_of_another_family_names_that_family(wrong: str, instead: str):
    with pytest.raises(UnknownNameError, match=instead):
        dop.envs.make(wrong)


def test_a_family_without_variants_takes_none():
    with pytest.raises(UnknownNameError, match="matrix-game:big"):
        dop.envs.make("matrix-game:big")


def test_a_users_own_function_makes_an_environment(users_module: ModuleType):
    environment = dop.envs.make(f"{MODULE}:make", n_agents=2)
    assert isinstance(environment, MatrixGame)
    assert environment.n_agents == 2


def test_a_users_function_must_return_an_environment(users_module: ModuleType):
    with pytest.raises(ConfigError, match="returned int, which is not an environment"):
        dop.envs.make(f"{MODULE}:number")


@pytest.mark.parametrize("name", [f"{MODULE}:absent", "no_such_package.module:make"])
def test_a_users_function_that_cannot_be_loaded(name: str, users_module: ModuleType):
    with pytest.raises(ConfigError, match="Cannot load the environment"):
        dop.envs.make(name)
