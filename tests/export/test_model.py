"""A model has the team of its run, numbers that can be measured again, and nothing that can run code, lead elsewhere or break a reader."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dop
from dop import algorithms, api, views
from dop.analysis import compare
from dop.analysis.credit import estimate_credit
from dop.analysis.playback import Player
from dop.export import card as cards
from dop.export import model
from dop.storage import snapshots, surroundings
from dop.storage.checkpoints import flatten
from dop.storage.run_directory import RunFolder
from dop.training.program import Program
from dop.types import AssignsCredit
from helpers import assert_trees_equal
from workers import Workers, small

OWN: dict[str, Any] = {"environment": "workers:make"}
EPISODES = 16
MODELS = sorted(path for path in (Path(__file__).parents[2] / "models").iterdir() if path.is_dir())
FILES = {"README.md", "card.json", "config.json", "model.npz"}


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of the better seed and moment of a run."""
    folder = tmp_path_factory.mktemp("models") / "workers"
    views.export_model(trained, out=folder, episodes=EPISODES, **OWN)
    return folder


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> RunFolder:
    """A copy to damage."""
    return RunFolder(Path(shutil.copytree(exported, tmp_path / "copied")))


def card_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "card.json").read_text())


def change_card(folder: RunFolder, **changes: Any) -> None:
    folder.card.write_text(json.dumps(card_of(folder.path) | changes))


def rewrite_arrays(folder: RunFolder, change: Callable[[dict[str, np.ndarray]], Any]) -> None:
    """Change the arrays, with a card that fits them."""
    with np.load(folder.model, allow_pickle=False) as found:
        arrays = dict(found)
    change(arrays)
    snapshots.write(folder.model, arrays)
    promise_content(folder)


