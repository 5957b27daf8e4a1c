"""Deterministic DOP, MADDPG and MAAC: their losses against sums worked out otherwise, and what each promises of its gradient."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from dop import policies
from dop.algorithms.base.off_policy import Rows
from dop.algorithms.deterministic_dop import DeterministicDOP
from dop.algorithms.maac import MAAC, counterfactual_advantage
from dop.algorithms.maddpg import MADDPG
from dop.errors import ConfigError
from dop.learning import transitions
from dop.networks.mlp import MLP
from dop.networks.teams import feed_forward
from dop.training.program import Program
from dop.types import ActionKind, EnvSpec, TimeStep, Transition
from helpers import assert_trees_close, make_episodes, make_spec
from probes import Probe, ProbeState

KEY = jax.random.key(0)
EVERYONE = jnp.ones(3, bool)
SMALL: dict[str, Any] = {"critic": MLP(hidden_size=8), "actor": MLP(hidden_size=8), "replay_batch": 6}
DOP, JOINT = DeterministicDOP(**SMALL), MADDPG(**SMALL)
ATTENTION = replace(MAAC(**SMALL, attention_heads=2), critic=MLP(hidden_size=8, layers=1))
every_deterministic = pytest.mark.parametrize("algorithm", [DOP, JOINT, replace(JOINT, share_parameters="none")])


def spec_of(kind: ActionKind, n_agents: int = 3) -> EnvSpec:
    return replace(make_spec(n_agents=n_agents), action_kind=kind)


@functools.cache
def start(algorithm: Any, kind: ActionKind, n_agents: int = 3, seed: int = 0) -> Any:
    """A fresh learner."""
    return jax.jit(algorithm.init, static_argnums=1)(jax.random.key(seed), spec_of(kind, n_agents))


@functools.cache
@functools.partial(jax.jit, static_argnums=(0, 1))
def batch_of(kind: ActionKind, n_agents: int = 3) -> Transition:
    """Random steps, some of them the last of an episode."""
    spec = make_spec(n_agents=n_agents)
    episodes = make_episodes(jax.random.key(1), spec, (2, 6, 1))
    batch = transitions.at(episodes, jnp.array([0, 0, 1, 1, 2, 1]), jnp.array([0, 1, 0, 5, 0, 3]))
    if kind == "discrete":
        return batch
    keys = jax.random.split(KEY, batch.action.size).reshape(batch.action.shape)
    draw = functools.partial(policies.random_action, kind=kind)
    return eqx.tree_at(lambda b: b.action, batch, jax.vmap(jax.vmap(draw))(keys, batch.action_mask))


def first_step(kind: ActionKind, n_agents: int = 3) -> Transition:
    return jax.tree.map(lambda x: jnp.asarray(x[0]), jax.device_get(batch_of(kind, n_agents)))


def assert_close(one: Any, other: Any) -> None:
    assert_trees_close(one, other, rtol=1e-3, atol=1e-6)


def team_value(algorithm: Any, critic: Any, state: Array, obs: Array, action: Array) -> Array:
    """All values that `algorithm` learns, by another way than its own."""
    if isinstance(algorithm, DeterministicDOP):
        (k, b), q = critic.mixer(state), critic.local_q(state, obs, action)
        return (sum(k[i] * q[i] for i in range(len(obs))) + b)[None]
    nets = [critic.network if algorithm.share_parameters == "all" else jax.tree.map(lambda x, i=i: x[i], critic.network) for i in range(3)]
    return jnp.stack([net(state, action) for net in nets])


# ------------------------------------------------------------------------------------------------------------------ Eq. 12


@every_deterministic
@pytest.mark.parametrize("kind", ["discrete", "simplex", "box"])
def test_critic_loss_by_hand(algorithm: Any, kind: ActionKind):
    learner = replace(start(algorithm, kind), target_actor=start(algorithm, kind, seed=7).actor)

    @jax.jit
    def error(step: Transition) -> Array:
        output = feed_forward.outputs(learner.target_actor, step.next_obs)
        chosen = jnp.stack([feed_forward.choose(kind, output[j], step.next_action_mask[j], jnp.ones(())) for j in range(3)])
        q_next = team_value(algorithm, learner.target_critic, step.next_state, step.next_obs, chosen)
        q = team_value(algorithm, learner.critic, step.state, step.obs, feed_forward.as_vectors(step.action, step.action_mask))
        return step.reward + algorithm.gamma * step.discount * q_next - q

    batch = jax.device_get(batch_of(kind))
    assert {float(d) for d in batch.discount} == {0.0, 1.0}
    errors = [error(jax.tree.map(lambda x, i=i: x[i], batch)) for i in range(6)]
    loss, _ = jax.jit(algorithm._critic_loss)(learner.critic, learner, Rows.of(batch_of(kind), KEY))
    np.testing.assert_allclose(loss, np.mean(np.square(errors)), rtol=1e-5)


@every_deterministic
def test_targets_are_constants_to_the_gradient(algorithm: Any):
    learner, batch = start(algorithm, "box"), batch_of("box")

    def loss(target: Any) -> Array:
        return algorithm._critic_loss(learner.critic, replace(learner, target_critic=target), Rows.of(batch, KEY))[0]

    assert not any(np.any(leaf) for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(learner.target_critic)))


# ------------------------------------------------------------------------------------------------------------------ Eq. 13


def test_dops_actors_follow_eq_13():
    """With networks of their own and a box, against sum_i k_i (d pi_i)^T grad_{a_i} Q_i, made of Jacobians."""
    algorithm = replace(DOP, share_parameters="none")
    learner, batch = start(algorithm, "box"), batch_of("box")
    gradient = jax.jit(jax.grad(lambda actor: algorithm._actor_loss(actor, learner, Rows.of(batch, KEY))[0]))(learner.actor)

    def eq_13(step: Transition) -> Any:
        act = lambda actor: algorithm._choose(actor, learner, step.obs, step.action_mask)  # noqa: E731
        slope = jax.jacobian(act)(learner.actor)
        k, _ = learner.critic.mixer(step.state)
        of_q = jax.jacobian(lambda a: learner.critic.local_q(step.state, step.obs, a))(act(learner.actor))
        own = k[:, None] * jnp.stack([of_q[i, i] for i in range(3)])
        return jax.tree.map(lambda s: jnp.tensordot(own, s, axes=2), slope)

    expected = jax.tree.map(lambda x: -np.mean(x, axis=0), jax.jit(jax.vmap(eq_13))(batch))
    assert_close(gradient, expected)


@pytest.mark.parametrize("algorithm", [JOINT, replace(JOINT, share_parameters="none")])
def test_maddpgs_agents_deviate_alone(algorithm: MADDPG):
    """Agent i's term is Q_i(s, a) with its own action put in, the others' those of the replay."""
    critic, step, own = start(algorithm, "box").critic, first_step("box"), np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    taken: Any = np.asarray(step.action)
    value_of = jax.jit(functools.partial(team_value, algorithm, critic, step.state, step.obs))
    terms = []
    for i in range(3):
        values = value_of(np.where(np.arange(3)[:, None] == i, own, taken))
        terms.append(values[i])
    np.testing.assert_allclose(jax.jit(algorithm._actor_objective)(critic, step, taken, own), sum(terms), rtol=1e-5)


def test_dops_gradient_of_an_agent_does_not_depend_on_the_others_actions_and_maddpgs_does():
    own = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    other = own + np.array([[0], [20], [20]], np.float32)  # enough to cross a kink of the critic

    @functools.partial(jax.jit, static_argnums=0)
    def slopes(algorithm: Any, taken: Array, own: Array) -> Array:
        critic, step = start(algorithm, "box").critic, first_step("box")
        return jax.grad(lambda own: algorithm._actor_objective(critic, step, taken, own))(own)

    np.testing.assert_allclose(slopes(DOP, own, own)[0], slopes(DOP, other, other)[0], rtol=1e-6)
    assert np.abs(slopes(JOINT, own, own)[0] - slopes(JOINT, other, own)[0]).max() > 1e-4


def test_with_one_agent_maddpg_is_ddpg_and_dop_the_same_up_to_k_and_b():
    """One agent: k = 1, so that Q_tot = Q_1 + b, and both climb Q(s, pi(o))."""
    joint, dop = start(JOINT, "box", 1), start(DOP, "box", 1)

    @jax.jit
    def climbed_and_values(step: Any, own: Any) -> tuple[Any, ...]:
        q = joint.critic.network(step.state, own)
        k, b = dop.critic.mixer(step.state)
        values = q, dop.critic.local_q(step.state, step.obs, own)[0] + b
        return (
            (JOINT._actor_objective(joint.critic, step, step.action, own), DOP._actor_objective(dop.critic, step, step.action, own)),
            values,
            k,
        )

    (ddpg, decomposed), (q, q_and_b), k = climbed_and_values(first_step("box", 1), jnp.full((1, 4), 0.3))
    np.testing.assert_allclose(ddpg, q, rtol=1e-5)
    np.testing.assert_allclose(k, [1.0], rtol=1e-6)
    np.testing.assert_allclose(decomposed, q_and_b, rtol=1e-5)


# -------------------------------------------------------------------------------------------------------------------- MAAC


def test_attention_does_not_depend_on_the_order_of_the_others():
    """With shared networks that ignore the ids, agent 0's values stay when agents 1 and 2 change places."""
    critic = start(ATTENTION, "discrete").critic
    obs, action = np.asarray(jax.random.normal(KEY, (3, 5))), np.eye(4, dtype=np.float32)[[0, 1, 3]]
    blind = eqx.tree_at(
        lambda c: (c.encode_obs.network.weight, c.encode_both.network.weight),
        critic,
        (critic.encode_obs.network.weight.at[:, 5:8].set(0), critic.encode_both.network.weight.at[:, 5:8].set(0)),
    )
    values = jax.jit(lambda obs, action: blind(obs, action, EVERYONE)[0][0])
    turned = [0, 2, 1]
    np.testing.assert_allclose(values(obs, action), values(obs[turned], action[turned]), rtol=1e-5)
    other = np.eye(4, dtype=np.float32)[[0, 2, 3]]
    assert np.abs(values(obs, action) - values(obs, other)).max() > 1e-5


