"""Entity networks: their equations by a plain loop, equivariance, absent entities, refusals; and what environments state about entities."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dop
from dop import hyper_parameters, policies
from dop.export import policy_files
from dop.networks import critics, parts
from dop.networks.entities import EntityNetwork
from dop.networks.inputs import InputLayout, input_layout
from dop.networks.teams import common, recurrent
from dop.networks.teams.greedy_policy import Policy
from dop.types import EntityBlocks, EnvSpec
from helpers import make_spec

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ENEMIES, ALLIES, N = 3, 2, 3
ATTACK = (2, 3, 4)
"""Actions 0 and 1 refer to nothing."""
HEAL = ((-1, -1), (-1, -1), (2, 3))
"""The last agent heals the others, by actions of the same numbers."""


def team_spec(**changes: Any) -> EnvSpec:
    """Three agents with two own numbers, three enemies and two allies; nobody heals."""
    enemy = EntityBlocks(kind="enemy", start=1, size=2, count=ENEMIES, actions=ATTACK)
    ally = EntityBlocks(kind="ally", start=7, size=4, count=ALLIES)
    whole = (EntityBlocks(kind="ally", start=0, size=2, count=N, agents=True), replace(enemy, start=6, size=1))
    sizes: dict[str, Any] = {"obs_sizes": (16,) * N, "action_sizes": (5,) * N, "state_size": 9, "time_limit": 5}
    stated: dict[str, Any] = {"obs_entities": (enemy, ally), "state_entities": whole}
    return EnvSpec(name="units", version="1", agents=("a_0", "a_1", "b"), **sizes | stated | changes)


def with_healer() -> EnvSpec:
    spec = team_spec()
    attack = (ATTACK, ATTACK, (-1,) * ENEMIES)
    of_state = tuple(tuple(HEAL[agent][j - (j > agent)] if j != agent else -1 for j in range(N)) for agent in range(N))
    (enemy, ally), (allies, foes) = spec.obs_entities, spec.state_entities
    return team_spec(
        obs_entities=(replace(enemy, actions=attack), replace(ally, actions=HEAL)),
        state_entities=(replace(allies, actions=of_state), replace(foes, actions=attack)),
    )


SPECS = {"attacks": team_spec(), "heals": with_healer()}
every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def numbers(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def actor_of(spec: EnvSpec) -> EntityNetwork:
    return parts.build(dop.Entities(6), common.layout(spec, sees_last_action=True), key=KEY)


def actor_input(obs: np.ndarray, last_action: int, agent: int) -> np.ndarray:
    return np.concatenate([obs, np.eye(5, dtype=np.float32)[last_action] * (last_action >= 0), np.eye(N, dtype=np.float32)[agent]])


def blocks(x: np.ndarray, start: int, size: int, count: int) -> list[np.ndarray]:
    return [x[start + size * j : start + size * (j + 1)] for j in range(count)]


def dense(layer: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(layer.weight) @ x + np.asarray(layer.bias)


# ------------------------------------------------------------------------------------------------------------------ equations


@every_spec
@pytest.mark.parametrize(("agent", "last_action"), [(0, 3), (1, 0), (2, 3), (2, -1)])
def test_it_equals_a_loop_over_entities(spec: EnvSpec, agent: int, last_action: int):
    network, obs, state = actor_of(spec), numbers(16), numbers(6)
    obs[3:5] = 0  # the second enemy is out of sight
    heals, attacks = spec is SPECS["heals"] and agent == 2, spec is SPECS["attacks"] or agent != 2
    sees_heal = spec is SPECS["heals"]

    def embedded(encoder: Any, block: np.ndarray, *facts: float) -> np.ndarray:
        return np.maximum(dense(encoder, np.array([*block, *facts])), 0) * np.any(block != 0)

    of_enemies, of_allies = network.encoders
    enemies = [embedded(of_enemies, block, attacks and last_action == 2 + j) for j, block in enumerate(blocks(obs, 1, 2, ENEMIES))]
    healed = [(heals and last_action == 2 + j,) if sees_heal else () for j in range(ALLIES)]
    allies = [embedded(of_allies, block, *fact) for block, fact in zip(blocks(obs, 7, 4, ALLIES), healed, strict=True)]
    own = [obs[0], obs[15], last_action == 0, last_action == 1, *np.eye(N)[agent]]
    features = np.maximum(dense(network.input_layer, np.concatenate([own, np.mean(enemies, axis=0), np.mean(allies, axis=0)])), 0)
    cell: Any = network.cell
    hidden = np.asarray(cell(jnp.asarray(features, jnp.float32), jnp.asarray(state)))
    given = dense(network.output_layer, hidden)
    expected = np.concatenate([given[:2], np.zeros(3)])
    if attacks:
        expected[2:5] = [enemy @ given[2:8] + given[8] for enemy in enemies]
    if heals:
        expected[2:4] = [ally @ given[9:15] + given[15] for ally in allies]
    after, output = network(jnp.asarray(state), jnp.asarray(actor_input(obs, last_action, agent)))
    np.testing.assert_allclose(after, hidden, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)
    assert len(given) == (16 if sees_heal else 9)


def test_a_feed_forward_one_has_a_linear_layer_for_the_cell():
    network = parts.build(dop.Entities(6), common.layout(SPECS["attacks"], sees_last_action=False), key=KEY)
    assert (network.init_state(), type(network.cell)) == ((), type(network.input_layer))
    state, output = network((), jnp.asarray(numbers(16 + N)))
    assert (state, output.shape) == ((), (5,))


# --------------------------------------------------------------------------------------------------------------- equivariance


def permuted(x: np.ndarray, start: int, size: int, order: tuple[int, ...]) -> np.ndarray:
    """Blocks in another order: the new j-th is the old one of number `order[j]`."""
    x = x.copy()
    x[start : start + size * len(order)] = np.concatenate([blocks(x, start, size, len(order))[j] for j in order])
    return x


@every_spec
@pytest.mark.parametrize("agent", range(N))
def test_another_order_of_enemies_reorders_attacks_and_changes_nothing_else(spec: EnvSpec, agent: int):
    network, obs, state = actor_of(spec), numbers(16), jnp.asarray(numbers(6))
    attacks = spec is SPECS["attacks"] or agent != 2
    before = network(state, jnp.asarray(actor_input(obs, 3, agent)))
    for order in itertools.permutations(range(ENEMIES)):
        last = 2 + order.index(1) if attacks else 3  # the same enemy as action 3 before
        after = network(state, jnp.asarray(actor_input(permuted(obs, 1, 2, order), last, agent)))
        places = [0, 1, *(2 + j for j in order)] if attacks else list(range(5))
        np.testing.assert_allclose(after[0], before[0], atol=1e-6)
        np.testing.assert_allclose(after[1], before[1][np.array(places)], atol=1e-6)
    assert len({round(float(x), 4) for x in before[1]}) == 5  # so no order is as good as another


@every_spec
@pytest.mark.parametrize("agent", range(N))
def test_another_order_of_allies_reorders_heals_and_changes_nothing_else(spec: EnvSpec, agent: int):
    network, obs, state = actor_of(spec), numbers(16), jnp.asarray(numbers(6))
    heals = spec is SPECS["heals"] and agent == 2
    before = network(state, jnp.asarray(actor_input(obs, 2, agent)))
    after = network(state, jnp.asarray(actor_input(permuted(obs, 7, 4, (1, 0)), 3 if heals else 2, agent)))
    np.testing.assert_allclose(after[0], before[0], atol=1e-6)
    np.testing.assert_allclose(after[1], before[1][np.array([0, 1, 3, 2, 4] if heals else range(5))], atol=1e-6)


@every_spec
def test_local_critics_are_equivariant_to_the_order_of_enemies_in_state_and_observation(spec: EnvSpec):
    critic = critics.local_critic(dop.Entities(6), spec, local_inputs=True, dueling=True, key=KEY)
    state, obs, order = numbers(9), numbers(16), (2, 0, 1)
    for agent in range(N):
        q = critic(jnp.asarray(state), jnp.asarray(obs), jnp.asarray(agent))
        other = critic(jnp.asarray(permuted(state, 6, 1, order)), jnp.asarray(permuted(obs, 1, 2, order)), jnp.asarray(agent))
        attacks = spec is SPECS["attacks"] or agent != 2
        np.testing.assert_allclose(other, q[np.array([0, 1, *(2 + j for j in order)])] if attacks else q, atol=1e-6)
        assert not np.allclose(critic(jnp.asarray(state), jnp.asarray(permuted(obs, 1, 2, order)), jnp.asarray(agent)), q, atol=1e-5)


def test_a_value_of_the_state_depends_on_no_order():
    network = parts.build(dop.Entities(6), input_layout(SPECS["heals"], "state", outputs=1), key=KEY)
    state = numbers(9)
    others = [permuted(permuted(state, 6, 1, (1, 2, 0)), 0, 2, order) for order in itertools.permutations(range(N))]
    values = [float(network(network.init_state(), jnp.asarray(x))[1][0]) for x in (state, *others)]
    np.testing.assert_allclose(values, values[0], atol=1e-6)


def test_the_critic_of_coma_sees_each_action_with_its_agent():
    """The whole team in another order, apart from the agent whose values these are: its values stay."""
    layout = critics.counterfactual_layout(SPECS["attacks"])
    allies, enemies, seen = layout.entities
    assert (allies.kind, allies.facts) == ("ally", ((9 + 16 + 15, 1), (9 + 16, 5)))
    assert (enemies.blocks, enemies.facts, seen.facts) == (((6, 1), (9 + 1, 2)), (), ())
    network = parts.build(dop.Entities(6), layout, key=KEY)
    state, obs, action = numbers(9), numbers(16), numbers(3, 5)
    ids = np.eye(N, dtype=np.float32)
    x = np.concatenate([state, obs, action.flatten(), ids[0]])
    other = np.concatenate([permuted(state, 0, 2, (0, 2, 1)), obs, action[np.array([0, 2, 1])].flatten(), ids[0]])
    np.testing.assert_allclose(network((), jnp.asarray(other))[1], network((), jnp.asarray(x))[1], atol=1e-6)
    wrong = np.concatenate([state, obs, action[np.array([0, 2, 1])].flatten(), ids[0]])
    assert not np.allclose(network((), jnp.asarray(wrong))[1], network((), jnp.asarray(x))[1], atol=1e-4)


# ------------------------------------------------------------------------------------------------------------ absent entities


def test_an_absent_entity_adds_nothing():
    """Whatever its encoder computes of zeros, and wherever the gap is."""
    network, state = actor_of(SPECS["attacks"]), jnp.asarray(numbers(6))
    empty = actor_input(np.zeros(16, np.float32), -1, 0)
    changed = eqx.tree_at(lambda n: [encoder.bias for encoder in n.encoders], network, [jnp.full(6, 7.0)] * 2)
    np.testing.assert_array_equal(changed(state, jnp.asarray(empty))[1], network(state, jnp.asarray(empty))[1])
    seen = empty.copy()
    seen[1:3] = 1, 2
    assert not np.allclose(changed(state, jnp.asarray(seen))[1], network(state, jnp.asarray(seen))[1], atol=1e-3)
    grad = eqx.filter_grad(lambda n: jnp.sum(n(state, jnp.asarray(empty))[1]))(network)
    assert not np.any(grad.encoders[0].weight)
    assert np.all(np.isfinite(np.concatenate([leaf.flatten() for leaf in jax.tree.leaves(grad)])))


@every_spec
def test_unavailable_actions_have_probability_zero(spec: EnvSpec):
    team = recurrent.make_team(spec, dop.Entities(6), sharing="all", key=KEY)
    mask = jnp.asarray([[False, True, True, False, True], [True] + 4 * [False], [False] * 5])
    _, logits = recurrent.step_team(team, recurrent.initial_hidden(team), 100 * jnp.asarray(numbers(N, 16)), jnp.array([-1, 2, 4]))
    policy = np.asarray(jax.vmap(policies.masked_softmax)(logits, mask))
    assert not np.any(policy[~np.asarray(mask)])
    np.testing.assert_allclose(policy.sum(axis=1), [1, 1, 0], atol=1e-6)


@pytest.mark.parametrize("sharing", ["all", "by_type", "none"])
def test_parameters_are_shared_as_those_of_other_networks(sharing: Any):
    team = recurrent.make_team(SPECS["heals"], dop.Entities(6), sharing=sharing, key=KEY)
    obs, last = jnp.asarray(numbers(N, 16)), jnp.array([2, -1, 3])
    hidden, y = recurrent.step_team(team, recurrent.initial_hidden(team), obs, last)
    for agent in range(N):
        own = team.of(agent)(jax.tree.map(lambda x: x[0], recurrent.initial_hidden(team)), obs[agent], last[agent], jnp.asarray(agent))
        np.testing.assert_allclose(own[0], hidden[agent], atol=1e-6)
        np.testing.assert_allclose(own[1], y[agent], atol=1e-6)


@every_spec
def test_what_is_exported_does_the_same(spec: EnvSpec):
    """Also for a healer, whose actions refer to other entities than those of the rest."""
    runtime = pytest.importorskip("onnxruntime")
    team = recurrent.make_team(spec, dop.Entities(6), sharing="all", key=KEY)
    models = policy_files.models(Policy(team=team, chosen="argmax"), spec)
    obs, hidden, last = numbers(N, 16), numbers(N, 6), np.array([2, -1, 3])
    obs[:, 3:5] = 0
    after, scores = recurrent.step_team(team, jnp.asarray(hidden), jnp.asarray(obs), jnp.asarray(last))
    for place, model in enumerate(models.values()):
        session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        given = {"obs": obs[place], "hidden": hidden[place], "last_action": last[place], "action_mask": np.ones(5, bool)}
        found = session.run(["scores", "next_hidden"], {name: value[None] for name, value in given.items()})
        np.testing.assert_allclose(found[0][0], scores[place], atol=1e-5)
        np.testing.assert_allclose(found[1][0], after[place], atol=1e-5)


# -------------------------------------------------------------------------------------------------------- configuration


def test_it_is_recorded_and_made_again():
    algorithm = dop.StochasticDOP(actor=dop.Entities(hidden_size=8), critic=dop.Entities())
    kept = json.loads(json.dumps(hyper_parameters.serialise(algorithm)))
    assert (kept["actor"], kept["critic"]) == ({"kind": "entities", "hidden_size": 8}, {"kind": "entities", "hidden_size": 64})
    assert dop.StochasticDOP(**{name: hyper_parameters.deserialise(value) for name, value in kept.items()}) == algorithm


@pytest.mark.parametrize(
    ("algorithm", "spec", "message"),
    [
        (dop.QMIX(actor=dop.Entities()), make_spec(), r"actor=Entities\(hidden_size=64\) cannot be used: test:random does not state"),
        (dop.MAPPO(critic=dop.Entities()), team_spec(state_entities=()), "critic=.*, or let the environment give EnvSpec.state_entities"),
        (dop.COMA(critic=dop.Entities()), make_spec(), "critic=.*EnvSpec.state_entities or EnvSpec.obs_entities"),
        (dop.StochasticDOP(critic=dop.Entities(), critic_inputs="state"), with_healer(), "critic=.*depends on the agent.*='state_obs_id'"),
        (dop.QMIX(actor=dop.Entities(0)), team_spec(), "actor.hidden_size must be positive, got 0"),
        (dop.MAAC(critic=dop.Entities()), team_spec(), "critic of maac must be a dop.MLP"),
    ],
)
def test_what_cannot_be_used_is_refused(algorithm: Any, spec: EnvSpec, message: str):
    with pytest.raises(dop.ConfigError, match=message):
        algorithm.check(spec)


def test_critics_of_states_alone_can_be_used_where_actions_do_not_depend_on_the_agent():
    dop.StochasticDOP(critic=dop.Entities(), critic_inputs="state").check(team_spec())


@dataclass(frozen=True)
class OwnMean:
    """A network of one's own that asks for the layout: the mean of the first numbers of its entities."""

    places: tuple[int, ...] = ()

    def for_layout(self, layout: InputLayout) -> OwnMean:
        (start, size), *_ = layout.entities[0].blocks
        return OwnMean(tuple(range(start, start + size * layout.entities[0].count, size)))

    def build(self, inputs: int, outputs: int, *, key: Any) -> Any:
        del inputs, key
        return Mean(jnp.ones(outputs), self.places)


