"""The README is short, and what it shows works: its commands, its programs, and the environments of the page that it leads to."""

from __future__ import annotations

import contextlib
import inspect
import re
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import dop
from dop.cli import commands
from dop.cli.commands import check_env
from test_cli import run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGE = (ROOT / "docs" / "own-environment.md").read_text()
GAME = re.compile(r"```python\n# (my_\w+)\.py[^\n]*\n(.*?)```", re.DOTALL)
GAMES = {f"{page}:{found[1]}": found[2] for page, text in (("readme", README), ("page", PAGE)) for found in GAME.finditer(text)}
NAMES = {
    "my_env": "my_env:make",
    "my_python_env": "my_python_env:make",
    "my_zoo": "pettingzoo:my_zoo",
    "my_gym": "gymnasium:my_gym:Buttons-v0",
    "my_marl": "pymarl:my_marl:Buttons",
}
SHOWN = ["readme:my_env", *(f"page:{module}" for module in NAMES)]
TYPED = re.findall(r"^dop ([^#\n]+)", README, re.MULTILINE)
PROGRAMS = re.findall(r"```python\n(?!# my_)(.*?)```", README, re.DOTALL)


def test_it_is_short_and_has_the_usual_parts():
    assert len(README.splitlines()) <= 160
    assert re.findall(r"^## (.*)$", README, re.MULTILINE) == [
        *("Quick start", "Results", "Examples", "Visualise", "Fault tolerance", "Export", "Documentation"),
    ]
    assert len(re.findall(r"^\*\*\d\. ", README, re.MULTILINE)) == 5
    assert len(re.findall(r"!\[", README)) == 1


def test_its_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("https://")]
    assert len(links) > 10
    assert all((ROOT / link).exists() for link in links)


@pytest.mark.parametrize("command", [command for command in TYPED if command.startswith("train ")])
def test_its_trainings_can_begin(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Up to the first computation."""
    (tmp_path / "my_env.py").write_text(GAMES["readme:my_env"])
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *shlex.split(command), "--dry-run") == 0
    sys.modules.pop("my_env", None)


def test_its_other_commands_are_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    shown = {command.split()[0] for command in [*TYPED, *re.findall(r"`dop ([a-z-]+)\b[^`]*`", README)]}
    assert {"train", "resume", "report", "plot", "render", "credit", "export", "list", "reproduce", "check-env"} <= shown
    assert shown <= commands.commands().keys()
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"\bmake ([a-z]+)\b", README)) - {"and"} <= set(targets)


def test_the_programs_call_what_is_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Every argument has a name that is known; training itself is left out."""
    called: list[str] = []
    made = SimpleNamespace(path=Path("run"))

    def stand_in(name: str, answer: Any) -> None:
        signature = inspect.signature(getattr(dop, name))

        def call(*given: Any, **named: Any) -> Any:
            called.append(name)
            bound = signature.bind(*given, **named).arguments
            assert all(isinstance(logger, dop.Logger) for logger in bound.get("loggers", ()))
            assert all(isinstance(callback, dop.Callback) for callback in bound.get("callbacks", ()))
            if name == "train":
                dop.preflight(*given, **{key: value for key, value in named.items() if key not in ("loggers", "callbacks")})
            return answer

        monkeypatch.setattr(dop, name, call, raising=False)

    stand_in("train", made)
    stand_in("resume", made)
    stand_in("evaluate", {"test_battle_won_mean": (1.0,)})
    assert len(PROGRAMS) == 3
    for program in PROGRAMS:
        exec(program, {})  # noqa: S102  # the README's own
    assert called == ["train", "resume", "evaluate", "train"]
    assert capsys.readouterr().out.splitlines() == ["(1.0,)", "5.5", "[2.35 1.  ]"]


def test_all_forms_of_an_environment_are_there():
    assert sorted(GAMES) == sorted(
        [*SHOWN, "page:my_smac", "page:my_lights", "page:my_walk"]
    )  # the latter two: tests/visualise/test_pictures.py
    assert all(f"--env {name}" in README + PAGE for name in NAMES.values())


@pytest.mark.parametrize("shown", SHOWN)
def test_the_environments_can_be_used(shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    module = shown.partition(":")[2]
    (tmp_path / f"{module}.py").write_text(GAMES[shown])
    monkeypatch.syspath_prepend(tmp_path)
    with contextlib.suppress(KeyError):
        sys.modules.pop(module)
    check_env.run([NAMES[module], "--episodes", "2"])
    sys.modules.pop(module)
    said = capsys.readouterr().out
    assert "it can be used" in said
    assert "not deterministic" not in said
    limit = 1 if module in ("my_env", "my_python_env") else 10
    assert f"time limit   {limit} steps" in said
    assert ("2 episodes terminated, 0 were truncated" if limit == 1 else "0 episodes terminated, 2 were truncated") in said
