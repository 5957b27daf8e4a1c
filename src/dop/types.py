"""The vocabulary of the library: what an environment says, what an episode holds, what an algorithm must offer.

Axes, by the names that the annotations use:

    agent    the n agents of the team, in the order of `EnvSpec.agents`
    action   the |A| discrete actions, or the components of a continuous one, padded to the largest agent's; `action_mask` says which exist
    obs      an agent's own observation, padded to the largest agent's
    state    the global state, which only critics see
    time     the T = `EnvSpec.time_limit` steps of an episode; `time+1` also has the state after the last step

Every record holds ONE example (one step, one episode). Batches are made by `jax.vmap`, never by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from dop.errors import ConfigError, check_names, check_types, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ActionKind: TypeAlias = Literal["discrete", "box", "simplex"]
"""What one agent's action is; see `EnvSpec.action_kind`."""
Sharing: TypeAlias = Literal["all", "by_type", "none"]
"""Which agents have the same parameters: all, those of one type (`EnvSpec.types`), or none."""
Action: TypeAlias = Int[Array, " agent"] | Float[Array, "agent action"]
"""What a team does at one step: a number each, or a vector each; see `EnvSpec.action_kind`."""
Metrics: TypeAlias = dict[str, Float[Array, ""]]
"""Scalars to record, by name."""
EnvState: TypeAlias = PyTree
"""What an environment in JAX carries from step to step."""
Carry: TypeAlias = PyTree
"""The hidden state of the agents' networks, carried from step to step of an episode."""


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


class TimeStep(eqx.Module):
    """What an environment answers. `reset` fills `reward` with 0 and both flags with False."""

    obs: Float[Array, "agent obs"]
    """What each agent observes, padded with zeros."""
    state: Float[Array, " state"]
    """The global state, for critics only."""
    action_mask: Bool[Array, "agent action"]
    """The discrete actions that may be taken; the components that exist of a continuous one. An agent without any is not there: dead, gone,
    or yet to come. What it does is action 0 (a vector of zeros) with probability 1, and neither earns nor teaches anything."""
    reward: Float[Array, ""]
    """Shared by the team."""
    terminated: Bool[Array, ""]
    """The task ended: nothing comes after, the value of what follows is 0."""
    truncated: Bool[Array, ""]
    """The episode was cut, by the time limit say: something would have come after, and its value counts."""
    metrics: Float[Array, " metric"]
    """In the order of `EnvSpec.metrics`."""


@runtime_checkable
class Environment(Protocol):
    """A team task in JAX. Both functions are pure, can be jitted and vmapped, and never reset by themselves."""

    @property
    def spec(self) -> EnvSpec:
        """Sizes, names and limits, which never change."""
        ...

    def reset(self, key: PRNGKeyArray) -> tuple[EnvState, TimeStep]:
        """Start an episode."""
        ...

    def step(self, key: PRNGKeyArray, state: EnvState, action: Action) -> tuple[EnvState, TimeStep]:
        """Advance by one joint action. `terminated` and `truncated` are never both True."""
        ...


@runtime_checkable
class PythonEnvironment(Protocol):
    """A team task that is not written in JAX: one environment with a state of its own, in Python, stepped on the host.

    Its `TimeStep`s hold NumPy arrays of the same shapes and types as those of `Environment`; what it returns is never changed afterwards.
    """

    @property
    def spec(self) -> EnvSpec:
        """Sizes, names and limits, which never change."""
        ...

    def reset(self, seed: int) -> TimeStep:
        """Start an episode. The same seed, on a new environment, starts the same episode where the environment is deterministic."""
        ...

    def step(self, action: np.ndarray) -> TimeStep:
        """Advance by one joint action, of `spec.action_shape`. Only legal actions come; agents without any get action 0."""
        ...

    def render(self) -> np.ndarray | None:
        """A picture of now (height, width, 3; uint8), or None where the environment cannot draw itself."""
        ...

    def close(self) -> None:
        """Let go of what it holds: windows, processes, files. Closing twice is allowed."""
        ...


@runtime_checkable
class Drawable(Protocol):
    """What an environment may offer beside `Environment`: it draws itself. `dop render` asks for it."""

    def draw(self, axes: Axes, state: EnvState, action: np.ndarray | None, colours: Sequence[str]) -> None:
        """Draw one state, and what the team does in it, into empty axes.

        Args:
            axes: their limits are to be the same in all of an episode.
            state: of NumPy arrays.
            action: None in the last state, in which nothing is done.
            colours: one for each agent.
        """
        ...


class PolicyOutput(eqx.Module):
    """What the agents do at one step, and how likely the policy that acted was to do it (1 where actions are continuous)."""

    action: Action
    """A number or a vector for each agent; see `EnvSpec.action_kind`."""
    behaviour_prob: Float[Array, " agent"]
    """Of each agent's action, under the policy that acted."""


class Episode(eqx.Module):
    """One whole episode, padded with zeros from its end to the time limit."""

    action: Int[Array, "time agent"] | Float[Array, "time agent action"]
    """What the team did at each step."""
    behaviour_prob: Float[Array, "time agent"]
    """Probability of each action taken, under the policy that took it; 1 where actions are continuous."""
    reward: Float[Array, " time"]
    """The team's reward for each step."""
    terminated: Bool[Array, " time"]
    """True on the last step of an episode that ended for real, nowhere else."""
    mask: Bool[Array, " time"]
    """True on the steps that were taken: the first `length` of them."""
    obs: Float[Array, "time+1 agent obs"]
    """What each agent observed before each step, and after the last one."""
    state: Float[Array, "time+1 state"]
    """The global state, at the same times."""
    action_mask: Bool[Array, "time+1 agent action"]
    """The actions that could be taken, at the same times; see `TimeStep`."""
    final_action: Action
    """What the behaviour policy would have done after the last step: what a sampled bootstrap at a time limit needs."""