def promise_content(folder: RunFolder) -> None:
    content = folder.model.read_bytes()
    change_card(folder, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


# ------------------------------------------------------------------------------------------------------------- the same team


def test_it_plays_and_credits_as_its_run(trained: Path, exported: Path):
    card = card_of(exported)
    before = views.load(trained, run_seed=card["run_seed"], at=card["at"], **OWN)
    after = views.load(exported, **OWN)
    assert (after.seed, after.env_steps) == (card["run_seed"], card["env_steps"]) == (before.seed, before.env_steps)
    player, key = Player(before.program), jax.random.key(5)
    for one, other in zip(player(before.learner, key, 8), player(after.learner, key, 8), strict=True):
        assert_trees_equal((one.actions, one.steps, one.credit_estimate), (other.actions, other.steps, other.credit_estimate))


@pytest.mark.parametrize("sampled", [False, True])
def test_its_evaluation_is_that_of_its_seed_in_the_run(trained: Path, exported: Path, sampled: bool):
    card = card_of(exported)
    of_run = dop.evaluate_episodes(trained, episodes=EPISODES, at=card["at"], sampled=sampled, **OWN)
    of_model = dop.evaluate_episodes(exported, episodes=EPISODES, sampled=sampled, **OWN)
    assert of_model.seeds == (card["run_seed"],)
    place = of_run.seeds.index(card["run_seed"])
    np.testing.assert_allclose(of_model.returns[0], of_run.returns[place], rtol=1e-6)


def test_it_has_what_is_needed_and_no_more(exported: Path):
    with np.load(exported / "model.npz", allow_pickle=False) as found:
        fields = {name.partition("/")[0] for name in found.files}
    assert fields == {"env_steps", "actor", "actor_ema", "critic", "state_normaliser"}
    card = card_of(exported)
    assert {"actor_optimiser", "critic_optimiser", "target"} <= set(card["left_out"])
    assert card["credit"] is True
    assert {path.name for path in exported.iterdir()} == FILES


@pytest.mark.parametrize("name", algorithms.algorithms())
def test_what_is_left_out_changes_nothing(name: str):
    """Of every algorithm: with other numbers in the arrays that a model leaves out, its team acts and credits the same."""
    algorithm = small(name)
    program = Program(algorithm=algorithm, environment=Workers())
    learner = program.start(jax.random.key(0)).learner
    needs = model.needed(program)
    kept = needs.policy | (needs.credit or frozenset())
    names = list(flatten(learner))
    assert kept < set(names)
    leaves, tree = jax.tree.flatten(learner)
    changed = jax.tree.unflatten(tree, [leaf if of in kept else leaf + 7 for of, leaf in zip(names, leaves, strict=True)])
    _, step = Workers().reset(jax.random.key(1))
    carry, key = algorithm.initial_carry(Workers().spec), jax.random.key(2)

    def shown(learner: Any) -> Any:
        greedy, after = algorithm.act(learner, carry, step, key, explore=False)
        sampled, _ = program.sampling.act(learner, carry, step, key, explore=True)
        credit = estimate_credit(algorithm, learner, carry, step, greedy.action, key, "discrete") if has_credit else None
        return greedy, after, sampled, credit

    has_credit = isinstance(algorithm, AssignsCredit)
    assert has_credit == (needs.credit is not None)
    assert_trees_equal(jax.jit(shown)(learner), jax.jit(shown)(changed))


def test_an_array_that_is_only_returned_is_needed_too():
    learner: Any = {"a": jnp.ones(2), "b": jnp.ones(2), "c": jnp.ones(2)}
    assert model._read_by(lambda x: (x["a"], x["b"] * 2), learner) == {"a", "b"}


# ----------------------------------------------------------------------------------------------------------------- the card


def test_the_card_has_the_numbers_of_an_evaluation(exported: Path):
    card = card_of(exported)
    found = dop.evaluate_episodes(exported, episodes=EPISODES, seed=card["evaluation"]["seed"], **OWN)
    assert card["evaluation"]["episodes"] == EPISODES
    assert next(iter(card["evaluation"]["metrics"])) == "test_worked_mean"
    for name, (mean, low, high) in ((name, both.over_episodes) for name, both in found.intervals().items()):
        written = card["evaluation"]["metrics"][name]
        np.testing.assert_allclose([written["mean"], *written["interval"]], np.concatenate([mean, low, high]), rtol=1e-6)
    text = (exported / "README.md").read_text()
    mean = card["evaluation"]["metrics"]["test_return_mean"]["mean"]
    assert f"`test_return_mean`: {mean:.3f}, 95% interval [" in text
    assert f"{EPISODES} greedy episodes" in text


def test_the_card_says_how_the_team_was_chosen_and_trained(trained: Path, exported: Path):
    card = card_of(exported)
    compared = card["compared"]
    assert {(found["run_seed"], found["at"]) for found in compared["candidates"]} == {(s, at) for s in (3, 5) for at in ("best", "latest")}
    best = max(found["mean"] for found in compared["candidates"])
    assert best in [f["mean"] for f in compared["candidates"] if (f["run_seed"], f["at"]) == (card["run_seed"], card["at"])]
    assert compared["seed"] != card["evaluation"]["seed"]
    assert card["preset"] == "default"
    assert card["changed"]["critic.hidden_size"] == 16
    assert card["changed"]["epsilon_end"] == 0.3
    assert not {"seeds", "eval_interval"} & set(card["changed"])
    assert re.fullmatch("[0-9a-f]{40}(-dirty)?", card["commit"])
    assert not {"since_target", "actor"} & set(card["changed"])


def test_the_command_of_a_card_trains_so_again(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    """What it says reaches `dop.train` as the settings of the run."""
    from test_cli import run  # noqa: PLC0415

    command = cards.train_command(model.read_card(RunFolder(exported)))
    assert command is not None
    given: list[Any] = []
    monkeypatch.setattr(dop, "train", lambda *x, **named: given.append((x, named)) or SimpleNamespace())
    monkeypatch.setattr("dop.cli.commands.train.run_summary", lambda run: None, raising=False)
    assert run(monkeypatch, *shlex.split(command)[1:]) == 0
    (algorithm, environment), named = given[0]
    config = RunFolder(exported).read_config()
    assert environment == "workers:make"
    assert (
        dop.StochasticDOP(
            **{k: v for k, v in dataclasses.asdict(algorithm).items() if k not in ("actor", "critic")},
            actor=algorithm.actor,
            critic=algorithm.critic,
        )
        == algorithm
    )
    assert algorithm.critic == dop.MLP(hidden_size=16)
    assert algorithm.epsilon_end == config.hyper_parameters["epsilon_end"]
    assert list(named["seeds"]) == [card_of(exported)["run_seed"]]


def test_markup_in_names_stays_text(exported: Path):
    card = model.read_card(RunFolder(exported))
    nasty = "<script>alert(1)</script> ![x](http://y) `` ` # \n\n# title"
    text = cards.readme(dataclasses.replace(card, environment=nasty, changed={nasty: nasty}, device=nasty, commit=nasty), Path(nasty))
    outside = re.sub(r"(?s)```\n.*?\n```\n|(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "", text)
    assert "<" not in outside
    assert "](" not in outside
    assert [line for line in text.splitlines() if line.startswith("#")] == [text.splitlines()[0]]


@pytest.mark.parametrize("text", ["plain", "`", "a`b``c", "``", " ", "\x1b[31m", "a\nb"])
def test_a_code_span_ends_where_it_should(text: str):
    span = cards.code(text)
    fence = re.match("`+", span)
    assert fence and span.endswith(fence[0])
    inner = span[len(fence[0]) : -len(fence[0])]
    assert fence[0] not in re.findall("`+", inner)
    assert inner.isprintable()


def test_the_commit_of_a_package_in_another_repository_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert re.fullmatch("[0-9a-f]{40}(-dirty)?", surroundings.commit() or "")
    inner = tmp_path / "site-packages" / "dop" / "storage"
    inner.mkdir(parents=True)
    os.system(f"git init -q {tmp_path}")
    monkeypatch.setattr(surroundings, "__file__", str(inner / "surroundings.py"))
    assert surroundings.commit() is None


# ----------------------------------------------------------------------------------------------------------------- the critic


def test_a_critic_that_is_too_large_is_left_out(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(model, "MOST_BYTES", 10)
    views.export_model(trained, out=tmp_path / "auto", run_seed=3, at="latest", episodes=2, **OWN)
    views.export_model(trained, out=tmp_path / "yes", run_seed=3, at="latest", episodes=2, credit="yes", **OWN)
    assert (card_of(tmp_path / "auto")["credit"], card_of(tmp_path / "yes")["credit"]) == (False, True)
    assert "the actors alone, which is not enough for `dop credit`" in (tmp_path / "auto" / "README.md").read_text()
    assert "dop credit" not in (tmp_path / "auto" / "README.md").read_text().split("```")[1]
    assert card_of(tmp_path / "auto")["compared"] is None
    with pytest.raises(dop.RunError, match=r"has no critic, as its card\.json says: export the model again with --credit yes"):
        views.credit(tmp_path / "auto", **OWN)
    auto, yes = [dop.evaluate_episodes(tmp_path / name, episodes=4, **OWN).returns for name in ("auto", "yes")]
    np.testing.assert_array_equal(auto, yes)


# ------------------------------------------------------------------------------------------------------------------- refusals


def test_code_that_it_names_needs_permission(exported: Path):
    for read in (dop.evaluate_episodes, views.load, views.render, views.credit):
        with pytest.raises(dop.RunError, match=r"workers:make.*pass --trust"):
            read(exported)


def test_what_a_model_cannot_do_is_a_sentence(exported: Path, trained: Path, tmp_path: Path):
    for refused, words in (
        (lambda: dop.evaluate_episodes(exported, at="best", **OWN), "one moment of its run"),
        (lambda: views.load(exported, at=400, **OWN), "leave out --at"),
        (lambda: views.load(exported, run_seed=99, **OWN), "has no seed 99"),
        (lambda: dop.resume(exported, **OWN), "nothing to resume"),
        (lambda: views.report([exported], out=tmp_path / "page.html"), "no records to compare"),
        (lambda: views.plot([exported], out=tmp_path / "curve.png"), "no records to compare"),
        (lambda: views.export_model(exported, out=tmp_path / "again", **OWN), "exported already"),
        (lambda: views.export_model(trained, out=exported, **OWN), "exists already and is not empty"),
        (lambda: views.export_model(trained, out=tmp_path / "x", run_seed=4, **OWN), "has no seed 4"),
        (lambda: views.render(exported, out=exported / "model.npz", **OWN), "choose another --out"),
        (lambda: dop.train(small("stochastic-dop"), "workers:make", run_dir=exported), "choose another --run-dir"),
        (lambda: dop.train(small("stochastic-dop"), "workers:make", run_dir=tmp_path / "r", init_from=exported), "Name a run"),
    ):
        with pytest.raises(dop.DopError, match=re.escape(words)):
            refused()
    assert {path.name for path in exported.iterdir()} == FILES
    wrong: list[tuple[str, dict[str, Any]]] = [("credit", {"credit": "maybe"}), ("credit", {"credit": []}), ("at must be", {"at": []})]
    for words, values in wrong:
        with pytest.raises(dop.ConfigError, match=words):
            views.export_model(trained, out=tmp_path / "x", **values, **OWN)


def test_a_report_of_a_folder_leaves_its_models_out(exported: Path, trained: Path, tmp_path: Path):
    shutil.copytree(trained, tmp_path / "run")
    shutil.copytree(exported, tmp_path / "model")
    found = compare.gather([tmp_path])
    assert [entry.folder.path for entry in found.entries] == [tmp_path / "run"]
    assert not [remark for remark in found.remarks if "model" in remark]


def test_nothing_is_left_of_an_export_that_fails(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*given: Any, **named: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "evaluate_episodes", fail)
    with pytest.raises(KeyboardInterrupt):
        views.export_model(trained, out=tmp_path / "models" / "mine", run_seed=3, at="latest", episodes=2, **OWN)
    assert list(tmp_path.rglob("*")) == [tmp_path / "models"]


# --------------------------------------------------------------------------------------------------------------------- damage


def no_card(folder: RunFolder) -> None:
    folder.card.unlink()


def no_arrays(folder: RunFolder) -> None:
    folder.model.unlink()


def no_config(folder: RunFolder) -> None:
    folder.config.unlink()


def truncated(folder: RunFolder) -> None:
    folder.model.write_bytes(folder.model.read_bytes()[:-1])


def flipped(folder: RunFolder) -> None:
    content = bytearray(folder.model.read_bytes())
    content[len(content) // 2] ^= 1
    folder.model.write_bytes(content)


def truncated_and_promised(folder: RunFolder) -> None:
    truncated(folder)
    promise_content(folder)


def of_the_future(folder: RunFolder) -> None:
    change_card(folder, format=2)


def with_an_unknown_field(folder: RunFolder) -> None:
    change_card(folder, extra=1)


def without_a_field(folder: RunFolder) -> None:
    card = card_of(folder.path)
    del card["sha256"]
    folder.card.write_text(json.dumps(card))


def huge_card(folder: RunFolder) -> None:
    folder.card.write_text(json.dumps(card_of(folder.path) | {"device": "x" * 2_000_000}))


def deep_card(folder: RunFolder) -> None:
    folder.card.write_text('{"format": 1, "changed": ' + '{"a": ' * 40 + "1" + "}" * 41)


def linked(folder: RunFolder) -> None:
    folder.model.rename(folder.path.parent / "elsewhere.npz")
    folder.model.symlink_to(folder.path.parent / "elsewhere.npz")


def linked_card(folder: RunFolder) -> None:
    folder.card.rename(folder.path.parent / "elsewhere.json")
    folder.card.symlink_to(folder.path.parent / "elsewhere.json")


def wrong_shape(folder: RunFolder) -> None:
    rewrite_arrays(folder, lambda arrays: arrays.update(env_steps=np.zeros((2,), np.int32)))


def wrong_type(folder: RunFolder) -> None:
    rewrite_arrays(folder, lambda arrays: arrays.update(env_steps=np.zeros((1,), np.float64)))


def an_array_less(folder: RunFolder) -> None:
    rewrite_arrays(folder, lambda arrays: arrays.pop("env_steps"))


def an_array_more(folder: RunFolder) -> None:
    rewrite_arrays(folder, lambda arrays: arrays.update({"../../x": np.zeros(3)}))


def pickled(folder: RunFolder) -> None:
    np.savez(folder.model, env_steps=np.array([print], dtype=object))
    promise_content(folder)


def without_its_credit(folder: RunFolder) -> None:
    change_card(folder, credit=False)


def larger_networks(folder: RunFolder) -> None:
    config = json.loads(folder.config.read_text())
    config["hyper_parameters"]["critic"]["hidden_size"] = 10**7
    config["hyper_parameters"]["actor"]["hidden_size"] = 10**7
    folder.config.write_text(json.dumps(config))


DAMAGES = [
    *(no_card, no_arrays, no_config, truncated, flipped, truncated_and_promised, of_the_future, with_an_unknown_field, without_a_field),
    *(huge_card, deep_card, linked, linked_card, wrong_shape, wrong_type, an_array_less, an_array_more, pickled, without_its_credit),
    larger_networks,
]


@pytest.mark.parametrize("change", DAMAGES, ids=lambda change: change.__name__)
def test_a_damaged_model_is_an_error_that_names_it(copied: RunFolder, change: Callable[[RunFolder], None]):
    change(copied)
    with pytest.raises(dop.RunError) as caught:
        views.load(copied.path, **OWN)
    assert str(copied.path) in str(caught.value)
    assert "\n" not in str(caught.value)


SOME = st.one_of(st.none(), st.booleans(), st.integers(-5, 10**20), st.floats(), st.text(max_size=4), st.lists(st.integers(), max_size=2))


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_of_a_card_is_read_or_an_error(exported: Path, tmp_path: Path, data: st.DataObject):
    card = card_of(exported)
    card[data.draw(st.sampled_from([*card, "other"]))] = data.draw(SOME)
    text = json.dumps(card)
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(text))))
    (tmp_path / "card.json").write_text(text[:cut])
    try:
        found = model.read_card(RunFolder(tmp_path))
    except dop.RunError as error:
        assert str(tmp_path) in str(error)
    else:
        assert isinstance(found.bytes, int)
        assert found.credit in (True, False)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), new=st.binary(min_size=1, max_size=8), promised=st.booleans())
