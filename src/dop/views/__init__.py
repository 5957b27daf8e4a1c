"""Looking at trained teams from Python: `credit`, `render`, `export`, `report`, `plot`. The command line is a thin layer over these.

All of them restore what a run has learned, and change nothing that the run needs.
"""

from dop.views.crediting import credit, credit_episodes
from dop.views.exporting import export
from dop.views.plotting import plot
from dop.views.rendering import films_of, render
from dop.views.reporting import report
from dop.views.trained import Trained, episodes_key, load

__all__ = ["Trained", "credit", "credit_episodes", "episodes_key", "export", "films_of", "load", "plot", "render", "report"]
