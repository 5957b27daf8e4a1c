"""Conversion of Gymnasium's spaces: observations become vectors, actions discrete or boxes.

observations   Every space that Gymnasium can flatten: boxes, discrete ones (one-hot), tuples and dicts of them. An `action_mask` in a dict
               is left out. Images (uint8 with rows and columns) are refused: the networks take vectors.
actions        Discrete; MultiDiscrete, if it has at most `MOST` combinations, which are numbered, the last component fastest; or Box with
               finite bounds, to which [-1, 1] is scaled.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dop.envs.python.base.adapted_team import AdaptedTeam, everything, is_image
from dop.envs.python.base.answer_checks import nothing
from dop.errors import ConfigError
from dop.types import ActionKind, EnvSpec

MASK = "action_mask"
MOST = 256
"""Most combinations of a MultiDiscrete space."""


class SpaceTeam(AdaptedTeam):
    """An `AdaptedTeam` whose environment has Gymnasium's spaces."""

    _observations: list[Observations]
    _actions: list[Actions]

    def _observed(self, i: int, seen: Any) -> np.ndarray | None:
        """Agent i's observation as a vector; None if it is missing."""
        inner = seen.get("observation", seen) if isinstance(seen, Mapping) else seen
        return None if nothing(inner) else self._observations[i].read(seen)

    def _allowed(self, i: int, seen: Any, info: Any, *, over: bool) -> np.ndarray:
        """Agent i's action mask, from its observation or its info."""
        own = self._actions[i]
        return self._mask(i, own.combined(mask_in(seen, info)), over=over) if own.kind == "discrete" else everything(own.size)

    def _describe(
        self,
        name: str,
        version: str,
        spaces: Mapping[str, tuple[Any, Any]],
        *,
        state_size: int | None,
        time_limit: int,
        options: Mapping[str, Any],
    ) -> EnvSpec:
        """The spec, from each agent's observation and action space; without a `state_size` the state is the concatenated observations.

        Raises:
            ConfigError: unsupported spaces.
        """
        self._observations = [observations(seen, f"{name}: {agent}") for agent, (seen, _) in spaces.items()]
        self._actions = [actions(acted, f"{name}: {agent}") for agent, (_, acted) in spaces.items()]
        obs_sizes = tuple(own.size for own in self._observations)
        return EnvSpec(
            name=name,
            version=version,
            agents=tuple(spaces),
            obs_sizes=obs_sizes,
            action_sizes=tuple(own.size for own in self._actions),
            action_kind=one_kind(name, list(spaces), self._actions),
            state_size=sum(obs_sizes) if state_size is None else state_size,
            time_limit=time_limit,
            metrics=self.common.metrics or (),
            action_names=self._action_names(spaces),
            options=self.common.with_others(options),
        )

    def _action_names(self, spaces: Mapping[str, tuple[Any, Any]]) -> tuple[tuple[str, ...], ...]:
        """What the package calls the actions, where every agent's are simple numbers; those of several components have no names."""
        plain = all(own.kind == "discrete" and not own.counts for own in self._actions)
        return self._names_of_actions(list(spaces), [own.size for own in self._actions]) if plain else ()


@dataclass(frozen=True)
class Observations:
    """The conversion of one agent's observations to vectors."""

    size: int
    read: Callable[[Any], np.ndarray]
    """From the environment's observation to a vector."""


@dataclass(frozen=True)
class Actions:
    """The conversion of one agent's actions to the environment's."""

    kind: ActionKind
    size: int
    write: Callable[[Any], Any]
    """From a number below `size`, or a vector in [-1, 1] of at least that length, to the environment's action."""
    counts: tuple[int, ...] = ()
    """The number of values of each component of a MultiDiscrete space."""

    def combined(self, mask: Any) -> Any:
        """A flat mask. For a MultiDiscrete space it may be given as one mask per component, as Gymnasium's own masks are; a combination is
        legal if all of its components are."""
        parts = mask if isinstance(mask, tuple | list) and len(mask) == len(self.counts) > 1 else ()
        if not parts or [np.shape(part) for part in parts] != [(n,) for n in self.counts]:
            return mask
        return functools.reduce(np.logical_and.outer, [np.asarray(part) == 1 for part in parts]).ravel()


