"""Whatever a run directory holds, opening it runs nothing that it brings along: no file of the library can, and planted code does not.

The first part reads the source; the second plants a pickle, an archive, hostile JSON and a module wherever a file is read; the third links,
pipes and strangers wherever one is read or written, and escape sequences wherever one is quoted.
"""

from __future__ import annotations

import ast
import functools
import json
import logging
import os
import pickle
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dop
import logged
from dop import api, cli, envs, views
from dop.cli import commands
from dop.loggers import jsonl
from dop.storage import files, manifest, records, run_directory
from dop.storage.checkpoints import Checkpoints
from dop.storage.run_directory import RunFolder
from dop.storage.snapshots import Snapshots
from run_factories import make_run, reopen

SOURCE = Path(dop.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
BANNED_MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "runpy", "code", "codeop", "torch"}
BANNED_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "np.fromregex"}
BANNED_METHODS = {"read_pickle", "unsafe_load", "full_load", "load_all", "literal_eval", "loads_pickle", "extractall"}
READERS = {"np", "numpy", "jnp", "yaml", "torch", "pd"}
"""Modules whose `load` may run what it reads."""
IMPORTERS = {
    *("registry.py", "__init__.py"),  # of the library's own modules
    *("plugins.py", "envs/python/gymnasium.py", "envs/python/pettingzoo.py"),  # what the user has named
    *("envs/common/jaxmarl.py", "envs/jumanji.py", "export/policy_files.py"),  # packages that are named in the source
}
"""Where modules are imported by a name that is computed."""
WORKERS = {"rollout/worker_process.py", "rollout/worker_ray.py"}
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
    return make_run(tmp_path / "run")


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
        lambda: reopen(run),
        lambda: records.read(run.metrics),
        lambda: logged.opened(jsonl.JsonLines(), run.path).close(),
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
    run = make_run(tmp_path / "run", "planted_env:make", options={})
    del sys.modules["planted_env"]
    mark.unlink()
    return run


def test_a_run_directory_alone_cannot_import_code(foreign: RunFolder, mark: Path):
    for reader in (lambda: dop.evaluate(foreign.path), lambda: dop.resume(foreign.path, quiet=True)):
        with pytest.raises(dop.RunError, match=r"planted_env:make.*--trust, or --env planted_env:make"):
            reader()
    assert not mark.exists()
    assert "planted_env" not in sys.modules


@pytest.mark.parametrize("name", ["other_env:make", "matrix-game"])
def test_another_name_is_refused(foreign: RunFolder, mark: Path, name: str):
    with pytest.raises(dop.RunError, match=f"trained in the environment 'planted_env:make', not in '{name}'"):
        dop.evaluate(foreign.path, environment=name)
    assert not mark.exists()


@pytest.mark.parametrize("trust", [{"trust": True}, {"environment": "planted_env:make"}])
def test_the_users_word_lets_it_be_imported(foreign: RunFolder, mark: Path, trust: dict[str, Any]):
    config, _ = api.rebuild(foreign, trust.get("environment"), trust=trust.get("trust", False))
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
        (["--trust"], (None, True)),
        (["--env", "planted_env:make"], ("planted_env:make", False)),
    ):
        with pytest.raises(CalledError):
            commands.get(command).run([str(foreign.path), *words])
        assert (given["run"], given["environment"], given["trust"]) == (foreign.path, *expected)
    assert not mark.exists()


@pytest.mark.parametrize(
    "name", ["os.path:join", "planted.env:make", "smax:../x", "matrix-game:x", "", ":", "a:b:c", "pettingzoo:os:system"]
)
def test_every_name_that_is_not_listed_needs_a_word(run: RunFolder, name: str):
    config = json.loads(run.config.read_text()) | {"environment": name}
    run.config.write_text(json.dumps(config))
    with pytest.raises(dop.RunError, match="not part of the library"):
        reopen(run)


def test_listed_environments_need_none(run: RunFolder):
    assert not any(envs.imports_code(name) for name in dop.environments())
    reopen(run)


