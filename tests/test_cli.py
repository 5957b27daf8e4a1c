"""The command line: what people type, what they get, and what they are told when they mistype."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

import dop
from dop import cli
from dop.algorithms import algorithms
from dop.cli import commands
from dop.cli.commands import train
from dop.loggers import protocol
from dop.storage import records
from logged import scalars

DOP = [sys.executable, "-c", "from dop.cli import main; main()"]
SIZES = {
    "critic.hidden-size": 8,
    "actor.hidden-size": 8,
    "actor-steps": 1,
    "replay-capacity": 32,
    "on-policy-capacity": 16,
    "on-policy-batch": 4,
}
TINY = [f"--{name}={value}" for name, value in SIZES.items()]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """`dop ...` in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["dop", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    return 0


@pytest.mark.parametrize("arguments", [(), ("-h",), ("--help",)])
def test_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]):
    assert run(monkeypatch, *arguments) == 0
    shown = capsys.readouterr().out
    assert all(f"dop {command}" in shown for command in commands.commands())


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.strip() == dop.__version__


def test_list(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert run(monkeypatch, "list") == 0
    shown = capsys.readouterr().out
    for name in (*algorithms(), *dop.environments(), "default, v0.1, paper, released"):
        assert name in shown


def test_a_reader_that_has_had_enough_is_no_error():
    """As in `dop list | head -1`: the pipe's other end is closed before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*DOP, "list"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_output_that_is_closed_or_full_is_no_traceback():
    closed = subprocess.run(f"{shlex.join(DOP)} list >&-", shell=True, stderr=subprocess.PIPE, text=True, check=False)
    assert (closed.returncode, closed.stderr) == (0, "")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*DOP, "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "dop list: No space left on device: standard output\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--seeds", "3000000000"], "At most 256 seeds"),
        (["--seeds", str(10**30)], "At most 256 seeds"),
        (["--run-dir", "x" * 300], f"File name too long: {'x' * 300}"),
    ],
)
def test_what_is_far_too_much_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], told: str
):
    assert run(monkeypatch, "train", "vdn", "--env", "two-step", "--dry-run", *words) == 2
    assert told in capsys.readouterr().err


def test_memory_that_runs_out_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """As a program that JAX has compiled raises it."""

    def too_much(*_: Any) -> None:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 329000000296 bytes.\nmore")

    monkeypatch.setattr(cli.commands, "get", lambda _: SimpleNamespace(run=too_much))
    assert run(monkeypatch, "evaluate", "RUN") == 2
    assert "Out of memory allocating 329000000296 bytes. Lower the number of parallel episodes" in capsys.readouterr().err


@pytest.mark.parametrize("name", algorithms())
def test_help_explains_every_hyper_parameter(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str):
    assert run(monkeypatch, "train", name, "--help") == 0
    shown = capsys.readouterr().out
    cls: Any = algorithms()[name]
    for field in (*dataclasses.fields(cls), *dataclasses.fields(dop.TrainConfig), *dataclasses.fields(train.Options)):
        if field.name not in ("hyper", "train_config"):
            assert re.search(rf"--(no-)?{field.name.replace('_', '-')}\b", shown), field.name
    assert "Discount factor per step" in shown


def test_every_field_of_the_protocol_is_an_option_that_reaches_the_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Whatever fields there are: nothing on the command line names them."""
    other = {int: 3, float: 0.5, bool: True, type(None): 7, str: "half"}
    own = {"on_non_finite": "skip", "env_workers": "ray:2", "env_timeout": 9.0}
    usual = {field.name: getattr(dop.TrainConfig, field.name) for field in dataclasses.fields(dop.TrainConfig) if field.name != "seeds"}
    chosen = {name: own.get(name, other[type(value)]) for name, value in usual.items()}
    words = [f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}") for name, value in chosen.items()]
    given: dict[str, Any] = {}
    monkeypatch.setattr(train, "run_summary", lambda _: None)
    monkeypatch.setattr(dop, "train", lambda *_, **options: given.update(options))
    assert run(monkeypatch, "train", "vdn", "--env", "two-step", "--seeds", 2, "--first-seed", 5, *words) == 0, capsys.readouterr().err
    assert {name: given[name] for name in chosen} == chosen
    assert list(given["seeds"]) == [5, 6]


def test_help_shows_what_the_preset_sets(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert run(monkeypatch, "train", "stochastic-dop", "--preset", "released", "--help") == 0
    assert re.search(r"target-interval.*?default: 600", capsys.readouterr().out, re.DOTALL)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("trian stochastic-dop --env matrix-game", "no command 'trian'. Did you mean 'train'?"),
        ("train stochastic_dop --env matrix-game", "no algorithm 'stochastic_dop'. Did you mean 'stochastic-dop'?"),
        ("train stochastic-dop --env matrix-gmae", "no environment 'matrix-gmae'. Did you mean 'matrix-game'?"),
        ("train stochastic-dop --env smax:3n", "Did you mean '3m'?"),
        ("train stochastic-dop --env matrix-game --preset papr", "no preset of stochastic-dop 'papr'. Did you mean 'paper'?"),
        ("train stochastic-dop --env matrix-game --preset=papr", "Did you mean 'paper'?"),
        ("train stochastic-dop --env matrix-game --env-args n_agents", "--env-args takes name=value, got 'n_agents'"),
        ("train stochastic-dop --env matrix-game --env-args n_agents=0", "n_agents"),
        ("train stochastic-dop --env matrix-game --env-args agents=2", "agents"),
        ("train stochastic-dop --env matrix-game --env-args name=x", "matrix-game cannot be made with these options: got an unexpected"),
        ("train stochastic-dop --env matrix-game --env-args variant=x", "multiple values for argument 'variant'"),
        ("train stochastic-dop --env matrix-game --env-args =3", "--env-args takes name=value, got '=3'"),
        ("train stochastic-dop --env matrix-game --env-args n_agents=2 n_agents=3", "--env-args has n_agents twice: 2, then '3'"),
        ("train stochastic-dop --env matrix-game --env-args n_agents=" + "9" * 5000, "n_agents has too many digits in a number"),
        ("train stochastic-dop --env matrix-game --env-args n_agents=" + "[" * 50_000, "n_agents has too many brackets in each other"),
        ("check-env matrix-game --env-args optimal_reward=" + "9" * 400, "it must be a finite number"),
        ("check-env matrix-game --seed=-1", "seed must not be negative, got -1"),
        ("evaluate no-such-run --seed 9223372036854775808", "seed must be below 4,294,967,296"),
        ("train stochastic-dop --env no.such.module:make", "Cannot load the environment 'no.such.module:make'"),
        ("train stochastic-dop --env matrix-game --gamma 1.5", "--gamma must lie in [0, 1], got 1.5"),
        ("train stochastic-dop --env matrix-game --env-steps 0", "--env-steps must be positive, got 0"),
        ("train stochastic-dop --env matrix-game --seeds 0", "seeds"),
        ("train stochastic-dop --env matrix-game --on-policy-batch 64", "--on-policy-batch (64)"),
        ("resume no-such-run", "no-such-run is not a run directory"),
        ("evaluate no-such-run", "no-such-run is not a run directory"),
        ("credit no-such-run", "no-such-run is not a run directory"),
        ("render no-such-run", "no-such-run is not a run directory"),
        ("export no-such-run", "no-such-run is not a run directory"),
        ("report no-such-run", "no-such-run is not a run directory and contains none"),
        ("plot no-such-run", "no-such-run is not a run directory and contains none"),
        ("plot --others no-such.json", "no-such.json cannot be read"),
        ("train vdn --env matrix-game --logger-online", "Online logging needs a logger"),
    ],
)
def test_mistakes_end_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str, words: str
):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *command.split()) == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert re.match("dop( [a-z-]+)?: ", shown.err)
    assert shown.err.count("\n") == 1
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["train stochastic-dop", "train stochastic-dop --env matrix-game --gama 0.9", "resume"])
def test_wrong_options_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str):
    assert run(monkeypatch, *command.split()) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_dry_run_says_what_is_needed_and_stops(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "train", "stochastic-dop", "--env", "matrix-game", "--seeds", 2, "--dry-run", *TINY) == 0
    shown = capsys.readouterr().out
    for words in (
        "actor",
        "critic",
        "replay, 32 episodes x 2 seeds",
        "one checkpoint, at most",
        r"memory +\S+ GB of \S+ GB free",
        "disk ",
    ):
        assert re.search(words, shown), words
    assert not any(tmp_path.iterdir())
    monkeypatch.setattr("dop.training.preflight.free_disk", lambda _: 10)
    assert run(monkeypatch, "train", "stochastic-dop", "--env", "matrix-game", "--dry-run", *TINY) == 2
    assert "on the disk, for checkpoints," in capsys.readouterr().err


