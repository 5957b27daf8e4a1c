"""A user's own algorithms, networks and loggers, found as `outside:Name`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

import dop
from dop import losses, policies
from dop.errors import ConfigError, check_fractions, check_positive
from dop.networks.layers import Linear, PerAgent
from dop.types import EnvSpec, Episode, Learner, Metrics, PolicyOutput, ReplayBuffer, Sharing, TimeStep


class LinearQ(Learner):
    env_steps: Int[Array, ""]
    q: PerAgent


@dataclass(frozen=True, kw_only=True)
class OwnQ:
    """Independent Q-learning with linear values, without a base class of the library and without presets."""

    gamma: float = 0.9
    """Discount per step."""
    lr: float = 0.1
    """Learning rate."""
    epsilon_end: float = 0.2
    """Fraction of uniform actions; constant."""
    share_parameters: Sharing = "all"
    """Which agents share parameters."""
    episodes_per_iteration: int = 4
    """Episodes between updates."""
    replay_capacity: int = 64
    """Episodes in the replay."""
    replay_batch: int = 8
    """Episodes per update."""

    @property
    def warmup_episodes(self) -> int:
        return self.replay_batch

    def check(self, spec: EnvSpec) -> None:
        check_positive(self, "lr", "episodes_per_iteration", "replay_capacity", "replay_batch")
        check_fractions(self, "gamma", "epsilon_end")
        if spec.action_kind != "discrete":
            raise ConfigError(f"OwnQ needs discrete actions, but those of {spec.name} are a {spec.action_kind}.")

    def init(self, key: PRNGKeyArray, spec: EnvSpec) -> LinearQ:
        make = lambda key: Linear(spec.obs_size, spec.action_size, key=key)  # noqa: E731
        return LinearQ(env_steps=jnp.zeros((), jnp.int32), q=PerAgent(make, spec.groups(self.share_parameters), key=key))

    def initial_carry(self, spec: EnvSpec) -> tuple[()]:
        del spec
        return ()

    def act(
        self, learner: LinearQ, carry: tuple[()], step: TimeStep, key: PRNGKeyArray, *, explore: bool
    ) -> tuple[PolicyOutput, tuple[()]]:
        q = values(learner.q, step.obs)
        policy = jax.vmap(policies.epsilon_greedy, (0, 0, None))(q, step.action_mask, jnp.float32(self.epsilon_end if explore else 0))
        drawn = jax.vmap(policies.sample)(jax.random.split(key, len(q)), policy)
        action = drawn if explore else jax.vmap(policies.greedy)(q, step.action_mask)
        return PolicyOutput(action=action, behaviour_prob=policies.probability(policy, action)), carry

    def sample(self, replay: ReplayBuffer, key: PRNGKeyArray) -> Episode:
        return replay.uniform(key, self.replay_batch)

    def update(self, learner: LinearQ, batch: Episode, key: PRNGKeyArray) -> tuple[LinearQ, Metrics]:
        del key
        loss, gradient = jax.value_and_grad(lambda q: losses.masked_mean(jax.vmap(self.errors, (None, 0))(q, batch), batch.mask))(learner.q)
        return replace(learner, q=jax.tree.map(lambda old, slope: old - self.lr * slope, learner.q, gradient)), {"critic_loss": loss}

    def errors(self, q: PerAgent, episode: Episode) -> Float[Array, " time"]:
        """The squared errors of one episode, summed over active agents."""
        value = jax.vmap(values, (None, 0))(q, episode.obs.astype(jnp.float32))
        best = jax.lax.stop_gradient(
            jnp.max(jnp.where(episode.action_mask, value, -jnp.inf), axis=-1, initial=0, where=episode.action_mask)
        )
        discount = self.gamma * (1 - episode.terminated)
        target = episode.reward[:, None] + discount[:, None] * best[1:]
        is_active: Bool[Array, "time agent"] = episode.action_mask[:-1].any(axis=-1)
        return jnp.sum(jnp.where(is_active, (target - losses.gather_actions(value[:-1], episode.action)) ** 2, 0), axis=-1)


def values(q: PerAgent, obs: Float[Array, "agent obs"]) -> Float[Array, "agent action"]:
    return q.map(lambda network, own: network(own), obs, in_axes=(0,))


@dataclass(frozen=True, kw_only=True)
class OwnVDN(dop.VDN):
    """VDN with scaled rewards: a subclass of a library algorithm with another hyper-parameter and its own presets."""

    scale: float = 0.5
    """Factor of the reward in updates."""

    @classmethod
    def presets(cls) -> Mapping[str, OwnVDN]:
        return {"default": cls()}

    def check(self, spec: EnvSpec) -> None:
        check_positive(self, "scale")
        super().check(spec)

    def sample(self, replay: ReplayBuffer, key: PRNGKeyArray) -> Episode:
        drawn = super().sample(replay, key)
        return replace(drawn, reward=self.scale * drawn.reward)


class OwnLogger:
    """Records the calls of its methods."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def open(self, run: dop.LoggedRun) -> None:
        self.calls.append(("open", run))

    def write(self, records: Sequence[dop.Record]) -> None:
        self.calls.append(("write", list(records)))

    def close(self) -> None:
        self.calls.append(("close", None))


