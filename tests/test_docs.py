"""What the documentation says is true: its algorithm learns, its fields exist, its notebook has ten cells with their outputs."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

import dop
from dop import algorithms, policies
from dop.cli import commands
from dop.export import policy_files
from dop.networks.teams import feed_forward
from dop.networks.teams.greedy_policy import Policy
from dop.training import contract
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


@pytest.fixture
def curious(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class of the guide's subclass example, from its code; `dop.train` only records its arguments."""
    (code,) = re.findall(r"```py\n((?:(?!```).)*class Curious.*?)```", (DOCS / "own-algorithm.md").read_text(), re.DOTALL)
    (tmp_path / "curious_example.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(dop, "train", lambda *given: given)
    module: Any = importlib.import_module("curious_example")
    algorithm, environment = module.run
    assert (algorithm.bonus, environment) == (0.2, "smax:2s3z")
    return module.Curious


def test_the_subclass_of_the_page_runs_and_adds_its_bonus(curious: Any):
    sizes: dict[str, Any] = {"on_policy_batch": 4, "on_policy_capacity": 4, "replay_capacity": 8, "off_policy_batch": 4}
    program = Program(algorithm=curious(bonus=2.0, **sizes), environment=Workers())
    contract.check(program)
    state = jax.jit(lambda key: program.warm_up(program.start(key)))(jax.random.key(0))
    key = jax.random.key(1)
    drawn, plain = program.algorithm.sample(state.replay, key), dop.StochasticDOP(**sizes).sample(state.replay, key)
    for mine, theirs in ((drawn.on_policy, plain.on_policy), (drawn.off_policy, plain.off_policy)):
        change = np.abs(np.diff(np.asarray(theirs.obs, np.float32), axis=1)).mean(axis=(2, 3))
        np.testing.assert_allclose(mine.reward, np.where(theirs.mask, theirs.reward + 2 * change, 0), rtol=1e-5)


def test_the_metric_of_the_page_is_in_the_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In the two-step game only the last of an episode's two steps is rewarded, 7 or between 0 and 8."""
    (code,) = re.findall(r"```py\n((?:(?!```).)*class Watched.*?)```", (DOCS / "own-algorithm.md").read_text(), re.DOTALL)
    (tmp_path / "watched_example.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    watched: Any = importlib.import_module("watched_example").Watched
    algorithm = watched(actor=dop.GRU(hidden_size=8), episodes_per_iteration=2, replay_capacity=4, replay_batch=2)
    run = dop.train(algorithm, "two-step", env_steps=40, run_dir=tmp_path / "run", eval_episodes=2, quiet=True)
    values = [record.metrics["batch_reward"] for record in run.records if record.kind == "train"]
    assert values
    assert all(0 <= value <= 4 for value in values)


def test_the_feed_forward_team_of_the_page_acts_and_can_be_exported():
    text = (DOCS / "own-algorithm.md").read_text()
    (code,) = re.findall(r"```py\n(team = .*?)```", text, re.DOTALL)
    environment = Workers()
    step = environment.reset(jax.random.key(0))[1]
    batch = jax.tree.map(lambda x: jnp.zeros((2, *x.shape), x.dtype), Program(algorithm=dop.VDN(), environment=environment).episode)
    actor, key = dop.MLP(hidden_size=4), jax.random.key(0)
    learner = SimpleNamespace(team=feed_forward.make_team(environment.spec, actor, sharing="all", key=key))
    given = {"self": SimpleNamespace(actor=actor), "key": key, "spec": environment.spec, "learner": learner, "step": step, "batch": batch}
    known: dict[str, Any] = given | {"jax": jax, "policies": policies, "feed_forward": feed_forward, "Policy": Policy}
    exec(code, known)  # noqa: S102 - the code of the page
    assert jax.tree.all(jax.tree.map(jnp.array_equal, known["team"], learner.team))
    n, time = environment.spec.n_agents, environment.spec.time_limit
    assert known["action"].shape == (n,)
    assert known["values"].shape == (2, time + 1, n, environment.spec.action_size)
    assert policy_files.models(known["policy"], environment.spec)


@pytest.mark.parametrize("record", [dop.Episode, dop.Transition])
def test_the_guide_has_every_field_of_a_batch(record: Any):
    table = (DOCS / "own-algorithm.md").read_text().split(f"| field of `{record.__name__}` |")[1].split("\n\n")[0]
    named = re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in table.splitlines()[2:]))
    assert sorted(named) == sorted(field.name for field in dataclasses.fields(record))


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
