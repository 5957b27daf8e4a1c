"""The specification of an environment: `EnvSpec`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from dop.errors import ConfigError, check_names, check_types, shown
from dop.types.entities import EntityBlocks, check_agree, check_blocks

ActionKind: TypeAlias = Literal["discrete", "box", "simplex"]
"""The kind of one agent's action; see `EnvSpec.action_kind`."""
Sharing: TypeAlias = Literal["all", "by_type", "none"]
"""Parameter sharing: among all agents, among those of one type (`EnvSpec.types`), or none."""


@dataclass(frozen=True, kw_only=True)
class EnvSpec:
    """The specification of an environment: all that networks, replay and records depend on, fixed before a run.

    `name` and `version` identify the environment in a run directory; results of different versions are not compared.
    """

    name: str
    """Its name for `dop.make`, for example `smax:2s3z`."""
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
    """Maximum episode length, in steps. Reaching it truncates the episode; it does not terminate it."""
    action_kind: ActionKind = "discrete"
    """The kind of one agent's action: `discrete`, an index; a `box`, a vector in [-1, 1] (adapters scale it to the environment's
    bounds); or a `simplex`, non-negative components that sum to 1. Padded components are 0."""
    obs_bound: float | None = None
    """Upper bound of the absolute values of observations and states; None if unknown. Up to 2, replay stores them in half precision."""
    types: tuple[str, ...] = ()
    """Each agent's type, for parameter sharing by type. Empty: agents of the same sizes whose names differ only in their final digits
    have the same type (`agent_types`)."""
    metrics: tuple[str, ...] = ()
    """Names of `TimeStep.metrics`, reported at the end of each episode, for example `battle_won`."""
    action_names: tuple[tuple[str, ...], ...] = ()
    """Names of each agent's actions, or of the components of a continuous one, shown instead of indices. Empty: no names. A run can resume
    with other names."""
    obs_entities: tuple[EntityBlocks, ...] = ()
    """Which numbers of an observation belong to which other entity, for `dop.Entities`. Empty: not stated. Like
    `action_names` no reason to refuse a run: where the meaning of an observation changes, change `version`."""
    state_entities: tuple[EntityBlocks, ...] = ()
    """The same for the global state."""
    options: tuple[tuple[str, Any], ...] = ()
    """Keyword arguments of `dop.make` for this environment; a resumed run uses them, and detects changes."""

    def __post_init__(self) -> None:
        """Raise ConfigError, or UnknownNameError, for invalid sizes and names. NumPy numbers become Python's."""
        check_types(self, f"{self.name}: " if isinstance(self.name, str) else "")
        check_names("name and version of an environment", (self.name, self.version))
        for field in ("agents", "types", "metrics"):
            check_names(field, getattr(self, field), f"{self.name}: ")
        if not all(isinstance(option, tuple | list) and len(option) == 2 and isinstance(option[0], str) for option in self.options):
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
        self._check_entities()
        for field in ("state_size", "time_limit"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{self.name}: {field} must be positive; got {shown(getattr(self, field))}.")
        taken = {"return", "ep_length"} & set(self.metrics)
        if taken or len(set(self.metrics)) != len(self.metrics):
            raise ConfigError(f"{self.name}: metrics must be different names, none of them return or ep_length; got {shown(self.metrics)}.")

    def _check_action_names(self) -> None:
        """Raise ConfigError unless every action of every agent has a unique printable name, or none has."""
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

    def _check_entities(self) -> None:
        """Raise ConfigError unless the blocks of entities fit observations, state and actions."""
        for field, size in (("obs_entities", self.obs_size), ("state_entities", self.state_size)):
            check_blocks(f"{self.name}: {field}", getattr(self, field), size, self.action_sizes)
        check_agree(f"{self.name}: ", (*self.obs_entities, *self.state_entities), self.n_agents)

    @property
    def n_agents(self) -> int:
        """Number of agents."""
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
        """The type of each agent: `types`, or derived from names and sizes."""
        if self.types:
            return self.types
        stems = [agent.rstrip("0123456789").rstrip("_-") for agent in self.agents]
        kinds = list(zip(stems, self.obs_sizes, self.action_sizes, strict=True))
        sizes = {stem: {kind for kind in kinds if kind[0] == stem} for stem in stems}
        return tuple(kind[0] if len(sizes[kind[0]]) == 1 else f"{kind[0]}:{kind[1]}x{kind[2]}" for kind in kinds)

    def action_name(self, agent: int, action: int) -> str:
        """The display name of an action, or of a component of a continuous one: its name, or else its index."""
        return self.action_names[agent][action] if self.action_names else str(action)

    def groups(self, sharing: Sharing) -> tuple[int, ...]:
        """The parameter group of each agent, numbered from 0 in order of appearance."""
        names = {"all": ("",) * self.n_agents, "by_type": self.agent_types, "none": self.agents}[sharing]
        order = list(dict.fromkeys(names))
        return tuple(order.index(name) for name in names)

    @property
    def action_shape(self) -> tuple[int, ...]:
        """Shape of one joint action."""
        return (self.n_agents,) if self.action_kind == "discrete" else (self.n_agents, self.action_size)


LABELS = ("action_names", "obs_entities", "state_entities")
"""Fields of `EnvSpec` that only describe: a run can resume with other values, and is compared with runs that have others."""
