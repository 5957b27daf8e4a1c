"""Whatever a run directory holds, opening it runs nothing that it brings along: no file of the library can, and planted code does not.

The first half reads the source; the second plants a pickle, an archive, hostile JSON and a module wherever a file is read.
"""

from __future__ import annotations

import ast
import json
import pickle
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dop
from dop import api, commands, envs
from dop.engine import manifest, records
from dop.engine.runs import RunFolder
from runs_on_disk import open_again, plant

SOURCE = Path(dop.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
BANNED_MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "runpy", "code", "codeop", "torch"}
BANNED_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "np.fromregex"}
BANNED_METHODS = {"read_pickle", "unsafe_load", "full_load", "load_all", "literal_eval", "loads_pickle", "extractall"}
READERS = {"np", "numpy", "jnp", "yaml", "torch", "pd"}
"""Modules whose `load` may run what it reads."""
IMPORTERS = {
    "registry.py",  # of the library's own modules
    *("envs/__init__.py", "envs/_makers.py", "envs/hosts/gymnasium.py", "envs/hosts/pettingzoo.py"),  # --env, by the user's word
    *("envs/_jaxmarl.py", "envs/jumanji.py", "report/export.py"),  # packages that are named in the source
}
"""Where modules are imported by a name that is computed."""
WORKERS = {"engine/worker_process.py", "engine/worker_ray.py"}
"""Where what makes an environment goes from a trainer to its own workers, pickled, and never by way of a file."""
FILES = {"open", "read_bytes", "read_text", "load"}
"""Calls that these must not make."""


def offences(source: str, name: str = "x.py") -> Iterator[str]:
    """What a source must not do, line by line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            banned = BANNED_MODULES - ({"pickle"} if name in WORKERS else set())
            yield from (f"{name}:{node.lineno} imports {found}" for found in names if found.split(".")[0] in banned)
        elif isinstance(node, ast.Call):
            yield from (f"{name}:{node.lineno} {why}" for why in _call(node, name))


def _call(node: ast.Call, name: str) -> Iterator[str]:
    called = ast.unparse(node.func)
    last = called.rpartition(".")[2]
    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if called in BANNED_CALLS or last in BANNED_METHODS:
        yield f"calls {called}"
    if name in WORKERS and last in FILES:
        yield f"calls {called}, where pickles are at hand"
    if last == "load" and called.split(".")[0] in READERS and keywords.get("allow_pickle") != "False":
        yield f"calls {called} without allow_pickle=False"
    if keywords.get("allow_pickle", "False") != "False" or keywords.get("shell", "False") != "False":
        yield f"calls {called} with {keywords}"
    if last == "import_module" and name not in IMPORTERS and not (node.args and isinstance(node.args[0], ast.Constant)):
        yield "imports a module by a computed name"


@pytest.mark.parametrize(
    "bad",
    [
        "import pickle",
        "from cloudpickle import loads",
        "import torch.serialization",
        "eval('1')",
        "exec(text)",
        "__import__(name)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "numpy.load(path, allow_pickle=flag)",
        "yaml.load(file)",
        "yaml.unsafe_load(file)",
        "jnp.load(path)",
        "pd.read_pickle(path)",
        "subprocess.run(text, shell=True)",
        "os.system(text)",
        "archive.extractall(folder)",
        "importlib.import_module(name)",
    ],
)
def test_the_ban_sees_what_it_should(bad: str):
    assert list(offences(bad))


def test_the_ban_lets_good_code_pass():
    good = ["import json", "np.load(path, allow_pickle=False)", "json.load(file)", "importlib.import_module('numpy')", "re.compile('x')"]
    assert not list(offences("\n".join(good)))


def test_no_source_can_run_what_a_file_holds():
    assert len(MODULES) > 50
    found = [offence for path in MODULES for offence in offences(path.read_text(), path.relative_to(SOURCE).as_posix())]
    assert not found


# -------------------------------------------------------------------------------------------------------------- planted code


class Bomb:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A file that is there as soon as planted code has run."""
    return tmp_path / "it ran"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return plant(tmp_path / "run")


def pickled(mark: Path) -> bytes:
    return pickle.dumps(Bomb(mark))


def archived(mark: Path) -> bytes:
    """An npz whose only array is of objects."""
    path = mark.with_name("bomb.npz")
    np.savez(path, array=np.array([Bomb(mark)], dtype=object))
    return path.read_bytes()


def object_array(mark: Path) -> bytes:
    path = mark.with_name("bomb.npy")
    np.save(path, np.array([Bomb(mark)], dtype=object))
    return path.read_bytes()


def hostile_json(mark: Path) -> bytes:
    """What a careless reader of JSON would call."""
    call = {
        "py/object/apply": "pathlib.Path.touch",
        "py/reduce": ["pathlib.Path.touch", [str(mark)]],
        "__reduce__": f"open({str(mark)!r}, 'w')",
    }
    return json.dumps(call | {"format": 1, "files": {}, "value_type": f"__import__('pathlib').Path({str(mark)!r}).touch()"}).encode()


READ = {"config.json", "metrics.jsonl", manifest.NAME, "meta.json", "_METADATA"}
"""Files that cannot be anything else without its being noticed, even with the right SHA-256; the others are data, or not read."""
BOMBS = [pickled, archived, object_array, hostile_json]


def test_bombs_are_live(mark: Path):
    pickle.loads(pickled(mark))  # noqa: S301
    assert mark.exists()
    mark.unlink()
    np.load(mark.with_name("bomb.npz") if archived(mark) else mark, allow_pickle=True)["array"]
    assert mark.exists()


