"""The place for settings: one struct, read once from the environment. Whether they are safe: see shared.safety."""

import difflib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from shared.errors import StartupError
from shared.secret import Secret

PREFIX = "DEKSDENFLOW_"

# Names with our prefix that services ignore: what CI scripts and the command line read, the mark that agent processes
# carry, test payloads.
FOREIGN_NAMES = frozenset(
    {
        "API_BASE",
        "BRANCH",
        "CI_PROVIDER",
        "PAYLOADS_DIR",
        "PROJECT_TOKEN",
        "PROJECT_TOKEN_FILE",
        "PROTOCOL_RUN_ID",
        "RUN",
        "TARGET_URL",
    }
)

MAX_SECRET_FILE_BYTES = 65_536
MAX_SHOWN_CHARS = 80
REDIS_FORMS = "redis://host:6379/0, rediss://host:6379/0 or unix:///path/of/the.sock"
YES_AND_NO = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def _doc(meaning: str) -> Meta:
    return Meta(description=meaning)


# The title of a type says what it accepts, in the words of the error message.
Port = Annotated[int, Meta(ge=0, le=65535, title="a port number, 0 to 65535")]
Seconds = Annotated[float, Meta(gt=0, le=604800, title="a number of seconds, above 0 and at most 604800")]
Pause = Annotated[float, Meta(ge=0, le=86400, title="a number of seconds, 0 to 86400")]
Slots = Annotated[int, Meta(ge=1, le=64, title="a whole number from 1 to 64")]
Attempts = Annotated[int, Meta(ge=1, le=20, title="a whole number from 1 to 20")]
Host = Annotated[str, Meta(pattern=r"^[A-Za-z0-9.:_-]+$", title="a host name or an address")]
Url = Annotated[str, Meta(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$", title="an address like https://host/path")]
Model = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$", title="the name of a model")]
Place = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,31}$", title="a short lower-case name such as production")]
Failpoint = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9_]+(:[1-9][0-9]{0,5})?(,[a-z0-9_]+(:[1-9][0-9]{0,5})?)*$",
        title="name or name:n, or several with commas between",
    ),
]
Networks = Annotated[tuple[str, ...], Meta(title="addresses or networks like 10.0.0.0/8, separated by commas")]
Forges = Annotated[tuple[str, ...], Meta(title="hosts separated by commas, each host, host=github or host=gitlab")]
Level = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], Meta(title="DEBUG, INFO, WARNING or ERROR")]
Sandbox = Annotated[Literal["required", "off"], Meta(title="required or off")]
Switch = Annotated[bool, Meta(title="true or false")]
FilePath = Annotated[Path, Meta(title="a path")]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be configured; the environment name is `DEKSDENFLOW_` and the field in capitals."""

    redis_url: Annotated[Secret, _doc(f"Where Redis is: {REDIS_FORMS}. Required; `services.local` has its own.")]
    db_path: Annotated[FilePath, _doc("The SQLite file, shared by all services of one host.")] = Path(
        ".deksdenflow.sqlite"
    )
    workspaces_dir: Annotated[FilePath, _doc("Folder of mirrors, worktrees and attempt logs.")] = Path(".deksdenflow")
    env: Annotated[Place, _doc("`local` is one's own machine; under any other name tokens and keys are demanded.")] = (
        "local"
    )

    api_token: Annotated[Secret | None, _doc("Bearer token of the administrator. Required outside `local`.")] = None
    secret_key: Annotated[
        Secret | None,
        _doc("Encrypts stored secrets; 32 characters or more. Required outside `local`, where a key file is made."),
    ] = None
    webhook_token: Annotated[Secret | None, _doc("Secret of the bare webhook URLs; unset, they refuse all.")] = None
    webhook_token_previous: Annotated[
        Secret | None, _doc("The former `WEBHOOK_TOKEN`, accepted too while it is being replaced.")
    ] = None

    api_host: Annotated[
        Host | None, _doc("Address the API listens on. Default `0.0.0.0` once `API_TOKEN` is set, else `127.0.0.1`.")
    ] = None
    api_port: Annotated[Port, _doc("Port of the API; 0 takes a free one.")] = 8000
    webhook_host: Annotated[Host | None, _doc("Address of the webhook service. Default: that of the API.")] = None
    webhook_port: Annotated[Port, _doc("Port of the webhook service; 0 takes a free one.")] = 8001
    worker_host: Annotated[Host | None, _doc("Address of the worker's health page. Default: that of the API.")] = None
    worker_port: Annotated[Port, _doc("Port of the worker's health page; 0 takes a free one.")] = 8002
    public_url: Annotated[Url | None, _doc("Where people and forges reach us; used in links and hook URLs.")] = None
    trusted_proxies: Annotated[Networks, _doc("Peers whose `X-Forwarded-*` headers are believed.")] = ()

    log_level: Annotated[Level, _doc("The least severe record that is written.")] = "INFO"
    log_json: Annotated[Switch | None, _doc("One JSON object a line. Default: when stderr is no terminal.")] = None

    auto_qa_on_ci: Annotated[Switch, _doc("Queue QA when CI turns green on the step's commit.")] = False
    auto_qa_after_exec: Annotated[Switch, _doc("Queue QA right after an execution.")] = False
    ci_completes_step: Annotated[Switch, _doc("Green CI alone completes a step.")] = False

    allow_local_repos: Annotated[
        Switch | None, _doc("Accept a local path as `git_url`. Default: on in `services.local`, off elsewhere.")
    ] = None
    github_token: Annotated[Secret | None, _doc("Token for GitHub where a project has none of its own.")] = None
    gitlab_token: Annotated[Secret | None, _doc("Token for GitLab where a project has none of its own.")] = None
    forge_hosts: Annotated[Forges, _doc("Hosts that repositories may live on, and which forge runs there.")] = (
        "github.com=github",
        "gitlab.com=gitlab",
    )

    codex_bin: Annotated[
        FilePath | None, _doc("The Codex executable. Default: the installed wheel's, else `codex` on `PATH`.")
    ] = None
    codex_api_key: Annotated[
        Secret | None, _doc("API key for Codex. Unset, `services.local` takes your own Codex login.")
    ] = None
    codex_sandbox: Annotated[Sandbox, _doc("`off` runs Codex without its sandbox; only inside one of your own.")] = (
        "required"
    )
    model_base_url: Annotated[Url | None, _doc("The Responses API that Codex talks to. Default: OpenAI's.")] = None
    model_planning: Annotated[Model, _doc("Model that plans, unless the project or the request names one.")] = "gpt-5.5"
    model_exec: Annotated[Model, _doc("Model that executes steps, likewise.")] = "gpt-5.5"
    model_qa: Annotated[Model, _doc("Model that judges steps, likewise.")] = "gpt-5.5"

    max_attempts: Annotated[Attempts, _doc("Attempts of one job before it fails for good.")] = 3
    backoff_max_s: Annotated[Pause, _doc("Longest wait between two attempts.")] = 60
    queue_timeout_s: Annotated[Seconds, _doc("A job that waited longer fails instead of running.")] = 86400
    step_timeout_s: Annotated[Seconds, _doc("Longest life of one Codex process.")] = 3600
    silence_timeout_s: Annotated[Seconds, _doc("A Codex process that says nothing for so long is stopped.")] = 600
    grace_s: Annotated[Seconds, _doc("How long live attempts may take to end after SIGTERM.")] = 20
    worker_concurrency: Annotated[Slots, _doc("Jobs that one worker runs at once.")] = 2
    project_concurrency: Annotated[Slots, _doc("Jobs of one project that run at once.")] = 2

    failpoint: Annotated[
        Failpoint | None, _doc("For crash tests, in `local` only: the process kills itself at this point.")
    ] = None

    @property
    def is_local(self) -> bool:
        """Whether this is somebody's own machine, where missing tokens and keys are tolerated."""
        return self.env == "local"

    @property
    def forges(self) -> dict[str, str | None]:
        """The hosts that repositories may live on, each with its forge: `github`, `gitlab`, or `None` if unknown."""
        pairs = (entry.partition("=") for entry in self.forge_hosts)
        return {host: forge or None for host, _, forge in pairs}

    def secrets(self) -> tuple[str, ...]:
        """Every secret text in here and the password inside the Redis URL: what no log may show."""
        texts = [each.reveal() for each in msgspec.structs.astuple(self) if isinstance(each, Secret)]
        password = urlsplit(self.redis_url.reveal()).password
        return (*texts, *([password] if password else ()))

    def secret_files(self) -> tuple[Path, ...]:
        """Every file that a secret was read from: what no agent may read."""
        given = [each.file for each in msgspec.structs.astuple(self) if isinstance(each, Secret)]
        return tuple(file.absolute() for file in given if file is not None)


