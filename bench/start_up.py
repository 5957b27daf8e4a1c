"""Start-up time of `dop` in processor seconds, as ratios to `import jax, equinox, optax`.

python bench/start_up.py [--repeats 7] [--only help train]

Each start is paired with an import right before it, so that other load affects both, and the median ratio is shown. Processor seconds are
user plus system time of the process and its threads. Bytecode is cached, as after a first start.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from importlib import metadata

IMPORTS = "import jax, equinox, optax"
MAIN = "import sys; sys.argv[0] = 'dop'; from dop.cli import main; main()"
STARTS = {
    "import": ("import dop", []),
    "algorithm": ("import dop; dop.StochasticDOP()", []),
    "help": (MAIN, ["--help"]),
    "version": (MAIN, ["--version"]),
    "mistyped": (MAIN, ["trian"]),
    "list": (MAIN, ["list"]),
    "reproduce": (MAIN, ["reproduce"]),
    "reproduce-help": (MAIN, ["reproduce", "fig3", "--help"]),
    "train-help": (MAIN, ["train", "stochastic-dop", "--help"]),
    **{
        f"{verb}-help": (MAIN, [verb, "--help"])
        for verb in ("check-env", "credit", "evaluate", "export", "plot", "render", "report", "resume")
    },
}
"""The measured starts: code and command-line arguments."""


def processor_seconds(code: str, arguments: list[str], cache: str) -> float:
    """Processor seconds of a Python process that runs `code`, with bytecode in the folder `cache`."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | {"PYTHONPYCACHEPREFIX": cache}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code, *arguments], env=environment, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=STARTS, default=list(STARTS))
    options = parser.parse_args()
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in ("jax", "equinox", "optax", "tyro"))
    print(f"{platform.machine()}, Python {platform.python_version()}, {versions}; {options.repeats} pairs")
    print(f"{'':40}ratio   processor s   imports s")
    with tempfile.TemporaryDirectory() as cache:
        for name in options.only:
            compare(*STARTS[name], repeats=options.repeats, cache=cache)


def compare(code: str, arguments: list[str], *, repeats: int, cache: str) -> None:
    """Print one line: medians over pairs of starts."""
    for first in ((IMPORTS, []), (code, arguments)):
        processor_seconds(*first, cache)  # fill the bytecode cache
    pairs = [(processor_seconds(IMPORTS, [], cache), processor_seconds(code, arguments, cache)) for _ in range(repeats)]
    ratio = statistics.median(found / imports for imports, found in pairs)
    imports, found = (statistics.median(times) for times in zip(*pairs, strict=True))
    shown = f"dop {' '.join(arguments)}" if arguments else code
    print(f"{shown:40}{ratio:5.2f}   {found:11.2f}   {imports:9.2f}", flush=True)


if __name__ == "__main__":
    main()
