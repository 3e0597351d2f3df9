"""`deksdenflow`: reads the command line, does the command, and ends with its exit code."""

import signal

_on_interrupt = signal.getsignal(signal.SIGINT)
if __name__ == "__main__" and _on_interrupt is signal.default_int_handler:
    # The imports below take a moment: Ctrl-C during them ends without a traceback, as it does later.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# ruff: noqa: E402 - for the reason above
import asyncio
import errno
import inspect
import io
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from cyclopts import CycloptsError

from services.cli.app import build
from services.cli.ending import CommandError, Exit
from services.cli.options import Caller
from services.cli.text import line
from shared.errors import StartupError

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def main(
    argv: Sequence[str] | None = None, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> int:
    """Do one command; what goes wrong is one line on stderr, and the exit code (see `Exit`) tells of it."""
    caller = Caller(os.environ if environment is None else environment, folder or Path.cwd())
    try:
        return int(_do(sys.argv[1:] if argv is None else argv, caller))
    except CycloptsError as error:
        return _refuse(Exit.USAGE, f"{line(str(error))} See `deksdenflow --help`.")
    except StartupError as error:
        return _refuse(Exit.USAGE, str(error))
    except CommandError as error:
        return _refuse(error.code, str(error))
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has left (`| head`).
        return _give_up_output()
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        _refuse(Exit.FAILED, f"the output cannot be written: {error.strerror}; what was asked for may be done")
        return _give_up_output()


def _give_up_output() -> Exit:
    """Nothing is to be written at the end either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.FAILED


def _open_streams() -> None:
    """Let nothing that is printed end the program: neither a closed stream nor a terminal that lacks a character."""
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  for the life of the process
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  for the life of the process
    cast("io.TextIOWrapper", sys.stdout).reconfigure(errors="replace")


def _do(argv: Sequence[str], caller: Caller) -> int:
    command, bound, kept_back = build().parse_args(argv, print_error=False, exit_on_error=False)
    if "caller" in kept_back:
        bound.arguments["caller"] = caller
    done = command(*bound.args, **bound.kwargs)
    if inspect.iscoroutine(done):
        done = asyncio.run(done)
    sys.stdout.flush()
    return done if isinstance(done, int) else Exit.OK


def _refuse(code: Exit, text: str) -> Exit:
    sys.stderr.write(f"deksdenflow: {line(text)}\n")
    return code


if __name__ == "__main__":
    signal.signal(signal.SIGINT, _on_interrupt)
    _open_streams()
    sys.exit(main())