class Variable(msgspec.Struct, frozen=True):
    """One variable as the struct declares it; `kind` is its plain type, `type` the same with its constraints."""

    name: str
    kind: Any
    type: Any
    accepts: str
    meaning: str
    default: object


def _variable(field: msgspec.structs.FieldInfo, hint: Any) -> Variable:
    inner, *metas = get_args(hint)
    if NoneType in get_args(inner):
        inner = get_args(inner)[0]
    bare, *own_metas = get_args(inner) if get_origin(inner) is Annotated else (inner,)
    metas = [*own_metas, *metas]
    return Variable(
        name=field.name.upper(),
        kind=get_origin(bare) or bare,
        type=Annotated[(bare, *metas)],  # pyright: ignore[reportInvalidTypeForm]  built at run time
        accepts=next((meta.title for meta in metas if meta.title), ""),
        meaning=next(meta.description for meta in metas if meta.description),
        default=field.default,
    )


HINTS = get_type_hints(Settings, include_extras=True)
VARIABLES = {field.name: _variable(field, HINTS[field.name]) for field in msgspec.structs.fields(Settings)}


def load_settings(env: Mapping[str, str], *, allow_fake: bool = False) -> Settings:
    """Read the settings, or raise a `StartupError` of one line that names the variable and what it accepts.

    An empty value counts as not set. `allow_fake` accepts `fakeredis://`, which makes sense in one process only.
    """
    given = {name.removeprefix(PREFIX): value for name, value in env.items() if name.startswith(PREFIX)}
    _refuse_unknown(given.keys() - FOREIGN_NAMES)
    values: dict[str, Any] = {
        field: _value(variable, text) for field, variable in VARIABLES.items() if (text := _text(variable, given))
    }
    for field, variable in VARIABLES.items():
        if variable.kind is Secret and (path := given.get(f"{variable.name}_FILE")):
            values[field] = Secret(values[field].reveal(), Path(path))
    if "redis_url" not in values:
        raise StartupError(f"{PREFIX}REDIS_URL is not set; accepted: {REDIS_FORMS}")
    settings = Settings(**values)
    _check_redis_url(settings.redis_url.reveal(), allow_fake=allow_fake)
    return settings


