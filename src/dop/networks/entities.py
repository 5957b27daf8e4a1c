"""A network that treats entities of one kind alike: equivariant to the order of enemies and allies.

From the literature: one shared encoder per kind of entity, pooled (Zaheer et al. 2017, Deep sets); the value of an action that refers to
an entity depends on that entity's own numbers (Wang et al. 2020, ASN; Hu et al. 2021, UPDeT), as a product whose weights a network computes
(Hao et al. 2023, HPN). Here x_j are the numbers of entity j, and o all numbers of the input that belong to no entity:

    e_j = ReLU(W_kind x_j + b_kind), and 0 for an absent entity, whose blocks are all zeros
    h'  = GRU(ReLU(V (o, mean of e_j over each kind) + c), h);  feed-forward: h' = ReLU(U ReLU(...) + d)
    output of an action that refers to nothing      w . h' + v
    output of an action that refers to entity j     (K_kind h' + k_kind) . e_j + m_kind . h' + n_kind

Another order of the entities of a kind reorders the outputs of actions that refer to them, and changes nothing else. The mean is over all
entities, absent ones included, so that it also counts them. If an agent's action refers to entities of two kinds, the terms are added.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from dop.errors import ConfigError, check_positive, check_types
from dop.networks import entity_positions as positions
from dop.networks.inputs import EntitySet, InputLayout
from dop.networks.layers import GRUCell, Linear
from dop.networks.protocols import Graph


class EntityNetwork(eqx.Module):
    """The network of the module's docstring, recurrent or feed-forward."""

    encoders: tuple[Linear, ...]
    """One for each set of entities."""
    input_layer: Linear
    cell: GRUCell | Linear
    output_layer: Linear
    """The outputs that refer to nothing; then for each set of entities that actions refer to the weights of e_j, and one more number."""
    layout: InputLayout = eqx.field(static=True)

    def __init__(self, layout: InputLayout, hidden_size: int, *, key: PRNGKeyArray) -> None:
        key_encoders, key_input, key_cell, key_output = jax.random.split(key, 4)
        sizes = [positions.features(layout, entities) for entities in layout.entities]
        keys = jax.random.split(key_encoders, len(sizes))
        self.encoders = tuple(Linear(size, hidden_size, key=key) for size, key in zip(sizes, keys, strict=True))
        own = sum(end - start for start, end in positions.own_ranges(layout))
        self.input_layer = Linear(own + hidden_size * len(sizes), hidden_size, key=key_input)
        self.cell = (Linear if layout.feed_forward else GRUCell)(hidden_size, hidden_size, key=key_cell)
        plain = sum(end - start for start, end in positions.plain_ranges(layout))
        self.output_layer = Linear(hidden_size, plain + (hidden_size + 1) * len(positions.acted(layout)), key=key_output)
        self.layout = layout

    @property
    def _hidden_size(self) -> int:
        return self.input_layer.weight.shape[-2]

    def init_state(self) -> PyTree:
        """The GRU's hidden state; `()` of a feed-forward network."""
        return () if isinstance(self.cell, Linear) else jnp.zeros(self.cell.hidden_layer.in_features, self.cell.hidden_layer.weight.dtype)

    def __call__(self, state: PyTree, x: Float[Array, " input"]) -> tuple[PyTree, Float[Array, " output"]]:
        tables = [_table_of(self.layout, entities, x) for entities in self.layout.entities]
        embedded = [
            self._embedded(encoder, entities, table, x)
            for encoder, entities, table in zip(self.encoders, self.layout.entities, tables, strict=True)
        ]
        own = [x[start:end] for start, end in positions.own_ranges(self.layout)]
        features = jax.nn.relu(self.input_layer(jnp.concatenate([*own, *(jnp.mean(one, axis=0) for one in embedded)])))
        if isinstance(self.cell, Linear):
            hidden = jax.nn.relu(self.cell(features))
        else:
            hidden = state = self.cell(features, state)
        return state, self._outputs(hidden, embedded, tables)

    def _embedded(
        self, encoder: Linear, entities: EntitySet, table: Float[Array, "entity action"] | None, x: Float[Array, " input"]
    ) -> Float[Array, "entity hidden"]:
        """e_j of every entity."""
        blocks, facts = _rows(x, entities.blocks, entities.count), _rows(x, entities.facts, entities.count)
        start, referred = self.layout.start("action"), []
        if table is not None and start is not None and positions.sees_action_by_table(self.layout, entities):
            referred = [(table @ x[start : start + table.shape[1]])[:, None]]
        present = functools.reduce(jnp.logical_or, (jnp.any(block != 0, axis=1) for block in blocks))
        return jnp.where(present[:, None], jax.nn.relu(encoder(jnp.concatenate([*blocks, *facts, *referred], axis=1))), 0)

    def _outputs(
        self, hidden: Float[Array, " hidden"], embedded: list[Float[Array, "entity hidden"]], tables: list[Array | None]
    ) -> Float[Array, " output"]:
        size, acted = self._hidden_size, positions.acted(self.layout)
        of_hidden = self.output_layer(hidden)
        plain, weights = jnp.split(of_hidden, [len(of_hidden) - (size + 1) * len(acted)])
        values = {}
        for place, weight in zip(acted, jnp.split(weights, len(acted)) if acted else (), strict=True):
            values[place] = embedded[place] @ weight[:size] + weight[size]
        direct = {self.layout.entities[place].first_action: values[place] for place in acted if tables[place] is None}
        output = _in_order(self.layout, plain, direct)
        for place in acted:
            table = tables[place]
            if table is not None:
                output += jnp.pad(values[place] @ table, (0, self.layout.outputs - table.shape[1]))
        return output

    def export(self, graph: Graph, state: PyTree, x: str) -> tuple[PyTree, str]:
        """`__call__` with all entities of a set in one product."""
        layout, size, acted = self.layout, self._hidden_size, positions.acted(self.layout)
        tables = [_export_table(graph, layout, entities, x) for entities in layout.entities]
        embedded = [_export_embedded(graph, layout, *parts, x) for parts in zip(self.encoders, layout.entities, tables, strict=True)]
        own = _export_columns(graph, layout, x, [i for start, end in positions.own_ranges(layout) for i in range(start, end)])
        pooled = [graph.add("ReduceMean", one, axes=[1], keepdims=0) for one in embedded]
        features = graph.add("Concat", *own, *pooled, axis=1)
        features = graph.add("Relu", graph.linear(features, self.input_layer.weight, self.input_layer.bias))
        if isinstance(self.cell, Linear):
            hidden = graph.add("Relu", graph.linear(features, self.cell.weight, self.cell.bias))
        else:
            hidden = state = self.cell.export(graph, state, features)
        weight, bias = np.asarray(self.output_layer.weight), np.asarray(self.output_layer.bias)
        plain = len(bias) - (size + 1) * len(acted)
        output = graph.linear(hidden, *(_placed_rows(layout, array[:plain]) for array in (weight, bias)))
        for number, place in enumerate(acted):
            first = plain + (size + 1) * number
            rows = slice(first, first + size), slice(first + size, first + size + 1)
            of_entities, more = (graph.linear(hidden, weight[part], bias[part]) for part in rows)
            axis = graph.constant(np.array([2]))
            product = graph.add("MatMul", embedded[place], graph.add("Unsqueeze", of_entities, axis))
            values = graph.add("Add", graph.add("Squeeze", product, axis), more)
            output = graph.add("Add", output, _export_scattered(graph, layout, layout.entities[place], tables[place], values))
        return state, output


