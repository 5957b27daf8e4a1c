"""A run that was stopped, killed or damaged goes on in a new process exactly as if nothing had happened.

Every process here is a new one. They share compiled programs (conftest.py), which takes most of their time away and nothing from what is
tested: on the same machine the same program is compiled to the same instructions, whoever compiles it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orbax.checkpoint as ocp
import pytest

import dop
from dop import api, envs
from dop.storage import manifest, records
from dop.storage.checkpoints import Checkpoints
from dop.storage.run_directory import RunFolder
from dop.training import trainer
from run_factories import make_run, reopen

TESTS = Path(__file__).parent.parent
GOAL = 400
"""Environment steps of the whole run: 32 of warm-up, then 16 an iteration, 2 iterations a chunk."""
CHILD = """
    import os, sys
    import dop
    from dop.loggers import jsonl

    command, run_dir, goal, signal_number, at = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
    write = jsonl.JsonLines.write

    def write_and_stop(self, found):
        write(self, found)
        if signal_number and found[0].kind == "train" and found[0].env_steps >= at:
            os.kill(os.getpid(), signal_number)

    jsonl.JsonLines.write = write_and_stop
    if command == "train":
        algorithm = dop.StochasticDOP(
            critic=dop.MLP(hidden_size=8), actor=dop.GRU(hidden_size=8),
            actor_steps=1, on_policy_batch=4, off_policy_batch=4, on_policy_capacity=16,
            replay_capacity=64, episodes_per_iteration=8, target_interval=3,
        )
        run = dop.train(
            algorithm, "probes:Recurrent", environment_options={"delay": 1}, env_steps=goal, seeds=[5], run_dir=run_dir, chunk_iterations=2,
            eval_interval=60, eval_episodes=4, checkpoint_interval=60, quiet=True,
        )
    else:
        run = dop.resume(run_dir, env_steps=goal or None, trust=True, quiet=True)
    print(run.outcome.finished, *run.outcome.env_steps)
