"""Environments with missing, surplus or oddly formed return values: what the adapters do, and what `dop check-env` reports."""

from __future__ import annotations

import fractions
import re
from decimal import Decimal
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

import dop.envs
from dop.envs.python.base import answer_checks
from dop.envs.python.base.common import Common
from dop.envs.python.gymnasium import Gymnasium
from dop.envs.python.pettingzoo import PettingZoo
from dop.envs.python.pymarl import PyMARL
from dop.envs.validation.episodes import Played, play
from dop.envs.validation.faults import faults
from dop.envs.validation.survey import Survey, survey
from dop.errors import ConfigError
from odd_games import LENGTH, Chase, Marl, Rounds, Silent, Tuples, Won


def adapted(kind: Any, **common: Any) -> Any:
    """`kind` in the adapter of its interface."""
    if issubclass(kind, Marl):
        return PyMARL("odd", kind, {}, version="1", common=Common(**common))
    adapter: Any = Gymnasium if issubclass(kind, Tuples) else PettingZoo
    return adapter("odd", kind(), version="1", common=Common(**common))


def episode(environment: Any, seed: int = 0) -> list[Any]:
    """The steps of a random episode without faults."""
    played = Played()
    play(environment, played, seed=seed, rng=np.random.default_rng(seed))
    assert list(faults(environment.spec, played)) == []
    return played.copies


def surveyed(kind: Any, **common: Any) -> Survey:
    return survey(lambda: adapted(kind, **common), episodes=2, seed=0)


def note(found: Survey, *words: str) -> str:
    """The one note that contains all of these words."""
    [match] = [note for note in found.notes if all(word in note for word in words)]
    return match


# ------------------------------------------------------------------------------------------- no final observation at truncation


class SilentAtItsLimit(Silent):
    """Reports its time limit as termination."""

    def answers(self, acted: list[str], over: bool) -> Any:
        obs, rewards, ended, cut, infos = super().answers(acted, over)
        return obs, rewards, cut, ended, infos


class SilentOnB(Rounds):
    """In the last step only a has an observation; b gets None."""

    def answers(self, acted: list[str], over: bool) -> Any:
        obs, *rest = super().answers(acted, over)
        return (obs | {"b": None} if over else obs, *rest)


class SaysNone(Silent):
    """None in place of the last observations."""

    def answers(self, acted: list[str], over: bool) -> Any:
        obs, *rest = super().answers(acted, over)
        return (obs or None, *rest)


@pytest.mark.parametrize(
    ("kind", "options", "last"),
    [
        (Silent, {}, [[2, 1], [2, 2]]),
        (SilentAtItsLimit, {}, [[2, 1], [2, 2]]),
        (SaysNone, {}, [[2, 1], [2, 2]]),
        (SilentOnB, {}, [[3, 1], [2, 2]]),
        (Silent, {"team": "b"}, [[2, 2]]),
    ],
)
def test_the_last_observation_stands_in_at_truncation(kind: Any, options: Any, last: list[list[float]]):
    end = episode(adapted(kind, **options))[-1]
    assert (bool(end.terminated), bool(end.truncated)) == (False, True)
    np.testing.assert_array_equal(end.obs, last)
    np.testing.assert_array_equal(end.state, np.ravel(last))
    assert end.action_mask.all()
    found = surveyed(kind, **options)
    assert not found.faults
    assert "b" in note(found, "observ", "truncated:")


def test_termination_needs_no_final_observation_and_gives_no_note():
    end = episode(adapted(SilentAtItsLimit, limit_terminates=True))[-1]
    assert bool(end.terminated)
    assert not end.obs.any()
    assert not end.action_mask.any()
    for found in (surveyed(SilentAtItsLimit, limit_terminates=True), surveyed(Rounds)):
        assert not [note for note in found.notes if "stands in" in note]


class DiesOrLeaves(Silent):
    """a terminates in the second step, or in the last one; b is truncated there. Masks are in the observations."""

    at = 2

    def observation_space(self, agent: str) -> Any:
        return spaces.Dict({"observation": super().observation_space(agent), "action_mask": spaces.MultiBinary(2)})

    def look(self, agents: Any) -> dict[str, Any]:
        return {agent: {"observation": seen, "action_mask": [self.t % 2, 1]} for agent, seen in super().look(agents).items()}

    def answers(self, acted: list[str], over: bool) -> Any:
        obs, rewards, ended, cut, infos = super().answers(acted, over)
        if self.t == self.at:
            obs.pop("a", None)
            ended["a"], cut["a"] = True, False
            self.agents = ["b"]
        return obs, rewards, ended, cut, infos


