"""Pictures of environments outside JAX. They are made ready to draw only while somebody looks: training pays nothing for it.

Gymnasium's and PettingZoo's environments are told when they are made that they will draw, `render_mode="rgb_array"`. That is done here,
where their maker takes the argument and their `metadata["render_modes"]`, if there are any, have that mode; where they have it and the
maker does not take it, the attribute `render_mode` is set. A `render_mode` among the options is left as it is.
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
    """Environments that are made meanwhile are to draw themselves."""
    token = _WANTED.set(True)
    try:
        yield
    finally:
        _WANTED.reset(token)


def ready(name: str, make: Callable[..., Any], maker: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """What `make()` makes, ready to draw if that is wanted and possible.

    Args:
        name: of the environment, for a warning if it cannot be made so.
        make: makes it, and takes more arguments for the maker.
        maker: whose arguments count.
        options: that the maker is given anyway.
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
    except Exception as error:  # somebody else's code, which works without
        logging.getLogger("dop").warning("%s cannot be made with render_mode=%r, and draws nothing: %s", name, MODE, plugins.explain(error))
        return make()


def picture(env: Any) -> Any:
    """What `env` draws, whatever that is; None if it cannot."""
    render = getattr(env, "render", None)
    if not callable(render):
        return None
    try:
        if getattr(env, "render_mode", None) == MODE or (_WANTED.get() and not hasattr(env, "render_mode") and not _parameters(render)):
            return render()
        return render(mode=MODE) if _names(render, "mode") else None
    except NotImplementedError:  # how the base classes say that there is nothing
        return None


def fault(given: Any) -> str | None:
    """What is wrong with a picture; None if it is one."""
    if not isinstance(given, np.ndarray):
        return "None" if given is None else f"{type(given).__name__}, not an array"
    if given.dtype != np.uint8:
        return f"an array of {given.dtype}"
    if given.ndim != 3 or given.shape[2] != 3 or 0 in given.shape:
        return f"an array of the shape {given.shape}"
    return None


def _modes(env: Any) -> tuple[Any, ...]:
    """The modes that an environment says it can render in."""
    metadata = getattr(env, "metadata", None)
    modes = metadata.get("render_modes", metadata.get("render.modes")) if isinstance(metadata, Mapping) else None
    return tuple(modes) if isinstance(modes, list | tuple | set) else ()


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except ValueError:  # it is not written in Python
        return {}


def _names(function: Callable[..., Any], name: str) -> bool:
    """Whether a function names this argument."""
    return name in _parameters(function)


def _takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function takes this argument, also among any others."""
    return _names(function, name) or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in _parameters(function).values())