"""


class Lives(NamedTuple):
    """Two runs to the same goal: in one go, and in three processes of which the first was interrupted and the second killed."""

    whole: Path
    broken: Path
    interrupted: str
    killed: int
    resumed: str


def child(*arguments: object, program: str = CHILD) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{Path(dop.__file__).parent.parent}:{TESTS}"}
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


def said(result: subprocess.CompletedProcess[str]) -> str:
    """The last line of a child that ended well."""
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture(scope="session")  # a worker may come back to the module
def lives(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Lives:
    """Lived once for all workers, each of which has copies of the runs."""
    own = tmp_path_factory.mktemp("runs")
    common = (tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent) / "lives"
    common.mkdir(exist_ok=True)
    results, runs = common / "results.json", common / "runs"
    with (common / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not results.exists():
            results.write_text(json.dumps(live(runs / "whole", runs / "broken")))
        shutil.copytree(runs, own, dirs_exist_ok=True)
    return Lives(own / "whole", own / "broken", **json.loads(results.read_text()))


def live(whole: Path, broken: Path) -> dict[str, Any]:
    said(child("train", whole, GOAL, 0, 0))
    return {
        "interrupted": said(child("train", broken, GOAL - 100, signal.SIGINT, 120)),
        "killed": child("resume", broken, 0, signal.SIGKILL, 250).returncode,
        "resumed": said(child("resume", broken, GOAL, 0, 0)),
    }


@pytest.fixture
def copy(lives: Lives, tmp_path: Path) -> RunFolder:
    """A run to be damaged."""
    return RunFolder(Path(shutil.copytree(lives.whole, tmp_path / "run")))


def iterations(folder: Path) -> list[int]:
    """The checkpoints that are there."""
    return sorted(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit())


def arrays(folder: Path) -> dict[str, np.ndarray]:
    """Everything in the newest checkpoint."""
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as orbax:
        return orbax.restore((folder / "checkpoints" / str(iterations(folder)[-1]) / "state").absolute())


def restore(folder: RunFolder) -> Any:
    """The state that `resume` would start from."""
    config, program = api.rebuild(folder, None, trust=True)
    return trainer.Trainer(program, config, folder).restore()


def edit(folder: RunFolder, **changes: Any) -> None:
    """Change entries of config.json, a level down."""
    config = json.loads(folder.config.read_text())
    for name, change in changes.items():
        config[name] |= change
    folder.config.write_text(json.dumps(config))


def test_interruption_ends_cleanly_and_a_kill_does_not(lives: Lives):
    finished, steps = lives.interrupted.split()
    assert (finished, lives.killed) == ("False", -signal.SIGKILL)
    assert 120 <= int(steps) < 250
    assert lives.resumed.split()[0] == "True"


def test_resumed_run_ends_with_the_same_arrays_bit_for_bit(lives: Lives):
    whole, broken = arrays(lives.whole), arrays(lives.broken)
    assert whole.keys() == broken.keys()
    assert {"key", "eval_key", "iteration", "replay/added", "learner/env_steps", "learner/since_target"} <= whole.keys()
    for name, array in whole.items():
        np.testing.assert_array_equal(array, broken[name], err_msg=name)
        assert array.dtype == broken[name].dtype
    assert whole["learner/env_steps"] >= GOAL
    assert iterations(lives.whole) == iterations(lives.broken)


def test_resumed_run_has_the_same_records(lives: Lives):
    def told(folder: Path) -> list[dict[str, Any]]:
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        return [{name: value for name, value in json.loads(line).items() if not name.endswith("_seconds")} for line in lines]

    assert told(lives.whole) == told(lives.broken)
    found = records.read(lives.broken / "metrics.jsonl")
    for seconds in ([record.wall_seconds for record in found], [record.processor_seconds or 0 for record in found]):
        assert seconds == sorted(seconds)
        assert seconds[0] > 0


def test_resumed_run_has_the_same_best(lives: Lives):
    found = [dict(np.load(run / "snapshots" / "best.npz")) for run in (lives.whole, lives.broken)]
    assert found[0].keys() == found[1].keys()
    for name, array in found[0].items():
        np.testing.assert_array_equal(found[1][name], array)


def test_config_has_the_new_goal(lives: Lives):
    assert RunFolder(lives.broken).read_config() == RunFolder(lives.whole).read_config()


def test_the_newest_two_checkpoints_are_kept(lives: Lives):
    assert len(iterations(lives.whole)) == 2


DAMAGE = {
    "garbage": (lambda file: file.write_bytes(b"\x00garbage" * 3), "of another length"),
    "missing": (lambda file: file.unlink(), "missing: 'state/"),
    "truncated": (lambda file: os.truncate(file, file.stat().st_size - 1), "of another length: "),
    "one bit": (lambda file: file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:]), "changed (another SHA-256)"),
    "extra": (lambda file: (file.parent / "extra").write_text("x"), "not in its manifest: 'state/"),
    "link": (lambda file: file.replace(file.parent.parent / "x") and file.symlink_to("x"), "is not a regular file"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_checkpoint_gives_way_to_the_older_one(copy: RunFolder, caplog: pytest.LogCaptureFixture, damage: str):
    older, newest = iterations(copy.path)
    inflict, words = DAMAGE[damage]
    inflict(
        max(
            (path for path in (copy.checkpoints / str(newest) / "state").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
        )
    )
    with caplog.at_level(logging.WARNING, logger="dop"):
        state = restore(copy)
    assert int(state.iteration[0]) == older
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "dop"]
    assert f"Checkpoint {newest} of" in warning
    assert words in warning


def test_run_with_a_damaged_checkpoint_gets_to_the_same_end(lives: Lives, copy: RunFolder):
    """It goes through the iteration of the damaged one again, and replaces it."""
    newest = iterations(copy.path)[-1]
    for file in [path for path in (copy.checkpoints / str(newest)).rglob("*") if path.is_file()]:
        file.write_bytes(b"garbage")
    result = child("resume", copy.path, 0, 0, 0)
    assert said(result).split()[0] == "True"
    assert f"Checkpoint {newest} of" in result.stderr
    whole, repaired = arrays(lives.whole), arrays(copy.path)
    assert iterations(copy.path)[-1] == newest
    for name, array in whole.items():
        np.testing.assert_array_equal(array, repaired[name], err_msg=name)


def test_only_damaged_checkpoints(copy: RunFolder):
    for file in [path for path in copy.checkpoints.rglob("*") if path.is_file()]:
        file.write_bytes(b"garbage")
    with pytest.raises(dop.RunError, match="only damaged checkpoints"):
        restore(copy)


def test_no_checkpoint(copy: RunFolder):
    shutil.rmtree(copy.checkpoints)
    with pytest.raises(dop.RunError, match="no checkpoint"):
        dop.resume(copy.path, trust=True, quiet=True)


def test_run_stopped_before_its_first_checkpoint_starts_again(lives: Lives, copy: RunFolder):
    shutil.rmtree(copy.checkpoints)
    copy.metrics.unlink()
    dop.resume(copy.path, trust=True, quiet=True)
    whole, again = arrays(lives.whole), arrays(copy.path)
    assert whole["iteration"] == again["iteration"]
    for name, array in whole.items():
        np.testing.assert_allclose(array, again[name], rtol=1e-3, atol=1e-3, err_msg=name)


def test_goal_cannot_lie_behind(copy: RunFolder):
    before = copy.config.read_text()
    with pytest.raises(dop.ConfigError, match="environment steps already"):
        dop.resume(copy.path, env_steps=1, trust=True, quiet=True)
    assert copy.config.read_text() == before


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"wall_seconds": "x"},
        {"wall_seconds": float("nan")},
        {"made_by": 3},
        {"made_by": None, "wall_seconds": -1},
        *({"processor_seconds": seconds} for seconds in ("x", float("nan"), -1, [1.0])),
    ],
    ids=str,
)
def test_a_checkpoint_that_says_nonsense_of_itself_gives_way(tmp_path: Path, caplog: pytest.LogCaptureFixture, bad: dict[str, Any]):
    """With a manifest that says that all is well."""
    folder = make_run(tmp_path / "run", iterations=(2, 4))
    meta = folder.checkpoints / "4" / "meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | bad if bad else []))
    (meta.parent / manifest.NAME).unlink()
    manifest.write(meta.parent)
    reopen(folder)
    assert "Checkpoint 4 of" in caplog.text
    assert "meta.json is damaged" in caplog.text


def test_what_somebody_has_put_among_the_checkpoints_stops_no_save(tmp_path: Path):
    folder = make_run(tmp_path / "run")
    checkpoints, elsewhere = Checkpoints(folder.checkpoints), tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    (folder.checkpoints / "7.tmp").write_text("a file")
    (folder.checkpoints / "8.old").symlink_to(elsewhere)
    (folder.checkpoints / "998").symlink_to(tmp_path / "nowhere")
    (folder.checkpoints / "999").write_text("a file")
    like = {"x": np.zeros(2, np.float32)}
    checkpoints.save(998, like, {})
    checkpoints.save(999, like, {})
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == ["998", "999"]
    assert elsewhere.read_text() == "mine"


def test_a_checkpoint_that_gives_way_while_it_is_read_is_not_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Evaluation may read while another process trains and saves."""
    folder = make_run(tmp_path / "run", iterations=(2, 4))
    config, program = api.rebuild(folder, None)
    reader, writer = (trainer.Trainer(program, config, folder) for _ in range(2))
    state = reader.restore()
    saved: list[Any] = []

    def save_twice(meta: Any) -> None:
        if not saved:
            saved.extend((6, 8))
            for iteration in saved:
                writer.checkpoints.save(iteration, state, meta)

    with caplog.at_level(logging.WARNING, logger="dop"):
        reader.checkpoints.restore(state, save_twice)
    assert not caplog.records
    assert iterations(folder.path) == saved