def test_any_change_of_the_arrays_is_read_or_an_error(exported: Path, tmp_path: Path, place: float, new: bytes, promised: bool):
    folder = RunFolder(Path(shutil.copytree(exported, tmp_path / "copied", dirs_exist_ok=True)))
    content = bytearray(folder.model.read_bytes())
    start = math.floor(place * len(content))
    before = bytes(content)
    content[start : start + len(new)] = new
    folder.model.write_bytes(content)
    if promised:
        promise_content(folder)
    try:
        views.load(folder.path, **OWN)
    except dop.RunError as error:
        assert str(folder.path) in str(error)
    else:
        assert promised or bytes(content) == before


# ------------------------------------------------------------------------------------------------------ models of this library


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.name)
def test_a_model_of_the_library_plays_as_its_card_says(path: Path, tmp_path: Path):
    card = card_of(path)
    assert {inner.name for inner in path.iterdir()} >= FILES
    assert sum((path / name).stat().st_size for name in FILES) < 1_000_000
    assert (path / "README.md").read_text() == cards.readme(model.read_card(RunFolder(path)), path.relative_to(path.parents[1]))
    assert re.fullmatch("[0-9a-f]{40}", card["commit"])
    found = dop.evaluate_episodes(path, episodes=64, seed=11)
    promised = card["evaluation"]["metrics"]["test_battle_won_mean"]
    (won,) = found.means()["test_battle_won_mean"]
    spread = math.sqrt(promised["mean"] * (1 - promised["mean"]) / 64)
    assert abs(won - promised["mean"]) < 3 * spread + (promised["interval"][1] - promised["mean"])
    films = views.render(path, out=tmp_path, episodes=8)
    assert all(film.stat().st_size > 1000 for film in films.values())


def test_there_is_a_model_of_the_library():
    assert [path.name for path in MODELS] == ["smax-3m-stochastic-dop"]
