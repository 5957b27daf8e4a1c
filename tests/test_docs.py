"""What the documentation says is true: its algorithm learns, its fields exist, its notebook has ten cells with their outputs."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import jax
import pytest
import yaml

from dop import algorithms
from dop.cli import commands
from dop.training.program import Program
from dop.types import Algorithm
from workers import Workers

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLES = DOCS.parent / "examples"


@pytest.mark.parametrize("name", ["own-algorithm", "own-logger", "own-network"])
def test_the_code_of_a_page_is_the_example(name: str):
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / f"{name}.md").read_text(), re.DOTALL)
    assert code == (EXAMPLES / f"{name.replace('-', '_')}.py").read_text()


def test_the_algorithm_of_the_page_learns(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    algorithm: Any = algorithms.get("own_algorithm:Reinforce")()
    assert isinstance(algorithm, Algorithm)
    program = Program(algorithm=algorithm, environment=Workers())
    start = jax.jit(lambda key: program.warm_up(program.start(key)))
    learned = jax.jit(lambda key: program.evaluate(program.chunk(start(key), 150)[0], 32))(jax.random.key(0))
    assert learned["test_return_mean"] > 0.9


def test_the_fields_that_pages_speak_of_are_there():
    known = {field.name for algorithm in algorithms.algorithms().values() for field in dataclasses.fields(algorithm)}  # pyright: ignore[reportArgumentType]
    text = (DOCS / "hyper-parameters.md").read_text()
    named = {
        name
        for row in re.findall(r"^\| (`.*?`) \|", text.split("## Metrics to watch")[0], re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert len(named) >= 10
    assert named <= known
    pages = "\n".join(path.read_text() for path in [*DOCS.glob("*.md"), DOCS.parent / "README.md"])
    typed = set(re.findall(r"^dop ([a-z-]+)\b(?! COMMAND)", pages, re.MULTILINE))
    assert typed <= commands.commands().keys()
    assert {"credit", "render", "export", "report", "plot"} <= typed


def test_the_notebook_has_ten_numbered_cells_with_their_outputs_and_nothing_of_the_machine_that_ran_it():
    text = (DOCS / "tour.ipynb").read_text()
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert [re.match(r"# (\d+)\.", "".join(cell["source"]))[1] for cell in cells] == [str(i) for i in range(1, 11)]  # pyright: ignore[reportOptionalSubscript]
    assert [cell["execution_count"] for cell in cells] == list(range(1, 11))
    assert [bool(cell["outputs"]) for cell in cells] == [i != 4 for i in range(1, 11)]  # the fourth makes what is used later
    outputs = json.dumps([cell["outputs"] for cell in cells])
    assert not re.search(r"/(tmp|home|root|work|Users|usr)/|Traceback|Warning", outputs)
    assert sum("image/png" in json.dumps(cell["outputs"]) or "image/gif" in json.dumps(cell["outputs"]) for cell in cells) == 3
    assert len(text) < 500_000


def test_every_page_is_in_the_site():
    site = yaml.safe_load((DOCS.parent / "mkdocs.yml").read_text())
    pages = re.findall(r"[\w/-]+\.md", json.dumps(site["nav"]))
    written = {path.relative_to(DOCS).as_posix() for place in (DOCS, DOCS / "reference") for path in place.glob("*.md")}
    assert sorted(pages) == sorted(written)
    assert [name for group in site["nav"] for name in group] == ["Start", "Guides", "Reference", "Results", "Internals"]
