"""The compiled functions of a program. Values of its algorithm's `Traced` fields are arguments.

Programs that differ in such values only have the same functions: within a process nothing is compiled twice, and between processes the
compilation cache has what another value needs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PyTree

from dop.devices import parallel
from dop.types.traced import traced_values, with_values

if TYPE_CHECKING:
    from dop.training.program import Learning

_MOST_PROGRAMS = 16
_NO_VALUE = float("nan")
"""In the place of a traced value: what depends on it by mistake becomes NaN."""
_USED = ("reward_scale", "normalise_rewards", "on_non_finite", "precision")
"""The fields of `TrainConfig` that compiled functions depend on."""

P = TypeVar("P", bound="Learning")


def values_of(algorithm: Any, seeds: int) -> dict[str, np.ndarray]:
    """The values of an algorithm's `Traced` fields, with a leading seed axis."""
    return {name: np.full(seeds, x, np.float32 if isinstance(x, float) else np.int32) for name, x in traced_values(algorithm).items()}


def without_values(algorithm: Any) -> Any:
    """The algorithm without the values of its `Traced` fields."""
    return with_values(algorithm, dict.fromkeys(traced_values(algorithm), _NO_VALUE))


class Functions:
    """The jitted functions of a program over seeds, made when they are first needed. Their last argument is that of `values_of`."""

    def __init__(self, program: Learning, devices: Mesh) -> None:
        self._program = replace(program, algorithm=without_values(program.algorithm))
        self._devices = devices
        self._made: dict[Any, Callable[..., Any]] = {}

    def method(
        self, name: str, *, donate: bool = False, options: Mapping[str, bool | int] | None = None, **fixed: Any
    ) -> Callable[..., Any]:
        """A method of the program.

        Args:
            donate: reuse the memory of the first argument.
            options: compiler options.
            fixed: keyword arguments, which are constants.
        """
        key = name, tuple(fixed.items())
        if key not in self._made:

            def call(*arguments: PyTree) -> PyTree:
                *given, values = arguments
                program = replace(self._program, algorithm=with_values(self._program.algorithm, values))
                return getattr(program, name)(*given, **fixed)

            call.__name__ = name
            self._made[key] = parallel.over_seeds(call, self._devices, donate=donate, options=options)
        return self._made[key]


def functions_of(program: Learning, devices: Mesh) -> Functions:
    """The functions of a program, those of an earlier one if they are the same."""
    try:
        return _kept(_Same(program, devices))
    except TypeError:  # an algorithm or a network of the user's that has no hash
        return Functions(program, devices)


@dataclass(frozen=True, eq=False)
class _Same:
    """A program and its devices, equal to others with the same compiled functions, for as many seeds."""

    program: Learning
    devices: Mesh

    @functools.cached_property
    def key(self) -> tuple[Any, ...]:
        config = self.program.train_config
        environment: Any = getattr(self.program, "environment", None)
        # The library's environments are determined by their specs; a user's are not, and have an identity only.
        own = type(environment).__module__.partition(".")[0] == "dop"
        same_environment = (type(environment), self.program.spec) if own else id(environment)
        used = tuple(getattr(config, name) for name in _USED)
        return type(self.program), without_values(self.program.algorithm), used, len(config.seeds), same_environment, self.devices

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@functools.lru_cache(maxsize=_MOST_PROGRAMS)
def _kept(same: _Same) -> Functions:
    return Functions(same.program, same.devices)


def clear() -> None:
    """Forget the compiled functions of all programs, and JAX's, which frees their memory."""
    _kept.cache_clear()
    jax.clear_caches()