@pytest.mark.parametrize("at", [2, LENGTH])
def test_terminated_agents_are_inactive_at_the_truncation_of_others(at: int):
    class Dies(DiesOrLeaves):
        pass

    Dies.at = at
    end = episode(adapted(Dies))[-1]
    assert bool(end.truncated)
    np.testing.assert_array_equal(end.obs, [[0, 0], [2, 2]])
    np.testing.assert_array_equal(end.state, [0, 0, 2, 2])
    np.testing.assert_array_equal(end.action_mask, [[False, False], [False, True]])  # b's mask of the step before


def test_agents_that_continue_need_an_observation():
    class Blind(Rounds):
        def answers(self, acted: list[str], over: bool) -> Any:
            obs, *rest = super().answers(acted, over)
            return (obs | {"a": []}, *rest)

    environment = adapted(Blind)
    environment.reset(0)
    with pytest.raises(ConfigError, match=r"odd: in step 1 \['a'\] are in agents, but have no observation"):
        environment.step(np.zeros(2, np.int32))


class SilentTuples(Tuples):
    """At the end observations and masks are missing."""

    what: Any = None

    def get_avail_actions(self) -> Any:
        return [] if self.t == LENGTH else [[1, 0], [0, 1], [0, 0]]

    def look(self) -> Any:
        return self.what if self.t == LENGTH else super().look()


@pytest.mark.parametrize("what", [None, (), (np.array([3.0, 1.0]), None, None), (np.array([3.0, 1.0]), [], [])])
def test_missing_final_observations_of_gymnasium(what: Any):
    class Says(SilentTuples):
        pass

    Says.what = what
    end = episode(adapted(Says))[-1]
    first = [3, 1] if what else [2, 1]
    np.testing.assert_array_equal(end.obs, [first, [2, 2], [0, 0]])  # the third has no legal action: it is inactive
    np.testing.assert_array_equal(end.action_mask, [[True, False], [False, True], [False, False]])
    assert "agent_1 had no" in note(surveyed(Says), "observ", "truncated:")


class SilentMarl(Marl):
    def get_obs(self) -> Any:
        return None if self.over else super().get_obs()

    def get_avail_actions(self) -> Any:
        return [] if self.over else super().get_avail_actions()

    def get_state(self) -> Any:
        return None if self.over else super().get_state()


def test_missing_final_observations_of_pymarl():
    end = episode(adapted(SilentMarl))[-1]
    assert bool(end.truncated)
    np.testing.assert_array_equal(end.obs, [[2, 1], [2, 2]])
    np.testing.assert_array_equal(end.action_mask, [[True, True], [False, True]])
    np.testing.assert_array_equal(end.state, [2])
    found = surveyed(SilentMarl)
    note(found, "observ", "truncated:")
    note(found, "no final state")


# ------------------------------------------------------------------------------------------------------------------ the state


def with_state(state: Any) -> Any:
    return type("Stated", (Rounds,), {"state": state})


def broken(self: Any) -> Any:
    raise KeyError("map")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (np.zeros(3), r"its state is ndarray\[3\], not a method"),
        (broken, "its state raises KeyError: 'map'"),
        (lambda self: None, "its state gives None"),
        (lambda self: [], r"its state gives \[\]"),
        (lambda self: np.zeros((4, 4), np.uint8), r"its state gives ndarray\[4, 4\]"),
        (lambda self: {"x": 1}, "its state gives {'x': 1}"),
    ],
)
def test_an_unusable_state_is_replaced_by_the_observations(state: Any, words: str):
    environment = adapted(with_state(state))
    steps = episode(environment)
    assert environment.spec.state_size == 4
    for step in steps:
        np.testing.assert_array_equal(step.state, step.obs.ravel())
    assert re.search(words + ".* concatenated", note(surveyed(with_state(state)), "state"))


@pytest.mark.parametrize("last", [broken, lambda self: None, lambda self: [], lambda self: np.ones(2)])
def test_the_last_state_stands_in_for_a_missing_final_state(last: Any):
    kind = with_state(lambda self: last(self) if self.t == LENGTH else np.full(3, self.t))
    end = episode(adapted(kind))[-1]
    np.testing.assert_array_equal(end.state, [2, 2, 2])
    found = surveyed(kind)
    assert not found.faults
    note(found, "no final state", "truncated:")


