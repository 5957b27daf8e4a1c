"""The vocabulary of the library: what an environment says, what an episode holds, what an algorithm must offer.

Axes, by the names that the annotations use:

    agent    the n agents of the team, in the order of `EnvSpec.agents`
    action   the |A| discrete actions, or the components of a continuous one, padded to the largest agent's; `action_mask` says which exist
    obs      an agent's own observation, padded to the largest agent's
    state    the global state, which only critics see
    time     the T = `EnvSpec.time_limit` steps of an episode; `time+1` also has the state after the last step

Every record holds ONE example (one step, one episode). Batches are made by `jax.vmap`, never by hand.
"""

from dop.types.algorithms import Algorithm, AssignsCredit, Exportable, HasPresets, Listed, ReplayBuffer, Samples, Scheduled
from dop.types.environments import Drawable, Environment, PythonEnvironment
from dop.types.records import Action, Carry, Credit, EnvState, Episode, Learner, Metrics, PolicyOutput, TimeStep, Transition
from dop.types.spec import LABELS, ActionKind, EnvSpec, Sharing

__all__ = [
    "LABELS",
    "Action",
    "ActionKind",
    "Algorithm",
    "AssignsCredit",
    "Carry",
    "Credit",
    "Drawable",
    "EnvSpec",
    "EnvState",
    "Environment",
    "Episode",
    "Exportable",
    "HasPresets",
    "Learner",
    "Listed",
    "Metrics",
    "PolicyOutput",
    "PythonEnvironment",
    "ReplayBuffer",
    "Samples",
    "Scheduled",
    "Sharing",
    "TimeStep",
    "Transition",
]
