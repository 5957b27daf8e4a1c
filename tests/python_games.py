"""Python environments: a random script with each of the three interfaces, an imitation of SMAC, and one that can violate its spec.

They raise at illegal actions.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium import spaces

from dop.types import EnvSpec, TimeStep


@dataclass(kw_only=True)
class Script:
    """A whole episode, independent of the actions. Sizes are random; all numbers follow from `seed`."""

    seed: int
    n_agents: int
    length: int
    """Steps until it ends by itself."""
    own_limit: int | None
    """The environment's own time limit."""
    box: bool = False
    equal: bool = False
    """Whether all agents have the same sizes, and are always active."""
    has_state: bool = True
    masks: str = "obs"
    """Where action masks are: `obs`, `info`, `both` (with a wrong one in the info), or `none`."""

    def __post_init__(self) -> None:
        rng, n, t = np.random.default_rng(self.seed), self.n_agents, self.length
        self.obs_sizes = (3,) * n if self.equal else tuple(int(x) for x in rng.integers(1, 5, n))
        self.action_sizes = (3,) * n if self.equal else tuple(int(x) for x in rng.integers(1, 5, n))
        self.is_active = np.ones((t + 1, n), bool) if self.equal else rng.random((t + 1, n)) < 0.7
        self.is_active[np.arange(t + 1), rng.integers(0, n, t + 1)] = True  # some agent always is active
        self.is_active[t] = False
        self.allowed = [[rng.random(size) < 0.5 for size in self.action_sizes] for _ in range(t + 1)]
        for mask in itertools.chain.from_iterable(self.allowed):
            mask[rng.integers(0, len(mask))] = True
        self.obs = [[rng.normal(size=size).astype(np.float32) for size in self.obs_sizes] for _ in range(t + 1)]
        self.state = rng.normal(size=(t + 1, 4)).astype(np.float32)
        self.reward, self.score = rng.normal(size=(t + 1, n)), rng.random((t + 1, n))
        self.terminates, self.truncates = rng.random((t + 1, n)) < 0.6, rng.random((t + 1, n)) < 0.4

    def action_mask(self, t: int, i: int) -> np.ndarray:
        """Agent i's action mask at step t, if it is active."""
        return np.ones(self.action_sizes[i], bool) if self.box or self.masks == "none" else self.allowed[t][i]

    def check(self, t: int, i: int, action: Any) -> None:
        """Raise ValueError unless agent i's action is legal at step t."""
        if self.box:
            if action.shape != (self.action_sizes[i],) or action.dtype != np.float32 or (np.abs(action - 1) > 3).any():
                raise ValueError(f"{action} is outside of [-2, 4]")
        elif not isinstance(action, int) or not self.action_mask(t, i)[action]:
            raise ValueError(f"agent {i} may not do {action!r} at step {t}")


def action_space(script: Script, i: int) -> Any:
    size = script.action_sizes[i]
    return spaces.Box(-2, 4, (size,), np.float32) if script.box else spaces.Discrete(size)


def obs_space(script: Script, i: int, masked: bool) -> Any:
    own = spaces.Box(-np.inf, np.inf, (script.obs_sizes[i],), np.float32)
    return spaces.Dict({"observation": own, "action_mask": spaces.MultiBinary(script.action_sizes[i])}) if masked else own


