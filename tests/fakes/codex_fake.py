"""A stand-in for the Codex binary that does to its supervisor what the real one does only on a very bad day.

    codex_fake.py MODE ARGUMENT...

Everything that Codex does on a good day is tested with Codex itself and the scripted model server; only crash tests,
which need many runs in little time, let the mode `works` do it too.
"""

# pathlib would cost a third of the time to start.
# ruff: noqa: PTH103, PTH108, PTH118, PTH120, PTH123

import fcntl
import hashlib
import json
import os
import random
import re
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


def works() -> None:
    """Does the whole job without a model: plans four steps, makes a small change for each, and finds it good.

        codex_fake.py works FOLDER CODEX ARGUMENT...

    In FOLDER, `agents` has a locked file for each worktree that an agent and all its children hold, `overlaps` what
    should never be there, `journal` a file for everything that was done. Whoever finds a file `quota` there takes it
    away and fails for want of quota. Asked for any model but `fake`, it holds the worktree and becomes CODEX, the real
    one.
    """
    folder, real = sys.argv[2:4]
    worktree = sys.argv[sys.argv.index("-C") + 1]
    hold_alone(folder, worktree)
    with open(os.path.join(os.environ["CODEX_HOME"], "config.toml")) as config:
        if 'model = "fake"' not in config.read():
            os.execv(real, [real, *sys.argv[4:]])
    prompt = sys.stdin.read()
    kind, number = re.findall(r"^DeksdenFlow request: (plan|execute|qa)(?: step (\d+))?", prompt)[0]
    resumed = "resume" in sys.argv
    thread = sys.argv[sys.argv.index("resume") + 1] if resumed else f"fake-{os.getpid()}-{time.monotonic_ns()}"
    record = os.path.join(os.environ["CODEX_HOME"], "sessions", f"rollout-fake-{thread}.jsonl")
    os.makedirs(os.path.dirname(record), exist_ok=True)
    with open(record, "a") as file:
        file.write("{}\n")
    say({"type": "thread.started", "thread_id": thread})
    if took_the_last_quota(folder):
        say({"type": "turn.failed", "error": {"message": "Quota exceeded. Check your plan and billing details."}})
        sys.exit(1)
    chance = random.Random(os.environ["DEKSDENFLOW_RUN"])
    if chance.random() < 0.2:
        orphan(stubborn=True)
    time.sleep(chance.uniform(0.02, 0.3))
    answer = PLAN if kind == "plan" else VERDICT
    if kind == "execute":
        answer = DONE
        note(folder, worktree, f"begins {number}", resumed=resumed)
        for part in ("half", "whole"):
            path = os.path.join(worktree, f"step-{number}.txt")
            with open(path, "a" if part == "whole" else "w") as file:
                file.write(f"{part} by {os.environ['DEKSDENFLOW_RUN']}\n")
            note(folder, worktree, f"wrote {number} {part}", resumed=resumed)
            time.sleep(chance.uniform(0.02, 0.4))
    say(
        {"type": "item.completed", "item": {"id": "a", "type": "agent_message", "text": json.dumps(answer)}},
        LAST,
    )


def took_the_last_quota(folder: str) -> bool:
    try:
        os.unlink(os.path.join(folder, "quota"))
    except FileNotFoundError:
        return False
    return True


def hold_alone(folder: str, worktree: str) -> None:
    """The lock is inherited by every child and freed by the kernel alone."""
    name = hashlib.sha256(os.path.realpath(worktree).encode()).hexdigest()[:16]
    lock = os.open(os.path.join(folder, "agents", name), os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(lock, True)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with open(os.path.join(folder, "overlaps", str(os.getpid())), "x") as file:
            file.write(f"{worktree} {os.environ['DEKSDENFLOW_RUN']}")


def note(folder: str, worktree: str, what: str, *, resumed: bool) -> None:
    entry = {"run": os.environ["DEKSDENFLOW_RUN"], "tree": worktree, "what": what, "resumed": resumed}
    with open(os.path.join(folder, "journal", f"{os.getpid()}-{time.monotonic_ns()}"), "x") as file:
        json.dump(entry, file)


STEPS = [
    {"title": f"Part {n}", "type": "work", "instructions": f"Write step-{n:02d}.txt.", "depends_on": []}
    for n in range(1, 5)
]
PLAN = {"summary": "Four parts.", "plan_md": "# Plan\n\nFour parts.\n", "context_md": "", "steps": STEPS}
DONE = {"summary": "Done.", "commit_type": "feat", "commit_scope": "", "commit_subject": "do a part", "notes": ""}
VERDICT = {"summary": "As asked.", "findings": [], "next_actions": [], "verdict": "pass"}

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
        works,
    )
}

if __name__ == "__main__":
    chosen, *arguments = sys.argv[1:]
    if "--version" in arguments:
        sys.stdout.write("codex-cli 0.163.0\n")
    else:
        MODES[chosen]()
