"""Algorithms of a user's own: found as `module:Class`, by an entry point, or as an object; what is recorded, trusted and refused."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest

import dop
from dop import algorithms, api, views
from dop.api import planning
from dop.cli.commands import list as listing
from dop.storage.run_directory import RunFolder
from outside import OwnQ, OwnVDN
from run_factories import TINY, make_run
from test_cli import run

GAME = ["--env", "matrix-game", "--env-args", "n_agents=2", "n_actions=2"]
SHORT = ["--eval-interval=16", "--eval-episodes=2", "--chunk-iterations=2", "--replay-batch=2", "--replay-capacity=4", "--quiet"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of `outside:OwnQ`, typed."""
    folder = tmp_path_factory.mktemp("own") / "run"
    with pytest.MonkeyPatch.context() as patch:
        assert run(patch, "train", "outside:OwnQ", *GAME, *SHORT, "--env-steps=16", "--lr=0.25", "--run-dir", folder) == 0
    return folder


def test_the_run_directory_says_where_the_class_is(trained: Path):
    config = json.loads((trained / "config.json").read_text())
    assert config["algorithm"] == "outside:OwnQ"
    assert config["hyper_parameters"]["lr"] == 0.25
    assert config["hyper_parameters"].keys() == {field.name for field in dataclasses.fields(OwnQ)}


