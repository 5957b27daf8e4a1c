"""The command line, `dop COMMAND ...`; `dop.cli.commands` has the commands."""

from __future__ import annotations

import errno
import os
import sys
from typing import NoReturn

import dop
from dop.cli import commands
from dop.devices import memory
from dop.errors import DopError, printable

_OF_FILES = (
    errno.EACCES,
    errno.EDQUOT,
    errno.EEXIST,
    errno.EFBIG,
    errno.EIO,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EROFS,
)
"""What the system says of a file, or of the place for one, that the user has named."""
_LOWER = (
    "Lower the number of episodes that are played or learned from at once, of iterations in a chunk, or of seeds; "
    "what was saved before is as it was."
)


def main() -> None:
    """Entry point of the `dop` command. Errors made by people end in one sentence and exit code 2."""
    try:
        _run(sys.argv[1:])
        for stream in (sys.stdout, sys.stderr):
            print(end="", file=stream, flush=True)  # here, where a closed pipe is caught
    except DopError as error:
        _refuse(str(error))
    except BrokenPipeError:  # the reader, `head` say, has had enough
        _drop_output()
    except OSError as error:
        if error.errno not in _OF_FILES:
            raise
        if error.filename is not None:
            _refuse(f"{error.strerror}: {error.filename}")
        print(f"dop: {error.strerror}: standard output", file=sys.stderr)
        _drop_output()
        sys.exit(2)
    except RuntimeError as error:  # JAX's own kind, by its name, since `dop --help` does without JAX
        if type(error).__name__ != "JaxRuntimeError" or "RESOURCE_EXHAUSTED" not in str(error):
            raise
        _refuse(f"{str(error).splitlines()[0]} {_LOWER}")
    except KeyboardInterrupt:
        print("dop: stopped at once; what was saved before is as it was", file=sys.stderr)
        sys.exit(130)


def _run(arguments: list[str]) -> None:
    """What was asked for: help, the version, or a command."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return
    if arguments[0] == "--version":
        print(dop.__version__)
        return
    memory.use_few_heaps()
    # An environment of the user's own is looked for where the command is typed, too; last, so that no file that lies there is imported in
    # the place of a package.
    sys.path.append("")
    commands.get(arguments[0]).run(arguments[1:])


def _refuse(why: str) -> NoReturn:
    """One sentence, which may quote what files hold, and the exit code of what a person can mend."""
    print(f"dop: {printable(why)}", file=sys.stderr)
    sys.exit(2)


def _drop_output() -> None:
    """Send what was printed and cannot be written nowhere; else Python complains once more when it flushes at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            os.dup2(nowhere, stream.fileno())


def usage() -> str:
    """What `dop --help` shows."""
    typed = {f"dop {name} {found.names['USAGE']}": found.summary for name, found in commands.commands().items()}
    lines = [f"  {words:44}{summary}" for words, summary in typed.items()]
    return "\n".join(["usage: dop COMMAND ...", "", *lines, "  dop --version"])