def test_the_working_directory_cannot_hide_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`dop` looks there for environments, after everything that is installed."""
    installed = [folder for folder in sys.path if folder]
    monkeypatch.setattr(sys, "path", installed.copy())
    monkeypatch.setattr(sys, "argv", ["dop", "list"])
    cli.main()
    assert sys.path == [*installed, ""]


# ------------------------------------------------------------------------------------------- links, pipes and folders out of place

INSIDE = (*run_directory._FILES, *run_directory._FOLDERS)
OPENERS: dict[str, Callable[[Path], Any]] = {
    "resume": lambda run: dop.resume(run, quiet=True),
    "evaluate": dop.evaluate,
    "credit": views.credit,
    "render": views.render,
    "export": views.export,
    "report": lambda run: views.report([run], out=run.parent / "page.html"),
    "plot": lambda run: views.plot([run], out=run.parent / "curves.png", data=run.parent / "data.json"),
}
"""Every command that opens a run directory."""
PLANTED: dict[str, Callable[[Path, Path], Any]] = {
    "a link to a file": lambda path, outside: path.symlink_to(outside / "file"),
    "a link to a folder": lambda path, outside: path.symlink_to(outside),
    "a link to nowhere": lambda path, outside: path.symlink_to(outside / "new"),
    "a link inside": lambda path, outside: path.symlink_to("config.json.kept"),
    "a pipe": lambda path, outside: os.mkfifo(path),
    "the other kind": lambda path, outside: path.write_text("x") if path.name in run_directory._FOLDERS else path.mkdir(),
}


@pytest.fixture(scope="module")
def planted_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_run(tmp_path_factory.mktemp("planted") / "run")


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize("name", INSIDE)
def test_no_command_goes_through_what_was_planted(planted_run: RunFolder, tmp_path: Path, name: str, planted: str):
    """The sentence names it, nothing outside is changed, and nobody waits for a pipe."""
    path, kept = planted_run.path / name, planted_run.path / f"{name}.kept"
    (tmp_path / "file").write_text("keep me")
    if path.exists():
        path.rename(kept)
    PLANTED[planted](path, tmp_path)
    try:
        for opener in OPENERS.values():
            with pytest.raises(dop.RunError, match=f"{name} is a (link, to|pipe|file|folder)"):
                opener(planted_run.path)
    finally:
        files.delete(path)
        if kept.exists():
            kept.rename(path)
    assert [inside.name for inside in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "keep me"
    reopen(planted_run)


def test_a_new_run_takes_no_lock_that_was_planted(tmp_path: Path):
    """In a folder that has nothing else, which may be a new run's."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock").symlink_to(tmp_path / "outside")
    with pytest.raises(dop.RunError, match="lock is a link"):
        make_run(tmp_path / "run")
    assert not (tmp_path / "outside").exists()