class Mean(eqx.Module):
    scale: Any
    places: tuple[int, ...] = eqx.field(static=True)

    def init_state(self) -> tuple[()]:
        return ()

    def __call__(self, state: tuple[()], x: Any) -> tuple[tuple[()], Any]:
        return state, jnp.mean(x[jnp.array(self.places)]) * self.scale


def test_a_network_of_ones_own_can_ask_for_the_layout():
    spec, obs = team_spec(), numbers(N, 16)
    dop.QMIX(actor=OwnMean()).check(spec)
    team = recurrent.make_team(spec, OwnMean(), sharing="all", key=KEY)
    _, y = recurrent.step_team(team, (), jnp.asarray(obs), jnp.full(N, -1))
    np.testing.assert_allclose(y, np.repeat(obs[:, [1, 3, 5]].mean(axis=1)[:, None], 5, axis=1), rtol=1e-5)


def test_sizes_alone_build_no_entity_network():
    with pytest.raises(dop.ConfigError, match="for_layout"):
        dop.Entities().build(3, 2, key=KEY)


def test_a_layout_says_where_each_part_starts():
    layout: InputLayout = input_layout(team_spec(), "state", "obs", "agent_id", outputs=6, output_actions=5)
    assert [layout.start(part) for part in ("state", "obs", "agent_id", "action")] == [0, 9, 25, None]
    assert (layout.size, layout.outputs, layout.output_actions) == (28, 6, 5)


