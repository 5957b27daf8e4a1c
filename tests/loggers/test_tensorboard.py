"""TensorBoard's files: one folder per seed, the same tags in each, nothing twice after a resume, and what the HParams tab reads."""

from __future__ import annotations

import importlib
import math
import re
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto import plugin_hparams_pb2

from dop.errors import RunError
from dop.loggers.jsonl import JsonLines
from dop.loggers.tensorboard import TensorBoard
from dop.storage.records import Record, keep_until
from logged import events, opened, scalars

Plugin = vars(plugin_hparams_pb2)["HParamsPluginData"]  # Protocol buffers make their classes as they are imported.


def records(iteration: int, *seeds: int) -> list[Record]:
    """What seeds report: a loss of training, then a return of an evaluation."""
    return [
        Record(kind=kind, seed=seed, iteration=iteration, env_steps=100 * iteration, wall_seconds=1.0, metrics=metrics)
        for seed in seeds or (0, 4)
        for kind, metrics in said(iteration, seed).items()
    ]


def said(iteration: int, seed: int) -> dict[Any, dict[str, float]]:
    return {
        "train": {"critic_loss": iteration + 0.25, "q_max": math.nan},
        "evaluation": {"test_return_mean": 10.0 * iteration + seed},
    }


def report(run: Path, *iterations: int, resumed_at: int | None = None, **train_config: Any) -> TensorBoard:
    """Records of these iterations, to `metrics.jsonl` and to TensorBoard, which is left open."""
    file, buffers = opened(JsonLines(), run), opened(TensorBoard(), run, resumed_at=resumed_at, **train_config)
    for iteration in iterations:
        file.write(records(iteration))
        buffers.write(records(iteration))
    file.close()
    return buffers


def killed(buffers: TensorBoard) -> None:
    """The process is gone, and has said nothing of the end."""
    for file in buffers._files.values():
        file.close()


def hparams(folder: Path) -> dict[str, Any]:
    """By tag, what the HParams tab reads."""
    found = [value for event in events(folder) for value in event.summary.value if value.metadata.plugin_data.plugin_name == "hparams"]
    return {value.tag: Plugin.FromString(value.metadata.plugin_data.content) for value in found}


def test_each_seed_has_the_same_tags_over_its_environment_steps(tmp_path: Path):
    buffers = opened(TensorBoard(), tmp_path)
    buffers.write(records(1))
    buffers.write(records(2, 4))
    buffers.close()
    buffers.close()
    assert scalars(tmp_path / "tensorboard" / "seed_0") == [("train/critic_loss", 100, 1.25), ("eval/return_mean", 100, 10.0)]
    assert scalars(tmp_path / "tensorboard" / "seed_4") == [
        ("train/critic_loss", 100, 1.25),
        ("eval/return_mean", 100, 14.0),
        ("train/critic_loss", 200, 2.25),
        ("eval/return_mean", 200, 24.0),
    ]
    assert sorted(path.name for path in (tmp_path / "tensorboard").iterdir()) == ["seed_0", "seed_4"]
    with pytest.raises(RunError, match="closed"):
        buffers.write(records(3))


def test_a_run_that_was_killed_and_resumed_has_no_point_twice(tmp_path: Path):
    """It had reported 100, 200 and 300 when it was killed, twice, and continues from its checkpoint at 100."""
    buffers = report(tmp_path, 1, 2, 3)
    for _ in range(2):
        killed(buffers)
        keep_until(tmp_path / "metrics.jsonl", 1)
        buffers = report(tmp_path, 2, 3, 4, resumed_at=100)
    buffers.close()
    for seed in (0, 4):
        folder = tmp_path / "tensorboard" / f"seed_{seed}"
        assert [step for tag, step, _ in scalars(folder) if tag == "train/critic_loss"] == [100, 200, 300, 400]
        assert [step for tag, step, _ in scalars(folder) if tag == "eval/return_mean"] == [100, 200, 300, 400]
        assert sorted(path.stat().st_size > 0 for path in folder.iterdir()) == [False, True]  # the emptied one goes the next time


def test_a_run_that_starts_again_from_its_seeds_has_no_point_twice(tmp_path: Path):
    """It was killed before its first checkpoint: its records were deleted."""
    killed(report(tmp_path, 1))
    (tmp_path / "metrics.jsonl").unlink()
    report(tmp_path, 1).close()
    assert [step for _, step, _ in scalars(tmp_path / "tensorboard" / "seed_0")] == [100, 100]  # of two tags