class Transition(eqx.Module):
    """One step of an episode, with what came of it."""

    obs: Float[Array, "agent obs"]
    """What each agent observed before the step."""
    state: Float[Array, " state"]
    """The global state before the step."""
    action_mask: Bool[Array, "agent action"]
    """The actions that could be taken; see `TimeStep`."""
    action: Action
    """What the team did."""
    reward: Float[Array, ""]
    """The team's reward for the step."""
    discount: Float[Array, ""]
    """0 where the episode terminated, else 1; gamma is the algorithm's."""
    next_obs: Float[Array, "agent obs"]
    """What each agent observed after the step."""
    next_state: Float[Array, " state"]
    """The global state after the step."""
    next_action_mask: Bool[Array, "agent action"]
    """The actions that can be taken next."""


class Learner(eqx.Module):
    """What an algorithm carries from update to update. Algorithms extend it with their networks and optimisers."""

    env_steps: eqx.AbstractVar[Int[Array, ""]]
    """Environment steps collected so far, kept by the engine; schedules (epsilon) read it."""


@runtime_checkable
class ReplayBuffer(Protocol):
    """What `Algorithm.sample` may ask of the replay. A `window` restricts a draw to the newest episodes."""

    def latest(self, n: int) -> Episode:
        """The newest `n` episodes, with a leading axis."""
        ...

    def uniform(self, key: PRNGKeyArray, n: int, *, window: int | None = None) -> Episode:
        """`n` episodes drawn uniformly, with a leading axis."""
        ...

    @property
    def items(self) -> Episode:
        """All places, with a leading axis; empty ones have a mask of False."""
        ...


L = TypeVar("L", bound=Learner)
B = TypeVar("B")


@runtime_checkable
class Algorithm(Protocol[L, B]):
    """A learning method. Implementations are frozen dataclasses: their fields ARE the hyper-parameters.

    Everything is pure: no buffer, no environment and no clock inside.
    """

    @property
    def episodes_per_iteration(self) -> int:
        """Episodes collected, in parallel environments, before each update."""
        ...

    @property
    def replay_capacity(self) -> int:
        """Episodes that the replay keeps."""
        ...

    @property
    def warmup_episodes(self) -> int:
        """Episodes collected before the first update."""
        ...

    def check(self, spec: EnvSpec) -> None:
        """Raise `dop.errors.ConfigError` if these hyper-parameters, or this environment, cannot work."""
        ...

    def init(self, key: PRNGKeyArray, spec: EnvSpec) -> L:
        """The learner before the first update: networks and optimisers for an environment of this kind."""
        ...

    def initial_carry(self, spec: EnvSpec) -> Carry:
        """What the agents remember at the start of an episode, for one environment."""
        ...

    def act(self, learner: L, carry: Carry, step: TimeStep, key: PRNGKeyArray, *, explore: bool) -> tuple[PolicyOutput, Carry]:
        """Choose for one environment at one step: with exploration, or greedily."""
        ...

    def sample(self, replay: Any, key: PRNGKeyArray) -> B:
        """What one update learns from: the latest episodes, random ones, or both."""
        ...

    def update(self, learner: L, batch: B, key: PRNGKeyArray) -> tuple[L, Metrics]:
        """Learn from what `sample` gave: the next learner, and scalars to record, for example `critic_loss`."""
        ...


@runtime_checkable
class HasPresets(Protocol):
    """What an algorithm may offer beside `Algorithm`: named settings."""

    @classmethod
    def presets(cls) -> Mapping[str, Any]:
        """Algorithms of this class; `default` is always among them."""
        ...


class Listed(Algorithm[Any, Any], HasPresets, Protocol):
    """What every algorithm of the library is."""


class Credit(eqx.Module):
    """What a critic says of the agents' actions at one step."""

    k: Float[Array, " agent"]
    """How much each agent's value counts for the team's: of a linear mixer its weights, of another the slopes at what was done."""
    q: Float[Array, " agent"]
    """Q_i of the action that was asked about."""
    b: Float[Array, ""] | None
    """Q_tot(a) = sum_i k_i Q_i(a_i) + b. None: the critic is no such sum, and each Q_i is the team's whole value."""
    policy: Float[Array, "agent action"] | None
    """Where the agents are stochastic, how likely their policies are to take each discrete action. None: they are not."""


@runtime_checkable
class AssignsCredit(Protocol):
    """What an algorithm may offer beside `Algorithm`: it says who earned what. `dop credit` asks for it."""

    def credit(self, learner: Any, carry: Carry, step: TimeStep, action: Action, own: Action) -> Credit:
        """Of one step, before which the agents remember `carry`: each agent i does `own[i]` while the others do as in `action`."""
        ...


@runtime_checkable
class Exportable(Protocol):
    """What an algorithm may offer beside `Algorithm`: what plays greedily, apart from all that learns. `dop export` asks for it."""

    def policy(self, learner: Any) -> Any:
        """The team's networks and what is done with their output: a `dop.networks.greedy_policy.Policy`."""
        ...


@runtime_checkable
class Scheduled(Protocol):
    """What an algorithm may offer beside `Algorithm`: where its schedules are. Records of training have it."""

    def schedules(self, learner: Any) -> Metrics:
        """What changes with the environment steps alone, `epsilon` say, as it is now."""
        ...


@runtime_checkable
class Samples(Protocol):
    """What an algorithm may offer beside `Algorithm`: a stochastic policy apart from its exploration, for `dop evaluate --sampled`."""

    def sampling(self) -> Algorithm[Any, Any]:
        """An algorithm whose `act(explore=True)`, on the same learner, draws from that policy and from nothing else."""
        ...
