"""Stochastic DOP (Wang et al., Algorithm 1, Sec. 4.1, App. G.1): decentralised recurrent actors, a linearly decomposed critic.

    Q_tot(tau, a) = sum_i k_i(s) Q_i(tau, a_i) + b(s)                                            (Eq. 4)

Each iteration, from 16 on-policy and 32 off-policy episodes:

    critic   toward TD(lambda) on the first (Eq. 8) and k-step tree backup on the second (Eq. 7), mixed by kappa (Eq. 6)
    actors   up the gradient  sum_i k_i grad log pi_i(a_i) (Q_i(a_i) - E_pi Q_i)                  (Eq. 9, App. A.3)

Arrays of an update have time first, then the episode of the batch: the loops of `dop.loops` walk over time and stop at the longest episode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from dop import loops, losses, optim, policies
from dop.errors import ConfigError, check_choices
from dop.mixers import LinearMixer
from dop.nets import LocalCritic, PerAgent, RecurrentActor
from dop.normalise import RunningMoments
from dop.returns import expected_q, td_lambda, tree_backup
from dop.types import Choice, EnvSpec, Episode, Learner, Metrics, ReplayBuffer, TimeStep


class DecomposedCritic(eqx.Module):
    """Local critics and the mixer that makes them the team's (Fig. 2)."""

    local: PerAgent[LocalCritic]
    mixer: LinearMixer

    def local_q(self, state: Float[Array, " state"], obs: Float[Array, "agent obs"]) -> Float[Array, "agent action"]:
        """Q_i(tau, .) of every agent."""
        ids = jnp.arange(self.local.n_agents)
        return self.local.map(lambda net, *x: net(*x), state, obs, ids, in_axes=(None, 0, 0))

    def total(self, state: Float[Array, " state"], obs: Float[Array, "agent obs"], action: Int[Array, " agent"]) -> Float[Array, ""]:
        """Q_tot(tau, a) (Eq. 4)."""
        k, b = self.mixer(state)
        return jnp.sum(k * losses.taken(self.local_q(state, obs), action)) + b


class Values(eqx.Module):
    """What the critic says of one step."""

    q: Float[Array, "*batch agent action"]
    k: Float[Array, "*batch agent"]
    b: Float[Array, "*batch"]


class Batch(eqx.Module):
    """What one update learns from; leading axis: episode."""

    on_policy: Episode
    off_policy: Episode
    actor: Episode


class Memory(eqx.Module):
    """What each agent carries through an episode."""

    hidden: Float[Array, "agent hidden"]
    last_action: Int[Array, " agent"]
    """-1 at the start."""


class DOPLearner(Learner):
    env_steps: Int[Array, ""]
    since_target: Int[Array, ""]
    """Iterations, or critic steps, since the target networks were last copied."""
    actor: PerAgent[RecurrentActor]
    greedy_actor: PerAgent[RecurrentActor]
    """The average of the actors that plays greedily."""
    critic: DecomposedCritic
    target: DecomposedCritic
    actor_optimiser: PyTree
    critic_optimiser: PyTree
    state_moments: RunningMoments


class CriticData(eqx.Module):
    """Rows for the critic's regression; two leading axes: minibatch, row."""

    state: Float[Array, "minibatch row state"]
    obs: Float[Array, "minibatch row agent obs"]
    action: Int[Array, "minibatch row agent"]
    target: Float[Array, "minibatch row"]
    weight: Float[Array, "minibatch row"]