def test_attention_by_hand():
    heads = start(ATTENTION, "discrete").critic.attention
    own, others = jax.random.normal(KEY, (2, 3, 8))
    gathered, match = eqx.filter_jit(heads)(own, others, EVERYONE)
    q, k = own @ heads.queries.weight.T, others @ heads.keys.weight.T
    v = jax.nn.leaky_relu(others @ heads.values.weight.T + heads.values.bias)
    q, k, v = (np.asarray(x) for x in (q, k, v))
    for i in range(3):
        for h, part in enumerate((slice(0, 4), slice(4, 8))):
            rest = [j for j in range(3) if j != i]
            scores = np.array([q[i, part] @ k[j, part] for j in rest])
            np.testing.assert_allclose(match[h, i, np.array(rest)], scores, rtol=1e-4, atol=1e-6)
            weights = np.exp(scores / 2) / np.exp(scores / 2).sum()
            np.testing.assert_allclose(
                gathered[i, part], sum(w * v[j, part] for w, j in zip(weights, rest, strict=True)), rtol=1e-4, atol=1e-6
            )


def test_an_agents_values_do_not_depend_on_its_own_action():
    critic = start(ATTENTION, "discrete").critic
    values = jax.jit(lambda obs, action: critic(obs, action, EVERYONE)[0])
    obs, action, other = jax.random.normal(KEY, (3, 5)), np.eye(4)[[0, 1, 3]], np.eye(4)[[2, 1, 3]]
    np.testing.assert_array_equal(values(obs, action)[0], values(obs, other)[0])


