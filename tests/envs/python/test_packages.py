"""The adapters on public packages: MPE2, PettingZoo's SISL and Butterfly, lbforaging, rware; and the errors for unusable environments."""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dop.envs
from dop.envs import python
from dop.envs.python.base.common import Common
from dop.envs.python.pettingzoo import PettingZoo
from dop.envs.validation.episodes import Played, play
from dop.envs.validation.faults import faults
from dop.errors import ConfigError, MissingExtraError
from dop.types import PythonEnvironment
from python_games import Parallel, Script

os.environ["SDL_VIDEODRIVER"] = "dummy"  # pygame would open a window
os.environ["PYGAME_HIDE_SUPPORT_PROMPT"] = "1"

SPREAD = "pettingzoo:mpe2.simple_spread_v3"
SPEAKER = "pettingzoo:mpe2.simple_speaker_listener_v4"
PURSUIT = "pettingzoo:pettingzoo.sisl.pursuit_v5"
WALKERS = "pettingzoo:pettingzoo.sisl.multiwalker_v9"
KNIGHTS = "pettingzoo:pettingzoo.butterfly.knights_archers_zombies_v11"
FORAGING = "gymnasium:lbforaging:Foraging-8x8-2p-3f-v3"
WAREHOUSE = "gymnasium:rware:rware-tiny-2ag-v2"

pytestmark = [
    pytest.mark.filterwarnings("ignore:builtin type .* has no __module__ attribute:DeprecationWarning"),  # SWIG in Box2D
    pytest.mark.filterwarnings("ignore:The old environment creation API:DeprecationWarning"),
]
without_box2d = pytest.mark.skipif(importlib.util.find_spec("Box2D") is None, reason="Box2D has no wheel for this machine")


def make(name: str, **options: Any) -> PythonEnvironment:
    environment = dop.envs.make(name, **options)
    assert isinstance(environment, PythonEnvironment)
    return environment


def played(environment: PythonEnvironment, seed: int = 0) -> Played:
    """One random episode without faults."""
    record = Played()
    play(environment, record, seed=seed, rng=np.random.default_rng(seed))
    assert list(faults(environment.spec, record)) == []
    assert record.over
    return record


@pytest.mark.parametrize(
    ("name", "options", "agents", "obs", "kind", "actions", "state", "limit"),
    [
        (SPREAD, {}, 3, {18}, "discrete", {5}, 54, 25),
        (SPREAD, {"continuous_actions": True, "max_cycles": 4}, 3, {18}, "box", {5}, 54, 4),
        (SPEAKER, {"time_limit": 7}, 2, {3, 11}, "discrete", {3, 5}, 14, 7),
        (PURSUIT, {"max_cycles": 6, "n_pursuers": 3}, 3, {147}, "discrete", {5}, 768, 6),
        pytest.param(WALKERS, {"max_cycles": 9}, 3, {31}, "box", {4}, 75, 9, marks=without_box2d),
        (KNIGHTS, {"max_cycles": 8}, 4, {135}, "discrete", {6}, 104, 8),
        (FORAGING, {}, 2, {15}, "discrete", {6}, 30, 50),
        (WAREHOUSE, {"max_steps": 9}, 2, {71}, "discrete", {5}, 142, 9),
        (WAREHOUSE, {"max_steps": 9, "msg_bits": 1}, 2, {80}, "discrete", {10}, 160, 9),
    ],
)
def test_they_play(name: str, options: dict, agents: int, obs: set, kind: str, actions: set, state: int, limit: int):
    environment = make(name, **options)
    spec = environment.spec
    assert (spec.name, spec.n_agents, set(spec.obs_sizes), spec.action_kind) == (name, agents, obs, kind)
    assert (set(spec.action_sizes), spec.state_size, spec.time_limit) == (actions, state, limit)
    dop.envs.validate(environment)
    record = played(environment)
    assert len(record.actions) == limit
    assert record.copies[-1].truncated
    assert record.copies[-1].action_mask.any(axis=1).all()  # it bootstraps
    environment.close()
    environment.close()


