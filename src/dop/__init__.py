"""Decomposed off-policy policy gradients for teams of agents (Wang et al.), in JAX from the environment to the gradient.

import dop
run = dop.train(dop.StochasticDOP(), dop.make("smax:2s3z"), env_steps=500_000, seeds=4)

Public names are imported at first access (PEP 562): `import dop` is quick, an algorithm imports JAX, Equinox and Optax, and only training
and figures import the libraries for storage and plots.
"""

import importlib
import importlib.util
import logging
from typing import TYPE_CHECKING, Any

from dop.errors import ConfigError, DopError, MissingExtraError, PrintableLog, RunError, UnknownNameError

if TYPE_CHECKING:  # the same as `_HOMES`, for type checkers
    from dop import envs as envs
    from dop import losses, mixers, policies, returns, views
    from dop import training as training
    from dop.algorithms.coma import COMA
    from dop.algorithms.deterministic_dop import DeterministicDOP
    from dop.algorithms.ippo import IPPO
    from dop.algorithms.maac import MAAC
    from dop.algorithms.maddpg import MADDPG
    from dop.algorithms.mappo import MAPPO
    from dop.algorithms.qmix import QMIX
    from dop.algorithms.stochastic_dop import StochasticDOP
    from dop.algorithms.vdn import VDN
    from dop.analysis.evaluation import Evaluation
    from dop.api import Run, evaluate, evaluate_episodes, preflight, resume, train
    from dop.envs import make
    from dop.envs import names as environments
    from dop.loggers.protocol import LoggedRun, Logger
    from dop.networks.entities import Entities
    from dop.networks.gru import GRU
    from dop.networks.layer_norm_gru import LayerNormGRU
    from dop.networks.mlp import MLP
    from dop.networks.protocols import Graph, Network, NetworkConfig
    from dop.storage.config import TrainConfig
    from dop.storage.records import Record
    from dop.training.callbacks import Callback, TrainingEvent
    from dop.training.preflight import Preflight
    from dop.types import (
        Algorithm,
        EntityBlocks,
        Environment,
        EnvSpec,
        Episode,
        Learner,
        PolicyOutput,
        PythonEnvironment,
        TimeStep,
        Traced,
        Transition,
    )

    __version__: str

logging.getLogger("dop").addFilter(PrintableLog())

_HOMES = {
    "COMA": "dop.algorithms.coma",
    "GRU": "dop.networks.gru",
    "IPPO": "dop.algorithms.ippo",
    "MAAC": "dop.algorithms.maac",
    "MADDPG": "dop.algorithms.maddpg",
    "MAPPO": "dop.algorithms.mappo",
    "MLP": "dop.networks.mlp",
    "QMIX": "dop.algorithms.qmix",
    "VDN": "dop.algorithms.vdn",
    "Algorithm": "dop.types",
    "Callback": "dop.training.callbacks",
    "PolicyOutput": "dop.types",
    "DeterministicDOP": "dop.algorithms.deterministic_dop",
    "Entities": "dop.networks.entities",
    "EntityBlocks": "dop.types",
    "EnvSpec": "dop.types",
    "Environment": "dop.types",
    "Episode": "dop.types",
    "Evaluation": "dop.analysis.evaluation",
    "Graph": "dop.networks.protocols",
    "PythonEnvironment": "dop.types",
    "LayerNormGRU": "dop.networks.layer_norm_gru",
    "Learner": "dop.types",
    "LoggedRun": "dop.loggers.protocol",
    "Logger": "dop.loggers.protocol",
    "Network": "dop.networks.protocols",
    "NetworkConfig": "dop.networks.protocols",
    "Preflight": "dop.training.preflight",
    "TrainConfig": "dop.storage.config",
    "Record": "dop.storage.records",
    "Run": "dop.api",
    "StochasticDOP": "dop.algorithms.stochastic_dop",
    "TimeStep": "dop.types",
    "TrainingEvent": "dop.training.callbacks",
    "Traced": "dop.types",
    "Transition": "dop.types",
    "environments": "dop.envs",
    "evaluate": "dop.api",
    "evaluate_episodes": "dop.api",
    "make": "dop.envs",
    "preflight": "dop.api",
    "resume": "dop.api",
    "train": "dop.api",
}
"""The modules of public names; submodules of the package need no entry."""
_NAME_IN_HOME = {"environments": "names"}
"""Public names that differ from those in their modules."""

__all__ = [
    "COMA",
    "GRU",
    "IPPO",
    "MAAC",
    "MADDPG",
    "MAPPO",
    "MLP",
    "QMIX",
    "VDN",
    "Algorithm",
    "Callback",
    "ConfigError",
    "DeterministicDOP",
    "DopError",
    "Entities",
    "EntityBlocks",
    "EnvSpec",
    "Environment",
    "Episode",
    "Evaluation",
    "Graph",
    "LayerNormGRU",
    "Learner",
    "LoggedRun",
    "Logger",
    "MissingExtraError",
    "Network",
    "NetworkConfig",
    "PolicyOutput",
    "Preflight",
    "PythonEnvironment",
    "Record",
    "Run",
    "RunError",
    "StochasticDOP",
    "TimeStep",
    "Traced",
    "TrainConfig",
    "TrainingEvent",
    "Transition",
    "UnknownNameError",
    "environments",
    "evaluate",
    "evaluate_episodes",
    "losses",
    "make",
    "mixers",
    "policies",
    "preflight",
    "resume",
    "returns",
    "train",
    "views",
]


if not TYPE_CHECKING:  # a type checker would accept any name

    def __getattr__(name: str) -> Any:
        """Import a public name or a submodule. Names are looked up at each access."""
        if name in _HOMES:
            return getattr(importlib.import_module(_HOMES[name]), _NAME_IN_HOME.get(name, name))
        if name == "__version__":
            return importlib.import_module("importlib.metadata").version("dop-marl")
        if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}"):
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
