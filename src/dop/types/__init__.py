"""The types of the library: records of environments and episodes, and the protocols of environments and algorithms.

Axes, by the names that the annotations use:

    agent    the n agents of the team, in the order of `EnvSpec.agents`
    action   the |A| discrete actions, or the components of a continuous one, padded to the largest agent's; see `action_mask`
    obs      an agent's own observation, padded to the largest agent's
    state    the global state, for critics only
    time     the T = `EnvSpec.time_limit` steps of an episode; `time+1` includes the state after the last step

Every record holds ONE example (one step, one episode). `jax.vmap` adds batch axes.
"""

from dop.types.algorithms import Algorithm, AssignsCredit, Exportable, HasPresets, Listed, ReplayBuffer, Samples, Scheduled
from dop.types.entities import EntityBlocks
from dop.types.environments import Drawable, Environment, PythonEnvironment
from dop.types.records import Action, Carry, Credit, EnvState, Episode, Learner, Metrics, PolicyOutput, TimeStep, Transition
from dop.types.spec import LABELS, ActionKind, EnvSpec, Sharing
from dop.types.traced import Traced

__all__ = [
    "LABELS",
    "Action",
    "ActionKind",
    "Algorithm",
    "AssignsCredit",
    "Carry",
    "Credit",
    "Drawable",
    "EntityBlocks",
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
    "Traced",
    "Transition",
]
