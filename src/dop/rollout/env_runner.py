"""The environment runner: steps the Python environments of one process as the shared-memory buffers command.

It is in the environments' process (`dop.rollout.workers`). Every result of an environment is validated against its spec here.
"""

from __future__ import annotations

import logging
import math
import traceback
from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool

from dop.envs.making.places import place_of
from dop.envs.validation.validate import check_same
from dop.errors import ConfigError
from dop.plugins import ForeignCodeError, explain
from dop.rollout.shared_memory import KINDS, RESET, STEP, SharedBuffers
from dop.types import EnvSpec, PythonEnvironment, TimeStep

Maker: TypeAlias = Callable[[], PythonEnvironment]
"""Makes another instance of the environment. It is pickled for worker processes."""


class EnvRunner:
    """The environment runner: some slots' environments, each made when first needed and stepped one after another."""

    def __init__(self, make: Maker, spec: EnvSpec, buffers: SharedBuffers) -> None:
        self._make, self._spec, self._buffers = make, spec, buffers
        self._environments: dict[int, PythonEnvironment] = {}
        self._checks: dict[int, Check] = {}

    def run(self, slots: Iterable[int]) -> None:
        """Execute the commands of these slots, and write the results to the buffers.

        Raises:
            ConfigError: a result violates the spec.
            EndedError: an environment called `sys.exit`, or could not be made.
        """
        buffers, command = self._buffers, RESET
        try:
            for slot in slots:
                command = buffers.command[slot]
                if command == RESET:
                    self._reset(slot, int(buffers.seed[slot]))
                elif command == STEP:
                    step = self._environments[slot].step(buffers.action[slot].copy())
                    self._checks[slot].step(step)
                    if step.terminated or step.truncated:
                        buffers.appeared[slot] = self._appeared(self._environments[slot])
        except SystemExit as error:
            function = "reset" if command == RESET else "step"
            raise EndedError(f"{self._spec.name}: {function} raised: {explain(error)}") from error
        except ForeignCodeError as error:  # the maker raised; another attempt may succeed
            raise EndedError(str(error)) from error

    def close(self) -> None:
        """Close every environment, even if one raises; later commands make new ones."""
        environments, self._environments = self._environments, {}
        for environment in environments.values():
            try:
                environment.close()
            except (Exception, SystemExit) as error:  # foreign code
                logging.getLogger("dop").warning("%s could not be closed: %s", self._spec.name, explain(error))

    def _appeared(self, environment: PythonEnvironment) -> list[bool]:
        """The metrics that an environment has had; environments without an adapter always have all."""
        names = getattr(environment, "appeared", self._spec.metrics)
        return [name in names for name in self._spec.metrics]

    def _reset(self, slot: int, seed: int) -> None:
        if slot not in self._environments:
            environment = self._make()
            if not isinstance(environment, PythonEnvironment):
                found = type(environment).__name__
                raise ConfigError(f"{self._spec.name}: its maker{place_of(self._make)} returned {found} instead of an environment.")
            self._environments[slot] = environment
            check_same(self._spec, environment.spec)
            self._checks[slot] = Check(self._spec, self._buffers.time_steps(slice(slot, slot + 1)), environment)
        self._checks[slot].reset(self._environments[slot].reset(seed), seed)


class EndedError(Exception):
    """An environment called `sys.exit`, or could not be made; the message says where."""


def end_reason(error: Exception) -> str:
    """Why an environment ended a worker: an `EndedError`'s message, else the traceback. Call it where `error` is caught."""
    return str(error) if isinstance(error, EndedError) else traceback.format_exc()


class Check:
    """Copies the results of one environment to their rows (arrays of length 1), and refuses violations of its spec."""

    def __init__(self, spec: EnvSpec, rows: dict[str, np.ndarray], environment: PythonEnvironment | None = None) -> None:
        self._spec, self._environment = spec, environment
        self._rows = {name: (row[0, ...], kinds, row.shape[1:]) for (name, kinds), row in zip(KINDS.items(), rows.values(), strict=True)}
        exists = np.arange(spec.action_size) < np.array(spec.action_sizes)[:, None]
        self._absent = None if exists.all() else ~exists
        self._seed, self._steps = 0, 0

    def reset(self, step: TimeStep, seed: int) -> None:
        """Copy the result of a reset."""
        self._seed, self._steps = seed, 0
        self._copy(step)
        if step.terminated or step.truncated:
            raise self._refusal("an episode that has ended already; reset must start one")

    def step(self, step: TimeStep) -> None:
        """Copy the result of a step."""
        self._steps += 1
        self._copy(step)
        if step.terminated and step.truncated:
            raise self._refusal("both terminated and truncated; an episode ends in one of these ways")

    def _copy(self, step: TimeStep) -> None:
        given = getattr(step, "__dict__", {})  # faster than attribute by attribute
        if not KINDS.keys() <= given.keys():
            function = "step" if self._steps else "reset"
            raise self._refusal(f"{type(step).__name__}, not a dop.TimeStep{place_of(getattr(self._environment, function, None))}")
        with np.errstate(over="ignore"):  # infinite in float32: refused below
            for name, (row, kinds, shape) in self._rows.items():
                value = np.asarray(given[name])
                if value.shape != shape or value.dtype.kind not in kinds:
                    kind = "bool" if kinds == "b" else "float"
                    raise self._refusal(f"{name} as {value.dtype}{list(value.shape)}, its spec says {kind}{list(shape)}")
                row[...] = value
                # A sum takes half the time of checking each number; if it is finite, all are. It may also overflow, so check each then.
                if kinds != "b" and not math.isfinite(np.add.reduce(row, axis=None)) and not np.isfinite(row).all():
                    raise self._refusal(f"{_worst(name, value, ~np.isfinite(row))}; every number must be finite (in float32)")
        self._check_bound()
        self._check_action_mask()

    def _check_bound(self) -> None:
        bound = self._spec.obs_bound
        for name in ("obs", "state") if bound is not None else ():
            beyond = np.abs(self._rows[name][0]) > bound
            if beyond.any():
                raise self._refusal(f"{_worst(name, self._rows[name][0], beyond)}; its spec has obs_bound {bound}")

    def _check_action_mask(self) -> None:
        action_mask = self._rows["action_mask"][0]
        if self._absent is not None and (action_mask & self._absent).any():
            agent, action = np.argwhere(action_mask & self._absent)[0]
            name, size = self._spec.agents[agent], self._spec.action_sizes[agent]
            raise self._refusal(f"action {action} of {name} as legal, which has only {size}")

    def _refusal(self, what: str) -> ConfigError:
        when = f"step {self._steps}" if self._steps else "reset"
        return ConfigError(f"{self._spec.name}: {when} of the episode with seed {self._seed} gave {what}.")


def _worst(name: str, value: np.ndarray, bad: Bool[np.ndarray, "..."]) -> str:
    """The first bad entry, as `obs[1, 3] = nan`."""
    if not value.ndim:
        return f"{name} = {value}"
    place = tuple(np.argwhere(bad)[0])
    return f"{name}[{', '.join(map(str, place))}] = {value[place]}"