def test_a_run_directory_may_be_a_link_itself(tmp_path: Path):
    """As those who keep runs on a larger disk have it."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    (tmp_path / "latest").symlink_to(tmp_path / "disk" / "a")
    for place in (tmp_path / "runs" / "a", tmp_path / "latest"):
        shutil.rmtree(tmp_path / "disk" / "a", ignore_errors=True)
        run = make_run(place)
        reopen(RunFolder(place))
        assert records.read(RunFolder(place).metrics)
        assert views.report([place], out=tmp_path / "page.html", films=False).is_file()
        assert (tmp_path / "disk" / "a" / "config.json").is_file()
        assert run.path.resolve() == tmp_path / "disk" / "a"


@pytest.mark.parametrize("command", ["credit", "render", "export", "report", "plot"])
def test_an_out_that_is_a_pipe_or_a_device_is_refused(planted_run: RunFolder, tmp_path: Path, command: str):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "null.png").symlink_to("/dev/null")
    file = {"report": {"films": False}, "plot": {}}.get(command)
    for out in (tmp_path / "pipe.png", Path("/dev/null"), *(() if file is not None else (tmp_path / "null.png",))):
        if file is None:
            with pytest.raises(dop.RunError, match=r"is a (pipe|device), not a folder: choose another --out"):
                getattr(views, command)(planted_run.path, out=out)
        elif command == "report" or out.suffix:
            with pytest.raises(dop.RunError, match=r"is a (pipe|device), not a file: choose another --out"):
                getattr(views, command)([planted_run.path], out=out, **file)
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_results_of_others_are_read_from_plain_files(tmp_path: Path, make: Callable[[Path], Any]):
    make(tmp_path / "o.json")
    with pytest.raises(dop.RunError, match=r"o\.json is .*not a plain file|o\.json is a link"):
        views.plot([], others=[tmp_path / "o.json"], out=tmp_path / "curves.png")


@pytest.mark.parametrize("name", ["0999", "9999x", "-5", "\uff15", "99999999999999999999999", " 7", "1e9"])
def test_strangers_among_the_checkpoints_are_left_alone(run: RunFolder, name: str):
    (run.checkpoints / name).mkdir()
    assert Checkpoints(run.checkpoints).iterations() == [2]
    reopen(run)
    assert (run.checkpoints / name).is_dir()


IN_ITS_PLACE: dict[str, Callable[[Path, Path], Any]] = {
    "a link to nowhere": lambda path, good: path.symlink_to("nowhere"),
    "a link to a good one": lambda path, good: path.symlink_to(good),
    "a file": lambda path, good: path.touch(),
    "a pipe": lambda path, good: os.mkfifo(path),
    "nothing in it": lambda path, good: path.mkdir(),
}


@pytest.mark.parametrize("planted", IN_ITS_PLACE)
def test_what_is_called_like_a_checkpoint_and_is_none_gives_way(
    run: RunFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture, planted: str
):
    good = shutil.copytree(run.checkpoints / "2", tmp_path / "copy")
    IN_ITS_PLACE[planted](run.checkpoints / "999999", good)
    reopen(run)
    assert "Checkpoint 999999 of" in caplog.text
    assert "is not used" in caplog.text


@pytest.mark.parametrize("name", ["999999999.npz", "1e9.npz", "0000000000010.npz", "-00000000001.npz", "\uff10" * 12 + ".npz"])
def test_strangers_among_the_snapshots_are_left_alone(tmp_path: Path, name: str):
    snapshots = Snapshots(tmp_path)
    snapshots.save(5, {"x": np.zeros(1)})
    (tmp_path / name).touch()
    assert snapshots.steps == [5]
    snapshots.keep_until(0)
    assert [path.name for path in tmp_path.iterdir()] == [name]


# -------------------------------------------------------------------------------------------------------------------- terminals

CLEAR = "\x1b[2J\x1b]0;mine\x07"
"""A terminal would be cleared by it, and be given another title."""


def test_errors_and_log_lines_show_what_would_command_a_terminal(caplog: pytest.LogCaptureFixture):
    assert str(dop.RunError(f"{CLEAR}é 漢\n\ud800\u202e\x9b")) == "\\x1b[2J\\x1b]0;mine\\x07é 漢\n\\ud800\\u202e\\x9b"
    logging.getLogger("dop").warning("%s is %d", CLEAR, 3)
    try:
        raise KeyError(CLEAR.encode(), CLEAR + "x")  # repr
    except KeyError:
        logging.getLogger("dop").warning("a traceback", exc_info=True)
    try:
        raise ValueError(CLEAR)
    except ValueError:
        logging.getLogger("dop").warning("a traceback", exc_info=True)
    assert "\\x1b[2J\\x1b]0;mine\\x07 is 3" in caplog.text
    assert "ValueError: \\x1b[2J" in caplog.text
    assert "\x1b" not in caplog.text


def in_config(*place: str) -> Callable[[RunFolder], list[Path | str]]:
    """Escape sequences as what stands at `place`, or, where nothing does, as a name there."""

    def plant_it(run: RunFolder) -> list[Path | str]:
        config = json.loads(run.config.read_text())
        inner = functools.reduce(lambda node, name: node[name], place[:-1], config)
        inner[place[-1]] = inner[place[-1]] | {CLEAR: 1} if isinstance(inner[place[-1]], dict) else CLEAR
        run.config.write_text(json.dumps(config))
        return [run.path]

    return plant_it


def in_records(change: dict[str, Any]) -> Callable[[RunFolder], list[Path | str]]:
    def plant_it(run: RunFolder) -> list[Path | str]:
        run.metrics.write_text(json.dumps(json.loads(run.metrics.read_text()) | change) + "\n")
        return [run.path]

    return plant_it


def in_results(results: Any) -> Callable[[RunFolder], list[Path | str]]:
    def plant_it(run: RunFolder) -> list[Path | str]:
        (run.path / "others.json").write_text(json.dumps(results))
        return ["--others", run.path / "others.json"]

    return plant_it


STEP = {"step_0": {"step_count": 1, "return": [1.0]}}
QUOTED: list[tuple[str, Callable[[RunFolder], list[Path | str]], int]] = [
    ("evaluate", in_config("environment"), 2),
    ("resume", in_config("algorithm"), 2),
    ("export", in_config("hyper_parameters"), 2),
    ("render", in_config("library_version"), 2),
    ("credit", in_config("train_config", "precision"), 2),
    ("evaluate", in_config("environment_spec", "name"), 2),
    ("report", in_config("environment_spec", "name"), 2),
    ("report", in_records({CLEAR: 1.0}), 2),
    ("plot", in_records({"kind": CLEAR}), 2),
    ("plot", in_results({"e": {"t": {"m": {CLEAR: {"step_0": 1}}}}}), 2),
    ("plot", in_results({"e": {CLEAR: {CLEAR: {"r": STEP}}}}), 0),
    ("report", lambda run: [run.path.rename(run.path.with_name(f"a{CLEAR}"))], 0),
]
"""A command, what is planted and typed, and how it ends."""


@pytest.mark.parametrize(("command", "planted", "code"), QUOTED)
def test_nothing_that_is_quoted_commands_the_terminal(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], command: str, planted: Any, code: int
):
    out = {"report": ["--no-films", "--out", run.path.parent / "page.html"], "plot": ["--out", run.path.parent / "curves.svg"]}
    monkeypatch.setattr(sys, "argv", ["dop", command, *map(str, [*planted(run), *out.get(command, [])])])
    ended = 0
    try:
        cli.main()
    except SystemExit as end:
        ended = end.code
    told = "".join(capfd.readouterr())
    assert ended == code, told
    assert "\x1b" not in told
    assert "Traceback" not in told
    assert code == 0 or "\\x1b[2J" in told