# -------------------------------------------------------------------------------------------------------- outputs and tables


def _rows(x: Float[Array, " input"], blocks: tuple[tuple[int, int], ...], count: int) -> list[Float[Array, "entity _"]]:
    """The numbers of `count` entities in each group of blocks."""
    return [x[start : start + size * count].reshape(count, size) for start, size in blocks]


def _in_order(
    layout: InputLayout, plain: Float[Array, " plain"], direct: dict[int | None, Float[Array, " entity"]]
) -> Float[Array, " output"]:
    """Plain outputs, and those of entities by the number of their first, at their places; 0 elsewhere."""
    pieces, place, used = [], 0, 0
    starts = dict(positions.plain_ranges(layout))
    while place < layout.outputs:
        if place in starts:
            length = starts[place] - place
            pieces.append(plain[used : used + length])
            used += length
        elif place in direct:
            pieces.append(direct[place])
            length = len(direct[place])
        else:
            length = min(start for start in (*starts, *direct, layout.outputs) if start is not None and start > place) - place
            pieces.append(jnp.zeros(length, plain.dtype))
        place += length
    return jnp.concatenate(pieces)


def _placed_rows(layout: InputLayout, rows: np.ndarray) -> np.ndarray:
    """The rows of the plain outputs at their places among all; zeros elsewhere."""
    placed = np.zeros((layout.outputs, *rows.shape[1:]), rows.dtype)
    placed[[i for start, end in positions.plain_ranges(layout) for i in range(start, end)]] = rows
    return placed


