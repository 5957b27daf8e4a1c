"""Arbitrary fields, files and command lines give a run or a one-line error: no traceback, no delay, no compilation."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import math
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import dop
from dop import cli, envs
from dop.algorithms import algorithms
from dop.analysis import marl_eval
from dop.api import training
from dop.cli.commands import commands
from dop.cli.environment import environment_options
from dop.loggers.jsonl import JsonLines
from dop.storage import manifest, records
from dop.storage.records import Record
from dop.storage.run_directory import RunFolder
from helpers import make_spec
from logged import opened
from run_factories import make_run, reopen

SPEC = make_spec(time_limit=5)
SECONDS = 5.0
"""Limit of processor seconds for the error or the start."""
with_examples = functools.partial(settings, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

HUGE = [2**63, 10**30, 10**400, -(10**400), 10**5000]
"""Integers that exceed counters, floats, or Python's limit for printing."""
NUMBERS = st.one_of(
    *(st.integers(-3, 300), st.sampled_from([0, -1, 2**31, *HUGE]), st.floats(), st.sampled_from([0.0, 1.0, 1e-300, 1e300, -0.0])),
    st.sampled_from([np.int64(3), np.float32(0.9), np.float64(0.5), np.bool_(True), np.uint8(200), np.float32("nan"), np.str_("all")]),
)
ANYTHING = st.one_of(NUMBERS, st.booleans(), st.none(), st.text(max_size=5), st.lists(st.integers(), max_size=2))


def plausible(hint: Any) -> st.SearchStrategy[Any]:
    """Plausible values of a field, half of them of the right type."""
    if get_origin(hint) is Literal:
        return st.one_of(st.sampled_from(get_args(hint)), ANYTHING)
    if hint is bool:
        return st.one_of(st.booleans(), ANYTHING)
    return st.one_of(NUMBERS, ANYTHING)


def error_of(action: Callable[[], Any]) -> str | None:
    """The message of a `DopError`, or None if there was none. Other exceptions and long delays fail the test."""
    start = time.process_time()
    try:
        action()
        message = None
    except dop.DopError as error:
        message = str(error)
        assert message
    assert time.process_time() - start < SECONDS
    return message


# ---------------------------------------------------------------------------------------------------------------- fields

CLASSES: dict[str, Any] = dict(algorithms())
FIELDS = [(name, field.name) for name, cls in CLASSES.items() for field in dataclasses.fields(cls)]


@pytest.mark.parametrize(("name", "field"), FIELDS)
@with_examples(max_examples=12)
@given(data=st.data())
def test_every_field_of_every_algorithm(name: str, field: str, data: st.DataObject):
    """The value is accepted, or the error names the field."""
    cls = CLASSES[name]
    value = data.draw(plausible(get_type_hints(cls)[field]))
    algorithm = cls(**{field: value})
    message = error_of(lambda: algorithm.check(SPEC))
    if isinstance(value, float | np.floating) and not math.isfinite(value):
        assert message
    if message is None:
        json.dumps(dataclasses.asdict(algorithm), allow_nan=False)  # as in config.json
    else:
        assert field in message


@pytest.mark.parametrize("name", algorithms())
@with_examples(max_examples=8)
@given(data=st.data())
def test_several_fields_together_and_their_memory(name: str, data: st.DataObject):
    """Accepted values have shapes: networks, replay and batches are measured, and refused if they do not fit the machine."""
    cls = CLASSES[name]
    hints = get_type_hints(cls)
    changed = data.draw(st.lists(st.sampled_from([field.name for field in dataclasses.fields(cls)]), max_size=3, unique=True))
    algorithm = cls(**{field: data.draw(plausible(hints[field])) for field in changed})
    error_of(lambda: dop.preflight(algorithm, "two-step", run_dir=Path("nowhere")).check())


@with_examples(max_examples=150)
@given(data=st.data())
def test_every_field_of_a_train_config(data: st.DataObject):
    hints = get_type_hints(dop.TrainConfig)
    changed = data.draw(st.lists(st.sampled_from(list(hints)), min_size=1, max_size=2, unique=True))
    values: dict[str, Any] = {field: data.draw(st.one_of(plausible(hints[field]), st.lists(NUMBERS).map(tuple))) for field in changed}
    train_config = dop.TrainConfig(**values)
    message = error_of(train_config.check)
    assert message is None or any(field in message for field in changed)


ENTRIES = st.one_of(ANYTHING, st.lists(st.one_of(st.integers(-1, 5), st.text(max_size=3), st.floats()), max_size=3).map(tuple))


@with_examples(max_examples=150)
@given(changes=st.fixed_dictionaries({}, optional={field.name: ENTRIES for field in dataclasses.fields(dop.EnvSpec)}))
def test_every_field_of_a_spec(changes: dict[str, Any]):
    """Accepted specs have valid sizes."""

    def make() -> None:
        spec = dataclasses.replace(SPEC, **changes)
        assert spec.n_agents == len(spec.obs_sizes)
        assert min(spec.obs_size, spec.action_size, spec.state_size, spec.time_limit) >= 1
        assert all(isinstance(size, int) for size in spec.action_shape)

    error_of(make)


