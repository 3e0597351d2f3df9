"""The one place that starts git: a fixed environment, a time limit, capped output, no terminal and no shell."""

import asyncio
import contextlib
import os
import shlex
import signal
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from services.worker.git.failures import job_error
from shared.errors import Category, JobError

SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MAX_STDERR_BYTES: Final = 16_384
TERM_GRACE_S: Final = 5.0
_CHUNK: Final = 65_536

# The only configuration that counts: the system's and the person's are switched off, a mirror's is a constant of ours.
_CONFIG: Final = {
    "advice.addEmbeddedRepo": "false",
    "core.attributesFile": "/dev/null",
    "core.autocrlf": "false",
    "core.eol": "lf",
    "core.excludesFile": "/dev/null",
    "core.fileMode": "true",
    "core.filesRefLockTimeout": "2000",
    "core.fsmonitor": "false",
    "core.fsync": "objects,reference",  # an accepted commit survives a power cut, like its row in the database
    "core.fsyncMethod": "batch",
    "core.hooksPath": "/dev/null",
    "core.ignoreCase": "false",
    "core.logAllRefUpdates": "false",
    "core.longpaths": "true",
    "core.packedRefsTimeout": "2000",
    "core.precomposeUnicode": "false",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "core.quotePath": "false",
    "core.safecrlf": "false",
    "core.symlinks": "true",
    "core.untrackedCache": "false",
    "credential.helper": "",
    "fetch.recurseSubmodules": "false",
    "gc.auto": "0",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "maintenance.auto": "false",
    "push.recurseSubmodules": "no",
    "submodule.recurse": "false",
    "transfer.bundleURI": "false",
}


class Output(Struct, frozen=True):
    """What a git command said."""

    code: int
    out: bytes
    stderr: str  # its tail, redacted
    cut: bool  # there was more than the caller wanted to read

    @property
    def text(self) -> str:
        """Standard output without the last newline."""
        return self.out.decode("utf-8", "replace").rstrip("\n")


