"""The registry of environments: every module of this package, and of `dop.envs.python`, that defines `FAMILY` and `make` is a family.

    FAMILY: str                                     the part of the name before the colon
    make(variant: str | None, **options) -> Environment | PythonEnvironment
    variants() -> tuple[str, ...]                   the parts after the colon; empty if the family has no variants
    READS_DATA = ".toml"                            if other variants are paths of files of data that end so; no code is imported for them
    full_name(variant: str) -> str                  with READS_DATA: the variant with an absolute path
or
    ADAPTS: str                                     the form of the part after the colon, for example MODULE, of an adapter

A name with dots before the colon, `my_package.my_env:make`, is a user's function that returns an environment: one of these two kinds, or
a PettingZoo (parallel) or Gymnasium environment (with tuple spaces), which is then adapted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from dop import plugins, registry
from dop.envs import python
from dop.envs.common import jaxmarl
from dop.envs.making import makers
from dop.envs.making.places import place_of
from dop.envs.python.base import recognise
from dop.envs.python.base.recognise import way_out
from dop.envs.validation.validate import validate
from dop.errors import ConfigError, UnknownNameError, is_nested_deeper, plain, shown
from dop.types import Environment, EnvSpec, PythonEnvironment

__all__ = ["adapters", "checked_options", "families", "made_by", "make", "names", "validate", "way_out"]
DEEPEST = 20
"""Largest nesting depth of lists and dicts in an environment's option."""


@functools.cache
def families() -> dict[str, ModuleType]:
    """The environment modules of this package, by family name."""
    packages = (__name__, python.__name__)
    return {module.FAMILY: module for package in packages for module in registry.modules(package, "FAMILY").values()}


def names() -> tuple[str, ...]:
    """The names of all listed environments, as `make` takes them."""
    return tuple(
        f"{family}:{variant}" if variant else family
        for family, module in sorted(families().items())
        if not hasattr(module, "ADAPTS")
        for variant in module.variants() or ("",)
    )


def imports_code(name: str) -> bool:
    """Whether making this environment imports code from outside the library, as unlisted names do, except in families that read data."""
    return name not in names() and not reads_data(name)


def full_name(name: str) -> str:
    """The name that means the same environment in every working directory: the path of a file of data becomes absolute."""
    family, _, variant = name.partition(":")
    module = families().get(family)
    return f"{family}:{module.full_name(variant)}" if variant and getattr(module, "READS_DATA", False) and module else name


def reads_data(name: str) -> bool:
    """Whether this environment is made from a file of data."""
    family, _, variant = name.partition(":")
    suffix = getattr(families().get(family), "READS_DATA", None)
    return suffix is not None and variant.endswith(suffix)


def files() -> tuple[str, ...]:
    """The forms of the names of environments from files of data, for example `skirmish:PATH.toml`."""
    return tuple(f"{family}:PATH{module.READS_DATA}" for family, module in sorted(families().items()) if hasattr(module, "READS_DATA"))


def adapters() -> tuple[str, ...]:
    """The forms of the names of other packages' environments, for example `pettingzoo:MODULE`."""
    return tuple(f"{family}:{module.ADAPTS}" for family, module in sorted(families().items()) if hasattr(module, "ADAPTS"))


def make(name: str, /, **options: Any) -> Any:
    """The environment called `name`, for example `smax:2s3z`; `options` go to its maker, with NumPy scalars converted to Python's.

    It is an `Environment` or a `PythonEnvironment`. Which of the two depends on the name, so the return type is `Any`.

    Raises:
        UnknownNameError: no such family or variant; the message names the nearest.
        ConfigError: no environment can be made with these options, or the user's function does not return one.
    """
    if not isinstance(name, str):
        raise ConfigError(f"An environment's name must be a string such as 'matrix-game'; got {shown(name)}.")
    options = checked_options(options)
    family, _, variant = name.partition(":")
    if family in families():
        return makers.call(name, families()[family].make, variant or None, **options)
    if variant and ("." in family or plugins.is_module(family)):
        return _import_environment(family, variant, options)
    kind = "environment (and no such module on the Python path)" if variant else "environment" + plugins.hint(name, "make")
    files = [f"{family}:{name}" for family in families() if reads_data(f"{family}:{name}")]
    raise UnknownNameError(kind, name, (*names(), *adapters()), f"A file of your own is named {' or '.join(files)}." if files else "")


def checked_options(options: Any) -> dict[str, Any]:
    """Keyword arguments of a maker, with NumPy scalars converted to Python's.

    Raises:
        ConfigError: they are not a dict with string keys, or are nested too deeply.
    """
    if not isinstance(options, dict) or not all(isinstance(name, str) for name in options):
        raise ConfigError(f"The options of an environment must be a dict, from names to values; got {shown(options)}.")
    deep = next((name for name, value in options.items() if is_nested_deeper(value, DEEPEST)), None)
    if deep is not None:
        raise ConfigError(f"The environment's option {deep} nests lists or dicts more than {DEEPEST} deep.")
    return plain(options)


def _import_environment(module_name: str, function_name: str, options: dict[str, Any]) -> Environment | PythonEnvironment:
    spec = f"{module_name}:{function_name}"
    if module_name.partition(".")[0] == "jaxmarl":
        raise ConfigError(f"{spec!r}: {jaxmarl.ADVICE}")
    maker = makers.load(module_name, function_name)
    with plugins.named(f"{spec!r} cannot be made"):
        environment = made_by(maker, spec, options)
        _ = getattr(environment, "spec", None)  # a foreign property may raise; later reads are not guarded
    if not isinstance(environment, Environment | PythonEnvironment):
        raise ConfigError(
            f"{spec!r}{place_of(maker)} returned {type(environment).__name__}, which is not an environment: "
            "it must have spec, reset and step (dop.Environment); a Python environment also render and close (dop.PythonEnvironment)."
        )
    if not isinstance(environment.spec, EnvSpec):
        raise ConfigError(f"{spec!r} has {type(environment.spec).__name__} as its spec; it must be a dop.EnvSpec.")
    return environment


def made_by(maker: Callable[..., Any], name: str, options: Mapping[str, Any]) -> Any:
    """The environment that a user's function `name` returns for `options`; PettingZoo's and Gymnasium's are adapted.

    Raises:
        ConfigError: an unsupported kind of environment; the message says what to do.
    """
    made = recognise.adapt(name, maker, options)
    if instead := way_out(name, made):
        raise ConfigError(f"{name!r} returned {type(made).__name__}, which is not a supported environment. {instead}")
    return made