def test_environments_without_a_state_give_no_note():
    def state(self: Any) -> Any:
        raise NotImplementedError

    for kind in (Rounds, with_state(state)):
        assert not [note for note in surveyed(kind).notes if "state" in note]


@pytest.mark.parametrize(
    ("later", "words"),
    [(np.zeros(5), "in step 1 the state has 5 numbers; it must always have 3"), (None, "in step 1 the state is None; it must be numbers")],
)
def test_a_state_that_changes_is_refused(later: Any, words: str):
    environment = adapted(with_state(lambda self: later if self.t else np.zeros(3)))
    environment.reset(0)
    with pytest.raises(ConfigError, match=words):
        environment.step(np.zeros(2, np.int32))


# -------------------------------------------------------------------------------------------------------------- unknown names


class WithAll(Rounds):
    """`__all__` in every return value, and common infos."""

    def answers(self, acted: list[str], over: bool) -> Any:
        obs, rewards, ended, cut, _ = super().answers(acted, over)
        infos = {"a": {"x": 1.0}, "b": {"x": 2.0}, "__common__": {"x": 60.0}, "__all__": {"x": 90.0}}
        return obs, rewards | {"__all__": 2.0}, ended | {"__all__": False}, cut | {"__all__": over}, infos


@pytest.mark.parametrize(("how", "reward"), [("sum", 2.0), ("mean", 1.0)])
def test_all_is_not_an_agent(how: str, reward: float):
    environment = adapted(WithAll, reward=how, metrics=["x"])
    steps = episode(environment)
    assert [float(step.reward) for step in steps] == [0.0, *[reward] * LENGTH]
    assert [float(step.metrics[0]) for step in steps] == [0.0, *[1.5] * LENGTH]
    assert bool(steps[-1].truncated)
    assert not [note for note in surveyed(WithAll).notes if "__" in note]


@pytest.mark.parametrize(("place", "ends"), [(2, (True, False)), (3, (False, True))])
def test_all_is_the_flag_of_agents_without_their_own(place: int, ends: tuple[bool, bool]):
    class Only(Rounds):
        max_cycles = 9

        def answers(self, acted: list[str], over: bool) -> Any:
            answer = list(super().answers(acted, over))
            answer[2], answer[3] = {}, {}
            answer[place] = {"__all__": over}
            return tuple(answer)

    end = episode(adapted(Only))[-1]
    assert (bool(end.terminated), bool(end.truncated)) == ends


def with_unknown_agent(place: int) -> Any:
    class Strange(Rounds):
        def answers(self, acted: list[str], over: bool) -> Any:
            answer = list(super().answers(acted, over))
            answer[place] = {**answer[place], "ghost": {"x": 5.0} if place == 4 else 1}
            return tuple(answer)

    return Strange


def test_a_reward_of_an_unknown_agent_is_refused_by_name():
    environment = adapted(with_unknown_agent(1))
    environment.reset(0)
    with pytest.raises(ConfigError, match="odd: in step 1 there is a reward for 'ghost', which is not in possible_agents"):
        environment.step(np.zeros(2, np.int32))
    assert "ghost" in surveyed(with_unknown_agent(1)).faults["runs"]


@pytest.mark.parametrize(("place", "what"), [(0, "observations"), (2, "terminations"), (3, "truncations"), (4, "infos")])
def test_other_entries_of_unknown_agents_are_ignored_with_a_note(place: int, what: str):
    kind = with_unknown_agent(place)
    plain, strange = episode(adapted(Rounds)), episode(adapted(kind, metrics=["x"]))
    for one, other in zip(plain, strange, strict=True):
        assert (one.reward, one.terminated, one.truncated) == (other.reward, other.terminated, other.truncated)
        np.testing.assert_array_equal(one.obs, other.obs)
        assert other.metrics[0] == 0
    found = surveyed(kind)
    assert not found.faults
    assert note(found, "ghost") == f"its {what} have an entry 'ghost', which is not an agent: it is ignored"


# -------------------------------------------------------------------------------------------------------- numbers of any form


class Tensor:
    """A stand-in for another library's tensor."""

    def __init__(self, *values: Any) -> None:
        self.values, self.shape = list(values), (len(values),)

    def item(self) -> float:
        if len(self.values) > 1:
            raise RuntimeError("a Tensor with several elements cannot be converted to Scalar")
        return self.values[0]


