"""The paper's figures and theorems; `dop reproduce` lists them."""

from __future__ import annotations

from collections.abc import Sequence

import tyro

from dop import paper, registry

USAGE = "NAME [options]"


def run(arguments: Sequence[str]) -> None:
    """`dop reproduce NAME [options]`"""
    if not arguments or arguments[0].startswith("-"):
        print("usage: dop reproduce NAME [options]; `dop reproduce NAME --help` explains the options\nof the paper:")
        for name, module in paper.reproductions().items():
            print(f"  {name:12}{registry.summary(module)}")
        return
    module = paper.get(arguments[0])
    module.reproduce(tyro.cli(module.Options, args=arguments[1:], prog=f"dop reproduce {arguments[0]}"), print)
