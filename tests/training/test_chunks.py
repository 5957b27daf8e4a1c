"""How many iterations a chunk has where that is left open, and what is said of chunks that are too long."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

import dop
from dop.api import planning
from dop.errors import ConfigError
from dop.storage.run_directory import RunFolder
from probes import TimeLimit

VDN = dop.VDN(actor=dop.GRU(hidden_size=4), replay_batch=4, replay_capacity=4, episodes_per_iteration=4)


@pytest.mark.parametrize(
    ("env_steps", "steps", "warm_up", "iterations"),
    [
        (200_000, 4 * 60, 32 * 60, 10),  # `make train`
        (300_000, 8 * 100, 32 * 100, 10),  # COMA and the fine-tuned QMIX in Fig. 3
        (500_000, 8 * 1000, 32_000, 7),  # 468,000 steps are left: 8 chunks of 7 x 8,000, and some
        (100_000, 4 * 1000, 32_000, 2),
        (10_000, 4 * 1000, 32_000, 1),
        (4000, 4, 32, 10),  # a game of one step
        (64, 4, 16, 1),
    ],
)
def test_at_least_eight_chunks_fit_where_that_is_possible(env_steps: int, steps: int, warm_up: int, iterations: int):
    rules = dop.TrainConfig(env_steps=env_steps).settled(steps=steps, warm_up=warm_up)
    assert rules.chunk_iterations == iterations
    assert iterations == 1 or 8 * iterations * steps <= env_steps - warm_up
    assert rules.settled(steps=1, warm_up=0) == rules  # what was chosen stays


def test_what_is_asked_for_is_kept():
    assert dop.TrainConfig(env_steps=100, chunk_iterations=50).settled(steps=1000, warm_up=0).chunk_iterations == 50
    with pytest.raises(ConfigError, match="chunk_iterations must be positive"):
        dop.TrainConfig(chunk_iterations=0).check()
    assert dop.TrainConfig().iterations_per_chunk == 10


@pytest.mark.parametrize(
    ("rules", "steps", "words"),
    [
        ({"chunk_iterations": 20, "eval_interval": 4800}, 240, None),
        (
            {"chunk_iterations": 20, "eval_interval": 4799},
            240,
            r"can take 4,800 .*interval of eval.* \(4,799\).*-iterations 19 would fit",
        ),
        ({"chunk_iterations": 2, "eval_interval": 1000}, 4000, r"can take 8,000 .*one iteration alone can take 4,000: lower"),
        ({"chunk_iterations": 20, "env_steps": 50_000}, 4000, r"can take 80,000 .*the whole run \(50,000\).*-iterations 2 would fit"),
    ],
)
def test_chunks_that_are_too_long_are_remarked(rules: dict[str, Any], steps: int, words: str | None):
    remark = dop.TrainConfig(**rules).remark(steps=steps)
    if words is None:
        assert remark is None
    else:
        assert re.search(words, remark or ""), remark


@pytest.mark.parametrize(
    ("rules", "chosen", "warned"), [({}, 6, True), ({"eval_interval": 30_000}, 6, False), ({"chunk_iterations": 30}, 30, True)]
)
def test_a_run_keeps_what_was_chosen_and_warns(
    rules: dict[str, Any], chosen: int, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """Episodes of 1,000 steps, 4 an iteration, 4 before the first."""
    with caplog.at_level(logging.WARNING, logger="dop"):
        plan = planning.make_plan(VDN, TimeLimit(limit=1000), 200_000, 1, tmp_path / "run", None, rules)
    assert plan.config.train_config.chunk_iterations == chosen
    assert ("A chunk of" in caplog.text) == warned
    plan.folder.create(plan.config)
    assert json.loads(plan.folder.config.read_text())["train_config"]["chunk_iterations"] == chosen
    assert RunFolder(plan.folder.path).read_config() == plan.config