class Parallel:
    """The script as a PettingZoo parallel environment."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.possible_agents = [f"{'ab'[i % 2]}_{i}" for i in range(script.n_agents)]
        self.agents: list[str] = []
        if script.own_limit is not None:
            self.max_cycles = script.own_limit
        self.closed = 0

    def observation_space(self, agent: str) -> Any:
        return obs_space(self.script, self.possible_agents.index(agent), self.script.masks in ("obs", "both"))

    def action_space(self, agent: str) -> Any:
        return action_space(self.script, self.possible_agents.index(agent))

    def _answers(self, who: set[str]) -> tuple[dict, dict]:
        obs, infos = {}, {}
        for i, agent in enumerate(self.possible_agents):
            if agent in who:
                seen, mask = self.script.obs[self.t][i], self.script.allowed[self.t][i].astype(np.int8)
                obs[agent] = {"observation": seen, "action_mask": mask} if self.script.masks in ("obs", "both") else seen
                infos[agent] = {"score": self.script.score[self.t, i]} if i % 2 else {}
                if self.script.masks in ("info", "both"):
                    infos[agent]["action_mask"] = mask if self.script.masks == "info" else 1 - mask
        return obs, infos

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict, dict]:
        self.t = 0
        self.agents = [agent for i, agent in enumerate(self.possible_agents) if self.script.is_active[0, i]]
        return self._answers(set(self.agents))

    def step(self, actions: dict) -> tuple[dict, dict, dict, dict, dict]:
        assert list(actions) == self.agents
        for agent, action in actions.items():
            self.script.check(self.t, self.possible_agents.index(agent), action)
        self.t += 1
        acted = set(self.agents)
        now = {agent for i, agent in enumerate(self.possible_agents) if self.script.is_active[self.t, i]}
        obs, infos = self._answers(acted | now)
        left = {agent: self.possible_agents.index(agent) for agent in self.agents if agent not in now}
        terminations = dict.fromkeys(self.agents, False) | {agent: bool(self.script.terminates[self.t, i]) for agent, i in left.items()}
        # An agent that leaves without terminating is truncated.
        truncations = {
            agent: agent in left and (not terminations[agent] or bool(self.script.truncates[self.t, i])) for agent, i in left.items()
        }
        rewards = {agent: self.script.reward[self.t, self.possible_agents.index(agent)] for agent in self.agents}
        self.agents = [agent for agent in self.possible_agents if agent in now]
        return obs, rewards, terminations, dict.fromkeys(terminations, False) | truncations, infos

    def state(self) -> np.ndarray:
        if not self.script.has_state:
            raise NotImplementedError
        return self.script.state[self.t]

    def close(self) -> None:
        self.closed += 1


class Tuples:
    """The script as a Gymnasium environment with tuple spaces. Inactive agents have an empty mask."""

    render_mode = None

    def __init__(self, script: Script) -> None:
        self.script, self.spec = script, None
        masked = script.masks in ("obs", "both")
        self.observation_space = spaces.Tuple([obs_space(script, i, masked) for i in range(script.n_agents)])
        self.action_space = spaces.Tuple([action_space(script, i) for i in range(script.n_agents)])
        if script.own_limit is not None:
            self.max_steps = script.own_limit
        if script.has_state:
            self.get_state = lambda: script.state[self.t]

    @property
    def unwrapped(self) -> Tuples:
        return self

    def mask(self, i: int) -> np.ndarray:
        return self.script.allowed[self.t][i] & self.script.is_active[min(self.t, self.script.length - 1), i]

    def _answers(self) -> tuple[tuple, dict]:
        everyone = range(self.script.n_agents)
        obs: tuple = tuple(self.script.obs[self.t])
        if self.script.masks in ("obs", "both"):
            obs = tuple({"observation": seen, "action_mask": self.mask(i).astype(np.int8)} for i, seen in enumerate(obs))
        info: dict[str, Any] = {"score": self.script.score[self.t, 0], "words": "no number"}
        if self.script.masks in ("info", "both"):
            info["action_mask"] = [self.mask(i) if self.script.masks == "info" else ~self.mask(i) for i in everyone]
        return obs, info

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[tuple, dict]:
        self.t = 0
        return self._answers()

    def step(self, actions: tuple) -> tuple[tuple, list, bool, bool, dict]:
        for i, action in enumerate(actions):
            if self.script.box or self.script.masks == "none" or self.mask(i).any():
                self.script.check(self.t, i, action)
            elif action != 0:
                raise ValueError(f"agent {i} is inactive, but takes action {action}")
        self.t += 1
        over = self.t == self.script.length
        terminated, truncated = over and bool(self.script.terminates[self.t, 0]), over and bool(self.script.truncates[self.t, 0])
        obs, info = self._answers()
        return obs, list(self.script.reward[self.t]), terminated or (over and not truncated), truncated, info

    def close(self) -> None:
        """Nothing is held."""


class Marl:
    """The script with the interface of PyMARL's MultiAgentEnv, whose step returns three or five values."""

    def __init__(self, script: Script, answers: int, says_limit: bool) -> None:
        self.script, self.answers, self.says_limit = script, answers, says_limit

    def get_env_info(self) -> dict[str, Any]:
        limit = {} if self.script.own_limit is None else {"episode_limit": self.script.own_limit}
        return {"n_agents": self.script.n_agents, "n_actions": 3, "obs_shape": 3, "state_shape": (2, 2), **limit}

    def get_obs(self) -> list[np.ndarray]:
        return [self.script.obs[self.t][i] for i in range(self.script.n_agents)]

    def get_state(self) -> np.ndarray:
        return self.script.state[self.t].reshape(2, 2)

    def get_avail_actions(self) -> list[list[int]]:
        return [self.script.allowed[self.t][i].astype(int).tolist() for i in range(self.script.n_agents)]

    def reset(self) -> None:
        self.t = 0

    def step(self, actions: list[int]) -> tuple:
        for i, action in enumerate(actions):
            self.script.check(self.t, i, action)
        self.t += 1
        over = self.t == self.script.length
        cut = over and bool(self.script.truncates[self.t, 0])
        info: dict[str, Any] = {"score": self.script.score[self.t, 0]}
        if self.says_limit and self.answers == 3:
            info["episode_limit"] = cut
        reward = self.script.reward[self.t]
        if self.answers == 3:
            return float(reward.sum()), over, info
        ended = over and (not cut or bool(self.script.terminates[self.t, 0]))
        return self.get_obs(), reward.tolist(), ended, [cut] * self.script.n_agents, info

    def close(self) -> None:
        """Nothing is held."""