@pytest.mark.parametrize("name", [SPREAD, FORAGING])
def test_seeds_reach_the_environment(name: str):
    """A resumed run makes the environment again from its options, and gets the same episodes."""
    environment = make(name, time_limit=3, metrics=["x"])
    again = make(name, **dict(environment.spec.options))
    assert again.spec == environment.spec
    first, same, other = played(environment, 4), played(again, 4), played(again, 5)
    for one, two in zip(first.copies, same.copies, strict=True):
        np.testing.assert_array_equal(one.obs, two.obs)
    assert (first.copies[0].obs != other.copies[0].obs).any()


def test_agents_that_die_leave_and_have_types():
    """Knights and archers: agents that are hit leave, and their earlier rewards are in the team's."""
    environment = make(KNIGHTS, spawn_delay=2, max_zombies=30)
    assert environment.spec.agent_types == ("archer", "archer", "knight", "knight")
    record = played(environment)
    is_active = np.array([step.action_mask.any(axis=1) for step in record.copies])
    assert not (np.diff(is_active.astype(int), axis=0) > 0).any()  # no agent comes back
    left_early = ~is_active[:-1].all(axis=0)
    assert left_early.any()
    assert record.copies[-1].terminated
    dead = int(np.flatnonzero(left_early)[0])
    assert not record.copies[-1].obs[dead].any()


@without_box2d
def test_the_last_state_stands_in_for_multiwalkers_missing_final_state():
    """When walkers fall, the episode ends and multiwalker's state() fails."""
    record = played(make(WALKERS))
    end, before = record.copies[-1], record.copies[-2]
    assert end.terminated
    assert not end.action_mask.any()
    np.testing.assert_array_equal(end.state, before.state)


def test_rewards_are_summed_or_averaged():
    summed, mean = (played(make(SPREAD, reward=how, max_cycles=2)) for how in ("sum", "mean"))
    assert summed.copies[1].reward == pytest.approx(3 * mean.copies[1].reward)
    assert summed.copies[1].reward != 0


def test_images_are_rendered_on_request():
    environment = make(SPREAD, render_mode="rgb_array")
    environment.reset(0)
    picture = environment.render()
    assert picture is not None
    assert (picture.ndim, picture.dtype) == (3, np.uint8)
    assert make(SPREAD).render() is None
    assert make(FORAGING).render() is None


def test_steps_need_a_running_episode():
    environment = make(FORAGING, time_limit=1)
    for _ in range(2):
        with pytest.raises(ConfigError, match="call reset first"):
            environment.step(np.zeros(2, np.int32))
        environment.reset(0)
        environment.step(np.zeros(2, np.int32))


def test_violations_of_the_spec_are_reported_with_agent_and_step():
    raw: Any = Parallel(Script(seed=0, n_agents=2, length=3, own_limit=4, equal=True, masks="none"))
    environment = PettingZoo("game", raw, version="1")
    raw.script.obs[1][1] = np.zeros(7, np.float32)
    environment.reset(0)
    with pytest.raises(ConfigError, match=r"game: in step 1 b_1 sees 7 numbers; its spaces say 3\."):
        environment.step(np.zeros(2, np.int32))
    reset = raw.reset
    raw.reset = lambda seed: ({}, reset(seed)[1])
    with pytest.raises(ConfigError, match=r"\['a_0', 'b_1'\] are in agents, but have no observation"):
        environment.reset(0)
    raw.reset = reset
    raw.agents.append("stranger")
    environment.reset(0)
    raw.reset = lambda seed: (raw.agents.append("stranger"), {}) and ({}, {})
    with pytest.raises(ConfigError, match=r"\['stranger'\] are in agents, but not in possible_agents"):
        environment.reset(0)


