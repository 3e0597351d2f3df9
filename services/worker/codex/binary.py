"""Finding the Codex binary, and asking it whether its sandbox works on this machine."""

import asyncio
import importlib
import os
import re
import shutil
from enum import StrEnum
from pathlib import Path

import msgspec

from services.worker.codex.config import CodexConfig, Mode, Sandbox, render_config
from shared.errors import Category, JobError

TESTED_VERSION = "0.163.0"
_ASK_S = 20.0
_INSTALL = (
    f"Install it with `pip install openai-codex-cli-bin=={TESTED_VERSION}`, put `codex` on PATH, "
    "or name it in DEKSDENFLOW_CODEX_BIN."
)
_UNSHARE = (
    "The sandbox of Codex needs user namespaces. On a host: `sysctl user.max_user_namespaces=15000` (and "
    "`kernel.unprivileged_userns_clone=1`, `kernel.apparmor_restrict_unprivileged_userns=0` where they exist). In a "
    "container: run the worker with deploy/seccomp-worker.json. If something else isolates the agent, set "
    "DEKSDENFLOW_CODEX_SANDBOX=off."
)


class Source(StrEnum):
    """Where the binary was found."""

    SETTING = "setting"
    WHEEL = "wheel"
    PATH = "path"


class CodexBinary(msgspec.Struct, frozen=True):
    """A Codex that answered with its version; `tested` is whether it is the one that this runner was built to."""

    path: Path
    version: str
    source: Source

    @property
    def tested(self) -> bool:
        """Whether its behaviour is the one that we know."""
        return self.version == TESTED_VERSION


async def find_codex(configured: Path | None, *, search_path: str | None = None) -> CodexBinary:
    """Find Codex by the setting, else the wheel, else PATH; JobError(CODEX_MISSING) says how to install it."""
    path, source = _locate(configured, search_path)
    code, said = await _ask([str(path), "--version"], {"PATH": search_path or os.defpath, "HOME": os.devnull})
    # Into this HOME not even root can write, which Codex warns of before it answers.
    match = re.search(r"^codex-cli (\S+)$", said, re.MULTILINE)
    if code != 0 or match is None:
        message = f"{path} does not answer as Codex does (exit code {code}: {said.strip()[:200]!r}). {_INSTALL}"
        raise JobError(Category.CODEX_MISSING, message)
    return CodexBinary(path, match.group(1), source)


def _locate(configured: Path | None, search_path: str | None) -> tuple[Path, Source]:
    if configured is not None:
        if not os.access(configured, os.X_OK) or configured.is_dir():
            raise JobError(Category.CODEX_MISSING, f"DEKSDENFLOW_CODEX_BIN={configured} is no program. {_INSTALL}")
        return configured.absolute(), Source.SETTING
    try:
        # An optional extra that has no types.
        wheel = importlib.import_module("codex_cli_bin")
        return Path(str(wheel.bundled_codex_path())), Source.WHEEL
    except (ImportError, FileNotFoundError):
        pass
    found = shutil.which("codex", path=search_path)
    if found is None:
        raise JobError(Category.CODEX_MISSING, f"There is no Codex CLI. {_INSTALL}")
    return Path(found).absolute(), Source.PATH


class SandboxProbe:
    """Whether the sandbox works here: asked once, the answer kept until it is asked afresh.

    A broken sandbox is invisible otherwise: every command of the agent fails, and Codex still ends with code 0.
    """

    def __init__(self, binary: Path, scratch: Path) -> None:
        self._binary = binary
        self._scratch = scratch
        self._asking = asyncio.Lock()
        self._answer: str | None = None

    async def check(self, *, afresh: bool = False) -> None:
        """Return if the sandbox works; JobError(SANDBOX_MISSING) says why it does not and what to do."""
        async with self._asking:
            if self._answer is None or afresh:
                self._answer = await self._ask_sandbox()
            if self._answer:
                raise JobError(Category.SANDBOX_MISSING, f"{_UNSHARE} Codex said: {self._answer}")

    async def _ask_sandbox(self) -> str:
        """Return an empty text if a command runs and cannot read what it must not, else what went wrong."""
        home, tmp = self._scratch / "codex_home", self._scratch / "tmp"
        for folder in (home, tmp):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (home / "config.toml").write_text(render_config(_probe_config(home)), encoding="utf-8")
        argv = [str(self._binary), "sandbox", "-P", Mode.WRITE, "-C", str(tmp), "--", "/bin/sh", "-c", 'test ! -r "$0"']
        environment = {
            "PATH": os.defpath,
            "HOME": str(tmp),
            "TMPDIR": str(tmp),
            "CODEX_HOME": str(home),
        }
        code, said = await _ask([*argv, str(home / "config.toml")], environment)
        return "" if code == 0 else said.strip()[:500] or f"exit code {code}"


def _probe_config(home: Path) -> CodexConfig:
    return CodexConfig(
        mode=Mode.WRITE,
        sandbox=Sandbox.REQUIRED,
        model="probe",
        base_url="http://127.0.0.1:9/v1",
        with_key=False,
        untrusted=(),
        denied=(home.resolve(),),
        command_environment={},
    )


async def _ask(argv: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run a command that should take a moment; return its code and what it said on both outputs."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return 126, str(error)
    try:
        said, _ = await asyncio.wait_for(process.communicate(), _ASK_S)
    except TimeoutError:
        return 124, f"no answer in {_ASK_S:.0f} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, said.decode("utf-8", "replace")
