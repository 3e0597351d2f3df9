"""Sets the stage of the demo: a folder of its own, the sample repository, the settings, what this machine allows."""

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from services.local.demo.rest import DemoFailed
from services.local.samples.sample import SamplePaths, make_sample
from services.local.service import login_home
from services.worker.codex.binary import CodexBinary, SandboxProbe, find_codex
from shared.errors import Category, JobError
from shared.settings import PREFIX

# What a person may set for the demo too: which Codex, and in earnest whom it talks to and how.
_TAKEN_OVER = ("CODEX_BIN",)
_TAKEN_OVER_FOR_REAL = (
    "CODEX_API_KEY",
    "CODEX_API_KEY_FILE",
    "MODEL_BASE_URL",
    "MODEL_PLANNING",
    "MODEL_EXEC",
    "MODEL_QA",
    "STEP_TIMEOUT_S",
    "SILENCE_TIMEOUT_S",
)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the person asked for on the command line."""

    keep: bool = False
    real: bool = False
    model: str | None = None
    color: bool = True
    record: Path | None = None


class Machine(msgspec.Struct, frozen=True):
    """What is here: the Codex binary, and in `no_sandbox` why its sandbox does not work, or None when it does."""

    codex: CodexBinary
    no_sandbox: str | None


@contextmanager
def own_folder(env: Mapping[str, str], *, keep: bool) -> Generator[Path]:
    """A new folder that is removed at the end unless `keep`, or unless services ran in it and the demo failed.

    It lies in the person's cache, else below the present folder, and only then in /tmp, where Codex would refuse to
    make its little programs.
    """
    folder = _new_folder(*_caches_of(env), Path.cwd() / ".deksdenflow", Path(tempfile.gettempdir()))
    try:
        yield folder
    except DemoFailed as error:
        keep = (folder / "services.log").exists()
        if keep:
            raise DemoFailed(f"{error}\nEverything is still in {folder}, the services.log too") from error
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # others may be in it, or it was there before
                folder.parent.rmdir()


def _caches_of(env: Mapping[str, str]) -> tuple[Path, ...]:
    """The person's cache; none when even HOME is not set."""
    chosen, home = env.get("XDG_CACHE_HOME", ""), env.get("HOME", "")
    if chosen.startswith("/"):
        return (Path(chosen, "deksdenflow"),)
    return (Path(home, ".cache", "deksdenflow"),) if home else ()


def _new_folder(*parents: Path) -> Path:
    for parent in parents:
        folder = parent / f"demo-{secrets.token_hex(4)}"
        try:
            folder.mkdir(mode=0o700, parents=True)
        except OSError:
            continue
        return folder.resolve()
    raise DemoFailed(f"a folder can be made in none of {', '.join(map(str, parents))}: free one of them")


async def look_around(env: Mapping[str, str], folder: Path) -> Machine:
    """Find Codex and try its sandbox; DemoFailed when there is no Codex."""
    configured = env.get(f"{PREFIX}CODEX_BIN")
    try:
        codex = await find_codex(Path(configured) if configured else None, search_path=env.get("PATH"))
    except JobError as error:
        raise DemoFailed(error.message) from error
    try:
        await SandboxProbe(codex.path, folder / "probe").check()
    except JobError as error:
        if error.category is not Category.SANDBOX_MISSING:
            raise DemoFailed(error.message) from error
        return Machine(codex, error.message)
    return Machine(codex, None)


def demo_settings(
    env: Mapping[str, str], folder: Path, wanted: Wanted, machine: Machine, model_url: str | None
) -> dict[str, str]:
    """The environment that the services are started with; `model_url` is the scripted server's, None for a real one."""
    settings = {
        "REDIS_URL": "fakeredis://",
        "DB_PATH": str(folder / "deksdenflow.sqlite"),
        "WORKSPACES_DIR": str(folder / "workspaces"),
        "ALLOW_LOCAL_REPOS": "true",
        "API_PORT": "0",
        "WEBHOOK_PORT": "0",
        "WORKER_PORT": "0",
        "GRACE_S": "1",
        "BACKOFF_MAX_S": "2",
    }
    names = (*_TAKEN_OVER, *_TAKEN_OVER_FOR_REAL) if wanted.real else _TAKEN_OVER
    settings |= {name: env[PREFIX + name] for name in names if env.get(PREFIX + name)}
    if wanted.real:
        settings |= _key_for_real(env, settings)
    if model_url is not None:
        settings |= {"MODEL_BASE_URL": model_url, "STEP_TIMEOUT_S": "60", "SILENCE_TIMEOUT_S": "30"}
    if machine.no_sandbox is not None:
        settings["CODEX_SANDBOX"] = "off"
    if wanted.model is not None:
        settings |= dict.fromkeys(("MODEL_PLANNING", "MODEL_EXEC", "MODEL_QA"), wanted.model)
    return {PREFIX + name: value for name, value in settings.items()}


def check_for_real(env: Mapping[str, str], machine: Machine) -> str:
    """Say whose account will be used; DemoFailed when `--real` cannot work here."""
    if machine.no_sandbox is not None:
        raise DemoFailed(
            f"--real runs a real model's commands, and this machine allows no sandbox for them. {machine.no_sandbox}"
        )
    if env.get("CODEX_API_KEY") or any(env.get(f"{PREFIX}{name}") for name in ("CODEX_API_KEY", "CODEX_API_KEY_FILE")):
        return "your API key"
    if env.get(f"{PREFIX}MODEL_BASE_URL"):
        return env[f"{PREFIX}MODEL_BASE_URL"]
    login = login_home(env) / "auth.json"
    if login.is_file():
        return f"your Codex login ({login})"
    raise DemoFailed(
        f"--real needs your own Codex login or a key, and there is neither: there is no {login}, and CODEX_API_KEY is "
        f"not set. Run `{machine.codex.path} login`, or set CODEX_API_KEY."
    )


def _key_for_real(env: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """The key that Codex itself would take, unless ours is set."""
    plain = env.get("CODEX_API_KEY", "")
    return {} if not plain or settings.keys() & {"CODEX_API_KEY", "CODEX_API_KEY_FILE"} else {"CODEX_API_KEY": plain}


def build_sample(folder: Path) -> SamplePaths:
    """The sample repository and its bare origin; DemoFailed when git is missing or cannot."""
    if shutil.which("git", path=os.environ.get("PATH")) is None:
        raise DemoFailed("git is not on PATH: install it (Debian: apt install git)")
    return make_sample(folder / "sample")
