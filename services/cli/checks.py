"""The checks of `doctor`: each asks what a service would ask at its start, and says how to mend what it finds."""

import asyncio
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import msgspec

from services.cli.findings import Finding, State, ask
from services.cli.services import is_here, local_settings
from shared.errors import JobError, StartupError
from shared.queue import Queue
from shared.repository.database import examine
from shared.runtime import FAKE
from shared.safety import Service, require_for, secret_flaws
from shared.settings import PREFIX, Settings

# Tokens and signatures with a time in them are refused when clocks differ by minutes.
CLOCK_S = 30.0
LITTLE_BYTES, NO_BYTES = 2 * 1024**3, 200 * 1024**2
OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Patient(msgspec.Struct, frozen=True):
    """What is examined."""

    settings: Settings
    environment: Mapping[str, str]

    @property
    def has_redis(self) -> bool:
        """Whether one is set."""
        return not self.settings.redis_url.reveal().startswith(FAKE)


async def examine_terminal(environment: Mapping[str, str]) -> list[Finding]:
    """Every check of this environment, in the order in which a newcomer mends things."""
    try:
        patient = Patient(local_settings(environment), environment)
    except StartupError as error:
        return [Finding("settings", "fail", str(error), "deploy/SETTINGS.md lists the settings and what they accept")]
    checks = (settings, git, codex, database, room, redis, secrets, clock, address)
    found = await asyncio.gather(*(check(patient) for check in checks))
    return [finding for some in found for finding in some]


async def settings(patient: Patient) -> list[Finding]:
    """Whether the services that are here may start with these settings."""
    services: tuple[Service, ...] = ("api", "webhooks", "worker")
    here: list[Service] = [each for each in services if is_here(f"services.{each}")]
    found: dict[str, list[str]] = {}
    for service in here:
        try:
            require_for(service, patient.settings)
        except StartupError as error:
            found.setdefault(str(error), []).append(service)
    if not found:
        return [Finding("settings", "ok", f"the services may start with them (ENV is {patient.settings.env})")]
    return [
        Finding(
            "settings",
            "fail",
            f"{', '.join(names)} will not start: {text}",
            "set what is named; see deploy/SETTINGS.md",
        )
        for text, names in found.items()
    ]


async def git(patient: Patient) -> list[Finding]:
    """Whether the worker finds git."""
    binary = shutil.which("git", path=patient.environment.get("PATH"))
    if binary is None:
        return [Finding("git", "fail", "git is not on PATH", "install it (Debian: apt install git)")]
    asking = await asyncio.create_subprocess_exec(
        binary, "--version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await asking.communicate()
    if asking.returncode:
        return [Finding("git", "fail", f"{binary} does not run: {said.decode(errors='replace')}", "install git anew")]
    return [Finding("git", "ok", said.decode(errors="replace").strip())]


async def codex(patient: Patient) -> list[Finding]:
    """Whether Codex is there, whom it may ask, and whether its sandbox works."""
    if not is_here("services.worker"):
        return [
            Finding("codex", "warn", "not looked at: this is not the worker's installation", "run doctor there too")
        ]
    from services.worker.codex.binary import TESTED_VERSION, SandboxProbe, find_codex  # noqa: PLC0415  see above

    try:
        binary = await find_codex(patient.settings.codex_bin, search_path=patient.environment.get("PATH"))
    except JobError as error:
        return [Finding("codex", "fail", *_parted(error.message))]
    found = [_credential(patient, binary.path)]
    about = f"Codex {binary.version} ({binary.path})"
    if binary.tested:
        found.append(Finding("codex", "ok", about))
    else:
        fix = f"take {TESTED_VERSION}: pip install openai-codex-cli-bin=={TESTED_VERSION}"
        found.append(Finding("codex", "warn", f"{about} was not tested with this release", fix))
    if patient.settings.codex_sandbox == "off":
        text = "it is turned off: agents' commands run as this user, with the network"
        return [*found, Finding("sandbox", "warn", text, f"unset {PREFIX}CODEX_SANDBOX unless something else isolates")]
    with tempfile.TemporaryDirectory() as folder:
        try:
            await SandboxProbe(binary.path, Path(folder)).check()
        except JobError as error:
            return [*found, Finding("sandbox", "fail", *_parted(error.message))]
    return [*found, Finding("sandbox", "ok", "a command ran in it, and could not read what it must not")]


def _parted(message: str) -> tuple[str, str]:
    """A job's error as what is wrong and what to do, which are its sentences."""
    text, _, fix = message.partition(". ")
    return text, fix


def _credential(patient: Patient, codex: Path) -> Finding:
    known = patient.settings
    if known.codex_api_key is not None:
        return Finding("login", "ok", "an API key is set")
    if known.model_base_url is not None:
        return Finding("login", "ok", f"none is needed for {known.model_base_url}")
    if is_here("services.local"):
        from services.local.service import login_home, own_login  # noqa: PLC0415  not in every image

        if own_login(known, patient.environment) is not None:
            return Finding("login", "ok", f"your own Codex login ({login_home(patient.environment)}), for `up` alone")
    fix = (
        f"run `{codex} login` for `deksdenflow up`, or set {PREFIX}CODEX_API_KEY or {PREFIX}CODEX_API_KEY_FILE"
        " where the services start"
    )
    return Finding("login", "fail", "Codex has neither a key nor a login here", fix)


async def database(patient: Patient) -> list[Finding]:
    """Whether the database can be used, by what is seen without touching it."""
    path = patient.settings.db_path.absolute()
    if not path.exists():
        fix = f"go where the services were started, set {PREFIX}DB_PATH, or start them here with `deksdenflow up`"
        return [Finding("database", "warn", f"{path} is not there yet", fix)]
    try:
        seen = await asyncio.to_thread(examine, path)
    except StartupError as error:
        return [Finding("database", "fail", str(error), f"mend it, restore a backup, or set {PREFIX}DB_PATH")]
    if seen.complaints:
        return [Finding("database", "fail", f"{path} is damaged: {'; '.join(seen.complaints)}", "restore a backup")]
    found = [Finding("database", "ok", f"{path}, migration {seen.migration}, on a local disk, sound")]
    if not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK):
        found = [Finding("database", "fail", f"{path} or its folder cannot be written to", "run as its owner")]
    if seen.newest_event > (time.time() + CLOCK_S) * 1000:
        ahead = datetime.fromtimestamp(seen.newest_event / 1000, UTC)
        found.append(
            Finding("clock", "fail", f"the newest event is of {ahead:%F %T} UTC, ahead of now", "set the clock")
        )
    return [*found, *_seen_by_others(path, "database")]