@pytest.mark.parametrize(("goal", "status"), [(200, 1), (300, 0)])
def test_the_hyper_parameters_of_each_seed_are_there_for_the_hparams_tab(tmp_path: Path, goal: int, status: int):
    """Status 1 is success, 0 unknown: stopped before its goal."""
    run = tmp_path / "first"
    run.mkdir()
    report(run, 1, 2, seeds=(0, 4), env_steps=goal).close()
    for seed in (0, 4):
        found = hparams(run / "tensorboard" / f"seed_{seed}")
        assert list(found) == ["_hparams_/session_start_info", "_hparams_/session_end_info"]
        start = found["_hparams_/session_start_info"].session_start_info
        assert re.fullmatch("mill/vdn/first-[0-9a-f]{8}", start.group_name)
        assert start.hparams["algorithm"].string_value == "vdn"
        assert start.hparams["gamma"].number_value == 0.9
        assert start.hparams["environment.n_agents"].number_value == 2
        assert start.hparams["train_config.normalise_rewards"].WhichOneof("kind") == "bool_value"
        assert start.hparams["train_config.seeds"].string_value == "[0, 4]"
        assert found["_hparams_/session_end_info"].session_end_info.status == status


def test_two_run_directories_of_the_same_name_are_two_groups(tmp_path: Path):
    groups = set()
    for place in ("a", "b"):
        run = tmp_path / place / "first"
        run.mkdir(parents=True)
        report(run).close()
        starts = [hparams(run / "tensorboard" / f"seed_{seed}")["_hparams_/session_start_info"] for seed in (0, 4)]
        groups |= {start.session_start_info.group_name for start in starts}
    assert len(groups) == 2


def test_tensorboard_itself_reads_it_and_averages_over_seeds(tmp_path: Path):
    """Also one that was open when the run was killed and resumed."""
    pytest.importorskip("tensorboard")
    own: Any = importlib.import_module("tensorboard.backend.event_processing.plugin_event_multiplexer")
    run = tmp_path / "first"
    run.mkdir()
    live = own.EventMultiplexer()
    killed(report(run, 1, 2, 3))
    read(live, tmp_path)
    keep_until(run / "metrics.jsonl", 1)
    report(run, 2, seeds=(0, 4), env_steps=200, resumed_at=100).close()
    for buffers in (live, own.EventMultiplexer()):
        read(buffers, tmp_path)
        assert sorted(buffers.Runs()) == ["first/tensorboard/seed_0", "first/tensorboard/seed_4"]
        for seed in (0, 4):
            found = buffers.Tensors(f"first/tensorboard/seed_{seed}", "eval/return_mean")
            assert [(event.step, *event.tensor_proto.float_val) for event in found] == [(100, 10.0 + seed), (200, 20.0 + seed)]
    (group,) = hparams_tab(buffers, tmp_path)
    assert group.hparams["gamma"].number_value == 0.9
    assert [value.value for value in group.metric_values if value.name.tag == "eval/return_mean"] == [22.0]
    assert [session.name for session in group.sessions] == ["first/tensorboard/seed_0", "first/tensorboard/seed_4"]


def read(buffers: Any, folder: Path) -> None:
    buffers.AddRunsFromDirectory(str(folder))
    buffers.Reload()


def hparams_tab(buffers: Any, folder: Path) -> Any:
    """The rows of the tab: one for each group of sessions, with means over these."""
    own = lambda name: importlib.import_module(f"tensorboard.{name}")  # noqa: E731
    api, groups = own("plugins.hparams.api_pb2"), own("plugins.hparams.list_session_groups")
    provider = own("backend.event_processing.data_provider").MultiplexerDataProvider(buffers, str(folder))
    backend = own("plugins.hparams.backend_context").Context(own("plugins.base_plugin").TBContext(data_provider=provider))
    statuses = [api.STATUS_UNKNOWN, api.STATUS_SUCCESS]
    request = api.ListSessionGroupsRequest(slice_size=10, aggregation_type=api.AGGREGATION_AVG, allowed_statuses=statuses)
    return groups.Handler(own("context").RequestContext(), backend, "", request).run().session_groups
