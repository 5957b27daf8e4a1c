"""Verification of an exported policy: a step-by-step comparison with the library.

Inputs are greedy episodes of the run's environment, and random observations. Each side keeps its own hidden state; the last action is the
library's, so that one difference does not cause others.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from dop.analysis.playback import Player
from dop.errors import RunError
from dop.networks.teams import recurrent
from dop.networks.teams.greedy_policy import Policy
from dop.rollout.program import PythonProgram
from dop.training.program import Program
from dop.types import Algorithm, EnvSpec, Learner, TimeStep

EPISODES = 4
"""Number of greedy episodes, and of episodes of random observations."""
STEPS = 16
"""Length of an episode of random observations."""
TOLERANCE = 1e-4
"""Largest difference of outputs, as a fraction of the largest output or of 1, whichever is larger."""


class Outputs(NamedTuple):
    """Outputs at every step of a batch of episodes. Axes: episode, time, and for the library agent."""

    action: Any
    scores: Any
    hidden: Any
    """The next hidden states."""


def check(models: Mapping[str, Any], policy: Policy, program: Program | PythonProgram, learner: Learner, key: PRNGKeyArray) -> None:
    """Compare ONNX models, by agent, with the library.

    Raises:
        RunError: they differ; the message names the agent and says by how much.
    """
    key_play, key_random = jax.random.split(key)
    episodes = {
        "in greedy episodes": _greedy_episodes(program, learner, key_play),
        "on random observations": _random_episodes(program.spec, key_random),
    }
    for where, steps in episodes.items():
        with jax.default_matmul_precision("highest"):
            own = jax.tree.map(np.asarray, jax.jit(jax.vmap(_library_episode(program.algorithm, policy, learner, program.spec)))(steps))
        for place, (agent, model) in enumerate(models.items()):
            mine = jax.tree.map(lambda part, place=place: part[:, :, place], own)
            for what, difference in _differences(
                mine, _exported_episodes(model, program.spec, place, steps, mine.action), policy, steps, place
            ):
                raise RunError(
                    f"The exported policy of {agent} would differ from the library's: {where}, {what} by {difference:.3g}. Nothing was "
                    "written. Does the algorithm's `act` do more with its networks than its `policy`?"
                )


def _greedy_episodes(program: Program | PythonProgram, learner: Learner, key: PRNGKeyArray) -> TimeStep:
    """The time steps of greedy episodes, padded with each one's last step to the longest."""
    trajectories = Player(program)(learner, key, EPISODES, pictures="none")
    length = max(trajectory.length for trajectory in trajectories)
    padded = [
        jax.tree.map(lambda x, end=trajectory.length: x[np.minimum(np.arange(length), end - 1)], trajectory.steps)
        for trajectory in trajectories
    ]
    return jax.tree.map(lambda *x: np.stack(x), *padded)


def _random_episodes(spec: EnvSpec, key: PRNGKeyArray) -> TimeStep:
    """Random time steps: observations of each agent's length, and at least one available action."""
    key_obs, key_action_mask = jax.random.split(key)
    shape = (EPISODES, STEPS, spec.n_agents)
    observed = jnp.arange(spec.obs_size) < jnp.array(spec.obs_sizes)[:, None]
    exists = jnp.arange(spec.action_size) < jnp.array(spec.action_sizes)[:, None]
    available = jax.random.bernoulli(key_action_mask, 0.6, (*shape, spec.action_size))
    zeros = jnp.zeros(shape[:2])
    return TimeStep(
        obs=2 * jax.random.normal(key_obs, (*shape, spec.obs_size)) * observed,
        state=jnp.zeros((*shape[:2], spec.state_size)),
        action_mask=exists & (available | (jnp.arange(spec.action_size) == 0) | (spec.action_kind != "discrete")),
        reward=zeros,
        terminated=zeros > 0,
        truncated=zeros > 0,
        metrics=jnp.zeros((*shape[:2], len(spec.metrics))),
    )


