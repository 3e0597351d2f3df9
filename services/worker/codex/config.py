"""The config.toml that one attempt of Codex runs with, rendered from facts (pure)."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path

import msgspec

PROVIDER = "deksdenflow"
KEY_VARIABLE = "CODEX_API_KEY"
OPENAI_BASE_URL = "https://api.openai.com/v1"

# Places in a home directory where tools keep credentials: the sandbox lets an agent read the whole disk otherwise.
CREDENTIAL_PLACES = (
    ".aws",
    ".azure",
    ".codex",
    ".config/gcloud",
    ".config/gh",
    ".config/glab-cli",
    ".docker",
    ".git-credentials",
    ".gnupg",
    ".kube",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".ssh",
)

_SHORT_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}

# Everything that calls home, adds tools that no prompt of ours speaks of, or runs code of the repository. AGENTS.md and
# the repository's skills are kept out of the instructions, since a change must not instruct its own judge; a prompt
# that wants AGENTS.md to be read says so. Permissions and environment would be described by the list of denied paths:
# the names of other projects, and thousands of tokens where there are many.
_SWITCHED_OFF = """\
approval_policy = "never"
check_for_update_on_startup = false
web_search = "disabled"
allow_login_shell = false
project_doc_max_bytes = 0
include_permissions_instructions = false
include_environment_context = false

[analytics]
enabled = false

[feedback]
enabled = false

[history]
persistence = "none"

[features]
plugins = false
apps = false
multi_agent = false
goals = false
hooks = false
shell_snapshot = false
view_image = false
tool_search = false
sleep_tool = false
image_generation = false
memories = false
skill_search = false
skill_mcp_dependency_install = false
# on, a refused connection is waited for without end
unbounded_connection_retries = false

[skills]
include_instructions = false

[skills.bundled]
enabled = false
"""


class Mode(StrEnum):
    """What the agent may change: nothing but its TMPDIR, or the worktree as well."""

    READ = "read"
    WRITE = "write"


class Sandbox(StrEnum):
    """Whether Codex's sandbox must hold the agent, or the operator has said that something else does.

    OFF has a price that no configuration takes away: a command can read the environment of Codex, its parent, and so
    the key of the model. Who runs OFF in earnest gives Codex a gateway that adds the key (`base_url` without a key).
    """

    REQUIRED = "required"
    OFF = "off"


class CodexConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What config.toml depends on; every path is absolute and resolved.

    `base_url` None means the person's own login with Codex's built-in provider. `denied` are the paths that the
    agent must not even read. `skills` are the SKILL.md files of the repository, each of which would become an
    instruction as soon as any text of the prompt has its name after a dollar sign.
    """

    mode: Mode
    sandbox: Sandbox
    model: str
    base_url: str | None
    with_key: bool
    untrusted: tuple[Path, ...]
    denied: tuple[Path, ...]
    skills: tuple[Path, ...] = ()
    command_environment: Mapping[str, str]
    request_retries: int = 2
    stream_idle_timeout_s: float = 120.0


def toml_string(text: str) -> str:
    """Return `text` as a TOML basic string: quotes, backslashes and control characters escaped."""
    return '"' + "".join(_escape(char) for char in text) + '"'


def render_config(config: CodexConfig) -> str:
    """Render config.toml; the caller runs Codex with --strict-config, so an unknown key would fail at once."""
    parts = [
        f"model = {toml_string(config.model)}",
        f"model_provider = {toml_string('openai' if config.base_url is None else PROVIDER)}",
        *_sandbox_lines(config),
        _SWITCHED_OFF,
        *_environment_lines(config.command_environment),
        *_provider_lines(config),
        *_permission_lines(config),
        *_trust_lines(config.untrusted),
        *_skill_lines(config.skills),
    ]
    return "\n".join(parts) + "\n"


def _escape(char: str) -> str:
    if char in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[char]
    return f"\\u{ord(char):04X}" if char < " " or char == "\x7f" else char


def _sandbox_lines(config: CodexConfig) -> Iterable[str]:
    if config.sandbox is Sandbox.OFF:
        yield 'sandbox_mode = "danger-full-access"'
    else:
        yield f"default_permissions = {toml_string(config.mode)}"


def _environment_lines(environment: Mapping[str, str]) -> Iterable[str]:
    # "core" is HOME, PATH, LANG, TMPDIR and the like; by default every command would see the whole environment of
    # Codex, the key of the model included.
    yield "[shell_environment_policy]"
    yield 'inherit = "core"'
    yield "[shell_environment_policy.set]"
    for name, value in environment.items():
        yield f"{toml_string(name)} = {toml_string(value)}"
    yield ""


def _provider_lines(config: CodexConfig) -> Iterable[str]:
    if config.base_url is None:
        return
    yield f"[model_providers.{PROVIDER}]"
    yield f"name = {toml_string(PROVIDER)}"
    yield f"base_url = {toml_string(config.base_url)}"
    yield 'wire_api = "responses"'
    if config.with_key:
        yield f"env_key = {toml_string(KEY_VARIABLE)}"
    yield "supports_websockets = false"
    # Codex multiplies these two (30 requests by default); the job's own backoff is the retry that counts.
    yield f"request_max_retries = {config.request_retries}"
    yield f"stream_max_retries = {config.request_retries}"
    yield f"stream_idle_timeout_ms = {int(config.stream_idle_timeout_s * 1000)}"
    yield ""


def _permission_lines(config: CodexConfig) -> Iterable[str]:
    if config.sandbox is Sandbox.OFF:
        return
    yield f"[permissions.{config.mode}.filesystem]"
    yield '":root" = "read"'
    yield '":tmpdir" = "write"'
    for path in config.denied:
        yield f'{toml_string(str(path))} = "deny"'
    yield f'[permissions.{config.mode}.filesystem.":workspace_roots"]'
    yield f'"." = "{config.mode}"'
    yield ""


def _trust_lines(untrusted: Iterable[Path]) -> Iterable[str]:
    # Without this a writing run trusts the repository by itself and starts the MCP servers that it names.
    for path in dict.fromkeys(untrusted):
        yield f"[projects.{toml_string(str(path))}]"
        yield 'trust_level = "untrusted"'


def _skill_lines(skills: Iterable[Path]) -> Iterable[str]:
    for path in skills:
        yield "[[skills.config]]"
        yield f"path = {toml_string(str(path))}"
        yield "enabled = false"