def test_a_run_that_was_moved_is_not_begun_anew(tmp_path: Path):
    folder = make_run(tmp_path / "run")
    folder.path.rename(tmp_path / "moved")
    with pytest.raises(dop.RunError, match=r"Checkpoint 4 cannot be written to .*No such file"):
        Checkpoints(folder.checkpoints).save(4, {"x": np.zeros(2, np.float32)}, {})
    assert not folder.path.exists()


def test_one_process_a_run(copy: RunFolder):
    with copy.locked(), pytest.raises(dop.RunError, match="another process"):
        dop.resume(copy.path, trust=True, quiet=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hyper_parameters": {"gamma": 0.5}}, "another configuration than .*: hyper_parameters.gamma was 0.99, now it is 0.5"),
        (
            {"hyper_parameters": {"actor": {"kind": "gru", "hidden_size": 9}, "gamma": 0.5}},
            "actor.hidden_size was 8, now it is 9, and 1 more",
        ),
        ({"train_config": {"seeds": [5, 6]}}, r"train_config.seeds was \[5\], now it is \[5, 6\]"),
        ({"train_config": {"chunk_iterations": 3}}, "train_config.chunk_iterations was 2, now it is 3"),
    ],
)
def test_checkpoint_of_another_configuration(copy: RunFolder, changes: dict[str, Any], words: str):
    edit(copy, **changes)
    with pytest.raises(dop.RunError, match=words):
        dop.resume(copy.path, trust=True, quiet=True)


def test_it_goes_on_with_as_many_devices_as_it_had(tmp_path: Path):
    """Its last bits depend on them, and they can be had only as long as nothing has started JAX."""
    folder = make_run(tmp_path / "run")
    written = json.loads(folder.config.read_text())
    folder.config.write_text(json.dumps(written | {"train_config": written["train_config"] | {"devices": 3}}))
    program = """
        import sys
        from pathlib import Path
        import jax
        from dop import api
        from dop.storage.run_directory import RunFolder

        api.rebuild(RunFolder(Path(sys.argv[1])), None)
        print(jax.device_count())
    """
    assert said(child(folder.path, program=program)) == "3"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"versions": {"jax": "0.0.1"}}, "versions.jax was 0.0.1, now it is"),
        ({"settings": {"jax_threefry_partitionable": "x"}}, "settings.jax_threefry_partitionable was x, now it is True"),
        ({"device": "GPU"}, "device was GPU, now it is cpu"),
        ({"versions": 3, "settings": [], "device": None}, "versions was 3"),
    ],
)
def test_other_surroundings_are_named(tmp_path: Path, changes: dict[str, Any], words: str, caplog: pytest.LogCaptureFixture):
    folder = make_run(tmp_path / "run")
    folder.config.write_text(json.dumps(json.loads(folder.config.read_text()) | changes))
    with caplog.at_level(logging.WARNING, logger="dop"):
        reopen(folder)
    assert words in caplog.text


