"""Protocols of algorithms: required and optional methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from jaxtyping import PRNGKeyArray

if TYPE_CHECKING:
    pass
from dop.types.records import Action, Carry, Credit, Episode, Learner, Metrics, PolicyOutput, TimeStep
from dop.types.spec import EnvSpec


@runtime_checkable
class ReplayBuffer(Protocol):
    """The replay buffer as `Algorithm.sample` sees it. A `window` restricts sampling to the newest episodes."""

    def latest(self, n: int) -> Episode:
        """The newest `n` episodes, with a leading axis."""
        ...

    def uniform(self, key: PRNGKeyArray, n: int, *, window: int | None = None) -> Episode:
        """`n` episodes drawn uniformly, with a leading axis."""
        ...

    @property
    def items(self) -> Episode:
        """All slots, with a leading axis; empty ones have a mask of False."""
        ...


L = TypeVar("L", bound=Learner)
B = TypeVar("B")


@runtime_checkable
class Algorithm(Protocol[L, B]):
    """A learning algorithm. Implementations are frozen dataclasses: their fields ARE the hyper-parameters.

    All methods are pure functions; replay and environments are outside.
    """

    @property
    def episodes_per_iteration(self) -> int:
        """Episodes per iteration, collected in parallel environments before each update."""
        ...

    @property
    def replay_capacity(self) -> int:
        """Capacity of the replay buffer, in episodes."""
        ...

    @property
    def warmup_episodes(self) -> int:
        """Episodes collected before the first update."""
        ...

    def check(self, spec: EnvSpec) -> None:
        """Raise `dop.errors.ConfigError` for unusable hyper-parameters or an unsupported environment."""
        ...

    def init(self, key: PRNGKeyArray, spec: EnvSpec) -> L:
        """The initial learner: networks and optimisers for an environment of this spec."""
        ...

    def initial_carry(self, spec: EnvSpec) -> Carry:
        """The agents' carry at the start of an episode, for one environment."""
        ...

    def act(self, learner: L, carry: Carry, step: TimeStep, key: PRNGKeyArray, *, explore: bool) -> tuple[PolicyOutput, Carry]:
        """Select the joint action at one step of one environment, with exploration or greedily."""
        ...

    def sample(self, replay: Any, key: PRNGKeyArray) -> B:
        """The batch of one update: the latest episodes, random ones, or both."""
        ...

    def update(self, learner: L, batch: B, key: PRNGKeyArray) -> tuple[L, Metrics]:
        """One update on a batch of `sample`: the next learner, and scalar metrics such as `critic_loss`."""
        ...


@runtime_checkable
class HasPresets(Protocol):
    """Optional for an `Algorithm`: named settings."""

    @classmethod
    def presets(cls) -> Mapping[str, Any]:
        """Instances of this class by name, including `default`."""
        ...


class Listed(Algorithm[Any, Any], HasPresets, Protocol):
    """The protocol of the library's algorithms."""


@runtime_checkable
class AssignsCredit(Protocol):
    """Optional for an `Algorithm`: per-agent credit, for `dop credit`."""

    def credit(self, learner: Any, carry: Carry, step: TimeStep, action: Action, own: Action) -> Credit:
        """The credit of one step, given the agents' `carry`: agent i takes `own[i]`, the others their part of `action`."""
        ...


@runtime_checkable
class Exportable(Protocol):
    """Optional for an `Algorithm`: the greedy decentralised policy, for `dop export`."""

    def policy(self, learner: Any) -> Any:
        """The team's networks and their action rule: a `dop.networks.teams.greedy_policy.Policy`."""
        ...


@runtime_checkable
class Scheduled(Protocol):
    """Optional for an `Algorithm`: current values of schedules, for training records."""

    def schedules(self, learner: Any) -> Metrics:
        """Current values that depend on environment steps only, such as `epsilon`."""
        ...


@runtime_checkable
class Samples(Protocol):
    """Optional for an `Algorithm`: its stochastic policy without exploration, for `dop evaluate --sampled`."""

    def sampling(self) -> Algorithm[Any, Any]:
        """An algorithm whose `act(explore=True)` samples from that policy, for the same learner."""
        ...
