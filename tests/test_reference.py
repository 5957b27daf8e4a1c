"""The reference has every public name, and every field and method of what is public, with its docstring."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import dop
from dop import errors, losses, mixers, policies, returns, types

ROOT = Path(__file__).parents[1]
MATHS = (returns, losses, policies, mixers)


def test_every_public_name_is_asked_for_once():
    pages = "\n".join(path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md"))
    asked = re.findall(r"^::: (\S+)$", pages, re.MULTILINE)
    assert len(set(asked)) == len(asked)
    assert {f"dop.{name}" for name in dop.__all__} | {f"dop.types.{name}" for name in only_in_types()} <= set(asked)
    assert {f"dop.networks.teams.{name}" for name in ("greedy_policy.Policy", "feed_forward", "recurrent")} <= set(asked)
    assert {f"dop.{name}" for name in own(errors) if issubclass(getattr(errors, name), Exception)} <= set(asked)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names that the built site has, by its inventory, which other sites link by; a warning ends the build."""
    pytest.importorskip("mkdocstrings")
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    content = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    return {line.split(" ")[0] for line in content.splitlines()}


def test_every_function_and_class_of_the_maths_is_there(built: set[str]):
    expected = {f"{module.__name__}.{name}" for module in MATHS for name in functions(module) | own(module)}
    assert expected >= {"dop.returns.tree_backup", "dop.losses.stochastic_dop_actor", "dop.mixers.LinearMixer"}
    assert expected <= built


def test_teams_and_their_policy_are_there(built: set[str]):
    teams = "dop.networks.teams"
    assert {f"{teams}.{name}.make_team" for name in ("feed_forward", "recurrent")} <= built
    assert {f"{teams}.greedy_policy.Policy.temperature", f"{teams}.feed_forward.outputs", f"{teams}.recurrent.step_team"} <= built


def test_every_field_and_method_of_a_public_class_is_there(built: set[str]):
    public = {f"dop.{name}": getattr(dop, name) for name in dop.__all__}
    public |= {f"dop.types.{name}": getattr(types, name) for name in only_in_types()}
    expected = {f"{path}.{name}" for path, kind in public.items() if inspect.isclass(kind) for name in members(kind)}
    assert expected >= {"dop.StochasticDOP.gamma", "dop.Run.path", "dop.Episode.obs", "dop.Algorithm.init", "dop.types.Drawable.draw"}
    assert expected <= built


def own(module: ModuleType) -> set[str]:
    """Public classes of a module, or of what it is made of."""
    found = inspect.getmembers(module, inspect.isclass)
    return {name for name, kind in found if kind.__module__.startswith(module.__name__) and not name.startswith("_")}


def functions(module: ModuleType) -> set[str]:
    found = inspect.getmembers(module, inspect.isfunction)
    return {name for name, function in found if function.__module__ == module.__name__ and not name.startswith("_")}


def only_in_types() -> set[str]:
    return own(types) - set(dop.__all__)


def members(kind: Any) -> set[str]:
    """Fields, properties and methods. Of an algorithm the fields, which are its hyper-parameters: the protocol has the methods."""
    found = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    if not (found and hasattr(kind, "update")):
        found |= {name for name, value in vars(kind).items() if inspect.isfunction(value) or isinstance(value, property | classmethod)}
    return {name for name in found if not name.startswith("_")}
