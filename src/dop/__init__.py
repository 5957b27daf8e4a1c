"""Decomposed off-policy policy gradients for teams of agents (Wang et al.), in JAX from the environment to the gradient.

import dop
run = dop.train(dop.StochasticDOP(), dop.make("smax:2s3z"), env_steps=500_000, seeds=4)
"""

import logging
from importlib import metadata

from dop import losses, mixers, returns, views
from dop.algorithms.coma import COMA
from dop.algorithms.deterministic_dop import DeterministicDOP
from dop.algorithms.maac import MAAC
from dop.algorithms.maddpg import MADDPG
from dop.algorithms.qmix import QMIX
from dop.algorithms.stochastic_dop import StochasticDOP
from dop.algorithms.vdn import VDN
from dop.api import Run, evaluate, evaluate_episodes, preflight, resume, train
from dop.engine.callbacks import Callback, TrainingEvent
from dop.engine.preflight import Preflight
from dop.engine.records import LoggedRun, Logger, Record
from dop.engine.runs import Protocol
from dop.envs import make
from dop.envs import names as environments
from dop.errors import ConfigError, DopError, MissingExtraError, PrintableLog, RunError, UnknownNameError
from dop.report.evaluation import Evaluation
from dop.types import Algorithm, Choice, Environment, EnvSpec, Episode, HostEnvironment, Learner, TimeStep, Transition

__version__ = metadata.version("dop-marl")
logging.getLogger("dop").addFilter(PrintableLog())

__all__ = [
    "COMA",
    "MAAC",
    "MADDPG",
    "QMIX",
    "VDN",
    "Algorithm",
    "Callback",
    "Choice",
    "ConfigError",
    "DeterministicDOP",
    "DopError",
    "EnvSpec",
    "Environment",
    "Episode",
    "Evaluation",
    "HostEnvironment",
    "Learner",
    "LoggedRun",
    "Logger",
    "MissingExtraError",
    "Preflight",
    "Protocol",
    "Record",
    "Run",
    "RunError",
    "StochasticDOP",
    "TimeStep",
    "TrainingEvent",
    "Transition",
    "UnknownNameError",
    "environments",
    "evaluate",
    "evaluate_episodes",
    "losses",
    "make",
    "mixers",
    "preflight",
    "resume",
    "returns",
    "train",
    "views",
]
