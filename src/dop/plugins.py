"""Plugins: objects named `package.module:Name`, and entry points of installed packages.

Users' own algorithms, environments and loggers are found this way. Importing them runs their code, so only names given by the user are
imported, and names in a run directory only with the user's trust (`dop.api`). Their exceptions become one-line errors with file and line.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from dop.errors import ConfigError, DopError, UnknownNameError, shown

_INSTALLED = (str(Path(__file__).parent), *(sysconfig.get_paths()[kind] for kind in ("stdlib", "purelib", "platlib")))
"""Folders of code that is not the user's own: this library, the standard library, installed packages."""


class ForeignCodeError(ConfigError):
    """Code outside the library raised an exception; a retry may succeed."""


def is_import_path(name: str) -> bool:
    """Whether a name is an import path, `module:Name`, rather than a registered name."""
    return ":" in name


def is_module(name: str) -> bool:
    """Whether a module of this name can be imported. Only packages in front of a dot are imported to find out."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        # A module that runs as the program, or was built by hand, has no spec but exists.
        return name in sys.modules


def hint(name: str, of: str) -> str:
    """How an object of the user's own module is named, for an error about the unknown name of that module; otherwise empty."""
    module = name.removesuffix(".py")
    return f" (one of your own is named {module}:{of})" if module.isidentifier() and is_module(module) else ""


def class_hint(name: str) -> str:
    """`hint` with a class: `my_algo:MyAlgo`."""
    return hint(name, "".join(word.capitalize() for word in name.removesuffix(".py").split("_")))


def import_path(thing: Any) -> str:
    """`module:Name` of a class or function; not importable if it is local to a function, or defined in a script or notebook."""
    return f"{thing.__module__}:{thing.__qualname__}"


def load(kind: str, path: str) -> Any:
    """Import the object at `module:Name`. `kind` is its kind in error messages; `Name` may have dots.

    Raises:
        ConfigError: no such object, or its module raised an exception.
    """
    module, _, name = path.partition(":")
    if module.endswith(".py"):
        raise ConfigError(f"Cannot load the {kind} {path!r}: name the module without .py, {module.removesuffix('.py')}:{name}.")
    try:
        return functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError, SyntaxError, TypeError, ValueError) as error:
        form = "module:function" if kind == "environment" else "module:Class"
        raise ConfigError(f"Cannot load the {kind} {path!r}: {error}. It must be importable as '{form}'.") from error
    except (Exception, SystemExit) as error:  # user code
        raise ConfigError(f"Cannot load the {kind} {path!r}: {explain(error)}") from error


def get_imported(path: str) -> Any:
    """The object at `module:Name` if its module has been imported, else None."""
    module, _, name = path.partition(":")
    return functools.reduce(lambda found, part: getattr(found, part, None), name.split("."), sys.modules.get(module))


def construct(kind: str, name: str, group: str, own: Iterable[str] = ()) -> Any:
    """An object of the class called `name`: `module:Class`, or an entry point of the group. It gets no arguments.

    Args:
        kind: its kind in error messages, for example `logger`.
        name: the class, or a function that makes the object.
        group: the group of entry points.
        own: the library's own names of this kind, for a suggestion.

    Raises:
        UnknownNameError: no such name.
        ConfigError: it cannot be imported, or called without arguments.
    """
    points = entry_points(group)
    path = name if is_import_path(name) else points.get(name)
    if path is None:
        raise UnknownNameError(kind + class_hint(name), name, (*own, *points))
    make = load(kind, path)
    if not callable(make):
        raise ConfigError(f"The {kind} {name} is {shown(make)}; it must be a class, or a function that makes a {kind}.")
    _check_arguments(kind, make, name)
    with named(f"The {kind} {name} cannot be made"):
        return make()


def _check_arguments(kind: str, make: Callable[..., Any], name: str) -> None:
    """Raise ConfigError if the class or function called `name` needs arguments."""
    try:
        signature = inspect.signature(make)
    except ValueError:  # not written in Python
        return
    try:
        signature.bind()
    except TypeError as error:
        own = name.rpartition(":")[2]
        advice = f"A named class gets no arguments; from Python pass an object: {kind}s=[{own}(...)]"
        raise ConfigError(f"The {kind} {name} cannot be made: TypeError: {error}. {advice}.") from error


def entry_points(group: str) -> dict[str, str]:
    """The import paths of a group's entry points, by name. Nothing is imported.

    Raises:
        ConfigError: two packages use the same name.
    """
    found: dict[str, str] = {}
    for point in sorted(metadata.entry_points(group=group)):
        path = f"{point.module}:{point.attr}"
        if found.setdefault(point.name, path) != path:
            raise ConfigError(f"Two packages offer {point.name!r} ({group}): {found[point.name]} and {path}. Uninstall one of them.")
    return found


def explain(error: BaseException) -> str:
    """An exception with file and line: those of the user's own code, if it is in the traceback."""
    if isinstance(error, DopError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    files = [(frame.filename, frame.lineno) for frame in frames]
    if isinstance(error, SyntaxError) and error.filename:
        files.append((error.filename, error.lineno))  # a syntax error has no frame of its own
    real = [(file, line) for file, line in files if not file.startswith("<")]  # not <frozen importlib._bootstrap>, <string>, <stdin>
    own = [line for line in real if not line[0].startswith(_INSTALLED)]
    where = " at {}:{}".format(*(own or real)[-1]) if real else ""
    text = str(error)
    if type(error).__module__.startswith("jax"):  # the next lines are about JAX's own calls
        text = text.split("\n", maxsplit=1)[0]
    return f"{type(error).__name__}{where}: {text}"


@contextlib.contextmanager
def named(what: str) -> Iterator[None]:
    """Re-raise exceptions as a ForeignCodeError that begins with `what`, except the library's own errors and Ctrl-C."""
    try:
        yield
    except DopError:
        raise
    except (Exception, SystemExit) as error:  # user code
        raise ForeignCodeError(f"{what}: {explain(error)}") from error
