"""Networks of a user's own: found as `module:Class`, by an entry point, or as an object; what is recorded, trusted and refused."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import sys
import textwrap
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dop
from dop import algorithms, api, hyper_parameters
from dop.errors import check_positive, check_types
from dop.networks import FAMILY
from dop.networks.layers import Linear
from helpers import make_spec
from outside import OwnLSTM, OwnTanh
from run_factories import TINY, make_run
from test_cli import run

GAME = ["--env", "matrix-game", "--env-args", "n_agents=2", "n_actions=2"]
SPEC = make_spec()


def text(captured: str) -> str:
    """Help without its boxes."""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", captured).split())


# -------------------------------------------------------------------------------------------------------------------- records


def rebuilt(tmp_path: Path, algorithm: Any, **word: Any) -> Any:
    return api.rebuild(make_run(tmp_path / "run", algorithm=algorithm), None, **word)[1].algorithm


def test_a_run_directory_has_the_networks_and_makes_them_again(tmp_path: Path):
    algorithm = replace(TINY, actor=dop.LayerNormGRU(hidden_size=5))
    folder = make_run(tmp_path / "run", algorithm=algorithm)
    kept = json.loads(folder.config.read_text())["hyper_parameters"]
    assert kept["actor"] == {"kind": "layer-norm-gru", "hidden_size": 5}
    assert api.rebuild(folder, None)[1].algorithm == algorithm


def test_numbers_of_numpy_in_a_network_are_numbers(tmp_path: Path):
    sized: Any = dop.GRU(hidden_size=np.int64(5))  # pyright: ignore[reportArgumentType]
    assert rebuilt(tmp_path, replace(TINY, actor=sized)) == replace(TINY, actor=dop.GRU(hidden_size=5))


def test_an_own_network_is_named_by_its_place_and_needs_the_word_of_the_user(tmp_path: Path):
    own = OwnTanh(hidden_size=4, inner=OwnLSTM(hidden_size=3))
    folder = make_run(tmp_path / "run", algorithm=replace(TINY, actor=own))
    kept = json.loads(folder.config.read_text())["hyper_parameters"]["actor"]
    assert kept == {"kind": "outside:OwnTanh", "hidden_size": 4, "inner": {"kind": "outside:OwnLSTM", "hidden_size": 3}}
    with pytest.raises(dop.RunError, match=r"needs the network 'outside:OwnTanh', which is not part of the library.*--trust \(from Python"):
        api.rebuild(folder, None)
    with pytest.raises(dop.RunError, match="needs the network 'outside:OwnTanh'"):
        api.rebuild(folder, None, algorithm="vdn")
    assert getattr(api.rebuild(folder, None, trust=True)[1].algorithm, "actor") == own  # noqa: B009
    given = replace(TINY, actor=own)
    assert api.rebuild(folder, None, algorithm=given)[1].algorithm == given
    with pytest.raises(dop.RunError, match="other hyper-parameters"):
        api.rebuild(folder, None, algorithm=replace(TINY, actor=replace(own, hidden_size=5)))


def test_a_network_of_a_notebook_is_given_again(tmp_path: Path):
    @dataclass(frozen=True, kw_only=True)
    class Local(OwnTanh):
        pass

    folder = make_run(tmp_path / "run", algorithm=replace(TINY, actor=Local()))
    with pytest.raises(dop.RunError, match="Cannot load the network"):
        api.rebuild(folder, None, trust=True)
    assert api.rebuild(folder, None, algorithm=replace(TINY, actor=Local()))[1].algorithm == replace(TINY, actor=Local())


def test_a_network_that_moved_to_another_module_is_the_same():
    one = {"actor": {"kind": "__main__:MyActor", "width": 3}, "gamma": 0.9}
    assert hyper_parameters.same_values(one, {"actor": {"kind": "my_module:MyActor", "width": 3}, "gamma": 0.9})
    assert not hyper_parameters.same_values(one, {"actor": {"kind": "my_module:MyActor", "width": 4}, "gamma": 0.9})
    assert not hyper_parameters.same_values(one, {"actor": {"kind": "my_module:Other", "width": 3}, "gamma": 0.9})


def test_a_run_directory_alone_cannot_import_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mark = tmp_path / "mark"
    planted = f"from pathlib import Path\nfrom dop import GRU\nPath({str(mark)!r}).touch()\nclass Planted(GRU): pass\n"
    (tmp_path / "planted_network.py").write_text(textwrap.dedent(planted))
    monkeypatch.syspath_prepend(tmp_path)
    folder = make_run(tmp_path / "run")
    config = json.loads(folder.config.read_text())
    for at in ({"actor": {"kind": "planted_network:Planted"}}, {"gamma": [{"a": {"kind": "planted_network:Planted"}}]}):
        folder.config.write_text(json.dumps(config | {"hyper_parameters": config["hyper_parameters"] | at}))
        for look in (dop.resume, dop.evaluate, dop.views.credit, dop.views.render, dop.views.export, dop.views.load):
            with pytest.raises(dop.RunError, match="needs the network 'planted_network:Planted', which is not part"):
                look(folder.path)
    assert not mark.exists()
    with pytest.raises(dop.ConfigError):
        api.rebuild(folder, None, trust=True)
    assert mark.exists()
    del sys.modules["planted_network"]


@pytest.mark.parametrize(
    ("actor", "words"),
    [
        ({"kind": "gur", "hidden_size": 4}, r"config\.json: There is no network 'gur'\. Did you mean 'gru'"),
        ({"kind": "gru", "width": 4}, r"config\.json: The network gru has no field 'width'\. Its fields: hidden_size"),
        ({"kind": "gru", "hidden_size": -4}, "actor.hidden_size must be positive, got -4"),
        ({"kind": "gru", "hidden_size": "wide"}, "actor.hidden_size must be a whole number, got 'wide'"),
        ({"kind": "gru", "hidden_size": [1]}, "actor.hidden_size must be a whole number"),
        ({"kind": 3}, r"config\.json: actor must be one of .*dop.GRU"),
        ({"kind": None}, r"config\.json: actor must be one of"),
        ({"hidden_size": 4}, r"config\.json: actor must be one of"),
        ({"kind": "gru", "hidden_size": "8"}, r"config\.json: actor.hidden_size must be a whole number, got '8'"),
        ("gru", r"config\.json: actor must be one of .*got 'gru'"),
        (None, r"config\.json: actor must be one of"),
    ],
)
def test_a_damaged_network_in_a_run_directory_is_said(tmp_path: Path, actor: Any, words: str):
    folder = make_run(tmp_path / "run")
    config = json.loads(folder.config.read_text())
    config["hyper_parameters"]["actor"] = actor
    folder.config.write_text(json.dumps(config))
    with pytest.raises(dop.DopError, match=words):
        api.rebuild(folder, None)


@dataclass(frozen=True, kw_only=True)
class Kindly(OwnTanh):
    """Has a field that is called like the key of its name in config.json."""

    kind: str = "gru"


@dataclass(frozen=True, kw_only=True)
class Kind(OwnTanh):
    """Has a field that is nearly called so."""

    kind_of: str = "gru"


@pytest.mark.parametrize("actor", [Kindly(), OwnTanh(inner=Kindly()), OwnTanh(inner=OwnTanh(inner=Kindly()))])
def test_a_field_named_kind_is_refused_at_every_depth(actor: Any):
    with pytest.raises(dop.ConfigError, match=r"Kindly has a field kind; config\.json stores .*rename the field"):
        dop.preflight(dop.VDN(actor=actor), "two-step")
    made = hyper_parameters.deserialise(hyper_parameters.serialise(OwnTanh(inner=Kind()))["inner"])
    assert made == Kind()


@dataclass(frozen=True, eq=False)
class ByIdentity(OwnTanh):
    """Takes mutable values, since it is hashed by identity."""

    __hash__ = object.__hash__


@pytest.mark.parametrize("inner", [{}, {"a": 1}, ({"a": 1},), ((1, ({},)),)])
def test_a_dict_in_a_field_is_refused(inner: Any):
    with pytest.raises(dop.ConfigError, match=r"config\.json cannot store inner=.*Use numbers, strings, None, tuples"):
        hyper_parameters.serialise(OwnTanh(inner=inner))
    with pytest.raises(dop.ConfigError, match="cannot be hashed; its fields must be numbers, strings, None, tuples"):
        dop.preflight(dop.VDN(actor=OwnTanh(inner=inner)), "two-step")
    with pytest.raises(dop.ConfigError, match=r"config\.json cannot store inner="):
        dop.preflight(dop.VDN(actor=ByIdentity(inner=inner)), "two-step")
    assert hyper_parameters.serialise(OwnTanh(inner=(1, ("a", None))))["inner"] == [1, ["a", None]]


def test_settings_are_flat_where_they_are_shown():
    kept = hyper_parameters.serialise(dop.VDN(actor=dop.MLP(hidden_size=3)))
    assert {"actor": "mlp", "actor.hidden_size": 3, "actor.layers": 2, "gamma": 0.99}.items() <= hyper_parameters.flat(kept).items()


# ----------------------------------------------------------------------------------------------------------------- what is refused


class Half:
    """Has no `build`."""


@dataclass(frozen=True)
class Builds:
    """Builds what it is told to."""

    what: Any = None

    def build(self, inputs: int, outputs: int, *, key: Any) -> Any:
        return self.what(inputs, outputs, key)


@dataclass
class Thawed:
    """The same, not frozen."""

    what: Any = None
    build = Builds.build


class Odd(eqx.Module):
    """A network that does one thing wrong."""

    layer: Linear
    wrong: str = eqx.field(static=True)

    def init_state(self) -> Any:
        states = {"learned": self.layer.bias, "numbers": jnp.zeros(2, int), "raises": None}
        if self.wrong == "raises":
            raise ValueError("no state today")
        return states.get(self.wrong, jnp.zeros(2))

    def __call__(self, state: Any, x: Any) -> Any:
        y = self.layer(x)
        if self.wrong.startswith("as "):
            return state, y.astype(self.wrong[3:])
        wrong = {"one": y, "more": (state, jnp.append(y, 0)), "grows": (jnp.append(state, 0), y), "nothing": None}
        return wrong.get(self.wrong, (state, y))


def odd(wrong: str) -> Builds:
    return Builds(lambda inputs, outputs, key: Odd(layer=Linear(inputs, outputs, key=key), wrong=wrong))


def fails(*_: Any) -> Any:
    raise RuntimeError("out of wood")


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (dop.GRU, r"actor is the class GRU; pass an object of it: GRU\(\)"),
        (3, "actor must be one of dop.Entities.*, or an object of your own with a method `build`; got 3"),
        (Half(), "actor must be one of"),
        (dop.GRU(hidden_size=0), "actor.hidden_size must be positive, got 0"),
        (dop.GRU(hidden_size=2.0), r"actor.hidden_size must be a whole number, got 2.0. Write 2"),  # pyright: ignore[reportArgumentType]
        (dop.MLP(layers=-1), "actor.layers must be positive, got -1"),
        (OwnTanh(hidden_size=-2), "actor.hidden_size must be positive, got -2"),
        (Builds(fails), r"cannot be built for \d+ inputs and 4 outputs: RuntimeError at .*: out of wood"),
        (Builds(lambda *_: 3), "builds int, which is not a network: it has no init_state and no __call__"),
        (Builds(lambda *_: Linear), "is not a network"),
        (odd("raises"), "cannot give its initial hidden state .*no state today"),
        (odd("learned"), "must consist of arrays of real numbers, none of them parameters"),
        (odd("numbers"), "must consist of arrays of real numbers"),
        (odd("one"), "must return the next hidden state and the output"),
        (odd("nothing"), "must return the next hidden state and the output"),
        (odd("more"), "must return 4 outputs"),
        (odd("grows"), "must keep the shapes and types of its hidden state"),
        (odd("as int32"), r"must return outputs of type float32; they were int32\. Cast them: output\.astype\(jnp\.float32\)"),
        (odd("as bool"), "must return outputs of type float32; they were bool"),
        (odd("as float16"), "must return outputs of type float32; they were float16"),
        (odd("as bfloat16"), "must return outputs of type float32; they were bfloat16"),
        (odd("as complex64"), "must return outputs of type float32; they were complex64"),
        (dop.MLP(layers=10**6), "actor.layers must be at most 64, got 1000000"),
        (dop.MLP(layers=65), "actor.layers must be at most 64, got 65"),
    ],
)
def test_what_is_no_network_is_refused_by_what_is_wrong(part: Any, words: str):
    with pytest.raises(dop.ConfigError, match=words):
        dop.VDN(actor=part).check(SPEC)


def test_outputs_of_critics_have_the_same_type():
    with pytest.raises(dop.ConfigError, match=r"The network of critic=.* must return outputs of type float32; they were float16"):
        dop.StochasticDOP(critic=Builds(stateless("as float16"))).check(SPEC)
    dop.StochasticDOP(critic=Builds(stateless("as float32")), actor=odd("as float32")).check(SPEC)
    dop.VDN(actor=dop.MLP(hidden_size=2, layers=64)).check(SPEC)


class Stateless(Odd):
    def init_state(self) -> Any:
        return ()


def stateless(wrong: str) -> Any:
    return lambda inputs, outputs, key: Stateless(layer=Linear(inputs, outputs, key=key), wrong=wrong)


@dataclass(frozen=True)
class NoHash(OwnTanh):
    def __hash__(self) -> int:
        raise RuntimeError("no hash today")


@dataclass(frozen=True)
class NoEq(OwnTanh):
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison today")

    def __hash__(self) -> int:
        return 1


@dataclass(frozen=True)
class NeverEqual(NoEq):
    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = NoEq.__hash__


@dataclass(frozen=True)
class NoRepr(OwnTanh):
    width: int = 3

    def __repr__(self) -> str:
        raise RuntimeError("no name today")

    def check(self) -> None:
        check_positive(self, "width")


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (NoHash(), r"actor=NoHash\(.* cannot be hashed.*RuntimeError at .*no hash today"),
        (NoEq(), r"actor=NoEq\(.* cannot be compared with itself: RuntimeError at .*no comparison today"),
        (NeverEqual(), r"actor=NeverEqual\(.* is not equal to itself"),
        (NoRepr(width=-1), "actor.width must be positive, got -1"),
    ],
)
def test_methods_that_raise_are_named(part: Any, words: str):
    with pytest.raises(dop.ConfigError, match=words):
        dop.preflight(dop.VDN(actor=part), "two-step")


def test_a_configuration_that_can_change_is_refused():
    thawed: Any = Thawed(what=lambda inputs, outputs, key: dop.GRU(4).build(inputs, outputs, key=key))
    with pytest.raises(dop.ConfigError, match="must be a frozen dataclass"):
        dop.VDN(actor=thawed).check(SPEC)
    dop.VDN(actor=Builds(thawed.what)).check(SPEC)


@pytest.mark.parametrize("name", ["deterministic-dop", "maddpg", "maac"])
@pytest.mark.parametrize("actor", [dop.GRU(), dop.LayerNormGRU(), OwnLSTM()])
def test_single_steps_train_no_recurrent_actor(name: str, actor: Any):
    cls: Any = algorithms.get(name)
    with pytest.raises(
        dop.ConfigError, match=r"actor=.* has a hidden state\. Single transitions cannot train a recurrent actor: use dop.MLP"
    ):
        cls(actor=actor).check(SPEC)


@pytest.mark.parametrize("name", [name for name in algorithms.names() if name not in ("qmix", "vdn", "mappo", "ippo")])
def test_critics_have_no_hidden_state(name: str):
    cls: Any = algorithms.get(name)
    with pytest.raises(dop.ConfigError, match=r"critic=GRU\(hidden_size=64\) has a hidden state\. Critics"):
        cls(critic=dop.GRU()).check(SPEC)


def test_the_attention_of_maac_takes_its_sizes_from_an_mlp():
    with pytest.raises(dop.ConfigError, match=r"critic of maac must be a dop.MLP.*OwnTanh\(hidden_size=8"):
        dop.MAAC(critic=OwnTanh()).check(SPEC)
    dop.MAAC(critic=dop.MLP(hidden_size=8, layers=3)).check(SPEC)


# ---------------------------------------------------------------------------------------------------------- arguments of version 0.1


@pytest.mark.parametrize("old", ["hidden", "hidden_size"])
@pytest.mark.parametrize("name", [name for name in algorithms.names() if name not in ("mappo", "ippo")])
def test_arguments_of_earlier_versions_are_taken_and_warned_of(name: str, old: str):
    cls: Any = algorithms.get(name)
    parts = {f"{'agent' if name in ('qmix', 'vdn') and old == 'hidden' else 'actor'}_{old}": "actor"}
    parts |= {} if name in ("qmix", "vdn") else {f"critic_{old}": "critic"}
    for argument, part in parts.items():
        write = rf"{argument} of {cls.__name__} is deprecated; write {part}=dop\.(GRU|MLP)\(hidden_size=24\)"
        with pytest.warns(DeprecationWarning, match=write):
            made = cls(**{argument: 24})
        assert getattr(made, part) == replace(getattr(cls(), part), hidden_size=24)
        with pytest.warns(DeprecationWarning, match=write):
            assert replace(cls(gamma=0.5), **{argument: 24}) == replace(made, gamma=0.5)
        assert argument not in {field.name for field in dataclasses.fields(cls)}


def test_an_earlier_argument_is_refused_where_the_network_has_no_such_field():
    with pytest.raises(TypeError, match=r"got actor_hidden, which is now hidden_size of actor; Builds\(what=None\) has no such field"):
        dop.StochasticDOP(actor=Builds(), actor_hidden=3)  # pyright: ignore[reportCallIssue]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dop.StochasticDOP(actor=dop.GRU(3))


def test_an_earlier_argument_may_not_disagree_with_the_given_network():
    cls: Any = dop.StochasticDOP
    with pytest.raises(
        TypeError, match=r"got critic_hidden=32 and critic=MLP\(hidden_size=8, layers=2\), which disagree; omit critic_hidden"
    ):
        cls(critic_hidden=32, critic=dop.MLP(8))
    with pytest.raises(TypeError, match="got both actor_hidden and actor_hidden_size, which are the same argument"), pytest.warns():
        cls(actor_hidden=3, actor_hidden_size=4)
    with pytest.warns(DeprecationWarning, match="critic_hidden of StochasticDOP is deprecated"):
        assert cls(critic_hidden=8, critic=dop.MLP(8, layers=3)).critic == dop.MLP(8, layers=3)
    changes: Any = {"critic_hidden": 32}
    with pytest.warns(DeprecationWarning, match=r"It overrides critic=MLP\(hidden_size=8, layers=2\)\."):
        assert replace(dop.StochasticDOP(critic=dop.MLP(8)), **changes).critic == dop.MLP(32)


# --------------------------------------------------------------------------------------------------------------- initial parameters


@dataclass(frozen=True)
class Starts(OwnTanh):
    """Has this number in its parameters at the start."""

    at: str = "nan"

    def build(self, inputs: int, outputs: int, *, key: Any) -> Any:
        return jax.tree.map(lambda x: x.at[0].set(float(self.at)), super().build(inputs, outputs, key=key))


@pytest.mark.parametrize(("at", "is_bad"), [("nan", True), ("inf", True), ("0", False)])
def test_initial_parameters_are_finite(tmp_path: Path, at: str, is_bad: bool):
    def train() -> Any:
        return dop.train(replace(TINY, actor=Starts(at=at)), "matrix-game", env_steps=4, run_dir=tmp_path / "run", quiet=True)

    if not is_bad:
        assert train().outcome.finished
        return
    with pytest.raises(dop.RunError, match=r"initial parameters of .*/first/weight .* of VDN are not finite\. Training has not started"):
        train()
    assert not [*(tmp_path / "run" / "checkpoints").glob("*")]


# ------------------------------------------------------------------------------------------------------------------- command line


def test_networks_and_their_fields_are_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made: list[Any] = []
    monkeypatch.setattr(api, "train", lambda algorithm, *_, **__: made.append(algorithm))
    monkeypatch.setattr("dop.cli.commands.train.run_summary", lambda _: None)
    typed: dict[tuple[str, ...], Any] = {
        (): dop.StochasticDOP(),
        ("--actor.hidden-size", "32"): dop.StochasticDOP(actor=dop.GRU(hidden_size=32)),
        ("--actor", "gru", "--actor.hidden-size=32"): dop.StochasticDOP(actor=dop.GRU(hidden_size=32)),
        ("--actor.layers", "3", "--actor=mlp"): dop.StochasticDOP(actor=dop.MLP(layers=3)),
        ("--critic.hidden_size", "128", "--critic.layers", "1"): dop.StochasticDOP(critic=dop.MLP(hidden_size=128, layers=1)),
        ("--actor", "outside:OwnLSTM", "--actor.hidden-size", "9"): dop.StochasticDOP(actor=OwnLSTM(hidden_size=9)),
        ("--preset", "paper", "--critic.hidden-size", "9"): replace(dop.StochasticDOP.presets()["paper"], critic=dop.MLP(hidden_size=9)),
        ("--preset=paper", "--critic=mlp"): dop.StochasticDOP.presets()["paper"],
        ("--critic", "mlp", "--gamma", "0.5"): dop.StochasticDOP(gamma=0.5),
    }
    for words, expected in typed.items():
        assert run(monkeypatch, "train", "stochastic-dop", "--env=matrix-game", *words) == 0
        assert made.pop() == expected


@dataclass(frozen=True, kw_only=True)
class Nested(OwnTanh):
    """A network with another one in it."""

    inner: Any = dop.MLP(hidden_size=3)  # noqa: RUF009
    """The other one."""


@dataclass(frozen=True, kw_only=True)
class Deep(OwnTanh):
    inner: Any = Nested()


def test_networks_in_networks_are_options(monkeypatch: pytest.MonkeyPatch):
    made: list[Any] = []
    monkeypatch.setattr(api, "train", lambda algorithm, *_, **__: made.append(algorithm))
    monkeypatch.setattr("dop.cli.commands.train.run_summary", lambda _: None)
    nested, deep = "--actor=test_own_network:Nested", "--actor=test_own_network:Deep"
    cls, inner = (getattr(importlib.import_module("test_own_network"), name) for name in ("Nested", "Deep"))
    typed: dict[tuple[str, ...], Any] = {
        (nested,): cls(),
        (nested, "--actor.inner.hidden-size", "7"): cls(inner=dop.MLP(hidden_size=7)),
        (nested, "--actor.inner=gru", "--actor.hidden-size=5"): cls(inner=dop.GRU(), hidden_size=5),
        ("--actor.inner", "gru", "--actor.inner.hidden_size", "9", nested): cls(inner=dop.GRU(hidden_size=9)),
        (nested, "--actor.inner=mlp"): cls(),
        (deep, "--actor.inner.inner.layers=4"): inner(inner=cls(inner=dop.MLP(hidden_size=3, layers=4))),
        (deep, "--actor.inner.inner=gru"): inner(inner=cls(inner=dop.GRU())),
        (deep, "--actor.inner=mlp", "--actor.inner.layers=1"): inner(inner=dop.MLP(layers=1)),
    }
    for words, expected in typed.items():
        assert run(monkeypatch, "train", "vdn", *GAME, *words) == 0
        assert made.pop() == dop.VDN(actor=expected)


@dataclass(frozen=True, kw_only=True)
class Unresolved(OwnTanh):
    """Has an annotation of a name that does not exist."""

    size: Missing = 3  # type: ignore[name-defined]  # pyright: ignore[reportUndefinedVariable]

    def check(self) -> None:
        check_types(self)


@dataclass(frozen=True, kw_only=True)
class OfUnresolved(Unresolved):
    """Inherits it."""


@pytest.mark.parametrize("name", ["Unresolved", "OfUnresolved"])
def test_an_annotation_without_a_meaning_is_said_with_its_class(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    words = r"fields of Unresolved \(.*test_own_network\.py:\d+\) cannot be read: NameError: name 'Missing' is not defined"
    assert run(monkeypatch, "train", "vdn", *GAME, f"--actor=test_own_network:{name}") == 2
    err = text(capsys.readouterr().err)
    assert re.search(words, err)
    assert "typing.py" not in err
    with pytest.raises(dop.ConfigError, match=words):
        dop.VDN(actor=globals()[name]()).check(SPEC)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--actor", "gur"], "no network 'gur'. Did you mean 'gru'? Known: entities, gru, layer-norm-gru, mlp."),
        (
            ["--actor", "entities"],
            "actor=Entities(hidden_size=64) cannot be used: matrix-game does not state which of the network's inputs",
        ),
        (["--actor", "no_such_module:X"], "Cannot load the network 'no_such_module:X': No module named 'no_such_module'"),
        (
            ["--actor", "outside:OwnLogger"],
            "outside:OwnLogger is not a network: it has no build. See dop.Network, and docs/own-network.md.",
        ),
        (["--actor.hidden-size", "-1"], "--actor.hidden-size must be positive, got -1."),
        (["--actor.width", "3"], "Unrecognized options: --actor.width"),
        (["--actor", "mlp", "--actor.layers", "many"], "--actor.layers"),
        (["--actor=test_own_network:Nested", "--actor.inner", "gur"], "no network 'gur'. Did you mean 'gru'?"),
        (["--actor=test_own_network:Nested", "--actor.inner.width", "3"], "Unrecognized options: --actor.inner.width"),
        (["--actor"], "Missing value for argument '--actor'"),
        (["--preset"], "Missing value for argument '--preset'"),
        (["--preset", "papr"], "no preset of vdn 'papr'"),
    ],
)
def test_mistakes_get_a_sentence(words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert run(monkeypatch, "train", "vdn", *GAME, *words) == 2
    assert said in text(capsys.readouterr().err)


def test_help_is_in_sections_with_the_options_of_the_chosen_network(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def shown(*words: str) -> str:
        assert run(monkeypatch, "train", *words, "--help") == 0
        return capsys.readouterr().out

    whole = shown("stochastic-dop")
    assert whole.index("Example:\n  dop train stochastic-dop --env smax:2s3z") < whole.index("Environment options")
    boxes = re.findall(r"([A-Z]\w*(?: \w+)?) options ", whole)
    assert {"Environment", "Run", "Evaluation", "Records", "Machine", "Critic", "Actors", "Exploration", "Data", "Optimisation"} <= {*boxes}
    assert len(boxes) == len(set(boxes))
    critic = text(whole.split("Critic options")[1].split("╰")[0])
    assert "--critic.hidden-size INT Units of each hidden layer. (default: 128)" in critic
    assert "--actor.hidden-size INT Hidden units of the GRU and of the layer before it. (default: 64)" in text(whole)
    assert "--actor.layers" not in whole
    assert "--actor.layers INT Number of hidden layers. (default: 2)" in text(shown("stochastic-dop", "--actor", "mlp"))
    assert "--actor.hidden-size INT Units of the LSTM. (default: 8)" in text(shown("qmix", "--actor", "outside:OwnLSTM"))


@pytest.mark.parametrize("name", algorithms.names())
def test_every_option_of_the_library_has_a_section_and_a_help(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert run(monkeypatch, "train", name, "--help") == 0
    whole = capsys.readouterr().out
    assert "Algorithm options" not in whole
    cls: Any = algorithms.get(name)
    for field in dataclasses.fields(cls):
        assert re.search(rf"--{field.name.replace('_', '-')}\b", whole)


@dataclass(frozen=True, kw_only=True)
class Clashing(dop.VDN):
    """VDN with a field that is called like an option of every run."""

    seeds: int = 3
    """Something else."""


def test_a_field_that_is_an_option_of_every_run_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert run(monkeypatch, "train", "test_own_network:Clashing", *GAME) == 2
    assert "has a field seeds, which is an option of every run: rename the field." in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------------- entry points


def test_entry_points_are_loaded_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    about = tmp_path / "site" / "own-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[dop.networks]\nown-lstm = outside:OwnLSTM\ngru = outside:OwnTanh\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert FAMILY.get("own-lstm") is OwnLSTM
    assert FAMILY.get("gru") is dop.GRU
    folder = make_run(tmp_path / "run", algorithm=replace(TINY, actor=OwnLSTM(hidden_size=3)))
    assert json.loads(folder.config.read_text())["hyper_parameters"]["actor"] == {"kind": "own-lstm", "hidden_size": 3}
    with pytest.raises(dop.RunError, match="needs the network 'own-lstm'"):
        api.rebuild(folder, None)
    assert api.rebuild(folder, None, trust=True)[1].algorithm == replace(TINY, actor=OwnLSTM(hidden_size=3))


def test_protocols_say_what_is_a_network():
    assert isinstance(dop.GRU(3), dop.NetworkConfig)
    assert not isinstance(Half(), dop.NetworkConfig)
    assert set(FAMILY.names()) == {"entities", "gru", "layer-norm-gru", "mlp"}
