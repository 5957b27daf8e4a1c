"""Whether an exported policy is the library's own: both see the same, step by step, and what they do with it is compared.

They see greedy episodes of the run's environment, and random observations. Each has its own hidden state; the last action is the library's,
so that one difference does not make all that follow.
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
"""Greedy ones, and as many of random observations."""
STEPS = 16
"""Of an episode of random observations."""
TOLERANCE = 1e-4
"""Largest difference of two outputs, as a fraction of the largest output, or of 1 if that is more."""


class Answers(NamedTuple):
    """What came of every step of a batch of episodes; the axes are episode, time, and, of the library's answers, agent."""

    action: Any
    scores: Any
    hidden: Any
    """The hidden states afterwards, one after another."""


def check(models: Mapping[str, Any], policy: Policy, program: Program | PythonProgram, learner: Learner, key: PRNGKeyArray) -> None:
    """Compare ONNX models, by agent, with what the library does.

    Raises:
        RunError: they differ; the message names the agent and says by how much.
    """
    key_play, key_random = jax.random.split(key)
    episodes = {"in greedy episodes": _played(program, learner, key_play), "on random observations": _random(program.spec, key_random)}
    for where, steps in episodes.items():
        with jax.default_matmul_precision("highest"):
            own = jax.tree.map(np.asarray, jax.jit(jax.vmap(_library(program.algorithm, policy, learner, program.spec)))(steps))
        for place, (agent, model) in enumerate(models.items()):
            mine = jax.tree.map(lambda part, place=place: part[:, :, place], own)
            for what, difference in _differences(mine, _exported(model, program.spec, place, steps, mine.action), policy, steps, place):
                raise RunError(
                    f"The exported policy of {agent} would not be the library's own: {where}, {what} by {difference:.3g}. Nothing was "
                    "written. Does the algorithm do more with its networks than `policy` says?"
                )


def _played(program: Program | PythonProgram, learner: Learner, key: PRNGKeyArray) -> TimeStep:
    """What was seen in greedy episodes, each to the end of the longest: its last step again and again."""
    takes = Player(program)(learner, key, EPISODES, pictures="none")
    length = max(take.length for take in takes)
    seen = [jax.tree.map(lambda x, end=take.length: x[np.minimum(np.arange(length), end - 1)], take.steps) for take in takes]
    return jax.tree.map(lambda *x: np.stack(x), *seen)


def _random(spec: EnvSpec, key: PRNGKeyArray) -> TimeStep:
    """Made-up steps: every agent has observations of its own length, and something that it may do."""
    key_obs, key_action_mask = jax.random.split(key)
    shape = (EPISODES, STEPS, spec.n_agents)
    seen = jnp.arange(spec.obs_size) < jnp.array(spec.obs_sizes)[:, None]
    exists = jnp.arange(spec.action_size) < jnp.array(spec.action_sizes)[:, None]
    may = jax.random.bernoulli(key_action_mask, 0.6, (*shape, spec.action_size))
    zeros = jnp.zeros(shape[:2])
    return TimeStep(
        obs=2 * jax.random.normal(key_obs, (*shape, spec.obs_size)) * seen,
        state=jnp.zeros((*shape[:2], spec.state_size)),
        action_mask=exists & (may | (jnp.arange(spec.action_size) == 0) | (spec.action_kind != "discrete")),
        reward=zeros,
        terminated=zeros > 0,
        truncated=zeros > 0,
        metrics=jnp.zeros((*shape[:2], len(spec.metrics))),
    )


def _library(algorithm: Algorithm, policy: Policy, learner: Learner, spec: EnvSpec) -> Any:
    """What the algorithm does, and what the policy's networks give, in one episode."""
    discrete = policy.chosen == "argmax"

    def advance(carry: Any, step: TimeStep) -> tuple[Any, Answers]:
        carry, hidden, last_action = carry
        choice, carry = algorithm.act(learner, carry, step, jax.random.key(0), explore=False)
        hidden, scores = recurrent.step_team(policy.team, hidden, step.obs, last_action)
        last_action = choice.action if discrete else last_action
        return (carry, hidden, last_action), Answers(choice.action, scores, tuple(jax.tree.leaves(hidden)))

    def episode(steps: TimeStep) -> Answers:
        nothing = jnp.full((spec.n_agents,), -1, jnp.int32)
        start = (algorithm.initial_carry(spec), recurrent.initial_hidden(policy.team), nothing)
        return jax.lax.scan(advance, start, steps)[1]

    return episode


def _exported(model: Any, spec: EnvSpec, place: int, steps: TimeStep, actions: np.ndarray) -> Answers:
    """What the model of one agent answers, all episodes as one batch."""
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
        seen = {} if last is None else {"last_action": last[:, t].astype(np.int64)}
        out = dict(zip(names, session.run(None, {"obs": obs[:, t], "action_mask": action_mask[:, t], **seen, **before}), strict=True))
        before = {name: out[f"next_{name}"] for name in hidden}
        for name in names:
            found[name].append(out[name])
    stacked = {name: np.stack(values, axis=1) for name, values in found.items()}
    return Answers(stacked["action"], stacked["scores"], tuple(stacked[f"next_{name}"] for name in hidden))


def _differences(mine: Answers, theirs: Answers, policy: Policy, steps: TimeStep, place: int) -> Iterator[tuple[str, float]]:
    """What is not the same, in words, and by how much."""
    size = theirs.scores.shape[-1]
    scale = max(1.0, float(np.max(np.abs(mine.scores[..., :size]), initial=0)))
    pairs = [("its outputs differ", mine.scores[..., :size], theirs.scores, scale)]
    pairs += [("its hidden states differ", *states, 1.0) for states in zip(mine.hidden, theirs.hidden, strict=True)]
    there = np.asarray(steps.action_mask)[:, :, place].any(axis=-1)  # who is not there is not asked
    if policy.chosen in ("argmax", "corner"):
        chosen, other = ((x if policy.chosen == "argmax" else x.argmax(axis=-1))[..., None] for x in (mine.action, theirs.action))
        # Of two actions of the same value either is right.
        better, worse = (np.take_along_axis(theirs.scores, np.minimum(x, size - 1), axis=-1)[..., 0][there] for x in (other, chosen))
        pairs.append(("it prefers another action, whose output is larger", better, worse, scale))
    else:
        # A small temperature makes differences of the outputs larger.
        pairs.append(("its actions differ", mine.action[..., :size][there], theirs.action[there], 10.0))
    for what, x, y, scale in pairs:
        difference = float(np.max(np.abs(x - y), initial=0))
        if not difference <= TOLERANCE * scale:
            yield what, difference