# ----------------------------------------------------------------------------------------------------------------- files


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_run(tmp_path_factory.mktemp("fuzz") / "run")


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from([2**70, 10**400, 1e300]), st.floats(), st.text(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=4), inner, max_size=2)),
    max_leaves=4,
)


def paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values in a JSON document."""
    yield path
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inner:
        yield from paths(value, (*path, key))


def mutated(document: Any, path: tuple[Any, ...], value: Any, *, remove: bool) -> Any:
    """The document with `value` at `path`, or without that entry."""
    if not path:
        return value
    changed = copy.deepcopy(document)
    node = functools.reduce(lambda node, key: node[key], path[:-1], changed)
    if remove:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return changed


@with_examples(max_examples=60)
@given(data=st.data())
def test_any_change_of_a_config_gives_a_run_or_an_error(run: RunFolder, data: st.DataObject):
    text = run.config.read_text()
    document = json.loads(text)
    path = data.draw(st.sampled_from(list(paths(document))))
    run.config.write_text(json.dumps(mutated(document, path, data.draw(JSON), remove=data.draw(st.booleans()))))
    try:
        error_of(lambda: reopen(run))
    finally:
        run.config.write_text(text)
    assert error_of(lambda: reopen(run)) is None  # the change has no lasting effect


@with_examples(max_examples=60)
@given(content=st.one_of(st.binary(max_size=50), st.sampled_from([b"[" * 10_000, b'{"format": 1}', b"1" * 5000, b'{"format": NaN}'])))
def test_any_content_of_a_config_is_an_error(run: RunFolder, content: bytes):
    text = run.config.read_text()
    run.config.write_bytes(content)
    try:
        assert error_of(lambda: reopen(run))
    finally:
        run.config.write_text(text)


@with_examples(max_examples=60)
@given(count=st.integers(1, 4), cut=st.integers(1, 200), garbage=st.binary(max_size=20))
@example(count=1, cut=1, garbage=b"")
def test_a_partial_last_line_loses_only_that_line(tmp_path: Path, count: int, cut: int, garbage: bytes):
    path = tmp_path / "metrics.jsonl"
    path.unlink(missing_ok=True)
    written = [Record(kind="train", seed=0, iteration=i, env_steps=i, wall_seconds=0.5, metrics={"loss": i / 3}) for i in range(count)]
    sink = opened(JsonLines(), tmp_path)
    sink.write(written)
    sink.close()
    content = path.read_bytes()
    path.write_bytes(content[: max(len(content) - cut, 0)] + garbage.replace(b"\n", b" "))
    whole = content[: max(len(content) - cut, 0)].count(b"\n")
    assert records.read(path) == written[:whole]
    opened(JsonLines(), tmp_path).close()
    assert path.read_bytes() == b"".join(content.splitlines(keepends=True)[:whole])


@with_examples(max_examples=60)
@given(line=st.one_of(st.binary(max_size=40), JSON.map(lambda value: json.dumps(value).encode())))
def test_any_line_of_records_is_a_record_or_an_error(tmp_path: Path, line: bytes):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(line + b"\n")
    message = error_of(lambda: records.read(path))
    assert message is None or str(path) in message


@with_examples(max_examples=60)
@given(data=st.data())
def test_any_change_of_other_libraries_results_is_read_or_an_error(tmp_path: Path, data: st.DataObject):
    path = tmp_path / "others.json"
    step = {"step_count": 1, "elapsed_time": 0.5, "return": [1.0, 2.0]}
    document = {"smac": {"3m": {"vdn": {"seed_0": {"step_0": step, "absolute_metrics": {"return": [1.0]}}}}}}
    path_in_document = data.draw(st.sampled_from(list(paths(document))))
    path.write_text(json.dumps(mutated(document, path_in_document, data.draw(JSON), remove=data.draw(st.booleans()))))
    message = error_of(lambda: marl_eval.read(path))
    assert message is None or str(path) in message


@with_examples(max_examples=20)
@given(name=st.sampled_from(["meta.json", manifest.NAME]), data=st.data())
def test_any_change_of_checkpoint_metadata_gives_a_state_or_an_error(run: RunFolder, name: str, data: st.DataObject):
    """Its arrays are unchanged: the checkpoint is used, or the error says why not."""
    folder = run.checkpoints / "2"
    before = {path: path.read_bytes() for path in (folder / "meta.json", folder / manifest.NAME)}
    document = json.loads(before[folder / name])
    changed = mutated(document, data.draw(st.sampled_from(list(paths(document)))), data.draw(JSON), remove=data.draw(st.booleans()))
    (folder / name).write_text(json.dumps(changed))
    if name == "meta.json":
        (folder / manifest.NAME).unlink()
        manifest.write(folder)
    try:
        message = error_of(lambda: reopen(run))
    finally:
        for path, content in before.items():
            path.write_bytes(content)
    assert message is None or str(run.checkpoints) in message


# ---------------------------------------------------------------------------------------------------------- command lines

HOSTILE = ["-1", str(2**63), str(10**30), "9" * 400, "9" * 5000, "1.5", "nan", "", "\x1b[2J"]
NUMBERED = {
    "evaluate": ("--episodes", "--seed"),
    "credit": ("--episodes", "--training-episodes", "--seed", "--run-seed"),
    "render": ("--episodes", "--seed", "--run-seed"),
    "export": ("--run-seed",),
    "report": ("--episodes",),
    "resume": ("--env-steps",),
    "check-env": ("--episodes", "--seed"),
    "train": (
        "--env-steps",
        "--seeds",
        "--first-seed",
        "--eval-interval",
        "--env-workers",
        "--env-timeout",
        "--gamma",
        "--actor.hidden-size",
    ),
}
"""Options that take a number, by command."""
BEFORE = {"train": ["vdn", "--env", "matrix-game", "--dry-run"], "check-env": ["matrix-game"]}


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(("command", "option"), [(command, option) for command, options in NUMBERED.items() for option in options])
def test_every_number_of_every_command(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, option: str, value: str
):
    if (option, value) in (("--env-timeout", "1.5"), ("--env-timeout", str(2**63)), ("--env-timeout", str(10**30))):
        pytest.skip("a number of seconds")
    monkeypatch.setattr(sys, "argv", ["dop", command, *BEFORE.get(command, [str(run.path)]), f"{option}={value}"])
    monkeypatch.setattr(sys, "path", sys.path.copy())
    start = time.process_time()
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert time.process_time() - start < SECONDS
    assert ended.value.code == 2
    output = "".join(capsys.readouterr())
    assert "Traceback" not in output
    assert "\x1b[2J" not in output


NAMES = ["name", "self", "cls", "variant", "family", "n_agents", "lambda", "", " ", "a-b", "3", "é"]
TYPED = [
    "x",
    "3",
    "[[[[",
    "[" * 50_000,
    "[" * 900 + "]" * 900,
    "[" * 30 + "]" * 30,
    "9" * 400,
    "9" * 5000,
    "-1e999",
    "NaN",
    "{}",
    "null",
    "",
]


@with_examples(max_examples=60)
@given(
    words=st.lists(
        st.one_of(st.text(max_size=5), st.builds(lambda name, value: f"{name}={value}", st.sampled_from(NAMES), st.sampled_from(TYPED))),
        max_size=2,
    )
)
@example(words=["n_agents=2", "n_agents=2"])
def test_any_options_of_an_environment_make_it_or_give_an_error(words: list[str]):
    message = error_of(lambda: envs.make("matrix-game", **environment_options(words)))
    assert message or all(word.startswith("n_agents=") for word in words)
    assert message or len(words) < 2
    error_of(lambda: dop.preflight(CLASSES["vdn"](), "matrix-game", environment_options=environment_options(words), run_dir="nowhere"))


OPTIONS = ["--env", "--seeds", "--run-dir", "--preset", "--help", "--gamma", "--dry-run", "--trust", "--env=", "--preset=", "--"]
VALUES = ["matrix-game", "two-step", "smax:3m", "x:y", "-1", "1e400", "nan", "", "-", "=", "a=b"]
WORDS = st.one_of(
    st.sampled_from([*commands(), *algorithms(), *OPTIONS, *VALUES]), st.text(max_size=6).filter(lambda text: "\0" not in text)
)
LINES = st.one_of(
    st.lists(WORDS, max_size=7),
    st.builds(
        lambda name, rest: ["train", name, "--env", "two-step", *rest], st.sampled_from(sorted(algorithms())), st.lists(WORDS, max_size=4)
    ),
)


@with_examples(max_examples=150)
@given(arguments=LINES)
def test_any_command_line_ends_in_help_an_error_or_a_start(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    """Exit codes are 0 and 2; only the start of a run is replaced."""

    def started(*_: Any, **__: Any) -> None:
        raise dop.RunError("started")

    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        patch.setattr(sys, "argv", ["dop", *arguments])
        patch.setattr(sys, "path", sys.path.copy())
        patch.setattr(training, "_run", started)
        patch.setattr(RunFolder, "create", started)
        patch.setattr(RunFolder, "created", started)
        patch.setattr("dop.paper.get", started)
        start = time.process_time()
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code
        except BaseException:
            pytest.fail(f"dop {arguments}:\n{traceback.format_exc()}")
        assert time.process_time() - start < SECONDS
    assert code in (0, 2)
    assert "Traceback" not in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