# --------------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("pettingzoo", {}, "names no module"),
        ("pettingzoo:pettingzoo.sisl.pursuit_v4", {}, r"cannot be imported: .* Did you mean pettingzoo\.sisl\.pursuit_v5\?"),
        ("pettingzoo:no_such_package.game_v0", {}, "cannot be imported: No module named 'no_such_package'"),
        ("pettingzoo:json", {}, "has no function parallel_env: .* json:FUNCTION"),
        ("pettingzoo:mpe2", {}, r"it is a package\. Give one of its modules: .*mpe2\.simple_spread_v3"),
        ("pettingzoo:mpe2.simple_spread", {}, r"a version in their names\. Did you mean mpe2\.simple_spread_v3\?"),
        ("pettingzoo:pettingzoo.sisl.pursuit", {}, r"Did you mean pettingzoo\.sisl\.pursuit_v5\?"),
        ("pettingzoo:sisl.pursuit_v5", {}, r"Did you mean pettingzoo\.sisl\.pursuit_v5\?"),
        ("pettingzoo:pettingzoo.sisl.persuit_v5", {}, r"Did you mean pettingzoo\.sisl\.pursuit_v5\?"),
        (
            "pettingzoo:pettingzoo.classic.tictactoe_v3",
            {},
            r"act in turn \(AEC\)\. .* pettingzoo\.utils\.conversions\.aec_to_parallel .* my_module:make",
        ),
        (SPREAD, {"no_such": 1}, r"cannot be made with the options \{'no_such': 1\}: .*no_such"),
        (SPREAD, {"reward": "max"}, "reward is 'max'; it must be one of sum, mean"),
        (SPREAD, {"time_limit": 0}, "time_limit is 0"),
        (SPREAD, {"limit_terminates": 1}, "limit_terminates is 1; it must be true or false"),
        (SPREAD, {"metrics": "won"}, "metrics is 'won'; it must be a list"),
        ("pettingzoo:pettingzoo.butterfly.cooperative_pong_v6", {}, r"paddle_0 observes images \(uint8\[280, 480, 3\]\)"),
        ("gymnasium", {}, "names no environment"),
        ("gymnasium:CartPole-v1", {}, r"is not a team's environment: agents observe Box.* must be a Tuple"),
        ("gymnasium:lbforaging:Foraging-9x9", {}, "cannot be made"),
        ("gymnasium:no_such_package:X-v0", {}, "cannot be made .*No module named 'no_such_package'"),
        (FORAGING, {"no_such": 1}, "no_such"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*You are calling render method:UserWarning")
def test_unusable_environments_are_refused(name: str, options: dict, words: str):
    with pytest.raises(ConfigError, match=words):
        make(name, **options)


@pytest.mark.parametrize("name", ["pettingzoo:mpe2.simple_spread_v3", "gymnasium:lbforaging:Foraging-8x8-2p-3f-v3"])
def test_older_versions_of_the_interfaces_are_refused(monkeypatch: pytest.MonkeyPatch, name: str):
    environment = dop.envs.make(name)
    answer = environment.env.reset(seed=0)
    with monkeypatch.context() as patch:
        patch.setattr(environment.env, "reset", lambda **_: answer[0])
        with pytest.raises(ConfigError, match=r"reset returned .*; it must return 2 values, the last one a dict"):
            environment.reset(0)
    environment.reset(0)
    monkeypatch.setattr(environment.env, "step", lambda _: (*answer, {}, {}))
    with pytest.raises(ConfigError, match=r"step returned \(.*, dict, dict, dict\); it must return 5 values"):
        environment.step(np.zeros(environment.spec.n_agents, np.int32))


def test_a_team_must_be_known_and_its_time_limit():
    script = Script(seed=0, n_agents=2, length=3, own_limit=None)
    with pytest.raises(ConfigError, match=r"game has no time limit of its own \(as max_cycles.*time_limit=STEPS"):
        PettingZoo("game", Parallel(script), version="1")
    raw = Parallel(script)
    raw.possible_agents = []
    with pytest.raises(ConfigError, match="game has no possible_agents"):
        PettingZoo("game", raw, version="1", common=Common(time_limit=3))


@pytest.mark.parametrize(("name", "package"), [(SPREAD, "pettingzoo"), (FORAGING, "gymnasium")])
def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch, name: str, package: str):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda found: None if found == package else find(found))
    with pytest.raises(MissingExtraError, match=rf"{name} needs {package}.* pip install 'dop-marl\[python-envs\]'"):
        make(name)


def test_adapters_are_found_without_their_packages():
    """Other packages are imported inside of functions only."""
    assert set(dop.envs.adapters()) == {"pettingzoo:MODULE", "gymnasium:PACKAGE:ID", "pymarl:MODULE:FUNCTION"}
    assert not set(dop.envs.names()) & {"pettingzoo", "gymnasium", "pymarl"}
    for path in Path(python.__path__[0]).glob("*.py"):
        nodes = ast.parse(path.read_text()).body
        imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        packages = {name.partition(".")[0] for name in imported}
        assert packages <= {"dop", "jax", "numpy"} | sys.stdlib_module_names, path
