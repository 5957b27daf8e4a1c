"""The base class of VDN and QMIX: double Q-learning on a team value that a mixer computes from the agents' Q networks.

    y_t = r_t + gamma Q_tot'(s_{t+1}, argmax_a Q(s_{t+1}, .))          double Q-learning: online networks select, target networks evaluate

With `td_lambda` above 0, y_t is the lambda-return of these values (Peng's Q(lambda)). A subclass defines the mixer. It is monotonic in each
agent's value, so that the joint argmax consists of the agents' own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from dop import losses, policies
from dop.errors import ConfigError, check_fractions, check_not_negative, check_positive, check_types
from dop.learning import dynamic_scan, optimisers
from dop.learning.gradient_step import Loss, gradient_step
from dop.learning.normalisation import RunningMeanVar
from dop.networks.gru import GRU
from dop.networks.protocols import NetworkConfig
from dop.networks.teams import recurrent
from dop.networks.teams.greedy_policy import Policy
from dop.networks.teams.recurrent import Carry, Team
from dop.types import Action, Credit, EnvSpec, Episode, Learner, Metrics, PolicyOutput, ReplayBuffer, Sharing, TimeStep, Traced


class Mixer(Protocol):
    """Combines the agents' values into the team's."""

    def __call__(self, q: Float[Array, " agent"], state: Float[Array, " state"]) -> Float[Array, ""]: ...


class TeamValue(eqx.Module):
    """The agents' Q networks and the mixer."""

    agents: Team
    mixer: Any
    """A `Mixer`, which is a pytree."""


FINE_TUNED: Mapping[str, Any] = {
    "td_lambda": 0.6,
    "epsilon_anneal_steps": 100_000,
    "episodes_per_iteration": 8,
    "replay_batch": 128,
    "optimiser": "adam",
    "lr": 1e-3,
    "optimiser_eps": 1e-8,
    "max_grad_norm": 20.0,
}
"""Settings of PyMARL2 that differ from PyMARL (Hu et al. 2021). It halves the squared error, so its gradient norm of 10 is 20 here."""


MOVED_FIELDS = dict.fromkeys(("agent_hidden", "actor_hidden_size"), "actor.hidden_size")
"""Arguments of earlier versions, and the fields that replace them."""


class QLearner(Learner):
    env_steps: Int[Array, ""]
    since_target: Int[Array, ""]
    """Episodes since the target networks were last copied."""
    online: TeamValue
    target: TeamValue
    optimiser: PyTree
    state_normaliser: RunningMeanVar


