"""Views of trained teams: `credit`, `render`, `export`, `export_model`, `report`, `plot`.

The command line is a thin layer over these functions. They restore a run's learner, and do not change the run's own files.
"""

from dop.views.crediting import credit, credit_episodes
from dop.views.exporting import export
from dop.views.model_export import export_model
from dop.views.plotting import plot
from dop.views.rendering import films_of, render
from dop.views.reporting import report
from dop.views.trained import Trained, episodes_key, load

__all__ = [
    "Trained",
    "credit",
    "credit_episodes",
    "episodes_key",
    "export",
    "export_model",
    "films_of",
    "load",
    "plot",
    "render",
    "report",
]