def test_counterfactual_advantage_averages_to_zero():
    policy = jax.nn.softmax(jax.random.normal(KEY, (3, 4)))
    q = jax.random.normal(jax.random.key(1), (3, 4)) * 10
    advantage = jnp.stack([counterfactual_advantage(policy, q, jnp.full(3, a)) for a in range(4)], axis=1)
    np.testing.assert_allclose(jnp.sum(policy * advantage, axis=1), 0, atol=1e-5)


def test_the_soft_value_of_maacs_target():
    """With entropy worth more, targets rise by alpha times the surprise of the next actions; ended steps do not."""
    learner, batch = start(ATTENTION, "discrete"), batch_of("discrete")
    plain, soft = (
        jax.jit(replace(ATTENTION, entropy_weight=weight)._critic_loss)(learner.critic, learner, Rows.of(batch, KEY))[1]["target_mean"]
        for weight in (0.0, 2.0)
    )
    draw, keys, steps = jax.jit(ATTENTION._sample_actions), jax.random.split(KEY, 6), jax.device_get(batch)
    surprise = []
    for i in range(6):
        policy, action = draw(learner.target_actor, steps.next_obs[i], steps.next_action_mask[i], keys[i])
        surprise.append(-np.log(np.asarray(policy)[np.arange(3), action]) * steps.discount[i])
    np.testing.assert_allclose(soft - plain, 2.0 * ATTENTION.gamma * np.mean(surprise), rtol=1e-4)


