"""The command line, `dop COMMAND ...`; `dop.commands` has the commands."""

from __future__ import annotations

import os
import sys

import dop
from dop import commands, registry
from dop.errors import DopError


def main() -> None:
    """Entry point of the `dop` command. Errors made by people end in one sentence and exit code 2."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return
    if arguments[0] == "--version":
        print(dop.__version__)
        return
    # An environment of the user's own is looked for where the command is typed, too; last, so that no file that lies there is imported in
    # the place of a package.
    sys.path.append("")
    try:
        commands.get(arguments[0]).run(arguments[1:])
        sys.stdout.flush()  # here, where a closed pipe is caught
    except DopError as error:
        print(f"dop: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader, `head` say, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more when it flushes at exit
    except KeyboardInterrupt:
        print("dop: stopped at once; what was saved before is as it was", file=sys.stderr)
        sys.exit(130)


def usage() -> str:
    """What `dop --help` shows."""
    lines = [f"  {f'dop {name} {module.USAGE}':44}{registry.summary(module)}" for name, module in commands.commands().items()]
    return "\n".join(["usage: dop COMMAND ...", "", *lines, "  dop --version"])