def settings_table() -> str:
    """The table of all settings for the documentation, in Markdown."""
    rows = [
        f"| `{PREFIX}{variable.name}` | {_shown_default(variable.default)} | {variable.meaning} |"
        for variable in VARIABLES.values()
    ]
    return "\n".join(["| Name | Default | Meaning |", "|---|---|---|", *rows]) + "\n"


def _shown_default(default: Any) -> str:
    match default:
        case None | () | msgspec.NODEFAULT:
            return ""
        case bool():
            return f"`{str(default).lower()}`"
        case str() | int() | float() | Path():
            return f"`{default}`"
        case _:
            return f"`{','.join(default)}`"


def _refuse_unknown(names: set[str]) -> None:
    known = [name for variable in VARIABLES.values() for name in _names_of(variable)]
    complaints = [
        f"{PREFIX}{name} is not a setting; the nearest one is {PREFIX}{nearest}"
        for name in sorted(names - set(known))
        for nearest in difflib.get_close_matches(name, known, n=1, cutoff=0)
    ]
    if complaints:
        raise StartupError("; ".join(complaints))


def _names_of(variable: Variable) -> Sequence[str]:
    return [variable.name, f"{variable.name}_FILE"] if variable.kind is Secret else [variable.name]


def _text(variable: Variable, given: Mapping[str, str]) -> str:
    if variable.kind is not Secret:
        return given.get(variable.name, "").strip()
    text, path = given.get(variable.name, ""), given.get(f"{variable.name}_FILE", "")
    if text and path:
        raise StartupError(f"{PREFIX}{variable.name} and {PREFIX}{variable.name}_FILE are both set; keep one")
    return read_secret(f"{PREFIX}{variable.name}_FILE", path) if path else text


