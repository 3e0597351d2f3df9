"""A stand-in for the Codex binary that does to its supervisor what the real one does only on a very bad day.

    codex_fake.py MODE ARGUMENT...

Everything that Codex does on a good day is tested with Codex itself and the scripted model server.
"""

import json
import os
import signal
import sys
import time

FIRST = {"type": "thread.started", "thread_id": "fake-thread"}
ANSWER = {"type": "item.completed", "item": {"id": "i", "type": "agent_message", "text": '{"summary":"fake"}'}}
LAST = {"type": "turn.completed", "usage": {"input_tokens": 5, "output_tokens": 1}}


def say(*events: dict[str, object]) -> None:
    for event in events:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()


def tell_pids(**pids: int) -> None:
    say({"type": "item.completed", "item": {"id": "p", "type": "agent_message", "text": json.dumps(pids)}})


def ignore_requests_to_end() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def sleeper(*, own_session: bool, stubborn: bool) -> int:
    pid = os.fork()
    if pid == 0:
        if own_session:
            os.setsid()
        if stubborn:
            ignore_requests_to_end()
        time.sleep(300)
        os._exit(0)
    return pid


def orphan(*, stubborn: bool) -> int:
    """A grandchild in a session of its own, whose parent is gone."""
    reading, writing = os.pipe()
    middle = os.fork()
    if middle == 0:
        os.write(writing, str(sleeper(own_session=True, stubborn=stubborn)).encode())
        os._exit(0)
    os.waitpid(middle, 0)
    return int(os.read(reading, 20))


def stubborn() -> None:
    """Will not end, and neither will its children."""
    ignore_requests_to_end()
    say(FIRST)
    tell_pids(
        codex=os.getpid(),
        child=sleeper(own_session=False, stubborn=True),
        session=sleeper(own_session=True, stubborn=True),
        orphan=orphan(stubborn=True),
    )
    time.sleep(300)


def leaves_a_daemon() -> None:
    """Ends well, but leaves a process behind."""
    say(FIRST)
    tell_pids(orphan=orphan(stubborn=False))
    say(ANSWER, LAST)


def hides_from_its_marker() -> None:
    """Has a child without our marker in its environment; only the supervisor can find that one."""
    say(FIRST)
    hidden = os.fork()
    if hidden == 0:
        os.setsid()
        os.execve("/bin/sleep", ["/bin/sleep", "300"], {})
    tell_pids(codex=os.getpid(), hidden=hidden)
    time.sleep(300)


def endless_line() -> None:
    """Writes one line that fits into nothing, then ends well."""
    say(FIRST)
    for _ in range(40):
        sys.stdout.write("x" * (1 << 20))
    sys.stdout.write("\n")
    say(ANSWER, LAST)


def garbage() -> None:
    """Writes bytes that are no text and lines that are no events, then ends well."""
    say(FIRST)
    sys.stdout.flush()
    os.write(1, b"\xff\xfe\x00\n{\n[]\nnull\n" + b"[" * 100_000 + b"\n" + b'{"type":"item.completed","item":7}\n\n')
    say({"type": "from.the.future", "x": 1}, ANSWER, LAST)


def noisy() -> None:
    """Fills stderr, then fails."""
    say(FIRST)
    for number in range(100_000):
        sys.stderr.write(f"line {number} of many, with sk-test-key in it\n")
    sys.exit(1)


def panic() -> None:
    say(FIRST)
    sys.stderr.write("thread 'main' panicked at x.rs\n")
    sys.exit(101)


def dies() -> None:
    say(FIRST)
    os.kill(os.getpid(), signal.SIGKILL)


def says_nothing() -> None:
    say(FIRST)
    time.sleep(300)


def works_silently() -> None:
    """A command runs for long and says nothing, then all is well."""
    command = {"id": "c", "type": "command_execution", "command": "make test", "status": "in_progress"}
    say(FIRST, {"type": "item.started", "item": command})
    time.sleep(1.5)
    say({"type": "item.completed", "item": {**command, "exit_code": 0}}, ANSWER, LAST)


def no_sandbox() -> None:
    sys.stderr.write("bwrap: Creating new namespace failed: Operation not permitted\n")
    sys.exit(1)


MODES = {
    mode.__name__: mode
    for mode in (
        stubborn,
        leaves_a_daemon,
        hides_from_its_marker,
        endless_line,
        garbage,
        noisy,
        panic,
        dies,
        says_nothing,
        works_silently,
        no_sandbox,
    )
}

if __name__ == "__main__":
    chosen, *arguments = sys.argv[1:]
    if arguments == ["--version"]:
        sys.stdout.write("codex-cli 0.163.0\n")
    else:
        MODES[chosen]()
