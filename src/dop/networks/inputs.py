"""What the numbers of a network's input vector are, and what its outputs stand for: `InputLayout`.

A network that only needs sizes ignores it (`NetworkConfig.build`). A configuration that treats entities alike has a method `for_layout`
(`dop.networks.protocols.NeedsLayout`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from dop.types import EntityBlocks, EnvSpec

Part: TypeAlias = Literal["obs", "state", "action", "joint_action", "agent_id"]
"""A part of an input vector: own observation, global state, own action (an actor's last one, or the one that a critic judges), all agents'
actions, or the agent id. Actions and ids are one-hot, continuous actions are vectors."""


@dataclass(frozen=True, kw_only=True)
class EntitySet:
    """The entities of one kind in an input vector; those of different numbers of entities are different sets."""

    kind: str
    count: int
    blocks: tuple[tuple[int, int], ...]
    """Start and size of each group of consecutive blocks, one block per entity: what the environment says about it."""
    facts: tuple[tuple[int, int], ...]
    """The same of numbers that the library adds: whether an entity is this agent, and its action."""
    actions: tuple[tuple[int, ...], ...]
    """For each agent the action that refers to each entity, -1 for none; empty: no action of any agent refers to any."""

    @property
    def first_action(self) -> int | None:
        """The first entity's action if the entities' actions are consecutive and the same for all agents."""
        first = self.actions[0][0] if self.actions else -1
        consecutive = tuple(range(first, first + self.count))
        return first if first >= 0 and all(row == consecutive for row in self.actions) else None


@dataclass(frozen=True, kw_only=True)
class InputLayout:
    """An input vector and its outputs. Positions are indices in the vector."""

    environment: str
    """The environment's name, for error messages."""
    size: int
    """Length of the vector."""
    parts: tuple[tuple[Part, int], ...]
    """The parts of the vector, in order, and their sizes."""
    entities: tuple[EntitySet, ...]
    """Entities in the vector; empty where the environment does not state them."""
    n_agents: int
    outputs: int
    """Number of outputs."""
    output_actions: int
    """So many outputs, the first ones, stand for the actions; 0 where none does."""
    feed_forward: bool
    """Whether the network must not have a hidden state."""

    def start(self, part: Part) -> int | None:
        """Index of the first number of a part; None if the vector has none."""
        return next((start for name, start in _starts(self.parts) if name == part), None)


def input_layout(
    spec: EnvSpec, *parts: Part, outputs: int | None = None, output_actions: int = 0, feed_forward: bool = False
) -> InputLayout:
    """The layout of these parts, one after another. `outputs=None`: one output for each action.

    `output_actions`: how many of the `outputs`, the first ones, stand for actions.
    """
    n, actions = spec.n_agents, spec.action_size
    sizes: dict[Part, int] = {
        "obs": spec.obs_size,
        "state": spec.state_size,
        "action": actions,
        "joint_action": n * actions,
        "agent_id": n,
    }
    sized: tuple[tuple[Part, int], ...] = tuple((part, sizes[part]) for part in parts)
    return InputLayout(
        environment=spec.name,
        size=sum(size for _, size in sized),
        parts=sized,
        entities=tuple(_entities(spec, sized)),
        n_agents=n,
        outputs=actions if outputs is None else outputs,
        output_actions=actions if outputs is None else output_actions,
        feed_forward=feed_forward,
    )


def _starts(parts: Sequence[tuple[Part, int]]) -> Iterator[tuple[Part, int]]:
    start = 0
    for name, size in parts:
        yield name, start
        start += size


def _entities(spec: EnvSpec, parts: Sequence[tuple[Part, int]]) -> Iterator[EntitySet]:
    """The sets of entities in these parts, in order of appearance."""
    starts = dict(_starts(parts))
    sets: dict[tuple[str, int], list[tuple[int, EntityBlocks]]] = {}
    for part, start in starts.items():
        for block in {"obs": spec.obs_entities, "state": spec.state_entities}.get(part, ()):
            sets.setdefault((block.kind, block.count), []).append((start, block))
    for (kind, count), placed in sets.items():
        acted = next((block for _, block in placed if block.actions), None)
        actions = () if acted is None else acted.actions_by_agent(spec.n_agents)
        found = EntitySet(
            kind=kind, count=count, blocks=tuple((start + block.start, block.size) for start, block in placed), facts=(), actions=actions
        )
        yield replace(found, facts=tuple(_facts(spec, found, starts, agents=placed[0][1].agents)))


def _facts(spec: EnvSpec, found: EntitySet, starts: dict[Part, int], *, agents: bool) -> Iterator[tuple[int, int]]:
    """`EntitySet.facts`."""
    if agents and "agent_id" in starts:
        yield starts["agent_id"], 1
    if agents and "joint_action" in starts:
        yield starts["joint_action"], spec.action_size
    if "action" in starts and found.first_action is not None:
        yield starts["action"] + found.first_action, 1
