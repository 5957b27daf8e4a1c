"""A map of one's own is data: read from any working directory, of limited size, and without permission to import code."""

from __future__ import annotations

from pathlib import Path

import pytest

import dop
from dop import envs
from dop.envs.skirmish import maps, tables
from dop.errors import ConfigError
from run_factories import make_run

MAP = """
time_limit = 20
size = [12, 8]
[[allies]]
unit = "marine"
count = 2
around = [2, 4]
[[enemies]]
unit = "zealot"
count = 1
around = [9, 4]
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "own.toml"
    path.write_text(MAP)
    monkeypatch.chdir(tmp_path)
    return path


def test_its_name_is_its_absolute_path_and_its_version_is_its_content(path: Path):
    one = dop.make("skirmish:./own.toml")
    assert one.name == f"skirmish:{path}"
    assert one.name == envs.full_name("skirmish:./own.toml") == envs.full_name(one.name)
    assert envs.full_name("skirmish:MMM") == "skirmish:MMM"
    assert envs.full_name("smax:3m") == "smax:3m"
    assert dop.make(one.name).version == one.version
    path.write_text(MAP.replace("count = 2", "count = 3"))
    assert dop.make(one.name).version != one.version


def test_a_run_whose_map_changed_or_vanished_says_how_to_go_on(path: Path):
    folder = make_run(path.parent / "run", "skirmish:./own.toml", options={}, iterations=(1,)).path
    path.write_text(MAP.replace("count = 2", "count = 3"))
    with pytest.raises(dop.RunError, match=r"was trained in another skirmish:.*Restore that file"):
        dop.evaluate(folder)
    path.unlink()
    with pytest.raises(dop.RunError, match=r"no map file .*needs its file where it was"):
        dop.evaluate(folder)


def test_it_imports_no_code():
    assert not envs.imports_code("skirmish:./own.toml")
    assert not envs.imports_code("smax:3m")
    assert envs.reads_data("skirmish:./own.toml")
    assert not any(map(envs.reads_data, ("skirmish:MMM", "smax:own.toml", "own.toml", "my_module:make")))
    assert envs.imports_code("my_package.mine:make")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("skirmish", "needs a map, for example skirmish:MMM"),
        ("skirmish:", "needs a map, for example skirmish:MMM"),
        ("skirmish:mmm", "Did you mean 'MMM'"),
        ("skirmish:gone.toml", "no map file .*Check the path"),
        ("skirmish:folder.toml", "is not a file"),
        (f"skirmish:{'x' * 300}.toml", "There is no map file"),
        ("skirmish:\0.toml", "There is no map file"),
        ("skirmish:./own.tml", r"must end in \.toml; rename the file"),
    ],
)
def test_what_is_no_map_is_refused_with_a_way_out(path: Path, name: str, message: str):
    (path.parent / "folder.toml").mkdir()
    with pytest.raises(ConfigError, match=message):
        dop.make(name)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("count = 2", "count = 1000000000", "from 1 to 200"),
        ("size = [12, 8]", "size = [1e9, 8]", "at most 256"),
        ("time_limit = 20", f"time_limit = {'[' * 5000}", "nests|not TOML"),
        ("time_limit = 20", "#" * tables.MOST_BYTES, "bytes; a file may have at most"),
    ],
)
def test_files_that_would_exhaust_the_machine_are_refused(path: Path, old: str, new: str, message: str):
    path.write_text(MAP.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        maps.load(str(path))


def test_wrong_options_are_refused_with_the_nearest_name_and_limits():
    with pytest.raises(ConfigError, match="Did you mean 'reward_sparse'"):
        dop.make("skirmish:3m", rewardsparse=True)
    with pytest.raises(ConfigError, match="at most 1000"):
        dop.make("skirmish:3m", step_mul=1_000_000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reward_scale_rate": 0}, "reward_scale_rate is 0.0; it must be above 0"),
        ({"reward_win": -200}, "reward_win is -200.0; with reward_scale=true it must be at least 0"),
        ({"reward_death_value": -1}, "reward_death_value is -1.0; with reward_scale=true"),
        ({"reward_defeat": 1e39}, r"reward_defeat is 1e\+39; it must be from -1e\+06 to 1e\+06"),
    ],
)
def test_rewards_that_cannot_be_scaled_are_refused(options: dict[str, float], message: str):
    with pytest.raises(ConfigError, match=message):
        dop.make("skirmish:3m", **options)


def test_rewards_may_be_negative_where_nothing_is_scaled():
    assert dop.make("skirmish:3m", reward_scale=False, reward_win=-200).rewards.reward_win == -200.0
