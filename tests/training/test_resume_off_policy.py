"""Deterministic DOP goes on in a new process exactly as if it had never been stopped: Gumbel noise, single steps from the replay and all.

`test_resume.py` has interruptions, kills and damage, with stochastic DOP; this is the other kind of learner.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from test_cli import dop_process

GAME = ("--env", "mill", "--env-args", "n_agents=2", "actions=simplex")
TINY = ("--critic.hidden-size=8", "--actor.hidden-size=8", "--replay-batch=16", "--replay-capacity=16", "--warmup-episodes=4")
PROTOCOL = ("--seeds=1", "--eval-interval=40", "--eval-episodes=2", "--checkpoint-interval=40", "--chunk-iterations=2", "--quiet")


def ends_well(folder: Path, *arguments: object) -> None:
    result = dop_process(folder, *arguments)
    assert result.returncode == 0, result.stderr


def told(run: Path) -> list[dict[str, Any]]:
    """The records, but for the time they took."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if not name.endswith("_seconds")} for line in lines]


def test_a_new_process_tells_what_the_old_one_told(tmp_path: Path):
    """240 steps, the replay full after 160. The checkpoint of the end is lost, and a new process goes on from the one before."""
    ends_well(tmp_path, "train", "deterministic-dop", *GAME, *TINY, *PROTOCOL, "--env-steps", 240, "--run-dir", "run")
    run = tmp_path / "run"
    whole = told(run)
    older, newest = sorted((path for path in (run / "checkpoints").iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    shutil.rmtree(newest)
    ends_well(tmp_path, "resume", "run", "--quiet")
    assert told(run) == whole
    assert newest.exists() and older.exists()
    assert "critic_loss" in json.dumps(whole[-2:])
