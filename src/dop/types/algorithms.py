"""Protocols of algorithms: what one must have, and what it may offer besides."""

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
        """The team's networks and what is done with their output: a `dop.networks.teams.greedy_policy.Policy`."""
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