def test_maac_plays_the_corners_of_a_simplex_and_refuses_boxes():
    learner, batch = start(ATTENTION, "simplex"), batch_of("simplex")
    step: Any = TimeStep(
        obs=batch.obs[0],
        state=batch.state[0],
        action_mask=batch.action_mask[0],
        reward=jnp.zeros(()),
        terminated=jnp.zeros((), bool),
        truncated=jnp.zeros((), bool),
        metrics=jnp.zeros(0),
    )
    for explore in (True, False):
        action = jax.jit(functools.partial(ATTENTION.act, explore=explore))(learner, (), step, KEY)[0].action
        np.testing.assert_array_equal(np.sort(action, axis=1), [[0, 0, 0, 1]] * 3)
    with pytest.raises(ConfigError, match=r"maac needs discrete.*box.*deterministic-dop"):
        MAAC().check(spec_of("box"))


def test_heads_must_divide_the_units():
    with pytest.raises(ConfigError, match=r"attention_heads \(3\) must divide critic\.hidden_size \(128\)"):
        MAAC(attention_heads=3).check(spec_of("discrete"))


# ---------------------------------------------------------------------------------------------------------------- schedule


@pytest.mark.parametrize("algorithm", [DOP, JOINT, ATTENTION])
def test_actors_and_targets_move_once_for_every_so_many_critic_steps(algorithm: Any):
    """A round by hand: two critic steps, one actor step on the second batch, and both targets a hundredth of the way."""
    learner = start(algorithm, "discrete")
    batch = jax.tree.map(lambda x: np.stack([x, x[::-1]]), jax.device_get(batch_of("discrete")))
    found, _ = jax.jit(algorithm._round)(learner, (batch, KEY))

    @jax.jit
    def by_hand(learner: Any, batch: Any) -> Any:
        key_actor, key_critic = jax.random.split(KEY)
        for i, key in enumerate(jax.random.split(key_critic, 2)):
            learner, _ = algorithm._critic_step(learner, (jax.tree.map(lambda x, i=i: x[i], batch), key))
        return algorithm._actor_step(learner, jax.tree.map(lambda x: x[1], batch), key_actor)[0]

    expected = by_hand(learner, batch)
    assert_close((found.actor, found.critic), (expected.actor, expected.critic))
    a_hundredth = functools.partial(jax.tree.map, lambda old, new: 0.99 * np.asarray(old) + 0.01 * np.asarray(new))
    assert_close(found.target_critic, a_hundredth(learner.target_critic, expected.critic))
    assert_close(found.target_actor, a_hundredth(learner.target_actor, expected.actor))


@pytest.mark.parametrize(("changes", "message"), [({"tau": 0.0}, "tau"), ({"rms_decay": 1.0}, "rms_decay")])
def test_what_would_never_learn_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        DeterministicDOP(**changes).check(spec_of("box"))


# -------------------------------------------------------------------------------------------------------- continuous probes


@dataclass(frozen=True, kw_only=True)
class Reach(Probe):
    """One step; all see a cue, -1 or +1, and earn 1 - mean_i (a_i - cue / 2)^2: Q(o, a) is a sum over agents, and a_i = cue / 2 is best."""

    kind: ActionKind = "box"
    n_actions: int = 1

    @property
    def spec(self) -> EnvSpec:
        return replace(super().spec, action_kind=self.kind)

    def reward(self, state: ProbeState, action: Any) -> Float[Array, ""]:
        return 1 - jnp.mean((action[:, 0] - state.cue / 2) ** 2)

    def observe(self, state: ProbeState) -> Float[Array, " obs"]:
        return state.cue[None]


@dataclass(frozen=True, kw_only=True)
class Corner(Reach):
    """The same on a simplex of two components, where each agent's first component is best at 1 or at 0, as the cue says."""

    kind: ActionKind = "simplex"
    n_actions: int = 2

    def reward(self, state: ProbeState, action: Any) -> Float[Array, ""]:
        return state.cue * jnp.mean(action[:, 0]) + (state.cue < 0)


QUICK: dict[str, Any] = {
    "critic": MLP(hidden_size=32),
    "actor": MLP(hidden_size=32),
    "optimiser": "adam",
    "critic_lr": 3e-3,
    "actor_lr": 3e-3,
    "tau": 0.1,
    "rounds_per_iteration": 2,
    "episodes_per_iteration": 16,
    "replay_batch": 64,
    "replay_capacity": 512,
    "warmup_episodes": 16,
}


@pytest.mark.parametrize("cls", [DeterministicDOP, MADDPG])
@pytest.mark.parametrize("environment", [Reach(), Corner()], ids=["box", "simplex"])
def test_continuous_actions_are_learned(cls: Any, environment: Reach):
    program = Program(algorithm=cls(**QUICK), environment=environment)

    @jax.jit
    def run(key: Any) -> Any:
        state, _ = program.chunk(program.start(key), 300)
        return program.evaluate(state, 32)["test_return_mean"]

    assert float(run(KEY)) > 0.95