class GitProcess:
    """Runs git commands in the fixed environment.

    `protocols` are git's names of the transports that may be used. `extra_env` is for proxies, certificate files and
    the socket of an ssh agent; it cannot override what is fixed. `redact` takes known secrets out of git's complaints.
    """

    def __init__(
        self,
        binary: str,
        home: Path,
        *,
        protocols: frozenset[str],
        redact: Callable[[str], str],
        extra_env: Mapping[str, str],
        local_timeout_s: float,
        network_timeout_s: float,
    ) -> None:
        self.binary = binary
        self.quoted = shlex.quote(binary)
        self.home = home
        self.redact = redact
        self.local_timeout_s = local_timeout_s
        self.network_timeout_s = network_timeout_s
        path = [str(Path(binary).parent), SYSTEM_PATH] if "/" in binary else [SYSTEM_PATH]
        self._env = {**extra_env, **_fixed_env(home, protocols), "PATH": ":".join(path)}

    async def run(
        self,
        args: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        config: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        fds: Sequence[int] = (),
        ok: Sequence[int] = (0,),
        timeout_s: float | None = None,
        max_bytes: int | None = None,
    ) -> Output:
        """Run `git ARGS` and return its output; any exit code outside `ok` is a `JobError` that names the cause.

        With `max_bytes` the output is cut there and the command is ended, which is no error. `fds` are inherited.
        """
        limit = timeout_s or self.local_timeout_s
        try:
            process = await asyncio.create_subprocess_exec(
                self.binary,
                *args,
                cwd=cwd or self.home,
                env={**self._env, **_config_env({**_CONFIG, **(config or {})}), **(env or {})},
                stdin=DEVNULL if stdin is None else PIPE,
                stdout=PIPE,
                stderr=PIPE,
                pass_fds=tuple(fds),
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise JobError(Category.CONFIG, f"git cannot be started: {error.filename} is not there") from error
        try:
            async with asyncio.timeout(limit):
                out, stderr, cut = await _talk(process, stdin, max_bytes)
                if not cut:
                    await process.wait()
        except TimeoutError as error:
            raise JobError(Category.TIMEOUT, f"git {_verb(args)} took longer than {limit:g} seconds") from error
        finally:
            await _end(process)
        code = process.returncode if process.returncode is not None else -1
        if cut:
            return Output(0, out, "", cut=True)
        told = self.redact(stderr.decode("utf-8", "replace"))
        if code not in ok:
            raise job_error(_verb(args), code, told)
        return Output(code, out, told, cut=False)


def _fixed_env(home: Path, protocols: frozenset[str]) -> dict[str, str]:
    known_hosts = str(home / "known_hosts").replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    option = f'UserKnownHostsFile="{known_hosts}"'
    ssh = (
        "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o ConnectTimeout=20"
        " -o ServerAliveInterval=15 -o ServerAliveCountMax=4 -o ForwardAgent=no"
        f" -o {shlex.quote(option)}"
    )
    return {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "GIT_ALLOW_PROTOCOL": ":".join(sorted(protocols)),
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_CEILING_DIRECTORIES": str(home.parent),
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_EDITOR": ":",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_PAGER": "cat",
        "GIT_SSH_COMMAND": ssh,
        "GIT_SSH_VARIANT": "ssh",
        "GIT_TERMINAL_PROMPT": "0",
    }


def _config_env(config: Mapping[str, str]) -> dict[str, str]:
    """Configuration by environment has the rank of `-c` and cannot be overridden by a repository."""
    env = {"GIT_CONFIG_COUNT": str(len(config))}
    for number, (key, value) in enumerate(config.items()):
        env[f"GIT_CONFIG_KEY_{number}"] = key
        env[f"GIT_CONFIG_VALUE_{number}"] = value
    return env


def _verb(args: Sequence[str]) -> str:
    return next((arg for arg in args if not arg.startswith("-")), "")


async def _talk(process: Process, stdin: bytes | None, max_bytes: int | None) -> tuple[bytes, bytes, bool]:
    """Feed and read the process; the third value tells whether reading stopped at `max_bytes`."""
    if process.stdout is None or process.stderr is None:
        raise RuntimeError("git was started without pipes")
    stderr = asyncio.create_task(_read_tail(process.stderr))
    feed = asyncio.create_task(_feed(process.stdin, stdin))
    try:
        out, cut = await _read(process.stdout, max_bytes)
        if cut:
            return out, b"", True
        await feed
        return out, await stderr, False
    finally:
        feed.cancel()
        stderr.cancel()
        await asyncio.gather(feed, stderr, return_exceptions=True)


async def _read(stream: StreamReader, max_bytes: int | None) -> tuple[bytes, bool]:
    chunks: list[bytes] = []
    size = 0
    while chunk := await stream.read(_CHUNK):
        chunks.append(chunk)
        size += len(chunk)
        if max_bytes is not None and size > max_bytes:
            return b"".join(chunks)[:max_bytes], True
    return b"".join(chunks), False


async def _read_tail(stream: StreamReader) -> bytes:
    tail = b""
    while chunk := await stream.read(_CHUNK):
        tail = (tail + chunk)[-MAX_STDERR_BYTES:]
    return tail


async def _feed(writer: StreamWriter | None, data: bytes | None) -> None:
    if writer is None or data is None:
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # git had read enough; its exit code tells
        writer.write(data)
        await writer.drain()
    writer.close()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await writer.wait_closed()


async def _end(process: Process) -> None:
    """Let nothing of the command survive: SIGTERM, so that git removes its lock files, then SIGKILL."""
    if process.returncode is not None:
        return
    _signal(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(TERM_GRACE_S):
            await process.wait()
    except TimeoutError:
        pass
    finally:  # also when this wait is cancelled in its turn
        if process.returncode is None:
            _signal(process, signal.SIGKILL)
            await process.wait()


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