FORMS = [
    float,
    np.float32,
    np.array,
    lambda x: np.array([[x]]),
    lambda x: [x],
    lambda x: (np.array([x]),),
    jnp.float32,
    lambda x: jnp.array([x]),
    lambda x: Decimal(int(x)),
    fractions.Fraction,
    Tensor,
    int,
    bool,
]


@pytest.mark.parametrize("form", FORMS)
def test_numbers_of_any_form(form: Any):
    assert answer_checks.number(form(1.0)) == 1.0


@pytest.mark.parametrize("given", ["1", b"1", None, [], [1, 2], np.zeros(2), Tensor(1, 2), {}, 1j, np.array("1"), {1}, jnp.zeros((2, 1))])
def test_values_that_are_not_numbers(given: Any):
    assert answer_checks.number(given) is None


def informed(base: Any, form: Any) -> Any:
    """The metric `won` in this form, in the infos of every step."""

    class Informed(base):
        def answers(self, acted: list[str], over: bool) -> Any:
            return (*super().answers(acted, over)[:4], {agent: {"won": form(float(over))} for agent in acted})

        def step(self, actions: Any) -> Any:
            answer = super().step(actions)
            return answer if base is Rounds else (*answer[:-1], {"won": form(float(self.t == LENGTH))})

    return Informed


@pytest.mark.parametrize("base", [Rounds, Tuples, Marl])
@pytest.mark.parametrize("form", [np.array, lambda x: [x], jnp.float32])
def test_a_metric_may_have_any_form(base: Any, form: Any):
    steps = episode(adapted(informed(base, form), metrics=["won"]))
    assert [float(step.metrics[0]) for step in steps] == [0, 0, 0, 1]
    assert not [note for note in surveyed(informed(base, form), metrics=["won"]).notes if "won" in note]
    note(surveyed(informed(base, form)), "won", "add them to the option metrics")


@pytest.mark.parametrize("base", [Rounds, Tuples, Marl])
def test_a_metric_that_never_appears_gives_a_note(base: Any):
    kind = informed(base, lambda x: [x])
    assert note(surveyed(kind, metrics=["wonn"]), "wonn").endswith(
        "never appeared as a number in an info, and is reported as 0; did you mean won?"
    )


def test_a_metric_that_appears_at_the_end_is_valid():
    assert episode(adapted(Won, metrics=["won"]))[-1].metrics[0] == 1
    assert not [note for note in surveyed(Won, metrics=["won"]).notes if "won" in note]


@pytest.mark.parametrize("base", [Rounds, Tuples, Marl])
def test_a_requested_metric_of_several_numbers_gives_a_note(base: Any):
    kind = informed(base, lambda x: np.full(3, x))
    assert "is given as ndarray[3]: a metric is one number" in note(surveyed(kind, metrics=["won"]), "won", "given")
    assert not [note for note in surveyed(kind).notes if "won" in note]


@pytest.mark.parametrize("base", [Rounds, Tuples, Marl])
@pytest.mark.parametrize("value", [np.nan, np.array([-np.inf]), 1e39, 10**400])
def test_a_metric_that_is_not_finite_is_refused_by_name(base: Any, value: Any):
    environment = adapted(informed(base, lambda x: value), metrics=["won"])
    environment.reset(0)
    with pytest.raises(ConfigError, match=r"odd: in step 1 the metric won is .*; it must be finite"):
        environment.step(np.zeros(environment.spec.n_agents, np.int32))


def rewarding(base: Any, rewards: Any) -> Any:
    class Rewarding(base):
        def step(self, actions: Any) -> Any:
            answer: Any = list(super().step(actions))
            answer[0 if base is Marl else 1] = rewards
            return tuple(answer)

    return Rewarding


@pytest.mark.parametrize("how", ["sum", "mean"])
@pytest.mark.parametrize("form", [np.array, lambda x: np.array([x]), lambda x: [x], jnp.float32, np.float64])
def test_a_reward_may_be_an_array_of_one(how: str, form: Any):
    cases = [
        (Rounds, {"a": form(1.5), "b": form(2.5)}, 4.0 / (1 if how == "sum" else 2)),
        (Tuples, [form(1.0), form(2.0), form(3.0)], 6.0 / (1 if how == "sum" else 3)),
        (Tuples, form(5.0), 5.0),  # the team's
        (Marl, form(5.0), 5.0),
        (Marl, [form(5.0), form(1.0)], 6.0 / (1 if how == "sum" else 2)),
    ]
    for base, rewards, team in cases:
        steps = episode(adapted(rewarding(base, rewards), reward=how))
        assert [float(step.reward) for step in steps[1:]] == [team] * LENGTH