# ------------------------------------------------------------------------------------------------------------------ SMAC-like


class Skirmish:
    """An imitation of SMAC without StarCraft: units fight; dead ones have action 0 only, living ones the others; illegal actions raise.

    Actions: 0 no-op, 1 stop, 2 up to 4 attack a living enemy. Enemies hit a random living unit. `continuing` reports time limits.
    """

    def __init__(self, n_units: int = 3, limit: int = 12, seed: int | None = None, answers: int = 3, continuing: bool = False) -> None:
        self.n_units, self.limit, self.answers, self.continuing = n_units, limit, answers, continuing
        self.rng = np.random.default_rng(seed)
        self.battles_won = self.closed = self.replays = 0

    def get_env_info(self) -> dict[str, Any]:
        sizes = {"obs_shape": 2 + self.n_units + 3, "state_shape": self.n_units + 3, "n_actions": 5}
        return sizes | {"n_agents": self.n_units, "episode_limit": self.limit}

    def reset(self) -> tuple[list, np.ndarray]:
        self.t, self.health, self.enemies = 0, np.full(self.n_units, 2), np.full(3, 3)
        return self.get_obs(), self.get_state()

    def get_obs(self) -> list[np.ndarray]:
        own = np.eye(self.n_units)
        return [
            np.concatenate([[h, self.t / self.limit], own[i], self.enemies]) if h > 0 else np.zeros(5 + self.n_units)
            for i, h in enumerate(self.health)
        ]

    def get_state(self) -> np.ndarray:
        return np.concatenate([self.health, self.enemies]).astype(np.float32)

    def get_avail_agent_actions(self, i: int) -> list[int]:
        return [0, 1, *(self.enemies > 0).astype(int)] if self.health[i] > 0 else [1, 0, 0, 0, 0]

    def get_avail_actions(self) -> list[list[int]]:
        return [self.get_avail_agent_actions(i) for i in range(self.n_units)]

    def step(self, actions: list[int]) -> tuple:
        for i, action in enumerate(actions):
            assert self.get_avail_agent_actions(i)[action] == 1, f"Agent {i} cannot perform action {action}"
        before = self.enemies.sum()
        for action in actions:
            if action >= 2:
                self.enemies[action - 2] = max(0, self.enemies[action - 2] - 1)
        living = np.flatnonzero(self.health > 0)
        if self.enemies.any():
            self.health[self.rng.choice(living)] -= 1
        self.t += 1
        won, lost = not self.enemies.any(), not (self.health > 0).any()
        self.battles_won += won
        info: dict[str, Any] = {"battle_won": won, "dead_allies": int((self.health <= 0).sum())}
        if self.t >= self.limit and not won and not lost and self.continuing:
            info["episode_limit"] = True
        reward, over = float(before - self.enemies.sum()), won or lost or self.t >= self.limit
        return (reward, over, info) if self.answers == 3 else (self.get_obs(), reward, over, False, info)

    def save_replay(self) -> None:
        self.replays += 1

    def close(self) -> None:
        self.closed += 1