def _library_episode(algorithm: Algorithm, policy: Policy, learner: Learner, spec: EnvSpec) -> Any:
    """The algorithm's actions and the outputs of the policy's networks in one episode."""
    discrete = policy.chosen == "argmax"

    def advance(carry: Any, step: TimeStep) -> tuple[Any, Outputs]:
        carry, hidden, last_action = carry
        output, carry = algorithm.act(learner, carry, step, jax.random.key(0), explore=False)
        hidden, scores = recurrent.step_team(policy.team, hidden, step.obs, last_action)
        last_action = output.action if discrete else last_action
        return (carry, hidden, last_action), Outputs(output.action, scores, tuple(jax.tree.leaves(hidden)))

    def episode(steps: TimeStep) -> Outputs:
        no_action = jnp.full((spec.n_agents,), -1, jnp.int32)
        start = (algorithm.initial_carry(spec), recurrent.initial_hidden(policy.team), no_action)
        return jax.lax.scan(advance, start, steps)[1]

    return episode


def _exported_episodes(model: Any, spec: EnvSpec, place: int, steps: TimeStep, actions: np.ndarray) -> Outputs:
    """The outputs of one agent's model, all episodes as one batch."""
    runtime: Any = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names, inputs = [node.name for node in session.get_outputs()], {node.name: node for node in session.get_inputs()}
    obs = np.asarray(steps.obs, np.float32)[:, :, place, : spec.obs_sizes[place]]
    action_mask = np.asarray(steps.action_mask)[:, :, place, : spec.action_sizes[place]]
    hidden = [name.removeprefix("next_") for name in names if name.startswith("next_")]
    before = {name: np.zeros((len(obs), *inputs[name].shape[1:]), np.float32) for name in hidden}
    last = np.concatenate([np.full_like(actions[:, :1], -1), actions[:, :-1]], axis=1) if "last_action" in inputs else None
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for t in range(obs.shape[1]):
        extra = {} if last is None else {"last_action": last[:, t].astype(np.int64)}
        out = dict(zip(names, session.run(None, {"obs": obs[:, t], "action_mask": action_mask[:, t], **extra, **before}), strict=True))
        before = {name: out[f"next_{name}"] for name in hidden}
        for name in names:
            found[name].append(out[name])
    stacked = {name: np.stack(values, axis=1) for name, values in found.items()}
    return Outputs(stacked["action"], stacked["scores"], tuple(stacked[f"next_{name}"] for name in hidden))


def _differences(mine: Outputs, theirs: Outputs, policy: Policy, steps: TimeStep, place: int) -> Iterator[tuple[str, float]]:
    """Descriptions and sizes of the differences beyond the tolerance."""
    size = theirs.scores.shape[-1]
    scale = max(1.0, float(np.max(np.abs(mine.scores[..., :size]), initial=0)))
    pairs = [("its outputs differ", mine.scores[..., :size], theirs.scores, scale)]
    pairs += [("its hidden states differ", *states, 1.0) for states in zip(mine.hidden, theirs.hidden, strict=True)]
    active = np.asarray(steps.action_mask)[:, :, place].any(axis=-1)
    if policy.chosen in ("argmax", "corner"):
        chosen, other = ((x if policy.chosen == "argmax" else x.argmax(axis=-1))[..., None] for x in (mine.action, theirs.action))
        # Of two actions of the same value either is correct.
        better, worse = (np.take_along_axis(theirs.scores, np.minimum(x, size - 1), axis=-1)[..., 0][active] for x in (other, chosen))
        pairs.append(("it prefers another action, whose output is larger", better, worse, scale))
    else:
        # A small temperature enlarges differences of the outputs.
        pairs.append(("its actions differ", mine.action[..., :size][active], theirs.action[active], 10.0))
    for what, x, y, scale in pairs:
        difference = float(np.max(np.abs(x - y), initial=0))
        if not difference <= TOLERANCE * scale:
            yield what, difference
