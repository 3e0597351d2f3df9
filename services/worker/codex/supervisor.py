"""The supervisor of one agent process: a program of its own, on the standard library alone, so that it starts quickly.

    *program(python), LOCK_FILE EXIT_FILE STDIN_FILE DEADLINE_S GRACE_S COMMAND [ARGUMENT...]

It waits for a byte on stdin, so that the worker can start it before all is ready; when stdin ends instead, or on
SIGTERM, SIGINT or SIGHUP, it leaves without a trace. Then it takes the lock of the worktree (exit code 75 when another
holds it), starts the command with the lock inherited, and lives exactly as long as the command's process tree. The
tree is ended when the command has ended, when stdin reaches its end (the worker is gone), on one of those signals, and
when the deadline passes: SIGTERM to every process of it, and SIGKILL to what is left after the grace period. Being a
subreaper it also inherits, and ends, what detached itself. Then it writes EXIT_FILE in one piece and exits with the
command's code, or 128 + its signal.
"""

# pathlib would cost a third of the time to start; what is printed goes to stderr, as a program's words do.
# ruff: noqa: PTH104, PTH120, PTH123, PTH208, T201

import ctypes
import fcntl
import os
import select
import sys
import time
from types import FrameType

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    # What `signal` itself is made of: its enums would take a quarter of the time to start.
    import _signal as signal

EX_TEMPFAIL = 75
CANNOT_RUN = 126
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_POLL_S = 0.05
# Imported, and not run as a file, it is compiled once and not at every start.
_LAUNCH = """
import sys
sys.path.append(sys.argv.pop(1).rpartition("/")[0])
import supervisor
supervisor.run(sys.argv[1:])
"""

_libc = ctypes.CDLL(None, use_errno=True)


class Tree:
    """The command and everything that descends from it."""

    def __init__(self, command: int) -> None:
        self.command = command
        self.status: int | None = None
        self.killed: set[int] = set()

    def reap(self) -> bool:
        """Collect who died; return whether anybody is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.command:
                self.status = status

    def signal(self, number: int) -> None:
        """Send a signal to every living process of the tree."""
        for pid in descendants(os.getpid()):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
            if number == signal.SIGKILL:
                self.killed.add(pid)

    def end(self, grace_s: float, wake: int) -> None:
        """Ask the tree to end, and kill whatever has not after the grace period; return when nothing is left."""
        patience = time.monotonic() + grace_s
        if grace_s > 0:
            self.signal(signal.SIGTERM)
        while self.reap():
            if time.monotonic() >= patience:
                self.signal(signal.SIGKILL)
            select.select([wake], [], [], _POLL_S)
            drain(wake)


def descendants(ancestor: int) -> list[int]:
    """Return the pids of all descendants, parents before their children.

    Zombies count: one whose first thread alone has ended still runs, and still has children.
    """
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            parent = parent_of(int(name))
            if parent is not None:
                children.setdefault(parent, []).append(int(name))
    found = list(children.get(ancestor, ()))
    for pid in found:  # grows while it is walked
        found.extend(children.get(pid, ()))
    return found


def parent_of(pid: int) -> int | None:
    """Return the parent's pid, or None for a process that is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may contain anything, so count from the last one.
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None


def take_lock(path: str) -> bool:
    """Lock the file for this process and all that inherit its descriptor; False when it is taken."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    os.set_inheritable(fd, True)  # noqa: FBT003  takes no keyword
    return True


def start(command: list[str], stdin_file: str) -> int:
    """Fork and exec the command in a session of its own, reading from `stdin_file`; return its pid."""
    supervisor = os.getpid()
    stdin = os.open(stdin_file, os.O_RDONLY)
    pid = os.fork()
    if pid != 0:
        os.close(stdin)
        return pid
    try:
        os.setsid()
        os.dup2(stdin, 0)
        for number in (*_STOP_SIGNALS, signal.SIGPIPE, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        # Should even the supervisor be killed, the command dies with it.
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == supervisor:
            os.execv(command[0], command)  # noqa: S606  no shell is wanted
    except OSError as error:
        print(f"supervisor: {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
    os._exit(CANNOT_RUN)


def told_to_begin(wake: int) -> bool:
    """Wait for the worker's word; return False when it is gone, or asks to stop."""
    while True:
        readable, _, _ = select.select([wake, 0], [], [])
        if any(number in _STOP_SIGNALS for number in drain(wake)):
            return False
        if 0 in readable:
            return bool(os.read(0, 1))


