"""A user's own algorithms and loggers, found as `outside:Name`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
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