def _table_of(layout: InputLayout, entities: EntitySet, x: Float[Array, " input"]) -> Float[Array, "entity action"] | None:
    """This agent's part of the table."""
    table = positions.action_table(layout, entities)
    if table is None:
        return None
    if np.all(table == table[0]):
        return jnp.asarray(table[0], x.dtype)
    start = layout.start("agent_id")
    assert start is not None  # `Entities.for_layout`
    return (x[start : start + len(table)] @ table.reshape(len(table), -1).astype(x.dtype)).reshape(table.shape[1:])


# --------------------------------------------------------------------------------------------------------------------- export


def _export_columns(graph: Graph, layout: InputLayout, x: str, columns: list[int]) -> list[str]:
    """These numbers of the input, as a product with zeros and ones, which is exact; nothing if there are none."""
    return [graph.linear(x, np.eye(layout.size, dtype=np.float32)[columns])] if columns else []


def _export_blocks(graph: Graph, layout: InputLayout, x: str, blocks: tuple[tuple[int, int], ...], count: int) -> list[str]:
    """[batch, entity, number] of blocks."""
    columns = [start + size * j + i for j in range(count) for start, size in blocks for i in range(size)]
    shape = graph.constant(np.array([0, count, sum(size for _, size in blocks)]))
    return [graph.add("Reshape", flat, shape) for flat in _export_columns(graph, layout, x, columns)]


def _export_table(graph: Graph, layout: InputLayout, entities: EntitySet, x: str) -> str | None:
    """[batch, entity, action], as `_table_of`."""
    table = positions.action_table(layout, entities)
    if table is None:
        return None
    weight, bias = np.zeros((table[0].size, layout.size), np.float32), np.zeros(table[0].size, np.float32)
    start = layout.start("agent_id")
    if start is None:
        bias += table[0].flatten()
    else:
        weight[:, start : start + len(table)] = table.reshape(len(table), -1).T
    return graph.add("Reshape", graph.linear(x, weight, bias), graph.constant(np.array([0, *table.shape[1:]])))


