"""How a command ends: the exit codes, and the error that carries one."""

from enum import IntEnum

from shared.errors import DeksdenFlowError
from shared.schemas.problems import Problem
from shared.schemas.statuses import ProtocolStatus


class Exit(IntEnum):
    """What the exit code tells a script; COMMANDS.md has the same table."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    BLOCKED = 5
    CANCELLED = 6
    WAITS = 7
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """In words for the reference."""
        return _MEANINGS[self]


_MEANINGS = {
    Exit.OK: "It is done; a run that was waited for has completed.",
    Exit.FAILED: "It failed: the run ended as failed, or `doctor` found something that does not work.",
    Exit.USAGE: "The command line, a setting or the folder is not right; nothing was changed.",
    Exit.UNREACHABLE: "The server does not answer, answers something else, or something needed is not installed.",
    Exit.REFUSED: "The server refused: the line says why and what is possible; `--json` prints the problem document.",
    Exit.BLOCKED: "The run that was waited for is blocked.",
    Exit.CANCELLED: "The run that was waited for was cancelled.",
    Exit.WAITS: "The run that was waited for goes on only when a person acts.",
    Exit.INTERRUPTED: "Ctrl-C.",
}

_ENDS = {
    ProtocolStatus.COMPLETED: Exit.OK,
    ProtocolStatus.FAILED: Exit.FAILED,
    ProtocolStatus.BLOCKED: Exit.BLOCKED,
    ProtocolStatus.CANCELLED: Exit.CANCELLED,
}


def exit_of(status: ProtocolStatus) -> Exit | None:
    """The code that a run's end is told by; None while it has not ended and is not stuck."""
    return _ENDS.get(status)


class CommandError(DeksdenFlowError):
    """A command cannot be done; `str(error)` is the one line that a person gets, `problem` what the server said."""

    def __init__(self, code: Exit, text: str, problem: Problem | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.problem = problem