def _seen_by_others(path: Path, name: str) -> list[Finding]:
    if not path.exists() or not path.stat().st_mode & OTHERS:
        return []
    return [Finding(name, "warn", f"others on this machine may read {path}", f"chmod go-rwx {path}")]


async def room(patient: Patient) -> list[Finding]:
    """Whether the disks have room."""
    found: list[Finding] = []
    for name, path in (("database", patient.settings.db_path), ("workspaces", patient.settings.workspaces_dir)):
        folder = next(each for each in path.absolute().parents if each.is_dir())
        free = shutil.disk_usage(folder).free
        state: State = "ok" if free > LITTLE_BYTES else "warn" if free > NO_BYTES else "fail"
        fix = (
            ""
            if state == "ok"
            else f"free space, or put {PREFIX}{'DB_PATH' if name == 'database' else 'WORKSPACES_DIR'} elsewhere"
        )
        found.append(Finding("disk", state, f"{free / 1024**3:.1f} GiB free for the {name} ({folder})", fix))
    return found


async def redis(patient: Patient) -> list[Finding]:
    """Whether Redis answers."""
    if not patient.has_redis:
        fix = f"nothing for `deksdenflow up`; for services of their own set {PREFIX}REDIS_URL"
        return [Finding("redis", "ok" if patient.settings.is_local else "fail", "none is set", fix)]
    queue = Queue.from_url(patient.settings.redis_url.reveal(), "doctor")
    try:
        if await queue.ping():
            return [Finding("redis", "ok", "it answers")]
    finally:
        await queue.close()
    fix = f"start it, or mend {PREFIX}REDIS_URL; until then work is accepted and waits"
    return [Finding("redis", "fail", "it does not answer", fix)]


async def secrets(patient: Patient) -> list[Finding]:
    """Whether tokens and keys are strong, and their files closed to others."""
    known = patient.settings
    fix = "make one with: openssl rand -hex 32"
    found = [Finding("secrets", "warn" if known.is_local else "fail", flaw, fix) for flaw in secret_flaws(known)]
    if known.api_token is None and known.is_local:
        found.append(Finding("secrets", "ok", "no API token: this machine's own programs alone are served"))
    key_file = known.db_path.with_name(f"{known.db_path.name}.key")
    for file in (*known.secret_files(), *([key_file] if known.secret_key is None else [])):
        found += _seen_by_others(file, "secrets")
    return found or [Finding("secrets", "ok", "strong, and closed to others")]


async def clock(patient: Patient) -> list[Finding]:
    """Whether this clock agrees with a forge's."""
    host = next(iter(patient.settings.forges), None)
    if host is None:
        return []
    answer = await ask(f"https://{host}/")
    if isinstance(answer, str) or "date" not in answer.headers:
        return [
            Finding(
                "clock", "warn", f"not compared: {host} does not answer", f"see that {host} can be reached from here"
            )
        ]
    return [compare_clocks(host, answer.headers["date"], time.time())]


def compare_clocks(host: str, said: str, now: float) -> Finding:
    """What the date in another's answer says of the time here, in seconds since 1970."""
    try:
        off = parsedate_to_datetime(said).timestamp() - now
    except ValueError:
        return Finding("clock", "warn", f"not compared: {host} tells no date that is understood")
    if abs(off) > CLOCK_S:
        return Finding("clock", "fail", f"it is {abs(off):.0f} s off from {host}'s", "set it, and keep it by NTP")
    return Finding("clock", "ok", f"it agrees with {host}'s")


async def address(patient: Patient) -> list[Finding]:
    """Whether forges may reach us by our public address, as far as it is seen from here."""
    url = patient.settings.public_url
    if url is None:
        fix = f"set {PREFIX}PUBLIC_URL once forges are to deliver; without it nothing but their deliveries is missing"
        return [Finding("address", "warn" if patient.settings.is_local else "fail", "there is no public address", fix)]
    answer = await ask(f"{url.rstrip('/')}/health")
    if isinstance(answer, str) or not answer.is_success:
        why = answer if isinstance(answer, str) else f"status {answer.status_code}"
        fix = "see that its name resolves, and that a proxy passes it on to the services; then test the project's hook"
        return [Finding("address", "fail", f"{url}/health does not answer ({why})", fix)]
    return [Finding("address", "ok", f"{url} answers; `POST /projects/<id>/webhook_test` tries a delivery")]