def read_secret(name: str, path: str) -> str:
    """The text of a secret's file; the StartupError of one that cannot be read starts with `name`."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(MAX_SECRET_FILE_BYTES).decode().rstrip("\r\n")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise StartupError(f"{name} is {path!r}, which cannot be read: {why}") from error
    if not text:
        raise StartupError(f"{name} is {path!r}, which is empty")
    return text


def _value(variable: Variable, text: str) -> object:
    try:
        return _convert(variable, text)
    except (ValueError, RuntimeError) as error:  # RuntimeError: a home folder in a path that nobody has
        shown = text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
        raise StartupError(f"{PREFIX}{variable.name} is {shown!r}; accepted: {variable.accepts}") from error


def _convert(variable: Variable, text: str) -> object:
    """The value, or a `ValueError` (msgspec's own error is one)."""
    match variable.kind.__name__, variable.name:
        case "Secret", _:
            return Secret(text)
        case "Path", _:
            return Path(text).expanduser()
        case "bool", _:
            return _yes_or_no(text)
        case "tuple", "TRUSTED_PROXIES":
            return tuple(str(ipaddress.ip_network(part, strict=False)) for part in _parts(text))
        case "tuple", _:
            return tuple(_forge_host(part) for part in _parts(text))
        case "Literal", _:
            return msgspec.convert(_in_its_case(text, variable.type), variable.type)
        case _:
            return msgspec.convert(text, variable.type, strict=False)


def _yes_or_no(text: str) -> bool:
    if text.lower() not in YES_AND_NO:
        raise ValueError(text)
    return YES_AND_NO[text.lower()]


def _in_its_case(text: str, literal: Any) -> str:
    words = get_args(get_args(literal)[0])
    return next((word for word in words if word.lower() == text.lower()), text)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _forge_host(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(=(github|gitlab))?", text.lower()):
        raise ValueError(text)
    return text.lower()


def _check_redis_url(text: str, *, allow_fake: bool) -> None:
    """The URL is not shown in the message: it may hold a password."""
    try:
        url = urlsplit(text)
        reachable = {
            "redis": url.hostname,
            "rediss": url.hostname,
            "unix": url.path,
            "fakeredis": allow_fake,
        }.get(url.scheme)
        well_formed = url.port != 0 and not re.search(r"\s", text)
        if url.scheme in {"redis", "rediss"}:
            well_formed = well_formed and re.fullmatch(r"/?|/[0-9]{1,5}", url.path) is not None
    except ValueError:
        reachable = well_formed = False
    if not (reachable and well_formed):
        hint = " (fakeredis:// works in services.local only)" if text.startswith("fakeredis:") else ""
        raise StartupError(f"{PREFIX}REDIS_URL is malformed{hint}; accepted: {REDIS_FORMS}")
