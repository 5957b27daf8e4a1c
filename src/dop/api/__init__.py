"""The library from Python: `train`, `resume`, `evaluate`. The command line is a thin layer over these."""

from dop.api.evaluation import evaluate, evaluate_episodes
from dop.api.loading import AnyAlgorithm, learners_at, rebuild
from dop.api.programs import AnyEnvironment
from dop.api.training import Run, preflight, resume, train

__all__ = [
    "AnyAlgorithm",
    "AnyEnvironment",
    "Run",
    "evaluate",
    "evaluate_episodes",
    "learners_at",
    "preflight",
    "rebuild",
    "resume",
    "train",
]
