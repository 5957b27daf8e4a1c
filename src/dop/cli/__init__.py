"""The command line, `dop COMMAND ...`; the commands are in `dop.cli.commands`."""

from __future__ import annotations

import errno
import os
import sys
from typing import NoReturn

import dop
from dop.cli import commands
from dop.devices import memory
from dop.errors import DopError, printable

_FILE_ERRORS = (
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
"""System errors of a file or folder that the user has named."""
_MEMORY_ADVICE = (
    "Lower the number of parallel episodes, the batch size, the iterations per chunk, or the number of seeds. Saved checkpoints are intact."
)


def main() -> None:
    """Entry point of the `dop` command. User errors print one sentence and exit with code 2."""
    try:
        _run(sys.argv[1:])
        for stream in (sys.stdout, sys.stderr):
            print(end="", file=stream, flush=True)  # here, where a closed pipe is caught
    except DopError as error:
        _refuse(str(error))
    except BrokenPipeError:  # the reader, for example `head`, has ended
        _drop_output()
    except OSError as error:
        if error.errno not in _FILE_ERRORS:
            raise
        if error.filename is not None:
            _refuse(f"{error.strerror}: {error.filename}")
        print(f"{_program()}: {error.strerror}: standard output", file=sys.stderr)
        _drop_output()
        sys.exit(2)
    except RuntimeError as error:  # compared by name, since `dop --help` does not import JAX
        if type(error).__name__ != "JaxRuntimeError" or "RESOURCE_EXHAUSTED" not in str(error):
            raise
        _refuse(f"{str(error).splitlines()[0]} {_MEMORY_ADVICE}")
    except KeyboardInterrupt:
        print(f"{_program()}: interrupted. Saved checkpoints are intact.", file=sys.stderr)
        sys.exit(130)


def _run(arguments: list[str]) -> None:
    """Print help or the version, or run a command."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return
    if arguments[0] == "--version":
        print(dop.__version__)
        return
    memory.use_few_heaps()
    # User modules are also searched in the current directory; last, so that no file there shadows a package.
    sys.path.append("")
    commands.get(arguments[0]).run(arguments[1:])


def _refuse(why: str) -> NoReturn:
    """Print an error, which may quote contents of files, and exit with the code of user errors."""
    print(f"{_program()}: {printable(why)}", file=sys.stderr)
    sys.exit(2)


def _program() -> str:
    """The prefix of errors: `dop`, with the command if there is one."""
    return f"dop {sys.argv[1]}" if sys.argv[1:] and sys.argv[1] in commands.commands() else "dop"


def _drop_output() -> None:
    """Discard output that cannot be written; otherwise Python reports it again when it flushes at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            os.dup2(nowhere, stream.fileno())


def usage() -> str:
    """The text of `dop --help`."""
    typed = {f"dop {name} {found.names['USAGE']}": found.summary for name, found in commands.commands().items()}
    lines = [f"  {words:44}{summary}" for words, summary in typed.items()]
    return "\n".join(["usage: dop COMMAND ...", "", *lines, "  dop --version"])
