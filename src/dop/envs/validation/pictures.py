"""Notes on the pictures of an environment, for films and reports: one state is drawn."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from dop import plugins
from dop.envs.python.base import drawn_pictures
from dop.envs.validation.episodes import random_action
from dop.types import Drawable, Environment, PythonEnvironment

INSTEAD = "films and reports show a table of actions in its place"


def picture_notes(make: Callable[[], Any], seed: int) -> Iterator[str]:
    """A note if the environment draws itself, and the picture of its first state cannot be used."""
    try:
        with drawn_pictures.wanted():
            environment = make()
            if isinstance(environment, PythonEnvironment):
                with contextlib.closing(environment):
                    yield from _of_python(environment, seed)
                return
        if isinstance(environment, Drawable):
            _draw(environment, seed)
    except (Exception, SystemExit) as error:  # foreign code
        yield f"it cannot be drawn, so that films and reports fail: {plugins.explain(error)}"


def _of_python(environment: PythonEnvironment, seed: int) -> Iterator[str]:
    environment.reset(seed)
    fault = drawn_pictures.fault(environment.render())
    if fault is not None:
        form = "" if fault == "None" else "; it should give an array of uint8 with the shape (height, width, 3)"
        yield f"it draws no picture: render gave {fault}{form}. {INSTEAD.capitalize()}"


def _draw(environment: Any, seed: int) -> None:
    """Draw the first state, with actions and, as at the end of an episode, without."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  # Matplotlib is slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    drawable: Environment = environment
    state, step = jax.device_get(drawable.reset(jax.random.key(seed)))
    spec = drawable.spec
    actions = random_action(np.random.default_rng(seed), spec, np.asarray(step.action_mask))
    for action in (actions, None):
        picture = Figure()
        environment.draw(picture.subplots(), state, action, [f"C{agent % 10}" for agent in range(spec.n_agents)])
        FigureCanvasAgg(picture).draw()