# ----------------------------------------------------------------------------------------------------------- what specs state


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": -1}, "start must be at least 0; got -1"),
        ({"size": 0}, "size must be at least 1; got 0"),
        ({"count": 2.5}, "count must be a whole number, got 2.5"),
        ({"kind": ""}, "the kind of EntityBlocks must be names"),
        ({"actions": (2, 3)}, "actions must hold 3 different numbers, one for each block, or -1 for none"),
        ({"actions": (2, 3, 3)}, "different numbers"),
        ({"actions": ((2, 3, -2),) * N}, "different numbers"),
        ({"actions": (2, "3", 4)}, "a tuple of whole numbers or a tuple of tuples of whole numbers"),
    ],
)
def test_impossible_blocks_are_refused(changes: Any, message: str):
    with pytest.raises(dop.ConfigError, match=message):
        replace(team_spec().obs_entities[0], **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": 11}, "units: obs_entities: the blocks of enemy end at 17, but there are 16 numbers"),
        ({"start": 5}, "the blocks of enemy end at 11, and those of ally start at 7"),
        ({"actions": (3, 4, 5)}, "refer to action 5 of agent 0, which has 5 actions"),
        ({"actions": (ATTACK,) * 2}, "have actions of 2 agents, but there are 3"),
        ({"actions": (4, 3, 2)}, "two EntityBlocks describe the same 3 entities, since both are of kind enemy"),
        ({"agents": True}, "two EntityBlocks describe the same 3 entities"),
    ],
)
def test_blocks_that_do_not_fit_the_spec_are_refused(changes: Any, message: str):
    enemy, ally = team_spec().obs_entities
    with pytest.raises(dop.ConfigError, match=message):
        team_spec(obs_entities=(replace(enemy, **changes), ally))


def test_only_a_team_of_the_same_size_can_be_the_agents():
    enemy, ally = team_spec().obs_entities
    with pytest.raises(dop.ConfigError, match="ally are 2, but agents=True means one for each of the 3 agents"):
        team_spec(obs_entities=(enemy, replace(ally, agents=True)))


def test_something_else_than_blocks_is_refused():
    with pytest.raises(dop.ConfigError, match=r"units: obs_entities must hold dop.EntityBlocks; got \(1, 2\)"):
        team_spec(obs_entities=((1, 2),))
