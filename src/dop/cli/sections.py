"""Options in sections: the fields of dataclasses, grouped by comments, with the strings below them as help."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from dop.cli.documented import documented
from dop.errors import ConfigError, type_hints
from dop.networks import parts


@dataclass(frozen=True, kw_only=True)
class Option:
    """One command-line option."""

    path: str
    """The dotted name of the field: `gamma`, or `actor.hidden_size` in a network."""
    section: str
    kind: Any
    """The type, for Tyro."""
    default: Any
    help: str

    @property
    def spellings(self) -> set[str]:
        """Its names on the command line, where a flag has a second one that turns it off."""
        return {self.path, f"no_{self.path}"} if self.kind is bool else {self.path}


def options_of(config: Any, cls: type[Any], section: str) -> Iterator[Option]:
    """Options for the fields of a dataclass. Defaults are the values of `config`, or those of the class without it.

    A network has an option for its kind, and options for its own fields. Fields without a section are in `section`.
    """
    hints, about = type_hints(cls, include_extras=True), documented(cls)
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        where, text = about.get(field.name, (None, ""))
        default = field.default if config is None else getattr(config, field.name)
        option = Option(path=field.name, section=where or section, kind=hints[field.name], default=default, help=text)
        if parts.is_part(default):
            yield from _of_network(option, default)
        else:
            yield option


def _of_network(option: Option, network: Any) -> Iterator[Option]:
    """Options for the network's kind, then its own fields, in the section of its field."""
    kinds = ", ".join(parts.FAMILY.names())
    help_ = f"{option.help} One of {kinds}, or my_module:MyNetwork; its options follow.".lstrip()
    yield dataclasses.replace(option, kind=str, default=parts.name_of(network), help=help_)
    for own in options_of(network, type(network), ""):
        yield dataclasses.replace(own, path=f"{option.path}.{own.path}", section=option.section)


def parse(options: Iterable[Option], arguments: Sequence[str], *, prog: str, description: str) -> dict[str, Any]:
    """Parsed values by the options' paths. Tyro prints help and errors, and exits."""
    sections: dict[str, list[Option]] = {}
    for option in options:
        sections.setdefault(option.section, []).append(option)
    groups = [_group(number, title, own) for number, (title, own) in enumerate(sections.items())]
    typed = tyro.cli(dataclasses.make_dataclass("Options", groups), args=arguments, prog=prog, description=description)
    values = [getattr(getattr(typed, f"s{number}"), f"o{i}") for number, own in enumerate(sections.values()) for i in range(len(own))]
    return dict(zip((option.path for own in sections.values() for option in own), values, strict=True))


def _group(number: int, title: str, options: Sequence[Option]) -> tuple[str, Any]:
    """A section as a dataclass for Tyro, with its title in the help."""
    fields = []
    for i, option in enumerate(options):
        kind = Annotated[option.kind, tyro.conf.arg(name=option.path.replace("_", "-"), help=option.help)]
        required = option.default is dataclasses.MISSING
        default: Any = dataclasses.field() if required else dataclasses.field(default_factory=lambda value=option.default: value)
        fields.append((f"o{i}", kind, default))
    group = tyro.conf.OmitArgPrefixes[dataclasses.make_dataclass(f"Section{number}", fields, kw_only=True)]
    return f"s{number}", Annotated[group, tyro.conf.arg(name=title, help="")]


@contextlib.contextmanager
def errors_name_options(paths: Iterable[str]) -> Iterator[None]:
    """Let a ConfigError whose message begins with a field's name write fields as options: `--critic-lr must be positive, got -0.1.`"""
    known = set(paths)

    def as_option(word: re.Match[str]) -> str:
        is_field = word[0] in known and (word.start() == 0 or "_" in word[0])
        return f"--{word[0].replace('_', '-')}" if is_field else word[0]

    try:
        yield
    except ConfigError as error:
        message = str(error)
        if message.split(" ", maxsplit=1)[0] not in known:
            raise
        raise ConfigError(re.sub(r"(?<![\w.-])[a-z][a-z_]*(\.[a-z_]+)*", as_option, message)) from error


def chosen(names: Iterable[str], arguments: Sequence[str]) -> dict[str, str]:
    """Values of these options, which determine the other options; the rest is ignored."""
    paths = list(names)
    fields = [
        (f"o{i}", Annotated[str | None, tyro.conf.arg(name=path.replace("_", "-"))], dataclasses.field(default=None))
        for i, path in enumerate(paths)
    ]
    typed, _ = tyro.cli(dataclasses.make_dataclass("Chosen", fields), args=arguments, return_unknown_args=True, add_help=False)
    values = [getattr(typed, f"o{i}") for i in range(len(paths))]
    return {path: value for path, value in zip(paths, values, strict=True) if value is not None}
