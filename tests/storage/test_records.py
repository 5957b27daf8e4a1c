"""Records survive the file they are in, and the file survives crashes."""

import math
import os
from dataclasses import replace
from pathlib import Path

import pytest

from dop.errors import RunError
from dop.loggers.jsonl import JsonLines
from dop.storage.records import Record, keep_until, read
from logged import opened


def record(iteration: int = 20, seed: int = 0, **metrics: float) -> Record:
    return Record(
        kind="train", seed=seed, iteration=iteration, env_steps=100 * iteration, wall_seconds=0.5 * iteration, metrics=metrics or {"x": 1.0}
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def fill(path: Path, *records: Record) -> None:
    sink = opened(JsonLines(), path.parent)
    sink.write(records)
    sink.close()


def test_a_line_is_flat_and_has_the_documented_names():
    line = replace(record(return_mean=1.5), kind="evaluation", seed=3).to_json()
    assert line == '{"kind": "evaluation", "seed": 3, "iteration": 20, "env_steps": 2000, "wall_seconds": 10.0, "return_mean": 1.5}'


def test_processor_seconds_are_in_the_line_if_they_are_known():
    line = replace(record(), processor_seconds=7.5).to_json()
    assert line == GOOD.replace('"wall_seconds": 10.0', '"wall_seconds": 10.0, "processor_seconds": 7.5')
    assert Record.from_json(line).processor_seconds == 7.5
    assert Record.from_json(line).metrics == {"x": 1.0}
    assert Record.from_json(GOOD).processor_seconds is None


def test_records_come_back_exactly(path: Path):
    written = [record(1, seed, critic_loss=0.1 + 0.2, policy_entropy=1e-300) for seed in (0, 1)]
    fill(path, *written)
    assert read(path) == written


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_becomes_null_and_then_nan(value: float):
    line = record(critic_loss=value, fine=2.0).to_json()
    assert '"critic_loss": null' in line
    metrics = Record.from_json(line).metrics
    assert math.isnan(metrics["critic_loss"])
    assert metrics["fine"] == 2.0


def test_a_metric_may_not_hide_a_field():
    with pytest.raises(RunError, match="'env_steps'"):
        record(env_steps=1.0).to_json()


GOOD = record().to_json()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("[1, 2]", "JSON object"),
        (GOOD.replace('"seed": 0, ', ""), "'seed' is missing"),
        (GOOD.replace('"seed": 0', '"seed": 0.5'), "seed must be a whole number, found 0.5"),
        (GOOD.replace('"seed": 0', '"seed": true'), "seed must be a whole number, found True"),
        (GOOD.replace('"train"', '"test"'), "kind must be one of train, evaluation"),
        (GOOD.replace("1.0", "NaN"), "NaN is not JSON"),
        (GOOD.replace("1.0", '"high"'), "x must be a finite number, found 'high'"),
        (GOOD.replace("10.0", "null"), "wall_seconds must be a finite number"),
        (GOOD.replace('"x"', '"processor_seconds": null, "x"'), "processor_seconds must be a finite number"),
        (GOOD[:-5], "Expecting value"),
    ],
)
def test_what_is_no_record_is_refused_with_its_reason(line: str, why: str):
    with pytest.raises(ValueError, match=why):
        Record.from_json(line)


def test_what_was_written_is_there_before_anything_is_closed(path: Path):
    sink = opened(JsonLines(), path.parent)
    sink.write([record(1)])
    assert read(path) == [record(1)]
    sink.close()
    sink.close()


@pytest.mark.parametrize("rest", [GOOD[:30].encode(), b"\xff\xfe", b"\0" * 100, GOOD.encode()])
def test_a_half_written_last_line_is_ignored_and_cut_off_on_reopening(path: Path, rest: bytes):
    fill(path, record(1), record(2))
    with path.open("ab") as file:
        file.write(rest)
    assert read(path) == [record(1), record(2)]
    fill(path, record(3))
    assert read(path) == [record(1), record(2), record(3)]


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe", GOOD[:30].encode()])
def test_other_damage_is_named_by_its_line(path: Path, damage: bytes):
    lines = [record(1).to_json().encode(), damage, record(2).to_json().encode()]
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 2 is damaged"):
        read(path)


def test_a_missing_file_is_an_error_for_people(path: Path):
    with pytest.raises(RunError, match="does not exist"):
        read(path)


def test_keep_until_drops_only_what_is_later(path: Path):
    fill(path, *(record(i, seed) for i in (10, 20, 30) for seed in (0, 1)))
    with path.open("ab") as file:
        file.write(b'{"kind": "tr')
    keep_until(path, 20)
    assert read(path) == [record(i, seed) for i in (10, 20) for seed in (0, 1)]
    assert [p.name for p in path.parent.iterdir()] == ["metrics.jsonl"]


def test_keep_until_leaves_a_damaged_file_alone(path: Path):
    path.write_bytes(b"nonsense\n")
    with pytest.raises(RunError, match="line 1"):
        keep_until(path, 20)
    assert path.read_bytes() == b"nonsense\n"


def test_a_failed_replacement_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk")

    fill(path, record(10), record(30))
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk"):
        keep_until(path, 20)
    assert read(path) == [record(10), record(30)]