# ----------------------------------------------------------------------------------------------------------- one of your own


@dataclass
class Lights:
    """A custom `PythonEnvironment`: two agents observe a light each and must press its button. `fault` names a violation."""

    fault: str = ""
    noise: np.random.Generator = field(default_factory=np.random.default_rng)

    @property
    def spec(self) -> EnvSpec:
        bound = 0.5 if self.fault == "bound" else 1.0
        sizes: dict[str, Any] = {"obs_sizes": (2, 3), "action_sizes": (2, 3), "state_size": 2, "time_limit": 5, "obs_bound": bound}
        return EnvSpec(name="lights", version="1", agents=("left", "right"), **sizes)

    def reset(self, seed: int) -> TimeStep:
        self.rng, self.t = np.random.default_rng(seed), 0
        return self._look(1.0 if self.fault == "start" else 0.0)

    def step(self, action: np.ndarray) -> TimeStep:
        if self.fault == "raises":
            raise ValueError("the lamp broke")
        self.t += 1
        return self._look(float(np.mean(action == self.bits)))

    def _look(self, reward: float) -> TimeStep:
        self.bits = self.rng.integers(0, 2, 2) if self.fault != "random" else self.noise.integers(0, 2, 2)
        obs = np.zeros((2, 3), np.float32)
        obs[[0, 1], self.bits] = 1
        if self.fault == "kept":
            self.shared = getattr(self, "shared", obs)
            self.shared[:] = obs
            obs = self.shared
        action_mask = np.array([[True, True, False], [True, True, True]])
        over = self.t == 5 and self.fault != "endless"
        fields: dict[str, Any] = {
            "obs": obs,
            "state": self.bits.astype(np.float32),
            "action_mask": action_mask,
            "reward": np.float32(reward),
            "terminated": np.bool_(over and self.fault == "both"),
            "truncated": np.bool_(over),
            "metrics": np.zeros(0, np.float32),
        }
        return TimeStep(**fields | self._broken(obs, action_mask))

    def _broken(self, obs: np.ndarray, action_mask: np.ndarray) -> dict[str, Any]:
        padded = obs.copy()
        padded[0, 2] = 1
        return {
            "shape": {"obs": obs[:, :2]},
            "type": {"action_mask": action_mask.astype(np.float32)},
            "number": {"reward": 0.0},
            "nan": {"state": np.array([np.nan, 0], np.float32)},
            "padding": {"obs": padded},
            "beyond": {"action_mask": np.ones((2, 3), bool)},
            "nobody": {"action_mask": np.zeros((2, 3), bool)},
            "never": {"action_mask": action_mask & [[True], [False]]},
        }.get(self.fault, {})

    def render(self) -> np.ndarray | None:
        return None

    def close(self) -> None:
        """Nothing is held."""
