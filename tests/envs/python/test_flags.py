"""Termination flags, masks and arrays in unusual forms, which must not be misread."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from test_odd import adapted, episode, masking

from dop.envs.python.base import team_rewards
from dop.envs.python.base.agent_spaces import actions
from dop.errors import ConfigError
from odd_games import LENGTH, Marl, Rounds, Tuples

NEVER = 100
"""A time limit that is never reached."""


def flagged(terminated: Any, truncated: Any, at: int = 2) -> Any:
    """A Gymnasium environment of three agents with these flags from step `at` on, and none before."""

    class Flagged(Tuples):
        max_steps = NEVER

        def step(self, actions: Any) -> Any:
            obs, rewards, *_, info = super().step(actions)
            return obs, rewards, *((terminated, truncated) if self.t >= at else (False, False)), info

    return Flagged


@pytest.mark.parametrize(
    ("terminated", "truncated", "length", "ended"),
    [
        ([True, False, True], [False, True, False], 2, (False, True)),  # all ended, one by truncation
        ([True, True, True], [False, True, False], 2, (True, False)),  # terminated wins
        ([True, True, True], False, 2, (True, False)),
        (np.ones(3, bool), np.zeros(3), 2, (True, False)),
        (np.bool_(True), 0, 2, (True, False)),
        (False, [1, 1, 1], 2, (False, True)),
        (True, True, 2, (True, False)),
        ([True, False, False], [False, True, False], NEVER, (False, True)),  # one continues
    ],
)
def test_gymnasium_ends_when_each_agent_is_terminated_or_truncated(terminated: Any, truncated: Any, length: int, ended: tuple[bool, bool]):
    last = episode(environment := adapted(flagged(terminated, truncated)))
    assert len(last) - 1 == length
    assert (bool(last[-1].terminated), bool(last[-1].truncated)) == ended
    assert environment.spec.time_limit == NEVER


@pytest.mark.parametrize("flag", [{"__all__": False}, {"a": True}, "False", np.nan, [], None, [True, False], 2, [True, None, False]])
def test_invalid_flags_are_refused(flag: Any):
    for given in ((flag, False), (False, flag)):
        environment = adapted(flagged(*given, at=1))
        environment.reset(0)
        with pytest.raises(ConfigError, match=r"step returned (terminated|truncated) as .*; it must be one boolean, or one for each"):
            environment.step(np.zeros(3, np.int32))


@pytest.mark.parametrize("flag", [{"__all__": False}, "False", np.nan, None, [True, True, True]])
def test_invalid_flags_of_pymarl(flag: Any):
    class Flagged(Marl):
        def step(self, actions: Any) -> Any:
            return 1.0, flag, {}

    environment = adapted(Flagged)
    environment.reset(0)
    with pytest.raises(ConfigError, match="odd: step returned terminated as"):
        environment.step(np.zeros(2, np.int32))


@pytest.mark.parametrize("flag", ["False", np.nan, None, [True, False]])
def test_invalid_flags_of_pettingzoo(flag: Any):
    class Flagged(Rounds):
        def answers(self, acted: list[str], over: bool) -> Any:
            obs, rewards, _, cut, infos = super().answers(acted, over)
            return obs, rewards, dict.fromkeys(acted, flag), cut, infos

    environment = adapted(Flagged)
    environment.reset(0)
    with pytest.raises(ConfigError, match="as a flag of a; terminations and truncations must be true or false"):
        environment.step(np.zeros(2, np.int32))


# ---------------------------------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize("base", [Rounds, Tuples, Marl])
@pytest.mark.parametrize("mask", [[-1e9, 0], [-np.inf, 0.0], [np.nan, 1], ["0", "1"], [2, 1], [-1, 1], [[1], [1, 0]]])
def test_masks_of_anything_but_0_and_1_are_refused(base: Any, mask: Any):
    """Additive logit masks, for example, would be read as their opposite."""
    with pytest.raises(ConfigError, match=r"odd: (a|agent_0) has the action mask .*; it must be 1 for legal actions and 0 for others"):
        adapted(masking(base, mask)).reset(0)


@pytest.mark.parametrize(
    ("mask", "action_mask"),
    [
        ((np.array([1, 0], np.int8), np.array([1, 1, 0], np.int8)), [1, 1, 0, 0, 0, 0]),
        ([[True, True], [False, False, True]], [0, 0, 1, 0, 0, 1]),
        ([1, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 1]),
        (np.array([[1, 0, 0], [0, 0, 1]]), [1, 0, 0, 0, 0, 1]),  # of the combinations, in rows and columns
    ],
)
def test_masks_of_a_multidiscrete_space_may_be_of_its_components(mask: Any, action_mask: list[int]):
    own = actions(spaces.MultiDiscrete([2, 3]), "a")
    np.testing.assert_array_equal(np.ravel(own.combined(mask)), action_mask)
    for number in np.flatnonzero(action_mask):
        parts = own.write(number)
        if isinstance(mask, tuple):
            assert all(part[i] for part, i in zip(mask, parts, strict=True))


# --------------------------------------------------------------------------------------------------------- arrays that are reused


def test_the_last_observation_is_a_copy():
    class InPlace(Rounds):
        """Reuses one array per agent, which it clears at the end."""

        def reset(self, seed: int | None = None, options: Any = None) -> Any:
            self.seen = {agent: np.zeros(2, np.float32) for agent in self.possible_agents}
            return super().reset()

        def look(self, agents: Any) -> Any:
            for i, agent in enumerate(self.possible_agents):
                self.seen[agent][:] = self.t, i + 1
            return {agent: self.seen[agent] for agent in agents}

        def answers(self, acted: list[str], over: bool) -> Any:
            obs, *rest = super().answers(acted, over)
            if over:
                for array in self.seen.values():
                    array[:] = 0
            return ({} if over else obs, *rest)

    environment = adapted(InPlace)
    step = environment.reset(0)
    while not step.truncated:
        step = environment.step(np.zeros(2, np.int32))
    np.testing.assert_array_equal(step.obs, [[LENGTH - 1, 1], [LENGTH - 1, 2]])


# -------------------------------------------------------------------------------------------------------------------- rewards


@pytest.mark.parametrize("given", [[np.array([1.0]), 2], [np.array(1), [2]], (1, np.array([2.0]))])
def test_rewards_of_one_number_may_be_mixed(given: Any):
    assert team_rewards.agent_rewards("odd", given, 2, None) == (1.0, 2.0)


@pytest.mark.parametrize("given", [np.array([1, 2]), [np.int64(1), 2], (1.0, np.float32(2))])
def test_weights_may_be_of_numpy(given: Any):
    assert team_rewards.weights(given) == (1.0, 2.0)
