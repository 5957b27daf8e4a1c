"""The paper's figures and theorems; `dop reproduce` lists them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dop import paper
from dop.cli.output import say
from dop.cli.parsing import parse
from dop.storage import files

USAGE = "NAME [options]"


def run(arguments: Sequence[str]) -> None:
    """`dop reproduce NAME [options]`"""
    if not arguments or arguments[0].startswith("-"):
        say("usage: dop reproduce NAME [options]; `dop reproduce NAME --help` explains the options\nreproductions:")
        for name, found in paper.reproductions().items():
            say(f"  {name:14}{found.summary}")
        return
    module = paper.get(arguments[0])
    options = parse(module.Options, arguments[1:], prog=f"dop reproduce {arguments[0]}")
    out = files.check_place(files.checked_path("--out", options.out), folder=True)
    from dop.devices import compilation  # noqa: PLC0415  (imports JAX, which the list does not need)

    compilation.use_cache()
    module.reproduce(replace(options, out=out), say)
