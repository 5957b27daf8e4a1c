"""The environments that the README shows, in each of their forms, can be used."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from dop.cli.commands import check_env

README = (Path(__file__).parent.parent / "README.md").read_text()
GAMES = {found.group(1): found.group(2) for found in re.finditer(r"```python\n# (my_\w+)\.py[^\n]*\n(.*?)```", README, re.DOTALL)}
NAMES = {
    "my_env": "my_env:make",
    "my_host": "my_host:make",
    "my_zoo": "pettingzoo:my_zoo",
    "my_gym": "gymnasium:my_gym:Buttons-v0",
    "my_marl": "pymarl:my_marl:Buttons",
}


def test_all_are_there():
    assert GAMES.keys() == NAMES.keys()
    assert all(f"--env {name}" in README for module, name in NAMES.items() if module != "my_host")


@pytest.mark.parametrize("module", NAMES)
def test_they_can_be_used(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    (tmp_path / f"{module}.py").write_text(GAMES[module])
    monkeypatch.syspath_prepend(tmp_path)
    check_env.run([NAMES[module], "--episodes", "2"])
    sys.modules.pop(module)
    shown = capsys.readouterr().out
    assert "it can be used" in shown
    assert "not deterministic" not in shown
    limit = 1 if module in ("my_env", "my_host") else 10
    assert f"time limit   {limit} steps" in shown
    assert ("2 episodes terminated, 0 were truncated" if limit == 1 else "0 episodes terminated, 2 were truncated") in shown
