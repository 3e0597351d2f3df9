"""The config.toml of an attempt."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.worker.codex.config import CodexConfig, Mode, Sandbox, render_config, toml_string

CONFIG = CodexConfig(
    mode=Mode.WRITE,
    sandbox=Sandbox.REQUIRED,
    model="gpt-5.5",
    base_url="https://api.openai.com/v1",
    with_key=True,
    untrusted=(Path("/w/trees/1"), Path("/w/repos"), Path("/w/repos")),
    denied=(Path("/w/attempts/1"), Path('/w/a "b" \\ c')),
    command_environment={"DEKSDENFLOW_RUN": "x:1/1"},
)


def parsed(**changes: Any) -> dict[str, Any]:
    return tomllib.loads(render_config(msgspec.structs.replace(CONFIG, **changes)))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_as_a_toml_string(text: str) -> None:
    assert tomllib.loads(f"{toml_string(text)} = {toml_string(text)}") == {text: text}


def test_paths_are_denied_whatever_their_names() -> None:
    assert parsed()["permissions"]["write"]["filesystem"] == {
        ":root": "read",
        ":tmpdir": "write",
        "/w/attempts/1": "deny",
        '/w/a "b" \\ c': "deny",
        ":workspace_roots": {".": "write"},
    }


@pytest.mark.parametrize("mode", list(Mode))
def test_only_a_writing_run_may_write_to_the_worktree(mode: Mode) -> None:
    config = parsed(mode=mode)
    assert config["default_permissions"] == mode
    assert config["permissions"][mode]["filesystem"][":workspace_roots"] == {".": mode.value}


def test_without_the_sandbox_no_permissions_pretend_to_hold() -> None:
    config = parsed(sandbox=Sandbox.OFF)
    assert config["sandbox_mode"] == "danger-full-access"
    assert not {"permissions", "default_permissions"} & config.keys()


def test_every_root_that_codex_might_trust_is_untrusted() -> None:
    assert parsed()["projects"] == {
        "/w/trees/1": {"trust_level": "untrusted"},
        "/w/repos": {"trust_level": "untrusted"},
    }


def test_the_key_is_named_and_never_written() -> None:
    provider = parsed()["model_providers"]["deksdenflow"]
    assert provider["env_key"] == "CODEX_API_KEY"
    assert provider["base_url"] == "https://api.openai.com/v1"
    assert (provider["request_max_retries"], provider["stream_max_retries"]) == (2, 2)


def test_a_gateway_without_a_key_is_asked_without_one() -> None:
    assert "env_key" not in parsed(with_key=False)["model_providers"]["deksdenflow"]


def test_a_persons_own_login_uses_the_built_in_provider() -> None:
    config = parsed(base_url=None)
    assert config["model_provider"] == "openai"
    assert "model_providers" not in config


def test_commands_see_the_core_environment_and_the_marker_of_their_run() -> None:
    assert parsed()["shell_environment_policy"] == {"inherit": "core", "set": {"DEKSDENFLOW_RUN": "x:1/1"}}


def test_nothing_that_calls_home_waits_for_ever_or_runs_code_of_others_is_on() -> None:
    config = parsed()
    assert not any(config["features"].values())
    assert config["skills"] == {"include_instructions": False, "bundled": {"enabled": False}}
    assert config["analytics"] == {"enabled": False}
    assert config["web_search"] == "disabled"
    assert config["project_doc_max_bytes"] == 0
    assert config["approval_policy"] == "never"
