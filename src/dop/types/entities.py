"""What the numbers of an observation or a state belong to: `EntityBlocks`, for networks that treat entities alike."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dop.errors import ConfigError, check_names, check_types, shown

NO_ACTION = -1
"""In `EntityBlocks.actions`: no action refers to this entity."""


@dataclass(frozen=True, kw_only=True)
class EntityBlocks:
    """Consecutive blocks of equal size in an observation or a state, one for each entity of a kind.

    All numbers outside of blocks are an agent's own, or the environment's. Blocks of zeros mean that their entity is absent: dead, out of
    sight, or not in this episode. Blocks of one kind and count, in observation or state, describe the same entities in the same order.
    """

    kind: str
    """A name, for example `ally`, `enemy`, `landmark`."""
    start: int
    """Index of the first block's first number."""
    size: int
    """Numbers in a block."""
    count: int
    """Number of blocks."""
    actions: tuple[int, ...] | tuple[tuple[int, ...], ...] = ()
    """The action that refers to each entity, for example `attack enemy 2`; -1 for none. One tuple for all agents, or one per agent. Empty:
    none for all."""
    agents: bool = False
    """Whether the entities are the agents themselves, in their order."""

    def __post_init__(self) -> None:
        """Raise ConfigError for impossible values. NumPy numbers become Python's."""
        check_types(self, "EntityBlocks: ")
        check_names("the kind of EntityBlocks", (self.kind,))
        for field, least in (("start", 0), ("size", 1), ("count", 1)):
            if getattr(self, field) < least:
                raise ConfigError(f"EntityBlocks of {self.kind}: {field} must be at least {least}; got {shown(getattr(self, field))}.")
        for numbers in self._rows():
            named = [number for number in numbers if number != NO_ACTION]
            if len(numbers) != self.count or len(set(named)) != len(named) or any(number < NO_ACTION for number in numbers):
                raise ConfigError(
                    f"EntityBlocks of {self.kind}: actions must hold {self.count} different numbers, one for each block, or -1 for none; "
                    f"got {shown(numbers)}."
                )

    @property
    def end(self) -> int:
        """Index after the last block's last number."""
        return self.start + self.size * self.count

    def actions_by_agent(self, n_agents: int) -> tuple[tuple[int, ...], ...]:
        """For each agent the action that refers to each entity; -1: none."""
        rows = self._rows() or ((NO_ACTION,) * self.count,)
        return rows if self._per_agent else rows * n_agents

    @property
    def _per_agent(self) -> bool:
        return any(isinstance(row, tuple) for row in self.actions)

    def _rows(self) -> tuple[tuple[int, ...], ...]:
        """`actions` as rows: none, one for all agents, or one per agent."""
        rows: Any = self.actions if self._per_agent else (self.actions,) if self.actions else ()
        return rows


def check_blocks(field: str, blocks: Sequence[Any], size: int, action_sizes: Sequence[int]) -> None:
    """Raise ConfigError unless `blocks` fit a vector of `size` numbers and the agents' actions; `field` begins the message."""
    for block in blocks:
        if not isinstance(block, EntityBlocks):
            raise ConfigError(f"{field} must hold dop.EntityBlocks; got {shown(block)}.")
        what = f"{field}: the blocks of {block.kind}"
        if block.end > size:
            raise ConfigError(f"{what} end at {block.end}, but there are {size} numbers: correct start, size or count.")
        if block.agents and block.count != len(action_sizes):
            raise ConfigError(f"{what} are {block.count}, but agents=True means one for each of the {len(action_sizes)} agents.")
        rows = block.actions_by_agent(len(action_sizes))
        if len(rows) != len(action_sizes):
            raise ConfigError(f"{what} have actions of {len(rows)} agents, but there are {len(action_sizes)}.")
        for agent, (row, most) in enumerate(zip(rows, action_sizes, strict=True)):
            if max(row) >= most:
                raise ConfigError(f"{what} refer to action {max(row)} of agent {agent}, which has {most} actions.")
    ordered = sorted(blocks, key=lambda block: block.start)
    for one, other in itertools.pairwise(ordered):
        if other.start < one.end:
            raise ConfigError(f"{field}: the blocks of {one.kind} end at {one.end}, and those of {other.kind} start at {other.start}.")


def check_agree(where: str, blocks: Iterable[EntityBlocks], n_agents: int) -> None:
    """Raise ConfigError if blocks of the same entities refer to different actions, or differ in whether these are the agents."""
    known: dict[tuple[str, int], EntityBlocks] = {}
    for block in blocks:
        other = known.setdefault((block.kind, block.count), block)
        both = [one.actions_by_agent(n_agents) for one in (other, block) if one.actions]
        if block.agents != other.agents or (len(both) == 2 and both[0] != both[1]):
            raise ConfigError(
                f"{where}two EntityBlocks describe the same {block.count} entities, since both are of kind {block.kind}, but differ in "
                "their actions or in `agents`. Give different entities different kinds."
            )
        if block.actions and not other.actions:
            known[block.kind, block.count] = block