@pytest.mark.parametrize(
    ("base", "rewards", "words"),
    [
        (Rounds, {"a": "much", "b": 1.0}, "step gave a the reward 'much'; it must be one number"),
        (Rounds, {"a": None, "b": 1.0}, "step gave a the reward None"),
        (Rounds, 1.0, "rewards are 1.0; they must be a dict by agent"),
        (Tuples, [1.0, 2.0], r"step gave the reward \[1.0, 2.0\], which has 2 objectives, and there are 3 agents"),
        (Marl, "much", "step gave the reward 'much'"),
    ],
)
def test_invalid_rewards_are_refused(base: Any, rewards: Any, words: str):
    environment = adapted(rewarding(base, rewards))
    environment.reset(0)
    with pytest.raises(ConfigError, match=words):
        environment.step(np.zeros(environment.spec.n_agents, np.int32))


# ---------------------------------------------------------------------------------------------------------------------- masks


def masking(base: Any, mask: Any) -> Any:
    class Masking(base):
        def get_avail_actions(self) -> Any:
            return [mask] * (3 if base is Tuples else 2)

        def reset(self, seed: int | None = None, options: Any = None) -> Any:
            if base is Marl:
                return super().reset()
            obs, _ = super().reset()
            return obs, {agent: {"action_mask": mask} for agent in getattr(self, "agents", ())}

        def answers(self, acted: list[str], over: bool) -> Any:
            return (*super().answers(acted, over)[:4], {agent: {"action_mask": mask} for agent in acted})

    return Masking


@pytest.mark.parametrize("base", [Rounds, Tuples, Marl])
def test_masks_may_be_padded(base: Any):
    environment = adapted(masking(base, [0, 1, 0, 0]))
    assert set(environment.spec.action_sizes) == {2}
    for step in episode(environment):
        np.testing.assert_array_equal(step.action_mask, [[False, True]] * environment.spec.n_agents)


@pytest.mark.parametrize("base", [Rounds, Tuples, Marl])
@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ([0, 1, 0, 1], "has 2 actions by its action space, but its action mask of 4 numbers allows action 3"),
        ([1], "has 2 actions by its action space, but an action mask of 1 numbers"),
    ],
)
def test_masks_of_wrong_sizes(base: Any, mask: list[int], words: str):
    with pytest.raises(ConfigError, match=f"odd: (a|agent_0) {words}"):
        adapted(masking(base, mask)).reset(0)


# ----------------------------------------------------------------------------------------------------------------------- team


def test_other_agents_follow_a_scripted_policy():
    environment = adapted(Chase, team="wolf_*", reward="sum")
    spec = environment.spec
    assert (spec.agents, spec.obs_sizes, spec.action_kind, spec.state_size) == (("wolf_0", "wolf_1"), (2, 2), "discrete", 4)
    assert dict(spec.options)["team"] == ("wolf_*",)
    environment.reset(3)
    step = environment.step(np.array([1, 1]))
    assert float(step.reward) == 4.0  # two bites, rewarded to each wolf
    assert environment.agent_rewards == (2.0, 2.0)
    actions = environment.env.actions[-1]
    assert (actions["wolf_0"], actions["wolf_1"]) == (1, 1)
    assert environment.env.action_space("sheep_0").contains(actions["sheep_0"])


def test_other_agents_repeat_their_actions_with_the_seed():
    def sheep_actions(seed: int, others: str) -> list[Any]:
        environment = adapted(Chase, team=["wolf_0", "wolf_1"], others=others)
        episode(environment, seed)
        return [[list(actions[sheep]) for sheep in ("sheep_0", "sheep_1")] for actions in environment.env.actions]

    assert sheep_actions(1, "random") == sheep_actions(1, "random") != sheep_actions(2, "random")
    assert sheep_actions(1, "noop") == [[[3.0, 3.0]] * 2] * LENGTH  # the middle of a box from 2 to 4


