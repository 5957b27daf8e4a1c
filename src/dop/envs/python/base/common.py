"""The options that all adapters have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from dop.envs.making.options import boolean, one_of, positive_integer
from dop.envs.python.base import team_rewards
from dop.errors import ConfigError

REWARDS = ("sum", "mean")
OTHERS = ("random", "noop")


@dataclass(frozen=True, kw_only=True)
class Common:
    """The options of all adapters. Every other option goes to the environment's own maker."""

    reward: str = "sum"
    """The team's reward: the `sum` of the agents' rewards, or their `mean` over all agents, inactive ones included."""
    reward_weights: tuple[float, ...] | None = None
    """The weight of each objective where a reward is a vector of several. None: rewards must be numbers."""
    time_limit: int | None = None
    """Truncate episodes after this many steps. None: the environment's own limit."""
    limit_terminates: bool = False
    """Whether reaching the environment's own time limit is termination where the environment does not report which."""
    metrics: tuple[str, ...] | None = None
    """Numbers in the environment's infos to report. None: the adapter's defaults."""
    team: tuple[str, ...] | None = None
    """Names of the team's agents, or patterns such as `agent_*`. None: all agents."""
    others: str | None = None
    """The policy of the agents outside of the team: `random` (also if it is None) or `noop`."""

    def __post_init__(self) -> None:
        """Raise ConfigError for invalid values. Lists, as from files and the command line, become tuples."""
        one_of("reward", self.reward, REWARDS)
        boolean("limit_terminates", self.limit_terminates)
        if self.time_limit is not None:
            positive_integer("time_limit", self.time_limit)
        if self.reward_weights is not None:
            object.__setattr__(self, "reward_weights", team_rewards.weights(self.reward_weights))
        object.__setattr__(self, "metrics", _names("metrics", self.metrics, '["battle_won"]'))
        team = (self.team,) if isinstance(self.team, str) else self.team
        object.__setattr__(self, "team", _names("team", team, '"agent_*" or ["agent_0", "agent_1"]'))
        if team is not None and not team:
            raise ConfigError("team is empty; leave it out if all agents are one team.")
        if self.others is not None:
            one_of("others", self.others, OTHERS)
            if self.team is None:
                raise ConfigError(f"others is {self.others!r}, but all agents are the team; set the team, for example team=agent_*.")

    @classmethod
    def split(cls, options: Mapping[str, Any]) -> tuple[Common, dict[str, Any]]:
        """These options, and the others."""
        own = {field.name for field in fields(cls)}
        return cls(**{k: v for k, v in options.items() if k in own}), {k: v for k, v in options.items() if k not in own}

    def with_others(self, options: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
        """All options that are not None, in the form of `EnvSpec.options`."""
        return tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in {**asdict(self), **options}.items() if v is not None)


def _names(option: str, given: Any, example: str) -> tuple[str, ...] | None:
    """A list of names, as a tuple.

    Raises:
        ConfigError: it is something else.
    """
    if given is not None and (not isinstance(given, list | tuple) or not all(isinstance(name, str) for name in given)):
        raise ConfigError(f"{option} is {given!r}; it must be a list of names, for example {example}.")
    return None if given is None else tuple(given)
