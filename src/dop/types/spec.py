"""What an environment is: `EnvSpec`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from dop.errors import ConfigError, check_names, check_types, shown

if TYPE_CHECKING:
    pass


ActionKind: TypeAlias = Literal["discrete", "box", "simplex"]
"""What one agent's action is; see `EnvSpec.action_kind`."""
Sharing: TypeAlias = Literal["all", "by_type", "none"]
"""Which agents have the same parameters: all, those of one type (`EnvSpec.types`), or none."""


@dataclass(frozen=True, kw_only=True)
class EnvSpec:
    """What an environment is: everything that networks, replay and records need to know of it, fixed before a run.

    `name` and `version` identify it in a run directory; results of different versions are not compared.
    """

    name: str
    """The name it is made by, for example `smax:2s3z`."""
    version: str
    """Changes whenever its dynamics, observations or rewards do."""
    agents: tuple[str, ...]
    """One name per agent; the order of every `agent` axis."""
    obs_sizes: tuple[int, ...]
    """Length of each agent's own observation, before padding."""
    action_sizes: tuple[int, ...]
    """Number of actions (discrete) or of action components (continuous) of each agent, before padding."""
    state_size: int
    """Length of the global state."""
    time_limit: int
    """Longest episode, in steps. Reaching it truncates; it does not terminate."""
    action_kind: ActionKind = "discrete"
    """What one agent's action is: a number below its size; a `box`, a vector in [-1, 1] (adapters scale it to the environment's own
    bounds); or a `simplex`, non-negative components that sum to 1. Padded components are 0."""
    obs_bound: float | None = None
    """No entry of an observation or state is ever larger in size; None if unknown. Where it is at most 2, replay keeps them in half
    precision."""
    types: tuple[str, ...] = ()
    """What each agent is, where parameters differ by type. Empty: of one type are agents of the same sizes whose names differ
    only in the digits that they end in (`agent_types`)."""
    metrics: tuple[str, ...] = ()
    """Names of `TimeStep.metrics`, reported at the end of each episode, for example `battle_won`."""
    action_names: tuple[tuple[str, ...], ...] = ()
    """For each agent the names of its actions, or of the components of a continuous one, which people see in the place of numbers.
    Empty: they have none. Names are labels: a run resumes under others."""
    options: tuple[tuple[str, Any], ...] = ()
    """Keyword arguments of `dop.make` that give this very environment: how a run that is resumed makes it again, and sees a change."""

    def __post_init__(self) -> None:
        """Raise ConfigError, or UnknownNameError, for sizes and names that cannot be. Numbers of NumPy become Python's."""
        check_types(self, f"{self.name}: " if isinstance(self.name, str) else "")
        check_names("name and version of an environment", (self.name, self.version))
        for field in ("agents", "types", "metrics"):
            check_names(field, getattr(self, field), f"{self.name}: ")
        if not all(len(option) == 2 and isinstance(option[0], str) for option in self.options):
            raise ConfigError(f"{self.name}: options must be pairs of a name and a value; got {shown(self.options)}.")
        n = len(self.agents)
        if n == 0 or len(set(self.agents)) != n:
            raise ConfigError(f"{self.name}: agents must be different names, at least one; got {shown(self.agents)}.")
        for field in ("obs_sizes", "action_sizes"):
            sizes = getattr(self, field)
            if len(sizes) != n or not all(0 < size < 2**31 for size in sizes):
                raise ConfigError(f"{self.name}: {field} must hold one positive size for each of the {n} agents; got {shown(sizes)}.")
        if self.types and len(self.types) != n:
            raise ConfigError(f"{self.name}: types must name one for each of the {n} agents, or none at all; got {shown(self.types)}.")
        self._check_action_names()
        for field in ("state_size", "time_limit"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{self.name}: {field} must be positive; got {shown(getattr(self, field))}.")
        taken = {"return", "ep_length"} & set(self.metrics)
        if taken or len(set(self.metrics)) != len(self.metrics):
            raise ConfigError(f"{self.name}: metrics must be different names, none of them return or ep_length; got {shown(self.metrics)}.")

    def _check_action_names(self) -> None:
        """Raise ConfigError unless there are names for every action of every agent, different and printable, or none at all."""
        if not self.action_names:
            return
        if len(self.action_names) != len(self.agents):
            raise ConfigError(
                f"{self.name}: action_names must hold one tuple of names for each of the {len(self.agents)} agents, or nothing; "
                f"got {shown(self.action_names)}."
            )
        for agent, size, names in zip(self.agents, self.action_sizes, self.action_names, strict=True):
            check_names("action_names", names, f"{self.name}: ")
            if len(names) != size or len(set(names)) != size:
                raise ConfigError(
                    f"{self.name}: action_names of {agent} must be {size} different names, one for each of its actions; got {shown(names)}."
                )

    @property
    def n_agents(self) -> int:
        """How many agents the team has."""
        return len(self.agents)

    @property
    def obs_size(self) -> int:
        """Length of the `obs` axis: the longest observation."""
        return max(self.obs_sizes)

    @property
    def action_size(self) -> int:
        """Length of the `action` axis: the most actions or components of an agent."""
        return max(self.action_sizes)

    @property
    def agent_types(self) -> tuple[str, ...]:
        """The type of each agent: `types`, or what follows from names and sizes."""
        if self.types:
            return self.types
        stems = [agent.rstrip("0123456789").rstrip("_-") for agent in self.agents]
        kinds = list(zip(stems, self.obs_sizes, self.action_sizes, strict=True))
        sizes = {stem: {kind for kind in kinds if kind[0] == stem} for stem in stems}
        return tuple(kind[0] if len(sizes[kind[0]]) == 1 else f"{kind[0]}:{kind[1]}x{kind[2]}" for kind in kinds)

    def action_name(self, agent: int, action: int) -> str:
        """What people read of an action, or of a component of a continuous one: its name, or its number where it has none."""
        return self.action_names[agent][action] if self.action_names else str(action)

    def groups(self, sharing: Sharing) -> tuple[int, ...]:
        """A number for each agent; those with the same have the same parameters. The first is 0, a new one is the next."""
        names = {"all": ("",) * self.n_agents, "by_type": self.agent_types, "none": self.agents}[sharing]
        order = list(dict.fromkeys(names))
        return tuple(order.index(name) for name in names)

    @property
    def action_shape(self) -> tuple[int, ...]:
        """Of one joint action."""
        return (self.n_agents,) if self.action_kind == "discrete" else (self.n_agents, self.action_size)


LABELS = ("action_names",)
"""Fields of `EnvSpec` that say what things are called, and change nothing that is computed: a run resumes with others."""
