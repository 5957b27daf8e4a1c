"""What is found outside of the library: objects named `package.module:Name`, and entry points of installed packages.

Algorithms, environments and loggers of somebody's own come this way. Importing them runs their code, and so only what the user has named is
imported, or what a run directory names and the user has said to trust (`dop.api`). What that code raises becomes a sentence with its place.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from dop.errors import ConfigError, DopError

_INSTALLED = (str(Path(__file__).parent), *(sysconfig.get_paths()[kind] for kind in ("stdlib", "purelib", "platlib")))
"""Where code lies that is not the user's own: this library, Python's, and packages."""


class RaisedError(ConfigError):
    """Code of somebody else's raised; another try may do better."""


def is_place(name: str) -> bool:
    """Whether a name says where something is, `module:Name`, rather than what it is called."""
    return ":" in name


def place_of(thing: Any) -> str:
    """`module:Name` of a class or function. It can be loaded from there unless it is local to a function, or of a script or notebook."""
    return f"{thing.__module__}:{thing.__qualname__}"


def load(kind: str, place: str) -> Any:
    """The object at `module:Name`, whose module is imported. `kind` says what it should be, and `Name` may have dots.

    Raises:
        ConfigError: there is none.
    """
    module, _, name = place.partition(":")
    try:
        return functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError, SyntaxError, TypeError, ValueError) as error:
        form = "module:function" if kind == "environment" else "module:Class"
        raise ConfigError(f"Cannot load the {kind} {place!r}: {error}. It must be importable as '{form}'.") from error
    except (Exception, SystemExit) as error:  # the module is somebody else's
        raise ConfigError(f"Cannot load the {kind} {place!r}: {explain(error)}") from error


def loaded(place: str) -> Any:
    """The object at `module:Name` if its module has been imported, else None."""
    module, _, name = place.partition(":")
    return functools.reduce(lambda found, part: getattr(found, part, None), name.split("."), sys.modules.get(module))


def entry_points(group: str) -> dict[str, str]:
    """Where the entry points of a group are, `module:Name`, by their names. Nothing is imported.

    Raises:
        ConfigError: two packages use one name.
    """
    found: dict[str, str] = {}
    for point in sorted(metadata.entry_points(group=group)):
        place = f"{point.module}:{point.attr}"
        if found.setdefault(point.name, place) != place:
            raise ConfigError(f"Two packages offer {point.name!r} ({group}): {found[point.name]} and {place}. Uninstall one of them.")
    return found


def explain(error: BaseException) -> str:
    """What went wrong and where: in the user's own code, rather than in a package that it called."""
    if isinstance(error, DopError):
        return str(error)
    places = traceback.extract_tb(error.__traceback__)
    files = [(place.filename, place.lineno) for place in places]
    if isinstance(error, SyntaxError) and error.filename:
        files.append((error.filename, error.lineno))  # it was not run, but read
    real = [(file, line) for file, line in files if not file.startswith("<")]  # not <frozen importlib._bootstrap>, <string>, <stdin>
    own = [place for place in real if not place[0].startswith(_INSTALLED)]
    where = " at {}:{}".format(*(own or real)[-1]) if real else ""
    return f"{type(error).__name__}{where}: {error}"


@contextlib.contextmanager
def named(what: str) -> Iterator[None]:
    """Raise a RaisedError that begins with `what` for all that is raised in here, but for the library's own errors and Ctrl-C."""
    try:
        yield
    except DopError:
        raise
    except (Exception, SystemExit) as error:  # it is somebody else's code
        raise RaisedError(f"{what}: {explain(error)}") from error