class StopsAtOnce(dop.Callback):
    """Stops the run at its first evaluation or chunk."""

    def on_evaluation(self, event: dop.TrainingEvent) -> bool:
        return True

    def on_chunk(self, event: dop.TrainingEvent) -> bool:
        return True


class TwoStates(eqx.Module):
    """A network whose hidden state is two arrays in a structure of its own (LSTM)."""

    cell: eqx.nn.LSTMCell
    output: Linear

    def init_state(self) -> dict[str, Any]:
        zeros = jnp.zeros(self.cell.hidden_size)
        return {"lstm": (zeros, zeros)}

    def __call__(self, state: dict[str, Any], x: Float[Array, " input"]) -> tuple[dict[str, Any], Float[Array, " output"]]:
        hidden, cell = self.cell(x, state["lstm"])
        return {"lstm": (hidden, cell)}, self.output(hidden)

    def export(self, graph: dop.Graph, state: dict[str, Any], x: str) -> tuple[dict[str, Any], str]:
        hidden, cell = state["lstm"]
        of_x = graph.linear(x, self.cell.weight_ih, self.cell.bias)
        gates = graph.add("Add", of_x, graph.linear(hidden, self.cell.weight_hh))
        width = self.cell.hidden_size
        ends = [graph.constant(np.array([width * i])) for i in range(5)]
        axis = graph.constant(np.array([1]))
        i, f, g, o = (graph.add("Slice", gates, ends[k], ends[k + 1], axis) for k in range(4))
        keep, new = graph.add("Mul", graph.add("Sigmoid", f), cell), graph.add("Mul", graph.add("Sigmoid", i), graph.add("Tanh", g))
        cell = graph.add("Add", keep, new)
        hidden = graph.add("Mul", graph.add("Sigmoid", o), graph.add("Tanh", cell))
        return {"lstm": (hidden, cell)}, graph.linear(hidden, self.output.weight, self.output.bias)


@dataclass(frozen=True, kw_only=True)
class OwnLSTM:
    """A recurrent network of one's own."""

    hidden_size: int = 8
    """Units of the LSTM."""

    def build(self, inputs: int, outputs: int, *, key: PRNGKeyArray) -> TwoStates:
        key_cell, key_output = jax.random.split(key)
        return TwoStates(
            cell=eqx.nn.LSTMCell(inputs, self.hidden_size, key=key_cell), output=Linear(self.hidden_size, outputs, key=key_output)
        )


class TanhNetwork(eqx.Module):
    """Two layers with tanh between them; no hidden state, and no `export`."""

    first: Linear
    last: Linear

    def init_state(self) -> tuple[()]:
        return ()

    def __call__(self, state: tuple[()], x: Float[Array, " input"]) -> tuple[tuple[()], Float[Array, " output"]]:
        return state, self.last(jnp.tanh(self.first(x)))


@dataclass(frozen=True, kw_only=True)
class OwnTanh:
    """A feed-forward network of one's own."""

    hidden_size: int = 8
    """Units between the layers."""
    inner: Any = None
    """Another network in this one, for the records; nothing is made of it."""

    def check(self) -> None:
        check_positive(self, "hidden_size")

    def build(self, inputs: int, outputs: int, *, key: PRNGKeyArray) -> TanhNetwork:
        key_first, key_last = jax.random.split(key)
        return TanhNetwork(first=Linear(inputs, self.hidden_size, key=key_first), last=Linear(self.hidden_size, outputs, key=key_last))