@dataclass(frozen=True, kw_only=True)
class StochasticDOP:
    """Stochastic DOP. The defaults are what measured best on SMAX (docs/deviations.md); presets: the paper's and the released code's."""

    # Critic targets
    gamma: float = 0.99
    """Discount per step."""
    td_lambda: float = 0.9
    """lambda of the on-policy TD(lambda) target (Eq. 8). The paper does not state it; released code: 0.8."""
    tb_lambda: float = 0.93
    """lambda of the tree backup's trace (Eq. 7). The paper does not state it; released code: 0.93."""
    tb_steps: int = 5
    """k of the k-step tree backup (Eq. 7, App. G.1)."""
    kappa: float | None = None
    """Share of the tree-backup loss (Eq. 6; paper: 0.5). None: one mean over all steps of both batches, as released."""
    bootstrap: Literal["expected", "taken"] = "expected"
    """Value at a time limit, on-policy: E_pi[Q_tot], or Q_tot of one more action drawn (released). The same in expectation."""
    target_interval: int = 2
    """The critic becomes the target critic every so many `target_unit`s (d of Algorithm 1)."""
    target_unit: Literal["iterations", "critic_steps"] = "iterations"
    """What `target_interval` counts; checked at the end of an iteration. Released: critic steps."""

    # Critic
    critic_inputs: Literal["state", "state_obs_id"] = "state_obs_id"
    """What a local critic sees: the global state (paper), or also its agent's observation and id (released)."""
    critic_hidden: int = 256
    """Units in each of a local critic's two hidden layers (App. G.1)."""
    share_critics: bool = True
    """One network for all local critics (released), or one each (paper: Q_i has parameters phi_i)."""
    dueling: bool = False
    """Add to each Q_i(a) a learned value common to all actions (released)."""
    mixer_weights: Literal["linear", "product"] = "linear"
    """k(s): absolute value of a linear layer (paper), or a product of two of them, width 32 (released). Either way divided by its sum."""
    mixer_bias: bool = True
    """Add b(s) (Eq. 4). The released code computes and drops it."""
    standardise_state: bool = True
    """Standardise the global state by running moments over the on-policy episodes. Neither the paper nor the released code does."""
    critic_schedule: Literal["timestep", "shuffled", "full"] = "shuffled"
    """Critic steps an iteration: one per timestep in order (released), one per shuffled minibatch of that size, or a single one (paper)."""
    critic_rate: float = 5e-4
    """Learning rate of critic and mixer. Paper and released code: 1e-4."""

    # Actors
    actor_hidden: int = 64
    """Units of the actors' GRU and of the layer before it (App. G.1)."""
    share_actors: bool = True
    """One network for all actors, told apart by the agent id (released), or one each (paper: pi_i has parameters theta_i)."""
    policy_gradient: Literal["expected", "sampled"] = "expected"
    """Eq. 9 in expectation over each agent's own actions, or from the actions taken (as released). The same in expectation where actions
    come from the policy that is learned; with `epsilon_in="behaviour"` those of `sampled` come from the mixture with epsilon."""
    actor_episodes: Literal["latest", "on_policy", "off_policy"] = "latest"
    """What actors learn from: the newest episodes (released), a sample of the on-policy ones (paper), or off-policy ones (Theorem 7). The
    critic's on-policy episodes are the newest with `latest`, else the sample."""
    ratio_clip: float = 1.0
    """Theorem 7's joint ratio pi/beta is cut to at most this, for `sampled` gradients from `off_policy` episodes; nothing else uses it."""
    actor_steps: int = 4
    """Gradient steps of the actors per iteration. Paper and released code: 1."""
    actor_rate: float = 5e-4
    """Learning rate of the actors (App. G.1)."""
    scale_advantage: bool = True
    """Divide the utilities by their root mean square over legal actions. Neither the paper nor the released code does."""
    actor_average: float = 0.97
    """Greedy play uses a running average of the actors with this decay per iteration (Algorithm 1's target actors, soft). 0: the newest."""
    entropy_bonus: float = 0.1
    """Weight of the policy's entropy in the actors' objective. Paper and released code: 0."""

    # Exploration
    epsilon_start: float = 0.5
    """Share of uniform actions at the start. Paper: 1."""
    epsilon_end: float = 0.05
    """Share of uniform actions at the end (App. G.1)."""
    epsilon_steps: int = 50_000
    """Environment steps over which epsilon falls linearly. Paper and released code: 500,000."""
    epsilon_in: Literal["behaviour", "policy"] = "behaviour"
    """Mix epsilon only into what acts, or into the policy itself, in the learner too (released)."""

    # Data
    episodes_per_iteration: int = 4
    """Parallel environments; each plays one episode before every update (App. G.1)."""
    on_policy_capacity: int = 32
    """The newest episodes that count as on-policy (App. G.1)."""
    replay_capacity: int = 5000
    """The newest episodes that are kept at all (App. G.1)."""
    on_policy_batch: int = 16
    """On-policy episodes per update (App. G.1)."""
    off_policy_batch: int = 32
    """Off-policy episodes per update (App. G.1). 0: On-Policy DOP, without the tree-backup loss (Sec. 5.1.1)."""

    # Optimiser
    rms_decay: float = 0.99
    """RMSprop's alpha (App. G.1)."""
    rms_eps: float = 1e-5
    """RMSprop's epsilon, outside the root."""
    max_grad_norm: float = 20.0
    """Gradients are clipped to this joint norm, the critic's with the mixer's (released)."""

    @property
    def warmup_episodes(self) -> int:
        return self.on_policy_capacity

    @classmethod
    def presets(cls) -> Mapping[str, StochasticDOP]:
        """`default`; `paper`: the text of Sec. 4.1 and App. G.1; `released`: the code its authors released."""
        common = cls(
            td_lambda=0.8,
            critic_rate=1e-4,
            standardise_state=False,
            policy_gradient="sampled",
            scale_advantage=False,
            actor_steps=1,
            actor_average=0.0,
            entropy_bonus=0.0,
            epsilon_steps=500_000,
        )
        paper = replace(
            common,
            kappa=0.5,
            target_interval=10,
            critic_inputs="state",
            share_critics=False,
            share_actors=False,
            critic_schedule="full",
            actor_episodes="on_policy",
            epsilon_start=1.0,
        )
        released = replace(
            common,
            bootstrap="taken",
            target_interval=600,
            target_unit="critic_steps",
            critic_schedule="timestep",
            dueling=True,
            mixer_weights="product",
            mixer_bias=False,
            epsilon_in="policy",
        )
        return {"default": cls(), "paper": paper, "released": released}

    def check(self, spec: EnvSpec) -> None:
        """Raise ConfigError for hyper-parameters, or an environment, that cannot work."""
        check_choices(self)
        if spec.action_kind != "discrete":
            raise ConfigError(f"stochastic-dop needs discrete actions, but {spec.name} has {spec.action_kind} ones. Try deterministic-dop.")
        positive = (
            "tb_steps",
            "target_interval",
            "critic_hidden",
            "actor_hidden",
            "actor_steps",
            "episodes_per_iteration",
            "on_policy_batch",
        )
        for name in (*positive, "critic_rate", "actor_rate", "max_grad_norm", "ratio_clip"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}.")
        shares = ("gamma", "actor_average", "td_lambda", "tb_lambda", "epsilon_start", "epsilon_end", "rms_decay")
        for name in (*shares, *(("kappa",) if self.kappa is not None else ())):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must lie in [0, 1], got {getattr(self, name)}.")
        if self.actor_average == 1 or self.rms_decay == 1:
            raise ConfigError("actor_average and rms_decay must be below 1: at 1 nothing new ever counts.")
        for name in ("off_policy_batch", "epsilon_steps", "entropy_bonus", "rms_eps"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}.")
        if self.on_policy_batch > self.on_policy_capacity:
            raise ConfigError(
                f"on_policy_batch ({self.on_policy_batch}) is larger than on_policy_capacity ({self.on_policy_capacity}): lower the first."
            )
        if self.replay_capacity < max(self.on_policy_capacity, self.episodes_per_iteration):
            raise ConfigError(
                f"replay_capacity ({self.replay_capacity}) must hold on_policy_capacity ({self.on_policy_capacity}) "
                f"and episodes_per_iteration ({self.episodes_per_iteration}): raise it."
            )
        if self.actor_episodes == "off_policy" and self.off_policy_batch == 0:
            raise ConfigError("actor_episodes='off_policy' needs off_policy_batch > 0.")

    # ---------------------------------------------------------------------------------------------------------------- acting

    def init(self, key: PRNGKeyArray, spec: EnvSpec) -> DOPLearner:
        key_actor, key_critic, key_mixer = jax.random.split(key, 3)
        n = spec.n_agents

        def make_actor(k: PRNGKeyArray) -> RecurrentActor:
            return RecurrentActor(spec.obs_size, spec.action_size, n, self.actor_hidden, key=k)

        def make_critic(k: PRNGKeyArray) -> LocalCritic:
            local_inputs = self.critic_inputs == "state_obs_id"
            sizes = (spec.state_size, spec.obs_size, spec.action_size, n, self.critic_hidden)
            return LocalCritic(*sizes, local_inputs=local_inputs, dueling=self.dueling, key=k)

        actor = PerAgent(make_actor, n, shared=self.share_actors, key=key_actor)
        critic = DecomposedCritic(
            local=PerAgent(make_critic, n, shared=self.share_critics, key=key_critic),
            mixer=LinearMixer(spec.state_size, n, key=key_mixer, weights=self.mixer_weights, bias=self.mixer_bias),
        )
        return DOPLearner(
            env_steps=jnp.zeros((), jnp.int32),
            since_target=jnp.zeros((), jnp.int32),
            actor=actor,
            greedy_actor=jax.tree.map(jnp.copy, actor),
            critic=critic,
            target=jax.tree.map(jnp.copy, critic),
            actor_optimiser=self._actor_optimiser.init(eqx.filter(actor, eqx.is_array)),
            critic_optimiser=self._critic_optimiser.init(eqx.filter(critic, eqx.is_array)),
            state_moments=RunningMoments.start(spec.state_size),
        )

    def initial_memory(self, spec: EnvSpec) -> Memory:
        return Memory(hidden=jnp.zeros((spec.n_agents, self.actor_hidden)), last_action=jnp.full((spec.n_agents,), -1, jnp.int32))

    def act(self, learner: DOPLearner, memory: Memory, step: TimeStep, key: PRNGKeyArray, *, explore: bool) -> tuple[Choice, Memory]:
        actor = learner.actor if explore else learner.greedy_actor
        hidden, logits = actor_step(actor, memory.hidden, step.obs, memory.last_action)
        if explore:
            behaviour = self._mixed_policy(logits, step.legal, self._epsilon(learner))
            action = jax.vmap(policies.sample)(jax.random.split(key, logits.shape[0]), behaviour)
        else:
            behaviour = jax.vmap(policies.masked_softmax)(logits, step.legal)
            action = jax.vmap(policies.greedy)(logits, step.legal)
        choice = Choice(action=action, probability=losses.taken(behaviour, action))
        return choice, Memory(hidden=hidden, last_action=action)

    def _epsilon(self, learner: DOPLearner) -> Float[Array, ""]:
        return jnp.asarray(optim.linear(self.epsilon_start, self.epsilon_end, self.epsilon_steps)(learner.env_steps))

    def _mixed_policy(
        self, logits: Float[Array, "agent action"], legal: Bool[Array, "agent action"], epsilon: Float[Array, ""]
    ) -> Float[Array, "agent action"]:
        """What acts: the policy with epsilon mixed in."""

        def one_agent(logits: Float[Array, " action"], legal: Bool[Array, " action"]) -> Float[Array, " action"]:
            share = policies.unmasked_epsilon(logits, legal, epsilon) if self.epsilon_in == "policy" else epsilon
            return policies.epsilon_mixture(policies.masked_softmax(logits, legal), legal, share)

        return jax.vmap(one_agent)(logits, legal)

    def _policy(
        self, logits: Float[Array, "*batch agent action"], legal: Bool[Array, "*batch agent action"], epsilon: Float[Array, ""]
    ) -> Float[Array, "*batch agent action"]:
        """What is learned: `_mixed_policy` or the policy alone, by `epsilon_in`."""
        mix = epsilon if self.epsilon_in == "policy" else jnp.zeros_like(epsilon)
        return jnp.vectorize(lambda x, m: self._mixed_policy(x, m, mix), signature="(n,a),(n,a)->(n,a)")(logits, legal)

    # -------------------------------------------------------------------------------------------------------------- learning

    def sample(self, replay: ReplayBuffer, key: PRNGKeyArray) -> Batch:
        key_on, key_off = jax.random.split(key)
        latest = replay.latest(self.on_policy_batch)
        drawn = replay.uniform(key_on, self.on_policy_batch, window=self.on_policy_capacity)
        off_policy = replay.uniform(key_off, self.off_policy_batch)
        on_policy = latest if self.actor_episodes == "latest" else drawn
        return Batch(on_policy=on_policy, off_policy=off_policy, actor=off_policy if self.actor_episodes == "off_policy" else on_policy)

    def update(self, learner: DOPLearner, batch: Batch, key: PRNGKeyArray) -> tuple[DOPLearner, Metrics]:
        """One iteration of Algorithm 1: the critic's steps, the actors' steps, and every `target_interval` the target networks."""
        if self.standardise_state:
            on = batch.on_policy
            learner = replace(learner, state_moments=learner.state_moments.update(on.state[:, :-1], on.mask))
        learner, critic_metrics, critic_steps = self._update_critic(learner, batch, key)
        learner, actor_metrics = self._update_actors(learner, batch.actor)
        return self._update_target(learner, critic_steps), critic_metrics | actor_metrics

    def _update_critic(self, learner: DOPLearner, batch: Batch, key: PRNGKeyArray) -> tuple[DOPLearner, Metrics, Int[Array, ""]]:
        episodes = jax.tree.map(lambda x, y: jnp.concatenate([x, y]).swapaxes(0, 1), batch.on_policy, batch.off_policy)
        off_policy = jnp.arange(episodes.mask.shape[1]) >= self.on_policy_batch
        target = self.critic_targets(learner, episodes, off_policy)
        data, count = self._minibatches(key, episodes, off_policy, target)
        if self.critic_schedule == "full":
            learner, metrics = self._full_critic_step(learner, data, count)
        else:
            learner, metrics = self._critic_steps(learner, data, count)
        metrics["target_mean"] = losses.masked_mean(target, episodes.mask)
        return learner, metrics, jnp.where(self.critic_schedule == "full", 1, count)

    def critic_targets(self, learner: DOPLearner, episodes: Episode, off_policy: Bool[Array, " episode"]) -> Float[Array, "time episode"]:
        """y of every step: tree backup on off-policy episodes (Eq. 7), TD(lambda) on the others (Eq. 8). Axes: time, episode."""
        length = longest(episodes)
        logits = self._logits(learner.actor, episodes, length + 1)
        policy = self._policy(logits, episodes.legal, self._epsilon(learner))
        values = self._values(learner, learner.target, episodes, length + 1)
        one_episode = jax.vmap(self._targets, in_axes=(1, 1, 1), out_axes=1)
        by_tree_backup, by_td_lambda = one_episode(episodes, values, policy)
        return jnp.where(off_policy, by_tree_backup, by_td_lambda)

    def _targets(
        self, episode: Episode, values: Values, policy: Float[Array, "time+1 agent action"]
    ) -> tuple[Float[Array, " time"], Float[Array, " time"]]:
        """Both targets of one episode."""
        action = jnp.concatenate([episode.action, episode.final_action[None]])
        # The slot after the last step holds what would have been done there.
        length = jnp.sum(episode.mask, dtype=jnp.int32)
        action = action.at[length].set(episode.final_action)
        expected = jax.vmap(expected_q)(values.k, values.b, policy, values.q)
        q = jnp.sum(values.k * losses.taken(values.q, action), axis=-1) + values.b
        discount = self.gamma * (1.0 - episode.terminated)
        goes_on = jnp.append(episode.mask[1:], False)
        probability = jnp.prod(losses.taken(policy, action)[:-1], axis=-1)
        by_tree_backup = tree_backup(
            episode.reward, discount, q[:-1], expected[1:], self.tb_lambda * probability * episode.mask, self.tb_steps
        )
        last = q[1:] if self.bootstrap == "taken" else expected[1:]
        by_td_lambda = td_lambda(episode.reward, discount, jnp.where(goes_on, q[1:], last), self.td_lambda * goes_on)
        return by_tree_backup, by_td_lambda

    def _minibatches(
        self,
        key: PRNGKeyArray,
        episodes: Episode,
        off_policy: Bool[Array, " episode"],
        target: Float[Array, "time episode"],
    ) -> tuple[CriticData, Int[Array, ""]]:
        """The critic's rows, arranged by `critic_schedule`, and how many of the minibatches hold any."""
        rows = (episodes.state[:-1], episodes.obs[:-1], episodes.action, target)
        mask, off_policy = episodes.mask, jnp.broadcast_to(off_policy, episodes.mask.shape)
        count = longest(episodes)
        if self.critic_schedule == "shuffled":
            # Filled rows in random order, then the others.
            order = jnp.argsort(jax.random.uniform(key, (mask.size,)) + ~mask.ravel())
            rows, mask, off_policy = jax.tree.map(lambda x: end_to_end(x)[order].reshape(x.shape), (rows, mask, off_policy))
            count = -(-jnp.sum(mask, dtype=jnp.int32) // mask.shape[1])
        weight = losses.critic_weights(mask, off_policy, self.kappa, axis=(0, 1) if self.critic_schedule == "full" else 1)
        state, obs, action, target = rows
        if self.critic_schedule == "shuffled":
            # The last minibatch may be partly filled: its rows count as much as any others.
            weight = weight * jnp.mean(mask, axis=1, keepdims=True)
        return CriticData(state=state, obs=obs, action=action, target=target, weight=weight), count

    def _critic_gradient(
        self, learner: DOPLearner, critic: DecomposedCritic, rows: CriticData
    ) -> tuple[tuple[Array, Array], DecomposedCritic]:
        """Loss and mean absolute TD error of some rows, and the loss's gradient."""

        def loss(critic: DecomposedCritic) -> tuple[Float[Array, ""], Float[Array, ""]]:
            state, obs = self._inputs(learner, rows.state, rows.obs)
            error = jax.vmap(critic.total)(state, obs, rows.action) - rows.target
            # Rows without weight may hold anything.
            error = jnp.where(rows.weight > 0, error, 0)
            return jnp.sum(rows.weight * error**2), jnp.sum(rows.weight * jnp.abs(error))

        return jax.value_and_grad(loss, has_aux=True)(critic)

    def _critic_steps(self, learner: DOPLearner, data: CriticData, count: Int[Array, ""]) -> tuple[DOPLearner, Metrics]:
        """One optimiser step per minibatch, in order."""

        def step(j: Int[Array, ""], carry: tuple) -> tuple:
            critic, optimiser, sums = carry
            (loss, error), gradient = self._critic_gradient(learner, critic, loops.at(data, j))
            critic, optimiser = optim.step(self._critic_optimiser, critic, gradient, optimiser)
            return critic, optimiser, sums + jnp.stack([loss, error, optax.tree.norm(gradient)])

        start = (learner.critic, learner.critic_optimiser, jnp.zeros(3, data.target.dtype))
        critic, optimiser, sums = jax.lax.fori_loop(0, count, step, start)
        loss, error, norm = sums / jnp.maximum(count, 1)
        metrics = {"critic_loss": loss, "td_error_abs": error, "critic_grad_norm": norm}
        return replace(learner, critic=critic, critic_optimiser=optimiser), metrics

    def _full_critic_step(self, learner: DOPLearner, data: CriticData, count: Int[Array, ""]) -> tuple[DOPLearner, Metrics]:
        """One optimiser step for all minibatches together."""

        def accumulate(j: Int[Array, ""], sums: PyTree) -> PyTree:
            return jax.tree.map(jnp.add, sums, self._critic_gradient(learner, learner.critic, loops.at(data, j)))

        zero = jnp.zeros((), data.target.dtype)
        start = ((zero, zero), jax.tree.map(jnp.zeros_like, learner.critic))
        (loss, error), gradient = jax.lax.fori_loop(0, count, accumulate, start)
        critic, optimiser = optim.step(self._critic_optimiser, learner.critic, gradient, learner.critic_optimiser)
        metrics = {"critic_loss": loss, "td_error_abs": error, "critic_grad_norm": optax.tree.norm(gradient)}
        return replace(learner, critic=critic, critic_optimiser=optimiser), metrics

    def _update_actors(self, learner: DOPLearner, batch: Episode) -> tuple[DOPLearner, Metrics]:
        """`actor_steps` steps of the policy gradient with the critic as it now is; the metrics are the last step's."""
        episodes = jax.tree.map(lambda x: x.swapaxes(0, 1), batch)
        length = longest(episodes)
        values = self._values(learner, learner.critic, episodes, length)

        def step(carry: tuple, _: None) -> tuple[tuple, Metrics]:
            actor, optimiser = carry
            gradient, metrics = jax.grad(self._actor_loss, has_aux=True)(actor, self._epsilon(learner), episodes, values, length)
            metrics["actor_grad_norm"] = optax.tree.norm(gradient)
            return optim.step(self._actor_optimiser, actor, gradient, optimiser), metrics

        start = (learner.actor, learner.actor_optimiser)
        (actor, optimiser), metrics = jax.lax.scan(step, start, length=self.actor_steps)
        average = jax.tree.map(lambda old, new: self.actor_average * old + (1 - self.actor_average) * new, learner.greedy_actor, actor)
        learner = replace(learner, actor=actor, greedy_actor=average, actor_optimiser=optimiser)
        return learner, jax.tree.map(lambda x: x[-1], metrics)

    def _actor_loss(
        self, actor: PerAgent[RecurrentActor], epsilon: Float[Array, ""], episodes: Episode, values: Values, length: Int[Array, ""]
    ) -> tuple[Float[Array, ""], Metrics]:
        logits = self._logits(actor, episodes, length)
        policy = self._policy(logits, episodes.legal, epsilon)
        # All episodes end to end: the losses know no time.
        policy, legal, q, k = (end_to_end(x[: episodes.mask.shape[0]]) for x in (policy, episodes.legal, values.q, values.k))
        action, behaviour, mask = end_to_end(episodes.action), end_to_end(episodes.behaviour), end_to_end(episodes.mask)
        scale = losses.utility_rms(losses.aristocrat_utility(policy, q, k), legal, mask)
        k_scaled = k / (jax.lax.stop_gradient(scale) + 1e-6) if self.scale_advantage else k
        if self.policy_gradient == "expected":
            loss = losses.stochastic_dop_actor_expected(policy, q, k_scaled, mask)
        else:
            ratio = None
            if self.actor_episodes == "off_policy":
                taken_probability = losses.taken(policy, action)
                joint = jnp.prod(taken_probability / jnp.where(mask[:, None], behaviour, 1), axis=-1)
                ratio = jnp.minimum(joint, self.ratio_clip)
            loss = losses.stochastic_dop_actor(policy, q, k_scaled, action, mask, ratio)
        entropy = losses.masked_mean(losses.entropy(policy), mask)
        metrics = {
            "actor_loss": loss,
            "policy_entropy": entropy,
            "policy_max": losses.masked_mean(jnp.max(policy, axis=-1), mask),
            "advantage_rms": scale,
            "k_min": losses.masked_mean(jnp.min(k, axis=-1), mask),
            "k_max": losses.masked_mean(jnp.max(k, axis=-1), mask),
            "q_min": jnp.min(q, where=mask[:, None, None] & legal, initial=jnp.inf),
            "q_max": jnp.max(q, where=mask[:, None, None] & legal, initial=-jnp.inf),
        }
        return loss - self.entropy_bonus * entropy, metrics

    def _update_target(self, learner: DOPLearner, critic_steps: Int[Array, ""]) -> DOPLearner:
        since = learner.since_target + (critic_steps if self.target_unit == "critic_steps" else 1)
        due = since >= self.target_interval
        target = jax.tree.map(lambda old, new: jnp.where(due, new, old), learner.target, learner.critic)
        return replace(learner, target=target, since_target=jnp.where(due, 0, since))

    # ----------------------------------------------------------------------------------------------- networks over a batch

    def _logits(
        self, actor: PerAgent[RecurrentActor], episodes: Episode, length: Int[Array, ""]
    ) -> Float[Array, "time+1 episode agent action"]:
        """The actors run through the first `length` steps of every episode."""
        start = jnp.full_like(episodes.action[:1], -1)
        last_action = jnp.concatenate([start, episodes.action])
        _, batch, n = start.shape
        hidden = jnp.zeros((batch, n, self.actor_hidden), jax.tree.leaves(actor)[0].dtype)
        return loops.scan(batched_actor_step, actor, hidden, (episodes.obs, last_action), length)

    def _values(self, learner: DOPLearner, critic: DecomposedCritic, episodes: Episode, length: Int[Array, ""]) -> Values:
        """Every Q_i(tau, .), k_i and b on the first `length` steps."""

        def at_step(critic: DecomposedCritic, x: tuple[Array, Array]) -> Values:
            state, obs = self._inputs(learner, *x)
            k, b = jax.vmap(critic.mixer)(state)
            return Values(q=jax.vmap(critic.local_q)(state, obs), k=k, b=b)

        return loops.map_steps(at_step, critic, (episodes.state, episodes.obs), length)

    def _inputs(
        self, learner: DOPLearner, state: Float[Array, "*batch state"], obs: Float[Array, "*batch agent obs"]
    ) -> tuple[Array, Array]:
        """State and observations as the critics take them: full precision, the state standardised."""
        dtype = learner.state_moments.mean.dtype
        state, obs = state.astype(dtype), obs.astype(dtype)
        return (learner.state_moments.standardise(state) if self.standardise_state else state), obs

    @property
    def _actor_optimiser(self) -> optax.GradientTransformation:
        return optim.rmsprop(self.actor_rate, decay=self.rms_decay, eps=self.rms_eps, max_grad_norm=self.max_grad_norm)

    @property
    def _critic_optimiser(self) -> optax.GradientTransformation:
        return optim.rmsprop(self.critic_rate, decay=self.rms_decay, eps=self.rms_eps, max_grad_norm=self.max_grad_norm)


def actor_step(
    actor: PerAgent[RecurrentActor], hidden: Float[Array, "agent hidden"], obs: Float[Array, "agent obs"], last_action: Int[Array, " agent"]
) -> tuple[Float[Array, "agent hidden"], Float[Array, "agent action"]]:
    """All agents of one environment, one step on."""
    ids = jnp.arange(actor.n_agents)
    return actor.map(lambda net, *x: net(*x), hidden, obs, last_action, ids, in_axes=(0, 0, 0, 0))


def batched_actor_step(
    actor: PerAgent[RecurrentActor], hidden: Float[Array, "episode agent hidden"], x: tuple[Array, Array]
) -> tuple[Float[Array, "episode agent hidden"], Float[Array, "episode agent action"]]:
    """`actor_step` for a batch of episodes, as `loops.scan` wants it."""
    return jax.vmap(actor_step, in_axes=(None, 0, 0, 0))(actor, hidden, *x)


def longest(episodes: Episode) -> Int[Array, ""]:
    """Steps of the longest episode; axes: time, episode."""
    return jnp.max(jnp.sum(episodes.mask, axis=0, dtype=jnp.int32))


def end_to_end(x: Array) -> Array:
    """Episodes laid one after another: time and episode become one axis."""
    return x.reshape(-1, *x.shape[2:])


ALGORITHM = StochasticDOP