def _export_embedded(graph: Graph, layout: InputLayout, encoder: Linear, entities: EntitySet, table: str | None, x: str) -> str:
    """[batch, entity, hidden]: e_j of every entity."""
    (blocks,) = _export_blocks(graph, layout, x, entities.blocks, entities.count)
    numbers = [blocks, *_export_blocks(graph, layout, x, entities.facts, entities.count)]
    start = layout.start("action")
    if table is not None and start is not None and positions.sees_action_by_table(layout, entities):
        (action,) = _export_columns(graph, layout, x, list(range(start, start + positions.n_actions(layout))))
        numbers.append(graph.add("MatMul", table, graph.add("Unsqueeze", action, graph.constant(np.array([2])))))
    product = graph.add("MatMul", graph.add("Concat", *numbers, axis=2), graph.constant(np.asarray(encoder.weight, np.float32).T))
    value = graph.add("Relu", graph.add("Add", product, graph.constant(np.asarray(encoder.bias, np.float32))))
    largest = graph.add("ReduceMax", graph.add("Abs", blocks), axes=[2], keepdims=1)
    present = graph.add("Greater", largest, graph.constant(np.float32(0)))
    return graph.add("Where", present, value, graph.constant(np.float32(0)))


def _export_scattered(graph: Graph, layout: InputLayout, entities: EntitySet, table: str | None, values: str) -> str:
    """Values of entities [batch, entity] at the outputs of the actions that refer to them; 0 elsewhere."""
    if table is None:
        placed = np.array(entities.actions[0])[None, :] == np.arange(layout.outputs)[:, None]
        return graph.linear(values, placed.astype(np.float32))
    axis = graph.constant(np.array([1]))
    placed = graph.add("Squeeze", graph.add("MatMul", graph.add("Unsqueeze", values, axis), table), axis)
    padded = np.eye(layout.outputs, positions.n_actions(layout), dtype=np.float32)
    return graph.linear(placed, padded)


# -------------------------------------------------------------------------------------------------------------- configuration


@dataclass(frozen=True)
class Entities:
    """Network that treats entities of one kind alike, for environments that state them (`EnvSpec.obs_entities`): an encoder for each kind,
    a mean, a GRU. Where an algorithm admits no hidden state, a linear layer takes the GRU's place."""

    hidden_size: int = 64
    """Units of an entity's embedding, of the layer before the GRU, and of the GRU."""

    def check(self) -> None:
        """Raise ConfigError for an invalid size."""
        check_types(self)
        check_positive(self, "hidden_size")

    def for_layout(self, layout: InputLayout) -> EntitiesInLayout:
        """The configuration for these inputs and outputs.

        Raises:
            ConfigError: no entities are known in the inputs, or their actions depend on the agent, which is no input.
        """
        if not layout.entities:
            fields = " or ".join(f"EnvSpec.{part}_entities" for part, _ in layout.parts if part in ("obs", "state"))
            raise ConfigError(
                f"{layout.environment} does not state which of the network's inputs belong to which entity. Use another network, for "
                f"example dop.GRU() or dop.MLP(), or let the environment give {fields} (docs/own-environment.md)."
            )
        by_agent = any(
            table is not None and np.any(table != table[0]) for table in (positions.action_table(layout, one) for one in layout.entities)
        )
        if by_agent and layout.start("agent_id") is None:
            raise ConfigError(
                f"In {layout.environment} it depends on the agent which entity an action refers to, but the agent id is no input of "
                "the network. Add it (critic_inputs='state_obs_id'), or use another network."
            )
        return EntitiesInLayout(hidden_size=self.hidden_size, layout=layout)

    def build(self, inputs: int, outputs: int, *, key: PRNGKeyArray) -> EntityNetwork:
        """Raise ConfigError: sizes alone do not determine this network."""
        del inputs, outputs, key
        raise ConfigError("Entities needs to know what its inputs are: build the configuration that for_layout returns.")


@dataclass(frozen=True, kw_only=True)
class EntitiesInLayout:
    """`Entities` for one layout of inputs and outputs."""

    hidden_size: int
    layout: InputLayout

    def build(self, inputs: int, outputs: int, *, key: PRNGKeyArray) -> EntityNetwork:
        """The network, its parameters drawn from `key`; the sizes are those of the layout."""
        del inputs, outputs
        return EntityNetwork(self.layout, self.hidden_size, key=key)


NETWORK = Entities