def opened(run: RunFolder) -> list[str]:
    """Everything that reads a run directory, one after the other; what each of them says."""
    told = []
    readers: list[Callable[[], Any]] = [
        lambda: open_again(run),
        lambda: records.read(run.metrics),
        lambda: records.JsonLines(run.metrics).close(),
    ]
    for reader in readers:
        try:
            reader()
        except dop.DopError as error:
            told.append(str(error))
    return told


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # tensorstore's, of a file that is none of its own
@pytest.mark.parametrize("bomb", BOMBS)
def test_no_planted_file_is_run(run: RunFolder, mark: Path, bomb: Callable[[Path], bytes]):
    """In place of every file in turn, with a manifest that says that all is well."""
    content = bomb(mark)
    assert not opened(run)
    checkpoint = run.checkpoints / "2"
    for path in sorted(path for path in run.path.rglob("*") if path.is_file() and path.name != "lock"):
        before = path.read_bytes()
        path.write_bytes(content + b"\n")
        if path.is_relative_to(checkpoint) and path.name != manifest.NAME:
            (checkpoint / manifest.NAME).unlink()
            manifest.write(checkpoint)
        assert opened(run) or path.name not in READ, f"{path} was believed"
        assert not mark.exists(), f"{path} was run"
        path.write_bytes(before)
        if path.is_relative_to(checkpoint) and path.name != manifest.NAME:
            (checkpoint / manifest.NAME).unlink()
            manifest.write(checkpoint)
    assert not opened(run)


@pytest.mark.parametrize("value_type", ["os.system", "__import__('os').system", "builtins.eval", "../../x", "jax.Array", "Dict", "List"])
def test_types_that_a_checkpoint_names_are_not_looked_up(run: RunFolder, mark: Path, value_type: str):
    """Orbax's own metadata names the type of every array."""
    path = run.checkpoints / "2" / "state" / "_METADATA"
    path.write_text(path.read_text().replace('"np.ndarray"', json.dumps(value_type)))
    (run.checkpoints / "2" / manifest.NAME).unlink()
    manifest.write(run.checkpoints / "2")
    opened(run)
    assert not mark.exists()


# ------------------------------------------------------------------------------------------------------ environments by name

MODULE = """
    from pathlib import Path
    import dop

    Path({mark!r}).touch()

    def make():
        return dop.make("matrix-game", n_agents=2, n_actions=2)
"""


@pytest.fixture
def foreign(tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run of an environment of the user's own, whose module leaves a mark when it is imported; it has not been yet."""
    (tmp_path / "planted_env.py").write_text(textwrap.dedent(MODULE.format(mark=str(mark))))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "planted_env", raising=False)
    run = plant(tmp_path / "run", "planted_env:make", options={})
    del sys.modules["planted_env"]
    mark.unlink()
    return run


def test_a_run_directory_alone_cannot_import_code(foreign: RunFolder, mark: Path):
    for reader in (lambda: dop.evaluate(foreign.path), lambda: dop.resume(foreign.path, quiet=True)):
        with pytest.raises(dop.RunError, match=r"planted_env:make.*--trust-env, or --env planted_env:make"):
            reader()
    assert not mark.exists()
    assert "planted_env" not in sys.modules


@pytest.mark.parametrize("name", ["other_env:make", "matrix-game"])
def test_another_name_is_refused(foreign: RunFolder, mark: Path, name: str):
    with pytest.raises(dop.RunError, match=f"made with the environment 'planted_env:make', not with '{name}'"):
        dop.evaluate(foreign.path, environment=name)
    assert not mark.exists()


@pytest.mark.parametrize("trust", [{"trust_env": True}, {"environment": "planted_env:make"}])
def test_the_users_word_lets_it_be_imported(foreign: RunFolder, mark: Path, trust: dict[str, Any]):
    config, _ = api.rebuild(foreign, trust.get("environment"), trust_env=trust.get("trust_env", False))
    assert config.environment == "planted_env:make"
    assert mark.exists()


class CalledError(Exception):
    """Instead of what a command would do."""


@pytest.mark.parametrize(("command", "function"), [("resume", "resume"), ("evaluate", "evaluate_episodes")])
def test_the_command_line_passes_the_word_on(foreign: RunFolder, mark: Path, monkeypatch: pytest.MonkeyPatch, command: str, function: str):
    given: dict[str, Any] = {}

    def called(run: Path, **options: Any) -> None:
        given.update(options, run=run)
        raise CalledError

    monkeypatch.setattr(api, function, called)
    for words, expected in (
        ([], (None, False)),
        (["--trust-env"], (None, True)),
        (["--env", "planted_env:make"], ("planted_env:make", False)),
    ):
        with pytest.raises(CalledError):
            commands.get(command).run([str(foreign.path), *words])
        assert (given["run"], given["environment"], given["trust_env"]) == (foreign.path, *expected)
    assert not mark.exists()


@pytest.mark.parametrize(
    "name", ["os.path:join", "planted.env:make", "smax:../x", "matrix-game:x", "", ":", "a:b:c", "pettingzoo:os:system"]
)
def test_every_name_that_is_not_listed_needs_a_word(run: RunFolder, name: str):
    config = json.loads(run.config.read_text()) | {"environment": name}
    run.config.write_text(json.dumps(config))
    with pytest.raises(dop.RunError, match="none of the library's"):
        open_again(run)


def test_listed_environments_need_none(run: RunFolder):
    assert not any(envs.imports_code(name) for name in dop.environments())
    open_again(run)


def test_the_working_directory_cannot_hide_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`dop` looks there for environments, after everything that is installed."""
    from dop import cli  # noqa: PLC0415

    installed = [folder for folder in sys.path if folder]
    monkeypatch.setattr(sys, "path", installed.copy())
    monkeypatch.setattr(sys, "argv", ["dop", "list"])
    cli.main()
    assert sys.path == [*installed, ""]