def test_other_agents_take_legal_actions():
    class Masked(masking(Rounds, [0, 1, 0])):
        def action_space(self, agent: str) -> Any:
            return spaces.Discrete(3)

    for others in ("random", "noop"):
        environment = adapted(Masked, team=["a"], others=others)
        episode(environment)
        assert [int(actions["b"]) for actions in environment.env.actions] == [1] * LENGTH
    plain = adapted(Rounds, team=["a"])
    for seed in range(8):
        episode(plain, seed)
    noop = adapted(Rounds, team=["a"], others="noop")
    episode(noop)
    assert [int(actions["b"]) for actions in noop.env.actions] == [0] * LENGTH


class LeavesFirst(Rounds):
    """a leaves in the second step by termination or truncation; b continues."""

    cut = False
    max_cycles = 9

    def answers(self, acted: list[str], over: bool) -> Any:
        obs, rewards, ended, cut, infos = super().answers(acted, over)
        if self.t == 2:
            (cut if self.cut else ended)["a"] = True
            self.agents = ["b"]
        return obs, rewards, ended, cut, infos


@pytest.mark.parametrize("cut", [False, True])
def test_an_episode_ends_with_the_team(cut: bool):
    class Leaves(LeavesFirst):
        pass

    Leaves.cut = cut
    steps = episode(adapted(Leaves, team="a"))
    assert len(steps) == 3
    assert (bool(steps[-1].terminated), bool(steps[-1].truncated)) == (not cut, cut)
    assert len(episode(adapted(Leaves, team="b"))) == LENGTH + 1


def test_a_team_in_gymnasium():
    environment = adapted(rewarding(Tuples, [1.0, 10.0, 100.0]), team=["agent_0", "agent_2"], others="noop")
    assert environment.spec.agents == ("agent_0", "agent_2")
    steps = episode(environment)
    np.testing.assert_array_equal(steps[1].obs, [[1, 1], [1, 3]])
    assert float(steps[1].reward) == 101.0
    assert {actions[1] for actions in environment.env.actions} == {0}
    shared = adapted(rewarding(Tuples, 5.0), team="agent_0")
    shared.reset(0)
    with pytest.raises(ConfigError, match="gives one reward for all agents, but the option team selects only some of them"):
        shared.step(np.zeros(1, np.int32))


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (Chase, {"team": "wolves_*"}, r"team='wolves_\*' matches no agent. The agents are wolf_0, sheep_0, wolf_1, sheep_1"),
        (Chase, {"team": ["wolf_*", "goat"]}, "team='goat' matches no agent"),
        (Tuples, {"team": "a"}, "The agents are agent_0, agent_1, agent_2"),
        (Chase, {"team": 3}, "team is 3; it must be a list of names"),
        (Chase, {"team": []}, "team is empty"),
        (Chase, {"team": "wolf_*", "others": "clever"}, "others is 'clever'; it must be one of random, noop"),
        (Chase, {"others": "noop"}, "others is 'noop', but all agents are the team"),
        (Marl, {"team": "agent_*"}, "the option team cannot be used"),
        (type("Many", (Rounds,), {"names": [f"agent_{i}" for i in range(300)]}), {"team": "x"}, r"The agents are agent_\* x 300\."),
    ],
)
def test_invalid_teams(kind: Any, options: Any, words: str):
    with pytest.raises(ConfigError, match=words):
        adapted(kind, **options)


def test_adversaries_give_a_note_with_the_option_team():
    class Seen(Chase):
        def observation_space(self, agent: str) -> Any:
            return Rounds.observation_space(self, agent)

        def action_space(self, agent: str) -> Any:
            return Rounds.action_space(self, agent)

    found = note(surveyed(Seen), "oppose")
    for word in ("wolf_*", "sheep_*", "team=sheep_*", "random", "noop"):
        assert word in found
    assert not [note for note in surveyed(Seen, team="wolf_*").notes if "oppose" in note]


def test_real_adversaries():
    """In simple_tag rewards are 0 before a collision, which is rare: further episodes are played until there is one."""
    tag = survey(lambda: dop.envs.make("pettingzoo:mpe2.simple_tag_v3"), episodes=1, seed=0)
    for word in ("adversary_*", "team=agent_0"):
        assert word in note(tag, "oppose")
    environment: Any = dop.envs.make("pettingzoo:mpe2.simple_tag_v3", team="adversary_*")
    again: Any = dop.envs.make("pettingzoo:mpe2.simple_tag_v3", **dict(environment.spec.options))
    assert again.spec == environment.spec
    for one, other in zip(episode(environment, 4), episode(again, 4), strict=True):
        np.testing.assert_array_equal(one.obs, other.obs)
