"""Images of Python environments. Rendering is enabled only for films and reports, so that it costs nothing in training.

Environments of Gymnasium and PettingZoo render if they are made with `render_mode="rgb_array"`. Here they are, if their maker takes the
argument and `metadata["render_modes"]`, where present, has that mode. If it has the mode and the maker does not take the argument, the
attribute `render_mode` is set. A `render_mode` among the options stays.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import numpy as np

from dop import plugins

MODE = "rgb_array"
_WANTED: ContextVar[bool] = ContextVar("pictures are wanted", default=False)


@contextlib.contextmanager
def wanted() -> Iterator[None]:
    """Enable rendering for environments that are made in this context."""
    token = _WANTED.set(True)
    try:
        yield
    finally:
        _WANTED.reset(token)


def ready(name: str, make: Callable[..., Any], maker: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """The environment of `make()`, with rendering if that is enabled and possible.

    Args:
        name: of the environment, for a warning if it cannot be made with rendering.
        make: makes it; further arguments go to the maker.
        maker: the maker, for its signature.
        options: the maker's options.
    """
    env = make()
    if not _WANTED.get() or "render_mode" in options:
        return env
    modes = _modes(env)
    if (modes and MODE not in modes) or not (modes or _names(maker, "render_mode")):
        return env
    if not _takes(maker, "render_mode"):
        with contextlib.suppress(AttributeError):  # a property that cannot be set
            getattr(env, "unwrapped", env).render_mode = MODE
        return env
    if callable(close := getattr(env, "close", None)):
        close()
    try:
        return make(render_mode=MODE)
    except Exception as error:  # user code, which works without rendering
        logging.getLogger("dop").warning(
            "%s cannot be made with render_mode=%r, and renders nothing: %s", name, MODE, plugins.explain(error)
        )
        return make()


def picture(env: Any) -> Any:
    """The result of rendering, not validated; None if the environment does not render."""
    render = getattr(env, "render", None)
    if not callable(render):
        return None
    try:
        if getattr(env, "render_mode", None) == MODE or (_WANTED.get() and not hasattr(env, "render_mode") and not _parameters(render)):
            return render()
        return render(mode=MODE) if _names(render, "mode") else None
    except NotImplementedError:  # of base classes that do not render
        return None


def fault(given: Any) -> str | None:
    """Why this is not an image; None if it is."""
    if not isinstance(given, np.ndarray):
        return "None" if given is None else f"{type(given).__name__}, not an array"
    if given.dtype != np.uint8:
        return f"an array of {given.dtype}"
    if given.ndim != 3 or given.shape[2] != 3 or 0 in given.shape:
        return f"an array of the shape {given.shape}"
    return None


def _modes(env: Any) -> tuple[Any, ...]:
    """The render modes in an environment's metadata."""
    metadata = getattr(env, "metadata", None)
    modes = metadata.get("render_modes", metadata.get("render.modes")) if isinstance(metadata, Mapping) else None
    return tuple(modes) if isinstance(modes, list | tuple | set) else ()


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except ValueError:  # not written in Python
        return {}


def _names(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has this argument."""
    return name in _parameters(function)


def _takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function accepts this argument, also through `**kwargs`."""
    return _names(function, name) or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in _parameters(function).values())
