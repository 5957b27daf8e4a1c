"""What is handed on is whole: the wheel, the sdist, their metadata, and the files that say how to cite, contribute and test."""

from __future__ import annotations

import ast
import email
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = re.findall(r"Programming Language :: Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))


def build(kind: str, folder: Path) -> Path:
    """The `wheel` or the `sdist` of this checkout, as hatchling builds it."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


# ------------------------------------------------------------------------------------------------------------------------ fast


def test_the_wheel_has_every_file_of_the_package_and_no_other(wheel: Path):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    source = ROOT / "src"
    expected = {
        path.relative_to(source).as_posix() for path in (source / "dop").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == expected
    assert "dop/py.typed" in names
    assert {Path(name).suffix for name in names if name.startswith("dop/visualise/report/")} >= {".py", ".css", ".js", ".jinja"}


def test_the_wheel_says_who_made_it_for_what_and_with_types(wheel: Path):
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith(".dist-info/METADATA"))
        said = email.message_from_bytes(files.read(name))
    assert said["Author"] == "The dop developers"
    assert said["License-Expression"] == "MIT"
    assert "Typing :: Typed" in (said.get_all("Classifier") or [])
    assert "credit assignment" in said["Keywords"]
    assert said.get_all("Project-URL") == ["Paper, https://arxiv.org/abs/2007.12322"]


def test_the_sdist_is_small_and_without_results(tmp_path: Path):
    sdist = build("sdist", tmp_path)
    assert sdist.stat().st_size < 1_000_000
    with tarfile.open(sdist) as files:
        names = {name.partition("/")[2] for name in files.getnames()}
    assert {"src/dop/py.typed", "pyproject.toml", "LICENSE", "README.md", "CITATION.cff"} <= names
    assert not [name for name in names if name.startswith(("docs/results/", "models/", "tests/"))]


def test_everything_that_is_imported_is_declared():
    """A package that only comes along with another one is gone when that one changes its mind."""
    brought_by = metadata.packages_distributions()
    declared = {canonicalize_name(Requirement(line).name) for line in required()}
    undeclared = {
        name: path
        for path, name in imported(ROOT / "src" / "dop")
        if not declared & {canonicalize_name(owner) for owner in brought_by.get(name, [name])}
    }
    assert not undeclared
    assert {"scipy", "pillow"} <= declared


def required() -> list[str]:
    return [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]


def imported(package: Path) -> set[tuple[str, str]]:
    """File and top-level name of every import of others' code."""
    found: set[tuple[str, str]] = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {(str(path.relative_to(package)), name.partition(".")[0]) for name in names}
    return {(path, name) for path, name in found if name not in sys.stdlib_module_names and name != package.name}


def test_every_dependency_has_a_lower_bound_and_a_locked_version_that_fits():
    locked = {
        canonicalize_name(line.name): str(line.specifier).removeprefix("==")
        for line in map(Requirement, re.findall(r"^[^#\n]+", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    }
    for requirement in map(Requirement, required()):
        if requirement.name in ("jax", PROJECT["name"]) and requirement.extras:
            continue  # JAX pins the libraries of its own extra; and our extras name each other
        assert re.search(r">=|==", str(requirement.specifier)), requirement
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    (paper,) = citation["references"]
    assert paper["url"] == PROJECT["urls"]["Paper"]


def test_the_changelog_has_a_section_for_this_version_with_the_usual_headings():
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (\S+) \((?:unreleased|\d{4}-\d\d-\d\d)\)$", text, re.MULTILINE)
    assert versions == sorted(versions, key=lambda version: [int(part) for part in version.split(".")], reverse=True)
    assert PROJECT["version"] in versions
    assert len(re.findall("^## ", text, re.MULTILINE)) == len(versions)
    assert set(re.findall("^### (.*)$", text, re.MULTILINE)) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_workflow_tests_each_python_that_is_promised():
    (job,) = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"].values()
    assert job["strategy"]["matrix"]["python"] == PYTHONS
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    assert ".ci/run" in [step.get("run") for step in job["steps"]]


def test_what_is_run_before_a_commit_is_what_is_checked_afterwards():
    (own,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    checked = re.findall(r"^\t\$\(BIN\)/(.*)$", (ROOT / "Makefile").read_text().split("\ncheck:")[1].split("\n\n")[0], re.MULTILINE)
    hooks = {hook["entry"].removeprefix(".venv/bin/") for hook in own["hooks"]}
    assert {command.removesuffix(" .") for command in checked} == {hook.removesuffix(" --force-exclude") for hook in hooks}


# ------------------------------------------------------------------------------------------------------------------------ slow

TYPED = """\
import dop

run = dop.train(dop.StochasticDOP(critic=dop.MLP(hidden_size=8)), "matrix-game", env_steps=100)
reveal_type(run.path)
"""
WRONG = """\
import dop

dop.StochasticDOP(critic=dop.MLP(hidden_size="wide"))
dop.train(dop.StochasticDOP(), "matrix-game", env_steps="many")
"""
SMALL = ["--critic.hidden-size=8", "--actor.hidden-size=8", "--eval-interval=50", "--eval-episodes=2", "--chunk-iterations=2", "--quiet"]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an empty environment, into which the wheel alone was installed, with what it asks for."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=True)
    shell(folder / "bin" / "python", "-m", "pip", "install", "--quiet", "-c", ROOT / "requirements.lock", wheel, cwd=folder)
    return folder / "bin"


def shell(*command: object, cwd: Path, fails: bool = False) -> str:
    """What a program prints, run where nothing of this checkout is found, and without a compilation for tests."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "JAX_", "XLA_"))}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=clean, check=False, capture_output=True, text=True, timeout=1200)
    assert (done.returncode != 0) is fails, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("env", ["matrix-game", "smax:3m"])
def test_an_installed_wheel_trains_resumes_and_reports(env: str, installed: Path, tmp_path: Path):
    dop = installed / "dop"
    where = shell(installed / "python", "-c", "import dop; print(dop.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)
    shell(dop, "train", "stochastic-dop", f"--env={env}", "--env-steps=100", "--run-dir=run", *SMALL, cwd=tmp_path)
    reached = evaluated(tmp_path / "run")  # whole episodes, and a first batch of them
    assert reached >= 100
    shell(dop, "resume", "run", f"--env-steps={reached + 100}", "--quiet", cwd=tmp_path)
    assert evaluated(tmp_path / "run") >= reached + 100
    shell(dop, "report", "run", "--out=page.html", cwd=tmp_path)
    assert "<html" in (tmp_path / "page.html").read_text()


def evaluated(run: Path) -> int:
    """Environment steps at the last evaluation of a run."""
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return max(record["env_steps"] for record in records if record["kind"] == "evaluation")


@pytest.mark.slow
@pytest.mark.parametrize(
    "checker",
    [("mypy", "--python-executable={python}", "--cache-dir=cache"), ("pyright", "--pythonpath={python}")],
    ids=lambda words: words[0],
)
def test_type_checkers_see_the_types_of_an_installed_wheel(checker: tuple[str, ...], installed: Path, tmp_path: Path):
    (tmp_path / "typed.py").write_text(TYPED)
    (tmp_path / "wrong.py").write_text(WRONG)
    program, *options = (word.format(python=installed / "python") for word in checker)
    command = [Path(sys.executable).parent / program, *options]
    said = shell(*command, "typed.py", cwd=tmp_path)
    assert re.search(r"""(Revealed type is|Type of "run.path" is) "(pathlib\.)?Path""", said)
    refused = shell(*command, "wrong.py", cwd=tmp_path, fails=True)
    assert {int(line) for line in re.findall(r"wrong\.py:(\d+):.*error", refused)} == {3, 4}