@dataclass(frozen=True, kw_only=True)
class QLearning:
    """Common hyper-parameters and methods. Defaults: PyMARL's for SMAC (`default.yaml`, `qmix.yaml`, `vdn.yaml`)."""

    # Targets
    gamma: Traced[float] = 0.99
    """Discount factor per step."""
    td_lambda: Traced[float] = 0.0
    """lambda of the TD(lambda) target; 0: one step (PyMARL)."""
    target_interval: Traced[int] = 200
    """Period of the target networks' update, in episodes."""

    # Agents
    actor: NetworkConfig = GRU(hidden_size=64)
    """Q network of each agent."""
    share_parameters: Sharing = "all"
    """Q networks: one for all agents, with the agent id as input, one per type, or per agent."""

    # Mixer
    normalise_state: bool = False
    """Normalise the mixer's global state by the running mean and variance of the sampled episodes. PyMARL: no."""

    # Exploration
    epsilon_start: Traced[float] = 1.0
    """Probability of a uniform action at the start, in [0, 1]."""
    epsilon_end: Traced[float] = 0.05
    """Probability of a uniform action after annealing, in [0, 1]."""
    epsilon_anneal_steps: Traced[int] = 50_000
    """Environment steps of the linear annealing of epsilon."""

    # Data
    episodes_per_iteration: int = 1
    """Parallel environments, with one episode each per iteration."""
    updates_per_iteration: int = 1
    """Gradient steps per iteration, each on its own minibatch."""
    replay_capacity: int = 5000
    """Capacity of the replay buffer, in episodes."""
    replay_batch: int = 32
    """Episodes per minibatch, drawn uniformly with replacement."""

    # Optimisation
    optimiser: Literal["rmsprop", "adam", "radam"] = "rmsprop"
    """Optimiser of all networks (PyMARL: RMSprop)."""
    lr: Traced[float] = 5e-4
    """Learning rate."""
    rms_decay: Traced[float] = 0.99
    """Decay of RMSprop's squared-gradient average; only for RMSprop."""
    optimiser_eps: Traced[float] = 1e-5
    """The optimiser's epsilon, outside the square root."""
    max_grad_norm: Traced[float] = 10.0
    """Maximum global norm of the gradient; larger ones are clipped."""

    @property
    def warmup_episodes(self) -> int:
        return self.replay_batch

    @abstractmethod
    def _make_mixer(self, key: PRNGKeyArray, spec: EnvSpec) -> Mixer: ...

    def _check(self, spec: EnvSpec, name: str) -> None:
        """Raise ConfigError for hyper-parameters or environments that no subclass supports; `name` is the algorithm's."""
        check_types(self)
        if spec.action_kind != "discrete":
            raise ConfigError(f"{name} needs discrete actions, but those of {spec.name} are a {spec.action_kind}.")
        sizes = ("target_interval", "episodes_per_iteration", "updates_per_iteration", "replay_capacity", "replay_batch")
        check_positive(self, *sizes, "lr", "max_grad_norm")
        check_fractions(self, "gamma", "td_lambda", "epsilon_start", "epsilon_end", "rms_decay")
        check_not_negative(self, "epsilon_anneal_steps", "optimiser_eps")
        if self.rms_decay == 1:
            raise ConfigError("rms_decay must be below 1: at 1 the average never changes.")
        if self.replay_capacity < self.episodes_per_iteration:
            raise ConfigError(
                f"replay_capacity ({self.replay_capacity}) must hold episodes_per_iteration ({self.episodes_per_iteration}): raise it."
            )
        recurrent.check(self.actor, spec)

    # ---------------------------------------------------------------------------------------------------------------- acting

    def init(self, key: PRNGKeyArray, spec: EnvSpec) -> QLearner:
        key_agents, key_mixer = jax.random.split(key)
        team = recurrent.make_team(spec, self.actor, sharing=self.share_parameters, key=key_agents)
        online = TeamValue(agents=team, mixer=self._make_mixer(key_mixer, spec))
        return QLearner(
            env_steps=jnp.zeros((), jnp.int32),
            since_target=jnp.zeros((), jnp.int32),
            online=online,
            target=jax.tree.map(lambda x: jnp.copy(x) if eqx.is_array(x) else x, online),
            optimiser=self._optimiser.init(eqx.filter(online, eqx.is_array)),
            state_normaliser=RunningMeanVar.start(spec.state_size),
        )

    def initial_carry(self, spec: EnvSpec) -> Carry:
        return recurrent.initial_carry(spec, self.actor)

    def act(self, learner: QLearner, carry: Carry, step: TimeStep, key: PRNGKeyArray, *, explore: bool) -> tuple[PolicyOutput, Carry]:
        hidden, q = recurrent.step_team(learner.online.agents, carry.hidden, step.obs, carry.last_action)
        epsilon = self._epsilon(learner) if explore else jnp.zeros(())
        behaviour_prob = jax.vmap(lambda q, action_mask: policies.epsilon_greedy(q, action_mask, epsilon))(q, step.action_mask)
        if explore:
            action = jax.vmap(policies.sample)(jax.random.split(key, q.shape[0]), behaviour_prob)
        else:
            action = jax.vmap(policies.greedy)(q, step.action_mask)
        return PolicyOutput(action=action, behaviour_prob=policies.probability(behaviour_prob, action)), Carry(
            hidden=hidden, last_action=action
        )

    def schedules(self, learner: QLearner) -> Metrics:
        """The current epsilon."""
        return {"epsilon": self._epsilon(learner)}

    def _epsilon(self, learner: QLearner) -> Float[Array, ""]:
        return optimisers.linear(self.epsilon_start, self.epsilon_end, self.epsilon_anneal_steps, learner.env_steps)

    # --------------------------------------------------------------------------------------------------------------- inspection

    def policy(self, learner: QLearner) -> Policy:
        """The greedy decentralised policy."""
        return Policy(team=learner.online.agents, chosen="argmax")

    def credit(self, learner: QLearner, carry: Carry, step: TimeStep, action: Action, own: Action) -> Credit:
        """The agents' own values. A non-linear mixer is linearised at `action`: k_i is dQ_tot/dQ_i there."""
        _, q = recurrent.step_team(learner.online.agents, carry.hidden, step.obs, carry.last_action)
        q_taken = jnp.where(policies.is_active(step.action_mask), losses.gather_actions(q, action), 0)
        total, k = jax.value_and_grad(learner.online.mixer)(q_taken, self._mixer_state(learner, step.state))
        k = jnp.where(policies.is_active(step.action_mask), k, 0)
        return Credit(k=k, q=losses.gather_actions(q, own), b=total - jnp.sum(k * q_taken), policy=None)

    # -------------------------------------------------------------------------------------------------------------- learning

    def sample(self, replay: ReplayBuffer, key: PRNGKeyArray) -> Episode:
        """Episodes for every update of the iteration; leading axes: update, episode."""
        drawn = replay.uniform(key, self.updates_per_iteration * self.replay_batch)
        return jax.tree.map(lambda x: x.reshape(self.updates_per_iteration, self.replay_batch, *x.shape[1:]), drawn)

    def update(self, learner: QLearner, batch: Episode, key: PRNGKeyArray) -> tuple[QLearner, Metrics]:
        """The iteration's gradient steps, after a target update if one is due. Metrics are means over the steps."""
        del key
        since = learner.since_target + self.episodes_per_iteration
        due = since >= self.target_interval
        target = optimisers.periodic_update(due, learner.target, learner.online)
        learner = replace(learner, target=target, since_target=jnp.where(due, 0, since))
        learner, metrics = jax.lax.scan(self._one_update, learner, batch)
        return learner, jax.tree.map(jnp.mean, metrics)

    def _one_update(self, learner: QLearner, batch: Episode) -> tuple[QLearner, Metrics]:
        if self.normalise_state:
            learner = replace(learner, state_normaliser=learner.state_normaliser.update(batch.state[:, :-1], batch.mask))
        episodes = recurrent.time_first(batch)
        online, optimiser, metrics = gradient_step(
            lambda online: self._loss(online, learner, episodes), learner.online, self._optimiser, learner.optimiser, name="critic"
        )
        return replace(learner, online=online, optimiser=optimiser), metrics

    def _loss(self, online: TeamValue, learner: QLearner, episodes: Episode) -> Loss:
        """Mean squared TD error over the steps in the mask. Axes: time, episode."""
        action = jax.vmap(recurrent.actions, in_axes=1, out_axes=1)(episodes)
        q_taken, q = self._totals(online, learner, episodes, action)
        best = jnp.vectorize(policies.greedy, signature="(a),(a)->()")(jax.lax.stop_gradient(q), episodes.action_mask)
        q_best, _ = self._totals(learner.target, learner, episodes, best)
        target = jax.vmap(self._targets, in_axes=(1, 1), out_axes=1)(episodes, q_best)
        error = q_taken[:-1] - target
        loss = losses.masked_mean(error**2, episodes.mask)
        metrics = {
            "critic_loss": loss,
            "td_error_abs": losses.masked_mean(jnp.abs(error), episodes.mask),
            "q_taken_mean": losses.masked_mean(q_taken[:-1], episodes.mask),
            "target_mean": losses.masked_mean(target, episodes.mask),
        }
        return loss, metrics

    def _targets(self, episode: Episode, q_best: Float[Array, " time+1"]) -> Float[Array, " time"]:
        """y of one episode; `q_best` is the target networks' Q_tot of the greedy actions."""
        return recurrent.lambda_return(episode, q_best[1:], gamma=self.gamma, lambda_=self.td_lambda)

    def _totals(
        self, value: TeamValue, learner: QLearner, episodes: Episode, action: Int[Array, "time+1 episode agent"]
    ) -> tuple[Float[Array, "time+1 episode"], Float[Array, "time+1 episode agent action"]]:
        """Q_tot of `action`, and every Q_i, to the end of the longest episode; 0 after. Axes: time, episode."""
        state = self._mixer_state(learner, episodes.state)
        hidden, last_action = recurrent.start(value.agents, episodes)
        is_active = policies.is_active(episodes.action_mask)
        return dynamic_scan.scan(
            step_values, value, hidden, (episodes.obs, last_action, action, state, is_active), recurrent.max_length(episodes) + 1
        )

    def _mixer_state(self, learner: QLearner, state: Float[Array, "*batch state"]) -> Float[Array, "*batch state"]:
        """The mixer's input: the state in full precision, normalised."""
        state = state.astype(learner.state_normaliser.mean.dtype)
        return learner.state_normaliser.normalise(state) if self.normalise_state else state

    @property
    def _optimiser(self) -> optax.GradientTransformation:
        if self.optimiser == "rmsprop":
            return optimisers.rmsprop(self.lr, decay=self.rms_decay, eps=self.optimiser_eps, max_grad_norm=self.max_grad_norm)
        return optimisers.adam(self.lr, eps=self.optimiser_eps, max_grad_norm=self.max_grad_norm, rectified=self.optimiser == "radam")


def step_values(
    value: TeamValue, hidden: PyTree, x: tuple[Array, Array, Array, Array, Array]
) -> tuple[PyTree, tuple[Float[Array, " episode"], Float[Array, "episode agent action"]]]:
    """One step of a batch of episodes, for `dynamic_scan.scan`: Q_tot of the actions, and every Q_i. Inactive agents add 0."""
    obs, last_action, action, state, is_active = x
    hidden, q = recurrent.step_teams(value.agents, hidden, (obs, last_action))
    return hidden, (jax.vmap(value.mixer)(jnp.where(is_active, losses.gather_actions(q, action), 0), state), q)