def dop_process(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """`dop ...` in a process of its own, as people start it."""
    return subprocess.run([*DOP, *map(str, arguments)], cwd=folder, capture_output=True, text=True, check=False, timeout=300)


def test_mistakes_are_found_before_anything_is_compiled(tmp_path: Path):
    before = time.monotonic()
    result = dop_process(tmp_path, "train", "stochastic-dop", "--env", "matrix-game", "--gamma", "2")
    assert result.returncode == 2
    assert result.stderr == "dop train: --gamma must lie in [0, 1], got 2.0.\n"
    assert not result.stdout
    assert time.monotonic() - before < 60  # 4 s on an idle machine; a program takes half a minute to compile
    assert not any(tmp_path.iterdir())


def test_train_resume_evaluate(tmp_path: Path):
    game = ["--env", "matrix-game", "--env-args", "n_agents=2", "n_actions=2", "--env-steps", 64, "--seeds", 2]
    train_config = ["--eval-interval", 32, "--eval-episodes", 4, "--checkpoint-interval", 32, "--chunk-iterations", 4]
    result = dop_process(tmp_path, "train", "stochastic-dop", *game, *train_config, *TINY, "--first-seed", 3, "--share-parameters", "none")
    assert result.returncode == 0, result.stderr
    assert "finished after 64 environment steps" in result.stdout
    assert "greedy" in result.stderr  # progress; results go to the standard output
    (folder,) = (tmp_path / "runs" / "matrix-game" / "stochastic-dop").iterdir()
    assert str(folder.relative_to(tmp_path)) in result.stdout

    config = json.loads((folder / "config.json").read_text())
    assert config["algorithm"] == "stochastic-dop"
    assert config["environment"] == "matrix-game"
    assert config["environment_options"] == {"n_agents": 2, "n_actions": 2}
    assert config["environment_spec"]["version"] == "1"
    assert config["train_config"] | {"seeds": [3, 4], "env_steps": 64, "eval_interval": 32} == config["train_config"]
    hyper = {
        "critic": {"kind": "mlp", "hidden_size": 8, "layers": 2},
        "actor": {"kind": "gru", "hidden_size": 8},
        "share_parameters": "none",
        "gamma": 0.99,
    }
    assert config["hyper_parameters"] | hyper == config["hyper_parameters"]
    assert config["hyper_parameters"].keys() == {field.name for field in dataclasses.fields(dop.StochasticDOP)}
    assert config["library_version"] == dop.__version__
    assert {"device", "machine", "versions"} <= config.keys()
    assert_records(folder, until=64)
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert_tensorboard(folder)
    assert list((folder / "checkpoints").iterdir())

    result = dop_process(tmp_path, "resume", folder, "--env-steps", 96, "--quiet")
    assert result.returncode == 0, result.stderr
    assert "finished after 96 environment steps" in result.stdout
    assert_records(folder, until=96)
    assert_tensorboard(folder)

    result = dop_process(tmp_path, "evaluate", folder, "--episodes", 8)
    assert result.returncode == 0, result.stderr
    assert re.search(r"test_return_mean +-?\d+\.\d+ +\(per seed: -?\d+\.\d+, -?\d+\.\d+\)", result.stdout)
    assert "test_optimal_mean" in result.stdout


def assert_tensorboard(folder: Path) -> None:
    """For each seed, every point of metrics.jsonl, once."""
    for seed in (3, 4):
        own = [record for record in records.read(folder / "metrics.jsonl") if record.seed == seed]
        expected = [(tag, record.env_steps, np.float32(value)) for record in own for tag, value in protocol.tagged(record).items()]
        assert scalars(folder / "tensorboard" / f"seed_{seed}") == expected


def assert_records(folder: Path, *, until: int) -> None:
    """One evaluation at the start and every 32 steps, one training record every 16 (4 iterations of 4 one-step games), for both seeds."""
    found = records.read(folder / "metrics.jsonl")
    for seed in (3, 4):
        steps = {kind: [r.env_steps for r in found if (r.kind, r.seed) == (kind, seed)] for kind in ("train", "evaluation")}
        assert steps["train"] == list(range(32, until + 1, 16))
        assert steps["evaluation"] == list(range(16, 17)) + list(range(32, until + 1, 32))
    spread = {"return_std", "return_min", "return_max"}
    assert {"test_return_mean", "test_ep_length_mean", "test_optimal_mean", *(f"test_{name}" for name in spread)} == found[0].metrics.keys()
    learned = [record for record in found if record.kind == "train"]
    expected = {"return_mean", "optimal_mean", "ep_length_mean", "critic_loss", "policy_entropy", "epsilon"} | spread
    assert all(expected <= record.metrics.keys() for record in learned)
    for record in learned:
        assert record.metrics["epsilon"] == pytest.approx(0.2 - 0.15 * record.env_steps / 20_000, rel=1e-6)