def follow(tree: Tree, wake: int, deadline: float) -> str:
    """Wait for the command to end or for a reason to end it; return `ended`, `lifeline`, `stopped` or `deadline`."""
    while True:
        tree.reap()
        if tree.status is not None:
            return "ended"
        left = deadline - time.monotonic()
        if left <= 0:
            return "deadline"
        readable, _, _ = select.select([wake, 0], [], [], left)
        if any(number in _STOP_SIGNALS for number in drain(wake)):
            return "stopped"
        if 0 in readable and not os.read(0, 4096):
            return "lifeline"


def drain(wake: int) -> bytes:
    """Return the numbers of the signals that arrived."""
    try:
        return os.read(wake, 4096)
    except BlockingIOError:
        return b""


def listen() -> int:
    """Turn signals into bytes of a pipe and return its reading end."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for number in (*_STOP_SIGNALS, signal.SIGCHLD):
        signal.signal(number, _noted)
    return reading


def _noted(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the byte in the pipe is what counts."""


def as_json(facts: dict[str, float | str]) -> str:
    """Return an object of numbers and plain words; to load json would take longer than everything else up to here."""
    parts: list[str] = []
    for name, value in facts.items():
        word = str(value).replace("\\", "\\\\").replace('"', '\\"')
        parts.append(f'"{name}": "{word}"' if isinstance(value, str) else f'"{name}": {value}')
    return f"{{{', '.join(parts)}}}"


def write_exit(path: str, facts: str) -> None:
    """Write the file so that it is either whole or not there."""
    draft = f"{path}.{os.getpid()}"
    with open(draft, "w", encoding="utf-8") as file:
        file.write(facts)
        file.flush()
        os.fsync(file.fileno())
    os.rename(draft, path)
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def main(arguments: list[str]) -> int:
    """Run the program; see the module's first lines."""
    lock_file, exit_file, stdin_file, deadline_s, grace_s, *command = arguments
    wake = listen()
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if not told_to_begin(wake):
        return 0
    if not take_lock(lock_file):
        print("supervisor: the worktree is locked by another run", file=sys.stderr)
        return EX_TEMPFAIL
    started_at, begun = time.time(), time.monotonic()
    tree = Tree(start(command, stdin_file))
    why = follow(tree, wake, begun + float(deadline_s))
    # What outlives a command that ended by itself was told nothing about a grace period.
    tree.end(0 if why == "ended" else float(grace_s), wake)
    code = os.waitstatus_to_exitcode(tree.status or 0)
    facts: dict[str, float | str] = {
        "rc": code,
        "why": why,
        "killed": len(tree.killed),
        "started_at": int(started_at * 1000),
        "ended_at": int(time.time() * 1000),
        "duration_s": round(time.monotonic() - begun, 3),
        "run": os.environ.get("DEKSDENFLOW_RUN", ""),
    }
    write_exit(exit_file, as_json(facts))
    return code if code >= 0 else 128 - code


def program(python: str) -> tuple[str, ...]:
    """Return the first words of its command line; its arguments follow."""
    return python, "-I", "-S", "-c", _LAUNCH, __file__


def run(arguments: list[str]) -> None:
    """Run the program and end the process at once: there is nothing that Python would have to put away."""
    code = main(arguments)
    sys.stderr.flush()
    os._exit(code)