def test_its_fields_are_options_with_their_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert run(monkeypatch, "train", "outside:OwnVDN", "--help") == 0
    shown = " ".join(re.sub("[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    assert "--scale FLOAT Factor of the reward in updates. (default: 0.5)" in shown
    assert "--actor.hidden-size INT" in shown


def test_without_presets_there_is_default(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert run(monkeypatch, "train", "outside:OwnQ", *GAME, "--preset", "default", "--dry-run") == 0
    assert run(monkeypatch, "train", "outside:OwnQ", *GAME, "--preset", "fast") == 2
    assert "no preset of outside:OwnQ 'fast'. Did you mean 'default'" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--trust"], ["--trust-env"], ["--algorithm", "outside:OwnQ"]])
def test_the_word_of_the_user_is_needed_and_enough(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words
):
    assert run(monkeypatch, "evaluate", trained, "--episodes=2") == 2
    assert "needs the algorithm 'outside:OwnQ'" in (shown := capsys.readouterr().err)
    assert "--trust, or --algorithm outside:OwnQ (from Python trust=True, or algorithm=...)" in shown
    assert run(monkeypatch, "evaluate", trained, "--episodes=2", *words) == 0


def test_it_resumes_and_is_looked_at_with_that_word(trained: Path, tmp_path: Path):
    more = dop.resume(trained, env_steps=24, trust=True, quiet=True)
    assert more.outcome.env_steps == (28,)
    assert views.render(trained, algorithm=OwnQ, out=tmp_path / "films", episodes=2)
    page = views.report([trained], trust=True, out=tmp_path / "page.html", episodes=2).read_text()
    assert "outside:OwnQ" in page
    assert "No film" not in page
    assert "not part of the library" in views.report([trained], out=tmp_path / "page.html", episodes=2).read_text()
    for look, lacking in ((views.credit, "does not assign credit|has no method"), (views.export, "has no method `policy`")):
        with pytest.raises(dop.ConfigError, match=lacking):
            look(trained, trust=True, out=tmp_path / "out")


def test_the_default_run_directory_has_a_safe_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    plan = planning.make_plan(OwnQ(), "matrix-game", 100, 1, None, None, {})
    assert plan.folder.path.parent == Path("runs/matrix-game/outside-OwnQ")


PLANTED = """
    from pathlib import Path
    from dop import VDN

    Path({mark!r}).touch()

    class Planted(VDN):
        pass
"""


def test_a_run_directory_alone_cannot_import_an_algorithm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mark = tmp_path / "mark"
    (tmp_path / "planted_algorithm.py").write_text(textwrap.dedent(PLANTED.format(mark=str(mark))))
    monkeypatch.syspath_prepend(tmp_path)
    folder = make_run(tmp_path / "run")
    config = json.loads(folder.config.read_text()) | {"algorithm": "planted_algorithm:Planted"}
    folder.config.write_text(json.dumps(config))
    looks: list[Callable[..., Any]] = [
        dop.resume,
        dop.evaluate,
        dop.evaluate_episodes,
        views.credit,
        views.render,
        views.export,
        views.load,
    ]
    for look in looks:
        with pytest.raises(dop.RunError, match="algorithm 'planted_algorithm:Planted', which is not part of the library"):
            look(folder.path)
        with pytest.raises(dop.RunError, match="was trained with the algorithm 'planted_algorithm:Planted', not with 'vdn'"):
            look(folder.path, algorithm="vdn")
    assert not mark.exists()
    _, program = api.rebuild(folder, None, trust=True)
    assert type(program.algorithm).__name__ == "Planted"
    assert mark.exists()
    del sys.modules["planted_algorithm"]


def test_a_class_that_has_no_place_trains_and_is_passed_again(tmp_path: Path):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Local(OwnQ):
        pass

    folder = make_run(tmp_path / "run", algorithm=Local(replay_batch=2, replay_capacity=4, lr=0.5))
    with pytest.raises(dop.RunError, match=r"defined in a script.*algorithm=Local; or .*--algorithm my_module:Local"):
        api.rebuild(folder, None, trust=True)
    for given in (Local, Local(replay_batch=2, replay_capacity=4, lr=0.5)):
        _, program = api.rebuild(folder, None, algorithm=given)
        assert program.algorithm == Local(replay_batch=2, replay_capacity=4, lr=0.5)
    with pytest.raises(dop.RunError, match="other hyper-parameters"):
        api.rebuild(folder, None, algorithm=Local())
    with pytest.raises(dop.RunError, match="not with 'outside:OwnVDN'"):
        api.rebuild(folder, None, algorithm=OwnVDN)


def test_a_script_s_class_is_found_where_the_script_is_a_module(tmp_path: Path):
    folder = make_run(tmp_path / "run", algorithm=OwnQ(replay_batch=2, replay_capacity=4))
    folder.config.write_text(folder.config.read_text().replace("outside:OwnQ", "__main__:OwnQ"))
    with pytest.raises(dop.RunError, match=r"--algorithm my_module:OwnQ"):
        api.rebuild(folder, None, trust=True)
    _, program = api.rebuild(folder, None, algorithm="outside:OwnQ")
    assert type(program.algorithm) is OwnQ


def test_a_subclass_of_a_library_algorithm_is_an_algorithm(tmp_path: Path):
    class MyVDN(dop.VDN):
        """Without a field more it needs no decoration."""

    folder = make_run(tmp_path / "run", algorithm=MyVDN(**{field.name: getattr(TINY, field.name) for field in dataclasses.fields(TINY)}))
    assert RunFolder(folder.path).read_config().algorithm.endswith("<locals>.MyVDN")
    with pytest.raises(dop.RunError, match=r"not with 'vdn'"):
        api.rebuild(folder, None, algorithm=dop.VDN)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Installs packages with entry points, as pip would leave them."""

    def install(name: str, points: str) -> None:
        about = tmp_path / "site" / f"{name}-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[dop.algorithms]\n{points}\n")

    monkeypatch.syspath_prepend(tmp_path / "site")
    return install


def test_entry_points_are_listed_and_loaded_by_name(package: Callable[..., None], capsys: pytest.CaptureFixture[str], tmp_path: Path):
    package("own", "own-q = outside:OwnQ\nvdn = outside:OwnVDN")
    assert algorithms.get("own-q") is OwnQ
    assert algorithms.get("vdn") is dop.VDN
    assert algorithms.name_of(OwnQ) == "own-q"
    listing.run([])
    assert re.search(r"^  own-q +outside:OwnQ$", capsys.readouterr().out, re.MULTILINE)
    folder = make_run(tmp_path / "run", algorithm=OwnQ(replay_batch=2, replay_capacity=4))
    assert folder.read_config().algorithm == "own-q"
    with pytest.raises(dop.RunError, match="needs the algorithm 'own-q', which is not part of the library"):
        api.rebuild(folder, None)
    assert type(api.rebuild(folder, None, trust=True)[1].algorithm) is OwnQ
    package("another", "own-q = elsewhere:Q")
    with pytest.raises(dop.ConfigError, match=r"Two packages offer 'own-q' \(dop.algorithms\): elsewhere:Q and outside:OwnQ"):
        algorithms.get("own-q")


@dataclasses.dataclass(frozen=True)
class Lacking:
    """Has no methods but one."""

    episodes_per_iteration: int = 1
    replay_capacity: int = 1
    warmup_episodes: int = 1

    def act(self) -> None: ...


Thawed = dataclasses.make_dataclass("Thawed", ["rate"], namespace=dict.fromkeys(algorithms.FAMILY.members))
"""Has everything, and is not frozen."""


class Bare(OwnQ):
    """Declares a field, but is no dataclass itself."""

    more: int = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoDefault(OwnQ):
    """Has a field without a default."""

    more: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept(OwnQ):
    """Has fields of other kinds."""

    sizes: Any = (1, (2, 3))


SOMETHING = 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "test_own_algorithm:Lacking",
            r"Lacking is not an algorithm: it has no check, init, initial_carry, sample, update",
        ),
        ("test_own_algorithm:Thawed", "Thawed must be a frozen dataclass"),
        ("test_own_algorithm:Bare", r"Bare declares more, but is not decorated itself.*@dataclass\(frozen=True"),
        ("test_own_algorithm:NoDefault", "NoDefault has no default for more"),
        ("test_own_algorithm:SOMETHING", "SOMETHING is 3; an algorithm must be a class"),
        ("test_own_algorithm:Missing", r"Cannot load the algorithm .*'module:Class'"),
        ("no_such_module:X", r"Cannot load the algorithm 'no_such_module:X': No module named 'no_such_module'"),
        (":", "Cannot load the algorithm ':'"),
        ("outside.OwnQ", r"no algorithm \(one of your own is named module:Class\) 'outside.OwnQ'"),
        ("vnd", "Did you mean 'vdn'"),
    ],
)
def test_what_is_no_algorithm_is_refused_by_what_it_lacks(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert run(monkeypatch, "train", name, *GAME, "--run-dir", tmp_path / "run") == 2
    assert re.search(words, capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("algorithm", "words"),
    [
        (Lacking(), "Lacking is not an algorithm: it has no check"),
        (Bare(), "Bare declares more"),
        (3, "int is not an algorithm"),
        (Kept(sizes=[1, 2]), r"cannot store sizes=\[1, 2\].*tuples"),
        (Kept(sizes=object()), r"Kept: config.json cannot store sizes=<object .* is not JSON serializable. Use numbers"),
        (Kept(sizes=jnp.zeros(2)), r"Kept: config.json cannot store sizes=Array\(\[0., 0.\]"),
        (OwnQ(lr=-1.0), r"lr must be positive, got -1\.0"),
    ],
)
def test_the_same_from_python(algorithm: Any, words: str, tmp_path: Path):
    with pytest.raises(dop.ConfigError, match=words):
        dop.train(algorithm, "matrix-game", run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_tuples_come_back_as_tuples(tmp_path: Path):
    folder = make_run(tmp_path / "run", algorithm=Kept(replay_batch=2, replay_capacity=4, sizes=(4, (5, "a"), None)))
    assert api.rebuild(folder, None, trust=True)[1].algorithm.sizes == (4, (5, "a"), None)  # pyright: ignore[reportAttributeAccessIssue]


@dataclass(frozen=True, kw_only=True)
class NoQuiet(dop.VDN):
    """VDN with a flag that is called like the off switch of an option of every run."""

    no_quiet: bool = False
    """Something else."""


@dataclass(frozen=True, kw_only=True)
class WithoutDefault(dop.VDN):
    """VDN with a field that must be given."""

    order: int
    """Something to choose."""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NoQuiet", "has a field no_quiet, which is an option of every run: rename the field."),
        ("WithoutDefault", "has no default for order: give one."),
    ],
)
def test_fields_that_cannot_be_options_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, words: str
):
    assert run(monkeypatch, "train", f"test_own_algorithm:{name}", *GAME) == 2
    assert words in capsys.readouterr().err


def test_what_goes_wrong_in_optional_methods_is_a_sentence(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fails(*_: Any) -> Any:
        raise RuntimeError("out of ideas")

    for name, look in (("credit", views.credit), ("policy", views.export)):
        monkeypatch.setattr(OwnQ, name, fails, raising=False)
        with pytest.raises(dop.ConfigError, match=rf"OwnQ.{name} raised an exception: RuntimeError at .*: out of ideas"):
            look(trained, trust=True, out=tmp_path / name)
    monkeypatch.setattr(OwnQ, "credit", lambda *_: 1.0)
    with pytest.raises(dop.ConfigError, match=r"OwnQ.credit returns float; it must return a dop.types.Credit."):
        views.credit(trained, trust=True, out=tmp_path / "credit")