@pytest.mark.parametrize(("version", "refused"), [("0.1.99", False), ("0.2.0", True), ("1.1.0", True), ("", True)])
def test_run_of_another_version_of_the_library(copy: RunFolder, version: str, refused: bool):
    """The same major.minor goes on; another does not, wherever it stands."""
    config = json.loads(copy.config.read_text()) | {"library_version": version}
    copy.config.write_text(json.dumps(config))
    if not refused:
        assert int(restore(copy).iteration[0]) == iterations(copy.path)[-1]
        return
    with pytest.raises(dop.RunError, match=f"was made by dop {version}.*same major.minor"):
        restore(copy)


def test_arrays_that_the_program_does_not_have(copy: RunFolder):
    """As when the library's code has changed under the same configuration."""
    checkpoints, like = Checkpoints(copy.checkpoints), {"learner": {"critic": np.zeros(3)}}
    with pytest.raises(dop.RunError, match=r"another configuration: \d+ arrays differ"):
        checkpoints.restore(like, lambda _: None)
    like = {name: np.zeros((1, 2), array.dtype) for name, array in arrays(copy.path).items()}
    with pytest.raises(dop.RunError, match=r"this run needs \w+\[1, 2\]"):
        checkpoints.restore(like, lambda _: None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"environment_options": {"delay": 2}}, "time_limit was 2, now it is 3"),
        ({"environment_spec": {"version": "0"}}, "version was 0, now it is 1"),
        ({"hyper_parameters": {"magic": 1}}, "magic"),
        ({"hyper_parameters": {"gamma": 2.0}}, "gamma"),
        ({"train_config": {"magic": 1}}, "magic"),
    ],
)
def test_changed_run_is_refused(copy: RunFolder, changes: dict[str, Any], words: str):
    edit(copy, **changes)
    with pytest.raises(dop.DopError, match=words):
        dop.resume(copy.path, trust=True, quiet=True)


def test_a_run_in_a_changed_file_of_data_asks_for_the_file(copy: RunFolder, monkeypatch: pytest.MonkeyPatch):
    edit(copy, environment_spec={"version": "0"})
    monkeypatch.setattr(envs, "reads_data", lambda name: True)
    with pytest.raises(dop.RunError, match=r"now it is 1\. Restore that file, or pass the original from Python"):
        dop.resume(copy.path, trust=True, quiet=True)


@pytest.mark.parametrize("names", [[["up", "down"]], None])
def test_other_names_of_actions_change_nothing(copy: RunFolder, names: Any):
    """They are labels, which a resumed run has as the environment now says them."""
    edit(copy, environment_spec={"action_names": names})
    assert trainer.iteration_of(restore(copy)) > 0
    assert api.rebuild(copy, None, trust=True)[0].environment_spec["action_names"] == []


def test_a_run_from_before_entities_were_stated_can_resume(copy: RunFolder):
    record = json.loads(copy.config.read_text())
    del record["environment_spec"]["obs_entities"], record["environment_spec"]["state_entities"]
    copy.config.write_text(json.dumps(record))
    assert trainer.iteration_of(restore(copy)) > 0
    assert api.rebuild(copy, None, trust=True)[0].environment_spec["state_entities"] == []


def test_config_that_is_no_json_or_of_another_format(copy: RunFolder):
    text = copy.config.read_text()
    copy.config.write_text(text[:50])
    with pytest.raises(dop.RunError, match="damaged"):
        dop.resume(copy.path)
    copy.config.write_text(text.replace('"format": 2', '"format": 99'))
    with pytest.raises(dop.RunError, match="format 99"):
        dop.resume(copy.path)


def test_not_a_run_directory(tmp_path: Path):
    with pytest.raises(dop.RunError, match=r"no config\.json"):
        dop.resume(tmp_path)


def test_existing_run_is_not_overwritten(copy: RunFolder):
    before = copy.metrics.read_bytes()
    with pytest.raises(dop.RunError, match="exists already"):
        dop.train(dop.StochasticDOP(replay_capacity=64), "matrix-game", run_dir=copy.path, quiet=True)
    assert copy.metrics.read_bytes() == before
