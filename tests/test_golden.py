"""Stochastic DOP against numbers of its published reference implementation, in float64 (see tests/golden/README.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from dop import losses, policies
from dop.algorithms.stochastic_dop import Batch, DecomposedCritic, DOPLearner, StochasticDOP
from dop.mixers import LinearMixer
from dop.networks.gru import GRU
from dop.networks.layers import Agent, GRUCell, Linear, PerAgent
from dop.networks.split_critics import LocalCritic
from dop.networks.teams.recurrent import step_teams
from dop.returns import td_lambda, tree_backup
from dop.types import Episode, Metrics
from helpers import make_spec

Numbers = Mapping[str, np.ndarray]

GOLDEN = np.load(Path(__file__).parent / "golden" / "dop_golden.npz", allow_pickle=False)
TOLERANCE = 1e-9
KEY = jax.random.key(0)


def family(prefix: str) -> Numbers:
    """The arrays under `prefix/`, by the rest of their names."""
    return {name.removeprefix(prefix + "/"): GOLDEN[name] for name in GOLDEN.files if name.startswith(prefix + "/")}


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def assert_close(got: Any, expected: Any) -> None:
    """Assert equal trees, leaf by leaf. Shapes must agree: broadcasting would hide an error."""
    got, expected = (jax.tree_util.tree_leaves_with_path(x) for x in (got, expected))
    assert [path for path, _ in got] == [path for path, _ in expected]
    for (path, x), (_, y) in zip(got, expected, strict=True):
        assert x.shape == y.shape, jax.tree_util.keystr(path)
        assert x.dtype == jnp.float64, jax.tree_util.keystr(path)
        np.testing.assert_allclose(x, y, rtol=0, atol=TOLERANCE, err_msg=jax.tree_util.keystr(path))


# ------------------------------------------------------------------------------------------------ weights in PyTorch's layout


def dense(w: Numbers, name: str) -> Linear:
    weight, bias = jnp.asarray(w[f"{name}.weight"]), jnp.asarray(w[f"{name}.bias"])
    layer = Linear(weight.shape[1], weight.shape[0], key=KEY)
    return eqx.tree_at(lambda m: (m.weight, m.bias), layer, (weight, bias))


def mixer_of(w: Numbers, n_agents: int) -> LinearMixer:
    state_size = w["hyper_w_1.weight"].shape[1]
    mixer = LinearMixer(state_size, n_agents, key=KEY, weights="product", bias=False)
    return eqx.tree_at(lambda m: (m.k_layer, m.k_scale), mixer, (dense(w, "hyper_w_1"), dense(w, "hyper_w_final")))


def local_critic_of(w: Numbers, state_size: int, obs_size: int) -> LocalCritic:
    hidden, inputs = w["fc1.weight"].shape
    n_agents, n_actions = inputs - state_size - obs_size, w["fc3.weight"].shape[0]
    critic = LocalCritic(state_size, obs_size, n_actions, n_agents, hidden, local_inputs=True, dueling=True, key=KEY)
    from_state, from_obs, from_id = jnp.split(jnp.asarray(w["fc1.weight"]), [state_size, state_size + obs_size], axis=1)
    first = (from_state, jnp.asarray(w["fc1.bias"]), from_obs, from_id.T)
    critic = eqx.tree_at(lambda m: (m.from_state.weight, m.from_state.bias, m.from_obs.weight, m.from_id), critic, first)
    layers = (dense(w, "fc2"), dense(w, "fc3"), dense(w, "fc_v"))
    return eqx.tree_at(lambda m: (m.hidden_layers[0], m.action_layer, m.value_layer), critic, layers)


def critic_of(critic: Numbers, mixer: Numbers, n_agents: int, state_size: int, obs_size: int) -> DecomposedCritic:
    local = PerAgent(lambda _: local_critic_of(critic, state_size, obs_size), (0,) * n_agents, key=KEY)
    return DecomposedCritic(local=local, mixer=mixer_of(mixer, n_agents))


def actor_of(w: Numbers, n_agents: int) -> PerAgent[Agent]:
    hidden, inputs = w["fc1.weight"].shape
    n_actions = w["fc2.weight"].shape[0]

    def make(key: Array) -> Agent:
        actor = GRU(hidden).build(inputs, n_actions, key=key)
        gates = {f"{side}.{kind}": w[f"rnn.{kind}_{side}"] for side in ("ih", "hh") for kind in ("weight", "bias")}
        cell = eqx.tree_at(
            lambda m: (m.input_layer, m.hidden_layer), GRUCell(hidden, hidden, key=key), (dense(gates, "ih"), dense(gates, "hh"))
        )
        layers = (dense(w, "fc1"), cell, dense(w, "fc2"))
        network = eqx.tree_at(lambda m: (m.input_layer, m.cell, m.output_layer), actor, layers)
        return Agent(network=network, kind="discrete", n_agents=n_agents, action_size=n_actions, sees_last_action=True)

    return PerAgent(make, (0,) * n_agents, key=KEY)


def episodes_of(batch: Numbers) -> Episode:
    """A golden batch as episodes, leading axis: episode."""
    kept = {name: jnp.asarray(x) for name, x in batch.items() if not name.startswith("target")}
    return over(1, episode_of)(kept)


def episode_of(golden: dict[str, Array]) -> Episode:
    """One golden episode. Its action after the last step is the next one chosen."""
    action, length = golden["actions"][..., 0].astype(jnp.int32), golden["length"]
    mask = jnp.arange(len(action) - 1) < length
    return Episode(
        obs=golden["obs"],
        state=golden["state"],
        action_mask=golden["avail_actions"].astype(bool),
        action=jnp.where(mask[:, None], action[:-1], 0),
        final_action=action[length],
        behaviour_prob=jnp.ones(action[:-1].shape),
        reward=golden["reward"][:-1, 0],
        terminated=golden["terminated"][:-1, 0].astype(bool),
        mask=mask,
    )


def mixed_policy(logits: Float[Array, " action"], action_mask: Array, epsilon: float) -> Float[Array, " action"]:
    """The released code's policy as the library's masked mixture."""
    return policies.epsilon_mixture(
        policies.masked_softmax(logits, action_mask), action_mask, policies.unmasked_epsilon(logits, action_mask, epsilon)
    )


def over(axes: int, f: Callable[..., Any]) -> Callable[..., Any]:
    """`f` vmapped over `axes` leading axes and jitted."""
    for _ in range(axes):
        f = jax.vmap(f)
    return jax.jit(f)


# ---------------------------------------------------------------------------------------------------------------- the targets


@pytest.mark.parametrize("case", range(4))
def test_tree_backup(case: int) -> None:
    g = family(f"tb_raw/{case}")
    q, delta = jnp.asarray(g["q_taken"][..., 0]), jnp.asarray(g["td_error"][..., 0])
    trace = g["lambda"] * jnp.asarray(g["pi_joint_taken"][:, :-1, 0])
    gamma = jnp.full_like(q, g["gamma"])
    # With expected next values of 0, delta = reward - q, so reward = delta + q gives the golden delta.
    backup = lambda r, d, q, p: tree_backup(r, d, q, jnp.zeros_like(q), p, int(g["n_step"]))  # noqa: E731
    assert_close(over(1, backup)(delta + q, gamma, q, trace), g["target"][..., 0])


@pytest.mark.parametrize("case", range(3))
def test_td_lambda(case: int) -> None:
    g = family(f"td_raw/{case}")
    mask, terminated = g["mask"][..., 0], g["terminated"][..., 0]
    continues = np.append(mask[:, 1:], np.zeros_like(mask[:, :1]), axis=1)
    discount = jnp.asarray(g["gamma"] * (1 - terminated))
    got = over(1, td_lambda)(jnp.asarray(g["reward"][..., 0]), discount, jnp.asarray(g["q_taken"][:, 1:, 0]), g["lambda"] * continues)
    assert_close(jnp.where(mask > 0, got, 0), np.where(mask > 0, g["target"][..., 0], 0))


# --------------------------------------------------------------------------------------------------------------- the networks


@pytest.mark.parametrize("case", range(2))
def test_mixer(case: int) -> None:
    g = family(f"mixer/{case}")
    mixer = mixer_of(family(f"mixer/{case}/w"), g["q"].shape[-1])

    def q_tot(q: Array, state: Array) -> Array:
        k, b = mixer(state)
        return jnp.sum(k * q) + b

    q, state = jnp.asarray(g["q"]), jnp.asarray(g["state"])
    assert_close(over(2, mixer)(state)[0], g["k"])
    assert_close(over(2, q_tot)(q, state)[..., None], g["q_tot"])
    assert_close(over(2, jax.grad(q_tot))(q, state), g["dqtot_dq"])


def test_local_critics() -> None:
    g = family("critic")
    _, _, n, obs_size = g["obs"].shape
    mixer_is_unused = family("mixer/0/w")
    critic = critic_of(family("critic/w"), mixer_is_unused, n, g["state"].shape[-1], obs_size)
    assert_close(over(2, critic.local_q)(jnp.asarray(g["state"]), jnp.asarray(g["obs"])), g["q"])


def test_actor() -> None:
    g = family("actor")
    batch, _, n, _ = g["obs"].shape
    actor = actor_of(family("actor/w"), n)
    action = jnp.asarray(g["actions"][:, :-1, :, 0], jnp.int32)
    last_action = jnp.concatenate([jnp.full_like(action[:, :1], -1), action], axis=1)

    def step(hidden: Array, x: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        hidden, logits = step_teams(actor, hidden, x)
        return hidden, (hidden, logits)

    time_first = (jnp.asarray(g["obs"]).swapaxes(0, 1), last_action.swapaxes(0, 1))
    _, outputs = jax.jit(jax.lax.scan, static_argnums=0)(step, jnp.zeros((batch, n, 64)), time_first)
    hidden, logits = (x.swapaxes(0, 1) for x in outputs)
    action_mask = jnp.asarray(g["avail_actions"], bool)
    epsilon = float(g["epsilon"])
    everywhere = jnp.ones_like(action_mask)
    unmasked = lambda x, m: policies.epsilon_mixture(jax.nn.softmax(x), m, epsilon)  # noqa: E731
    filled = g["filled"][..., None].astype(bool)
    # The reference's inputs differ on padding: policies and hidden states are compared on valid steps only.
    for got, expected in (
        (hidden, g["hidden"]),
        (over(3, unmasked)(logits, everywhere), g["pi_raw"]),
        (over(3, lambda x, m: mixed_policy(x, m, epsilon))(logits, action_mask), g["pi"]),
    ):
        assert_close(jnp.where(filled, got, 0), np.where(filled, expected, 0))


@pytest.mark.parametrize("case", [0, 2])
def test_actor_loss(case: int) -> None:
    g = family(f"actor_loss/{case}")
    steps = g["k"].shape[1]
    action_mask = jnp.asarray(g["avail_actions"], bool)
    mask = jnp.arange(steps) < g["length"][:, None]
    q, k, action = jnp.asarray(g["q_vals"]), jnp.asarray(g["k"]), jnp.asarray(g["actions"][..., 0], jnp.int32)
    flatten_time = lambda x: x[:, :steps].reshape(-1, *x.shape[2:])  # noqa: E731

    def loss(logits: Array) -> Array:
        policy = over(3, lambda x, m: mixed_policy(x, m, float(g["epsilon"])))(logits, action_mask)
        return losses.stochastic_dop_actor(*(flatten_time(x) for x in (policy, q, k, action, mask)))

    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.asarray(g["logits"]))
    assert_close(value, g["loss"])
    assert_close(gradient, g["dloss_dlogits"])


# -------------------------------------------------------------------------------------------------------- one whole iteration


def released_with(g: Numbers, on_policy_batch: int) -> StochasticDOP:
    """The released preset with the golden epsilon; all other values must equal the golden ones."""
    preset = StochasticDOP.presets()["released"]
    mine = (preset.actor_lr, preset.critic_lr, preset.rms_decay, preset.rms_eps, preset.max_grad_norm)
    assert mine == tuple(g[f"hp/{name}"] for name in ("lr", "critic_lr", "optim_alpha", "optim_eps", "grad_norm_clip"))
    mine = (preset.gamma, preset.td_lambda, preset.tb_lambda, preset.tb_steps)
    assert mine == tuple(g[f"hp/{name}"] for name in ("gamma", "td_lambda", "tb_lambda", "n_step"))
    epsilon = float(g["epsilon"])
    # Zero steps: a constant epsilon in full precision.
    return replace(preset, epsilon_start=epsilon, epsilon_end=epsilon, epsilon_anneal_steps=0, on_policy_batch=on_policy_batch)


class Iteration(eqx.Module):
    """A golden iteration: our inputs and outputs."""

    algorithm: StochasticDOP = eqx.field(static=True)
    before: DOPLearner
    batch: Batch
    after: DOPLearner
    metrics: Metrics


@pytest.fixture(scope="module", params=[0, 1])
def iteration(request: pytest.FixtureRequest) -> tuple[int, Iteration]:
    with jax.enable_x64(True):
        case: int = request.param
        on, off = (episodes_of(family(f"iter/{case}/{which}")) for which in ("on", "off"))
        batch, steps, n = on.action.shape
        sizes = (on.state.shape[-1], on.obs.shape[-1])
        spec = make_spec(
            n_agents=n, obs_sizes=(sizes[1],) * n, action_sizes=(on.action_mask.shape[-1],) * n, state_size=sizes[0], time_limit=steps
        )
        algorithm = released_with(family(f"iter/{case}"), batch)
        w = lambda name: family(f"iter/{case}/w0/{name}")  # noqa: E731
        before = replace(
            algorithm.init(KEY, spec),
            actor=actor_of(w("actor"), n),
            critic=critic_of(w("critic"), w("mixer"), n, *sizes),
            target=critic_of(w("target_critic"), w("target_mixer"), n, *sizes),
        )
        data = Batch(on_policy=on, off_policy=off, actor=on)
        after, metrics = jax.jit(algorithm.update)(before, data, KEY)
        return case, Iteration(algorithm=algorithm, before=before, batch=data, after=after, metrics=metrics)


def test_iteration_targets(iteration: tuple[int, Iteration]) -> None:
    case, it = iteration
    episodes = jax.tree.map(lambda x, y: jnp.concatenate([x, y]).swapaxes(0, 1), it.batch.on_policy, it.batch.off_policy)
    td, tb = (family(f"iter/{case}/{name}")["target"][..., 0] for name in ("td", "tb"))
    off_policy = jnp.arange(len(td) + len(tb)) >= len(td)
    got = jax.jit(it.algorithm.critic_targets)(it.before, episodes, off_policy, KEY)
    assert_close(jnp.where(episodes.mask, got, 0), np.where(episodes.mask, np.concatenate([td, tb]).T, 0))


def test_iteration_target_networks(iteration: tuple[int, Iteration]) -> None:
    case, it = iteration
    for episodes, which in ((it.batch.on_policy, "on"), (it.batch.off_policy, "off")):
        g = family(f"iter/{case}/{which}")
        assert_close(over(2, it.before.target.local_q)(episodes.state, episodes.obs), g["target_q_vals"])
        assert_close(over(2, it.before.target.mixer)(episodes.state)[0], g["target_k"])


def test_iteration_weights(iteration: tuple[int, Iteration]) -> None:
    case, it = iteration
    w = lambda name: family(f"iter/{case}/w1/{name}")  # noqa: E731
    n, obs_size = it.batch.on_policy.obs.shape[-2:]
    assert_close(it.after.critic, critic_of(w("critic"), w("mixer"), n, it.batch.on_policy.state.shape[-1], obs_size))
    assert_close(it.after.actor, actor_of(w("actor"), n))


def test_iteration_changes_the_weights_much_more_than_the_tolerance(iteration: tuple[int, Iteration]) -> None:
    _, it = iteration
    for before, after in ((it.before.critic, it.after.critic), (it.before.actor, it.after.actor)):
        for x, y in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
            assert np.max(np.abs(np.asarray(x) - np.asarray(y))) > 1e5 * TOLERANCE


def test_iteration_keeps_the_targets(iteration: tuple[int, Iteration]) -> None:
    _, it = iteration
    assert_close(it.after.target, it.before.target)
    assert it.after.since_target == jnp.max(jnp.sum(it.batch.on_policy.mask, axis=1))


def test_iteration_metrics(iteration: tuple[int, Iteration]) -> None:
    case, it = iteration
    g = family(f"iter/{case}")
    # The reference clips by clip / (norm + 1e-6), optax by clip / norm. No golden norm reaches the limit, so this does not matter here.
    assert np.max(g["critic_grad_norm_per_step"]) < it.algorithm.max_grad_norm
    assert_close(it.metrics["critic_loss"], np.mean(g["critic_loss_per_step"]))
    assert_close(it.metrics["critic_grad_norm"], np.mean(g["critic_grad_norm_per_step"]))
    assert_close(it.metrics["td_error_abs"], np.mean(g["td_error_abs_per_step"]))
    assert_close(it.metrics["actor_loss"], g["actor_loss"])
    assert_close(it.metrics["actor_grad_norm"], g["actor_grad_norm"])
