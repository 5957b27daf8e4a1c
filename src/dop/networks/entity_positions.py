"""Where an entity network finds its numbers in an `InputLayout`, and which of its outputs refer to which entities. All of it is static."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable

import numpy as np

from dop.networks.inputs import EntitySet, InputLayout
from dop.types.entities import NO_ACTION


@functools.cache
def acted(layout: InputLayout) -> tuple[int, ...]:
    """Indices of the sets of entities that outputs refer to."""
    return tuple(place for place, entities in enumerate(layout.entities) if entities.actions) if layout.output_actions else ()


@functools.cache
def _referring(layout: InputLayout) -> frozenset[int]:
    """The actions that refer to an entity, for some agent."""
    return frozenset(action for entities in layout.entities for row in entities.actions for action in row if action != NO_ACTION)


def _runs(numbers: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Increasing numbers as ranges: start, end."""
    grouped = itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])
    runs = [[number for _, number in group] for _, group in grouped]
    return tuple((run[0], run[-1] + 1) for run in runs)


@functools.cache
def own_ranges(layout: InputLayout) -> tuple[tuple[int, int], ...]:
    """Ranges of the input that belong to no entity."""
    taken = {
        index
        for entities in layout.entities
        for start, size in (*entities.blocks, *entities.facts)
        if start != layout.start("agent_id")
        for index in range(start, start + size * entities.count)
    }
    action = layout.start("action")
    if action is not None:
        taken |= {action + number for number in _referring(layout)}
    return _runs(index for index in range(layout.size) if index not in taken)


@functools.cache
def plain_ranges(layout: InputLayout) -> tuple[tuple[int, int], ...]:
    """Ranges of the outputs that refer to no entity."""
    referring = _referring(layout) if layout.output_actions else frozenset()
    return _runs(output for output in range(layout.outputs) if output not in referring)


def n_actions(layout: InputLayout) -> int:
    """Length of the part `action`, or number of outputs that stand for actions."""
    return dict(layout.parts).get("action", layout.output_actions)


@functools.cache
def action_table(layout: InputLayout, entities: EntitySet) -> np.ndarray | None:
    """[agent, entity, action]: 1 where an agent's action refers to the entity. None if nothing needs it: the actions are consecutive."""
    if not entities.actions or not n_actions(layout) or _is_direct(layout, entities):
        return None
    return (np.array(entities.actions)[:, :, None] == np.arange(n_actions(layout))).astype(np.float32)


def _is_direct(layout: InputLayout, entities: EntitySet) -> bool:
    """Whether the entities' outputs are one range, which no other entities refer to."""
    others = {action for other in layout.entities if other != entities for row in other.actions for action in row}
    return entities.first_action is not None and not others & set(entities.actions[0])


def features(layout: InputLayout, entities: EntitySet) -> int:
    """Numbers per entity."""
    return sum(size for _, size in (*entities.blocks, *entities.facts)) + sees_action_by_table(layout, entities)


def sees_action_by_table(layout: InputLayout, entities: EntitySet) -> bool:
    """Whether the own action is a number of each entity by the table; of consecutive actions it is among `EntitySet.facts`."""
    return layout.start("action") is not None and bool(entities.actions) and entities.first_action is None
