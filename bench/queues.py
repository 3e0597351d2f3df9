"""Jobs that do nothing, through DeksdenFlow and through other queues, one after the other on the same Redis server."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import redis

from bench import stage
from bench.rows import Row, percentile

PEERS = ("arq", "rq", "saq", "taskiq", "streaq")
FOLDER = Path(__file__).parent / "peers"
SINGLES, MANY, LIMIT_S = 100, 1000, 10
PATIENCE_S = 60
WAKE_TARGET_MS = 3.0


class Measured(msgspec.Struct, frozen=True):
    """What one driver printed: nanoseconds from enqueued to claimed, jobs per second, and how many got done."""

    waits: list[int]
    rate: float
    done: int

    def wait_ms(self, share: float) -> float:
        """The wait that so many did not exceed."""
        return percentile(self.waits, share) / 1e6

    @property
    def figure(self) -> str:
        """Both numbers, for a table."""
        return f"p50 {self.wait_ms(0.5):.1f} ms, p99 {self.wait_ms(0.99):.1f} ms, {self.rate:,.0f} jobs/s"


class NotMeasured(Exception):
    """Why there are no numbers of a queue, in one line."""


def installed() -> dict[str, Path | NotMeasured]:
    """The interpreter of each peer, in an environment that holds what its lock names; or why there is none."""
    found: dict[str, Path | NotMeasured] = {}
    for name in PEERS:
        try:
            found[name] = _environment_of(name)
        except NotMeasured as reason:
            found[name] = reason
    return found


def compared(redis_url: str, interpreters: Mapping[str, Path | NotMeasured]) -> list[Row]:
    """The table of queues: ours, ours without durability, and the others."""
    ours = _ours(redis_url, "FULL")
    careless = _ours(redis_url, "OFF")
    others = {name: _peer(name, python, redis_url) for name, python in interpreters.items()}
    measured = {name: found for name, found in others.items() if isinstance(found, Measured)}
    return [*_rows(ours, careless, measured), *(_peer_row(name, ours, found) for name, found in others.items())]


def _rows(ours: Measured, careless: Measured, others: Mapping[str, Measured]) -> list[Row]:
    wake = ours.wait_ms(0.5)
    quick = min(others, key=lambda name: others[name].wait_ms(0.5), default=None)
    busy = max(others, key=lambda name: others[name].rate, default=None)
    return [
        Row(
            "wake-up, commit to claim's commit",
            f"p50 {wake:.1f} ms, p99 {ours.wait_ms(0.99):.1f} ms",
            "" if quick is None else f"best of them: {quick}, p50 {others[quick].wait_ms(0.5):.1f} ms",
            f"p50 under {WAKE_TARGET_MS:.0f} ms",
            wake < WAKE_TARGET_MS,
        ),
        Row(
            "no-op jobs, three durable commits each",
            f"{ours.rate:,.0f} jobs/s",
            "" if busy is None else f"best of them: {busy}, {others[busy].rate:,.0f} jobs/s",
        ),
        Row(
            "cost of durability",
            f"p50 +{wake - careless.wait_ms(0.5):.1f} ms, {1 - ours.rate / careless.rate:.0%} of the jobs/s",
            f"synchronous=OFF: {careless.figure}",
        ),
    ]


def _peer_row(name: str, ours: Measured, found: Measured | NotMeasured) -> Row:
    if isinstance(found, NotMeasured):
        return Row(name, "not measured", str(found))
    beside = f"ours {ours.wait_ms(0.5) / found.wait_ms(0.5):.1f} × its p50, {ours.rate / found.rate:.0%} of its jobs/s"
    return Row(f"{name} {_version(name)}", found.figure, beside)


class _Subject(msgspec.Struct, frozen=True):
    name: str
    command: tuple[str, ...]
    cwd: Path


def _ours(redis_url: str, synchronous: str) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        settings = stage.environment(Path(folder), redis_url)
        subject = _Subject("ours", (sys.executable, "-m", "bench.ours"), stage.ROOT)
        more = {"BENCH_SYNC": synchronous, "DEKSDENFLOW_WORKER_CONCURRENCY": "10"}
        return _measure(subject, redis_url, {**settings, **more})


def _peer(name: str, python: Path | NotMeasured, redis_url: str) -> Measured | NotMeasured:
    if isinstance(python, NotMeasured):
        return python
    try:
        return _measure(_Subject(name, (str(python), str(FOLDER / f"{name}_peer.py")), FOLDER), redis_url, {})
    except NotMeasured as reason:
        return reason


def _measure(subject: _Subject, redis_url: str, settings: Mapping[str, str]) -> Measured:
    """Let the driver of one queue meet its worker on an empty server."""
    with redis.Redis.from_url(redis_url) as client, tempfile.TemporaryDirectory() as folder:
        client.flushall()
        marks = Path(folder, "marks")
        os.mkfifo(marks)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "BENCH_REDIS": redis_url,
            "BENCH_MARKS": str(marks),
            "BENCH_PLAN": f"{SINGLES} {MANY} {LIMIT_S}",
            **settings,
        }
        with stage.process([*subject.command, "work"], environment, subject.cwd, Path(folder, "log")):
            try:
                driven = subprocess.run(
                    [*subject.command, "drive"],
                    env=environment,
                    cwd=subject.cwd,
                    capture_output=True,
                    timeout=PATIENCE_S,
                    check=True,
                )
                return msgspec.json.decode(driven.stdout, type=Measured)
            except subprocess.TimeoutExpired as error:
                raise NotMeasured(f"no answer in {PATIENCE_S} s") from error
            except (subprocess.CalledProcessError, msgspec.MsgspecError) as error:
                said = _words(error) or Path(folder, "log").read_text(errors="replace")
                raise NotMeasured(_last_line(said)) from error


def _words(error: Exception) -> str:
    """What a driver that failed had to say."""
    return error.stderr.decode(errors="replace") if isinstance(error, subprocess.CalledProcessError) else str(error)


def _environment_of(name: str) -> Path:
    """The interpreter of a peer's own environment, which holds what its lock names."""
    lock, folder = FOLDER / f"{name}.lock", stage.ROOT / f".venv-bench-{name}"
    stamp, python = folder / ".installed", folder / "bin" / "python"
    wanted = f"{hashlib.sha256(lock.read_bytes()).hexdigest()} {sys.version_info[:2]}"
    if not (stamp.is_file() and stamp.read_text() == wanted):
        print(f"installing {name} into {folder.name} (first time only)…", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        _install([sys.executable, "-m", "venv", str(folder)])
        # A wheel where there is one; streaq needs a package that has none.
        pip = [str(python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--no-deps"]
        _install([*pip, "--prefer-binary", "--require-hashes", "-r", str(lock)])
        stamp.write_text(wanted)
    return python


def _install(command: list[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotMeasured(f"could not be installed: {_last_line(done.stderr)}")


def _version(name: str) -> str:
    line = next(line for line in (FOLDER / f"{name}.lock").read_text().splitlines() if line.startswith(f"{name}=="))
    return line.split()[0].partition("==")[2]


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")[:200]
