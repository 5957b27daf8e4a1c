"""What a run will need is known before anything is computed, and refused in gigabytes where the machine has less."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import pytest

import dop
from dop.training import preflight
from dop.training.preflight import Preflight
from run_factories import GAME, TINY, make_run, reopen

NEEDS = Preflight(
    parameters={"actor": 1200, "critic": 34_000},
    seeds=2,
    episodes=1000,
    replay=3_000_000_000,
    learner=500_000_000,
    batch=250_000_000,
    on_cpu=False,
    device_free=10_000_000_000,
    host_free=10_000_000_000,
    disk_free=30_000_000_000,
    disk_used=0,
)


def test_sums_are_of_all_seeds():
    """A device holds everything once, the host a copy while it saves, the disk two checkpoints and the third that is being written."""
    assert (NEEDS.device, NEEDS.host, NEEDS.disk) == (7_500_000_000, 7_000_000_000, 21_000_000_000)
    assert replace(NEEDS, on_cpu=True).host == 14_500_000_000
    NEEDS.check()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"device_free": 7_000_000_000},
            r"7\.5 GB of the device's memory and 7 GB are free\. Each seed's replay of 1000 episodes has 3 GB",
        ),
        ({"device_free": 7_000_000_000}, "at most 916 episodes, or the number of seeds"),
        ({"host_free": 6_000_000_000}, r"needs 7 GB of memory and 6 GB are free.*at most 833 episodes"),
        ({"on_cpu": True, "host_free": 14_000_000_000}, r"needs 14\.5 GB of memory and 14 GB are free.*at most 958 episodes"),
        ({"disk_free": 20_000_000_000}, r"needs 21 GB on the disk, for checkpoints, and 20 GB are free.*at most 944 episodes"),
        ({"learner": 10**12}, r"the learner 1e\+03 GB.*Lower the sizes of the networks, or"),
        ({"batch": 10**12}, "Lower the sizes of the batches, or"),
        ({"disk_free": 100_000}, r"0\.0001 GB are free.*Lower the replay capacity, or"),
    ],
)
def test_what_is_missing_is_said_in_gigabytes(changes: dict[str, Any], words: str):
    with pytest.raises(dop.ConfigError, match=words):
        replace(NEEDS, **changes).check()


def test_the_capacity_that_is_advised_fits():
    tight = replace(NEEDS, device_free=7_000_000_000)
    replace(tight, episodes=916, replay=3_000_000 * 916).check()


def test_checkpoints_that_are_there_make_place():
    replace(NEEDS, disk_free=12_000_000_000, disk_used=9_000_000_000).check()
    assert "disk                                  0 GB of" in str(replace(NEEDS, disk_used=30_000_000_000))


def test_evaluation_needs_no_disk():
    replace(NEEDS, disk_free=0).check(saves=False)


def test_sizes_are_those_of_the_arrays(tmp_path: Path):
    folder = make_run(tmp_path / "run")
    state = reopen(folder)
    needs = dop.preflight(TINY, "matrix-game", environment_options=GAME, run_dir=folder.path)
    assert needs.replay == sum(x.nbytes for x in jax.tree.leaves(state.replay))
    assert needs.learner == sum(x.nbytes for x in jax.tree.leaves(state.learner))
    assert "\nreplay keeps observations             in half precision (obs_bound 1.0)\n" in str(needs)
    assert needs.parameters["online"] == sum(x.size for x in jax.tree.leaves(state.learner.online))
    assert needs.disk_used == sum(path.stat().st_size for path in folder.checkpoints.rglob("*") if path.is_file())
    assert needs.batch > 0
    assert min(needs.device_free, needs.host_free, needs.disk_free) > 0


@pytest.mark.parametrize(
    ("name", "words"), [("free_memory", "of memory|of the device's memory"), ("free_disk", "on the disk, for checkpoints,")]
)
def test_a_run_that_does_not_fit_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, words: str):
    monkeypatch.setattr(preflight, name, lambda *_: 100_000)
    with pytest.raises(dop.ConfigError, match=rf"This run needs .* GB ({words}) and 0\.0001 GB are free\. The replay of 5000 episodes"):
        dop.train(dop.StochasticDOP(), "matrix-game", run_dir=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_the_table_has_all_of_it():
    shown = str(NEEDS)
    for words in (
        "actor",
        "34,000",
        "1,000 episodes x 2 seeds",
        "6 GB",
        "device memory",
        "7.5 GB of 10 GB free",
        "21 GB of 30 GB",
    ):
        assert words in shown


def test_a_container_may_have_less_than_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    monkeypatch.setattr(preflight, "CGROUP", tmp_path)
    assert preflight.free_memory() == 600
    (tmp_path / "memory.stat").write_text("anon 100\ninactive_file 200\nactive_file 50\n")  # what it has read makes place
    assert preflight.free_memory() == 850
    (tmp_path / "memory.max").write_text("max\n")
    assert preflight.free_memory() > 1000