def observations(space: Any, owner: str) -> Observations:
    """The conversion of an observation space; `owner` is its agent's name, for messages.

    Raises:
        ConfigError: images, or a space that cannot be flattened.
    """
    from gymnasium import spaces  # noqa: PLC0415

    if isinstance(space, spaces.Dict) and MASK in space.spaces:
        rest = {key: inner for key, inner in space.spaces.items() if key != MASK}
        if set(rest) == {"observation"}:
            inner = observations(rest["observation"], owner)
            return Observations(inner.size, lambda seen: inner.read(seen["observation"]))
        inner = observations(spaces.Dict(rest), owner)
        return Observations(inner.size, lambda seen: inner.read({key: seen[key] for key in rest}))
    refuse_images(space, owner)
    if isinstance(space, spaces.Box):
        return Observations(int(np.prod(space.shape)), lambda seen: np.asarray(seen, np.float32).ravel())
    try:
        size = spaces.flatdim(space)
    except (NotImplementedError, ValueError, AttributeError) as error:  # the last: not a Gymnasium space
        raise ConfigError(f"{owner} observes {space}, which cannot be flattened: {error}.") from error
    return Observations(size, lambda seen: np.asarray(spaces.flatten(space, seen), np.float32))


def refuse_images(space: Any, owner: str) -> None:
    """Raise ConfigError if a space is or contains images."""
    from gymnasium import spaces  # noqa: PLC0415

    if isinstance(space, spaces.Dict | spaces.Tuple):
        for inner in space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces:
            refuse_images(inner, owner)
    elif isinstance(space, spaces.Box) and is_image(space.shape, space.dtype):
        raise ConfigError(
            f"{owner} observes images ({space.dtype}{list(space.shape)}), but the networks take vectors. Choose vector observations if the "
            "environment has that option, or write a wrapper that extracts features."
        )


def actions(space: Any, owner: str) -> Actions:
    """The conversion of an action space; `owner` is its agent's name, for messages.

    Raises:
        ConfigError: an unsupported space, a box without bounds or of whole numbers, too many combinations.
    """
    from gymnasium import spaces  # noqa: PLC0415

    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        return Actions("discrete", int(space.n), lambda a: int(a) + start)
    if isinstance(space, spaces.MultiDiscrete):
        counts, start = tuple(int(n) for n in np.ravel(space.nvec)), np.asarray(space.start)
        if np.prod(counts) > MOST:
            raise ConfigError(f"{owner} chooses among {' x '.join(map(str, counts))} combinations; at most {MOST} are supported.")

        def combination(number: Any) -> np.ndarray:
            return (np.reshape(np.unravel_index(int(number), counts), start.shape) + start).astype(space.dtype)

        return Actions("discrete", int(np.prod(counts)), combination, counts)
    if isinstance(space, spaces.Box):
        return _box(space, owner)
    raise ConfigError(f"{owner} acts in {space}; only Discrete, MultiDiscrete and Box are supported.")


def _box(space: Any, owner: str) -> Actions:
    if not np.issubdtype(space.dtype, np.floating):
        raise ConfigError(f"{owner} acts in a box of {space.dtype}; it must be of floating-point numbers.")
    if not space.is_bounded() or np.any(space.low >= space.high):
        raise ConfigError(f"{owner} acts in {space}, whose bounds must be finite and low < high: actions are scaled to them.")
    low, high, size, shape, dtype = space.low.ravel(), space.high.ravel(), int(np.prod(space.shape)), space.shape, space.dtype

    def write(vector: Any) -> np.ndarray:
        # Rounding must not exceed the bounds.
        scaled = low + (np.asarray(vector[:size], np.float64) + 1) / 2 * (high - low)
        return np.clip(scaled, low, high).astype(dtype).reshape(shape)

    return Actions("box", size, write)


def one_kind(name: str, agents: Sequence[str], found: Sequence[Actions]) -> ActionKind:
    """The agents' common kind of action.

    Raises:
        ConfigError: they differ.
    """
    kinds: dict[str, str] = {}
    for agent, own in zip(agents, found, strict=True):
        kinds.setdefault(own.kind, agent)
    if len(kinds) > 1:
        (one, first), (other, second) = list(kinds.items())[:2]
        raise ConfigError(
            f"{name} mixes kinds of action: {first}'s are {one}, {second}'s a {other}. A team must have one kind; give {second} discrete "
            "actions, for example with a wrapper that numbers a few points of its box."
        )
    return found[0].kind


def mask_in(seen: Any, info: Any) -> Any:
    """The action mask in an observation, or else in the info; None if neither has one."""
    for place in (seen, info):
        if isinstance(place, Mapping) and place.get(MASK) is not None:
            return place[MASK]
    return None
