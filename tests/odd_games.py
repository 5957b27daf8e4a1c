"""Python environments as bases for oddly behaved ones, of which each subclass in the tests changes one thing.

Three rounds, truncated by a time limit; every agent observes the round and its own number, with reward 1 per round.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from gymnasium import spaces

LENGTH = 3


class Rounds:
    """With PettingZoo's parallel interface."""

    names: Iterable[str] = ("a", "b")
    max_cycles = LENGTH
    masked = False

    def __init__(self) -> None:
        self.possible_agents = list(self.names)
        self.agents: list[str] = []

    def observation_space(self, agent: str) -> Any:
        return spaces.Box(-9, 999, (2,), np.float32)

    def action_space(self, agent: str) -> Any:
        return spaces.Discrete(2)

    def look(self, agents: Iterable[str]) -> dict[str, Any]:
        return {agent: np.array([self.t, self.possible_agents.index(agent) + 1], np.float32) for agent in agents}

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        self.t, self.agents, self.actions = 0, list(self.possible_agents), []
        return self.look(self.agents), {}

    def step(self, actions: dict[str, Any]) -> tuple[Any, Any, Any, Any, Any]:
        self.t += 1
        self.actions.append(actions)
        over = self.t == LENGTH
        answer = self.answers(list(actions), over)
        self.agents = [] if over else self.agents
        return answer

    def answers(self, acted: list[str], over: bool) -> tuple[Any, Any, Any, Any, Any]:
        return self.look(acted), dict.fromkeys(acted, 1.0), dict.fromkeys(acted, False), dict.fromkeys(acted, over), {}

    def close(self) -> None:
        """Nothing is held."""


class Silent(Rounds):
    """Gives observations only to agents that continue."""

    def answers(self, acted: list[str], over: bool) -> tuple[Any, Any, Any, Any, Any]:
        obs, *rest = super().answers(acted, over)
        return ({} if over else obs, *rest)  # type: ignore


class Won(Rounds):
    """Every episode is won, as its last infos report."""

    def answers(self, acted: list[str], over: bool) -> tuple[Any, Any, Any, Any, Any]:
        infos = {agent: {"won": np.array([1.0])} for agent in acted} if over else {}
        return (*super().answers(acted, over)[:4], infos)  # type: ignore


class Chase(Rounds):
    """Two wolves and two sheep: action 1 of a wolf has reward +1 for wolves and -1 for sheep. Sheep have images and box actions."""

    names = ("wolf_0", "sheep_0", "wolf_1", "sheep_1")

    def observation_space(self, agent: str) -> Any:
        return spaces.Box(0, 255, (4, 4, 3), np.uint8) if agent.startswith("sheep") else super().observation_space(agent)

    def action_space(self, agent: str) -> Any:
        return spaces.Box(2, 4, (2,), np.float32) if agent.startswith("sheep") else super().action_space(agent)

    def answers(self, acted: list[str], over: bool) -> tuple[Any, Any, Any, Any, Any]:
        obs, _, *rest = super().answers(acted, over)
        bites = sum(int(self.actions[-1][wolf]) for wolf in acted if wolf.startswith("wolf"))
        return (obs, {agent: float(bites) * (1 if agent.startswith("wolf") else -1) for agent in acted}, *rest)  # type: ignore


class Tuples:
    """With Gymnasium's interface, for three agents."""

    spec = None
    render_mode = None
    max_steps = LENGTH
    n = 3

    def __init__(self) -> None:
        self.observation_space = spaces.Tuple([spaces.Box(-9, 9, (2,), np.float32)] * self.n)
        self.action_space = spaces.Tuple([spaces.Discrete(2)] * self.n)

    @property
    def unwrapped(self) -> Any:
        return self

    def look(self) -> Any:
        return tuple(np.array([self.t, i + 1], np.float32) for i in range(self.n))

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        self.t, self.actions = 0, []
        return self.look(), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, Any]:
        self.t += 1
        self.actions.append(actions)
        return self.look(), [1.0] * self.n, False, self.t == LENGTH, {}

    def close(self) -> None:
        """Nothing is held."""


class Marl:
    """With PyMARL's interface, for two agents."""

    def get_env_info(self) -> dict[str, Any]:
        return {"n_agents": 2, "n_actions": 2, "obs_shape": 2, "state_shape": 1, "episode_limit": LENGTH}

    def reset(self) -> None:
        self.t = 0

    @property
    def over(self) -> bool:
        return self.t == LENGTH

    def step(self, actions: Any) -> tuple[Any, Any, Any]:
        self.t += 1
        return 1.0, self.over, {}

    def get_obs(self) -> Any:
        return [[self.t, i + 1] for i in range(2)]

    def get_state(self) -> Any:
        return [self.t]

    def get_avail_actions(self) -> Any:
        return [[1, 1], [0, 1]]

    def close(self) -> None:
        """Nothing is held."""


class Turns:
    """Agents act in turn, as in PettingZoo's AEC."""

    possible_agents = ("a",)

    def agent_iter(self) -> Any: ...


def silent(names: Iterable[str] = ("a", "b")) -> Any:
    """A typical maker: a function that returns a PettingZoo environment."""
    environment = Silent()
    environment.possible_agents = list(names)
    return environment


def limited(time_limit: int) -> Any:
    """A maker with an option of the same name as an adapter's."""
    environment = Rounds()
    environment.max_cycles = time_limit
    return environment


def anything(**options: Any) -> Any:
    """A maker that accepts any option."""
    assert not options
    return Tuples()


def crowd() -> Any:
    """Three hundred agents of two kinds, half of whom leave after the first round."""
    return Crowd()


class Crowd(Rounds):
    """300 agents, of two kinds."""

    names = (*(f"ant_{i}" for i in range(200)), *(f"bee_{i}" for i in range(100)))

    def action_space(self, agent: str) -> Any:
        return spaces.Discrete(2 if agent.startswith("ant") else 3)

    def step(self, actions: Any) -> Any:
        answer = super().step(actions)
        self.agents = self.agents[::2] if self.t == 1 else self.agents
        return answer

    def answers(self, acted: list[str], over: bool) -> Any:
        obs, rewards, ended, cut, infos = super().answers(acted, over)
        return obs, rewards, ended | {agent: True for agent in acted[1::2] if self.t == 1}, cut, infos
