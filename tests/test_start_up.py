"""What is imported when: `import dop` and `dop --help` wait for nothing that they do not need, and every public name is there."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import pytest

import dop
from dop import algorithms, registry
from dop.cli import commands

MAIN = "import sys; sys.argv = ['dop', *{}]; from dop.cli import main\ntry: main()\nexcept SystemExit: pass"
JAX = {"jax", "jaxlib", "equinox", "optax"}
DRAWS_AND_SAVES = {"matplotlib", "PIL", "scipy", "orbax", "tensorstore", "jinja2", "rich", "ray", "jaxmarl", "pettingzoo", "gymnasium"}
LIGHT = {"import": "import dop; dir(dop); dop.__version__"} | {
    " ".join(typed): MAIN.format(typed)
    for typed in (
        [],
        ["--help"],
        ["--version"],
        ["trian"],
        ["reproduce"],
        ["evaluate", "--help"],
        ["report", "--help"],
        ["resume", "--help"],
    )
}
IN_JAX = {
    "algorithm": "import dop; dop.StochasticDOP(); dop.returns.td_lambda; dop.losses; dop.mixers; dop.policies",
    "environment": "import dop; dop.make('two-step')",
    **{" ".join(typed): MAIN.format(typed) for typed in (["train"], ["train", "vdn", "--help"], ["check-env", "--help"], ["list"])},
}


def imported(code: str) -> set[str]:
    """The packages that are there after `code`, in a process of its own."""
    seen = "print('\\n', *{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", f"{code}\nimport sys; {seen}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("code", LIGHT.values(), ids=LIGHT)
def test_what_only_answers_imports_not_even_jax(code: str):
    found = imported(code)
    assert "dop" in found
    assert not found & (JAX | DRAWS_AND_SAVES)


@pytest.mark.parametrize("code", IN_JAX.values(), ids=IN_JAX)
def test_what_shows_algorithms_and_environments_imports_nothing_that_draws_or_saves(code: str):
    found = imported(code)
    assert "jax" in found
    assert not found & DRAWS_AND_SAVES


@pytest.mark.parametrize("name", ["fig3", "smax"])
def test_help_of_a_figure_imports_nothing_that_draws_or_saves(name: str):
    """Except for SciPy, whose statistics are imported by their users."""
    assert not imported(MAIN.format(["reproduce", name, "--help"])) & (DRAWS_AND_SAVES - {"scipy"})


def test_a_command_that_is_asked_for_imports_no_other():
    code = MAIN.format(["train", "vdn", "--help"]) + "\nprint(*[name for name in sys.modules if name.startswith('dop.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.splitlines()[-1].split()
    assert {"dop.cli.commands.train", "dop.algorithms.vdn"} <= {*modules}
    assert not {"dop.cli.commands.plot", "dop.algorithms.coma", "dop.api", "dop.views", "dop.envs.smax"} & {*modules}


# ------------------------------------------------------------------------------------------------------------------- public names


def test_every_public_name_is_there_and_listed():
    assert {*dop.__all__, "__version__"} <= {*dir(dop)}
    for name in dop.__all__:
        home: Any = importlib.import_module(dop._HOMES[name]) if name in dop._HOMES else dop
        assert getattr(dop, name) is getattr(home, dop._NAME_IN_HOME.get(name, name))
    assert dop.returns is sys.modules["dop.returns"]
    assert dop.training is sys.modules["dop.training"]
    scope: dict[str, Any] = {}
    exec("from dop import *", scope)  # noqa: S102  # what a star brings
    assert {*dop.__all__} <= scope.keys()


def test_a_name_that_is_not_there_is_none_of_the_package():
    assert not hasattr(dop, "StochasticDop")
    assert not hasattr(dop, "_missing")
    with pytest.raises(ImportError, match="cannot import name 'nothing' from 'dop'"):
        exec("from dop import nothing")  # noqa: S102  # a type checker would refuse it first


def test_names_are_found_where_type_checkers_are_told_to_look():
    tree = ast.parse(Path(dop.__file__).read_text())
    told = next(statement for statement in tree.body if isinstance(statement, ast.If))
    imports = [statement for statement in told.body if isinstance(statement, ast.ImportFrom)]
    homes = {alias.asname or alias.name: line.module for line in imports if line.module != "dop" for alias in line.names}
    modules = {alias.name for line in imports if line.module == "dop" for alias in line.names if not alias.asname}
    assert homes == dop._HOMES
    eager = {name for name in dop.__all__ if name in vars(dop) and name not in modules}
    assert {*dop.__all__} == homes.keys() | modules | eager


def test_type_checkers_know_what_the_names_are():
    """Nothing of this is Any for pyright, which `make check` lets read the tests, too."""
    assert_type(dop.environments(), tuple[str, ...])
    assert_type(dop.__version__, str)
    assert_type(dop.VDN(), dop.VDN)
    assert_type(dop.TrainConfig().eval_episodes, int)
    assert not hasattr(dop, "nonsense") or dop.nonsense  # pyright: ignore[reportAttributeAccessIssue]  # which must be needed


def test_what_a_home_is_given_the_package_has_too(monkeypatch: pytest.MonkeyPatch):
    """Names are looked up each time: none is kept that was there for a while only."""
    api: Any = importlib.import_module("dop.api")
    right = dop.train
    monkeypatch.setattr(api, "train", np.sum)
    assert dop.train is np.sum
    monkeypatch.undo()
    assert dop.train is right


# ---------------------------------------------------------------------------------------------------------------------- registries


@pytest.mark.parametrize("name", commands.commands())
def test_a_command_says_of_itself_what_its_source_says(name: str):
    found, module = commands.commands()[name], commands.get(name)
    assert (found.module, found.names["USAGE"], found.summary) == (module.__name__, module.USAGE, registry.summary(module))


def test_names_of_algorithms_need_no_import():
    assert [*algorithms.names()] == [*algorithms.algorithms()]
    assert all(algorithms.get(name) is cls for name, cls in algorithms.algorithms().items())


def test_an_outline_has_what_a_module_defines_and_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "outlined"
    package.mkdir()
    (package / "__init__.py").write_text("")
    source = (
        '"""It raises. Then more."""\nraise ValueError\nA = "text"\nB: str = "other"\nC: int\nD = 3\ndef e(): inner = 1\nclass F: ...\n'
    )
    (package / "one_two.py").write_text(source + "from os import path as g, sep\nimport h\n")
    (package / "_part.py").write_text("A = 1")
    (package / "lacks.py").write_text("B = 1")
    monkeypatch.syspath_prepend(tmp_path)
    (found,) = registry.outlines("outlined", "A").values()
    assert dict(found.names) == {"A": "text", "B": "other", "C": None, "D": None, "e": None, "F": None, "g": None, "sep": None, "h": None}
    assert (found.module, found.summary) == ("outlined.one_two", "It raises.")
    assert [*registry.outlines("outlined", "A")] == ["one-two"]
    assert registry.outlines("outlined", "A", "missing") == {}
    with pytest.raises(dop.UnknownNameError, match=r"no thing 'one-tow'\. Did you mean 'one-two'\?"):
        registry.get("thing", "one-tow", registry.outlines("outlined", "A"))
    with pytest.raises(ValueError):  # only now it is imported
        registry.get("thing", "one-two", registry.outlines("outlined", "A"))
    monkeypatch.delitem(sys.modules, "outlined")
