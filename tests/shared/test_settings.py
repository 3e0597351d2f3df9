"""Settings: what the environment may say, and what it is told when it says something else."""

import os
import string
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import StartupError
from shared.secret import Secret
from shared.settings import FOREIGN_NAMES, PREFIX, VARIABLES, Settings, load_settings, settings_table

REDIS = {"REDIS_URL": "redis://127.0.0.1:6379/0"}


def load(allow_fake: bool = False, **names: str) -> Settings:
    return load_settings({PREFIX + name: value for name, value in {**REDIS, **names}.items()}, allow_fake=allow_fake)


def refusal(**names: str) -> str:
    with pytest.raises(StartupError) as caught:
        load(**names)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_only_redis_url_is_required():
    settings = load()
    assert settings.db_path == Path(".deksdenflow.sqlite")
    assert (settings.env, settings.api_port, settings.webhook_port, settings.worker_port) == ("local", 8000, 8001, 8002)
    assert (settings.max_attempts, settings.backoff_max_s) == (3, 60)


@pytest.mark.parametrize("env", [{}, {"DEKSDENFLOW_REDIS_URL": ""}])
def test_a_missing_redis_url_is_a_startup_error_that_shows_the_forms(env: dict[str, str]):
    with pytest.raises(StartupError, match=r"DEKSDENFLOW_REDIS_URL is not set; accepted: redis://host:6379/0"):
        load_settings(env)


@pytest.mark.parametrize(
    "url",
    [
        "redis",
        "redis://",
        "http://host:6379/0",
        "redis://host:port/0",
        "redis://host:99999/0",
        "redis://host:0/0",
        "redis://host/name",
        "redis://ho st/0",
        "redis://[::1/0",
        "unix://",
        "fakeredis://",
    ],
)
def test_a_malformed_redis_url_is_refused(url: str):
    assert "DEKSDENFLOW_REDIS_URL is malformed" in refusal(REDIS_URL=url)


def test_a_malformed_redis_url_is_not_shown_since_it_may_hold_a_password():
    assert "hunter2000" not in refusal(REDIS_URL="redis://:hunter2000@host:port")


@pytest.mark.parametrize(
    "url", ["redis://h", "redis://h:1/", "rediss://u:p%40x@h:6380/15", "unix:///run/redis.sock", "redis://[::1]:6379/0"]
)
def test_every_usual_form_of_redis_url_is_accepted(url: str):
    assert load(REDIS_URL=url).redis_url == Secret(url)


def test_fakeredis_is_accepted_only_where_the_caller_says_so():
    assert load(allow_fake=True, REDIS_URL="fakeredis://").redis_url == Secret("fakeredis://")
    assert "services.local only" in refusal(REDIS_URL="fakeredis://")


def test_an_unknown_name_is_refused_with_the_nearest_known_one():
    assert refusal(API_TOKN="x") == "DEKSDENFLOW_API_TOKN is not a setting; the nearest one is DEKSDENFLOW_API_TOKEN"


def test_every_unknown_name_is_named_in_one_line():
    message = refusal(WORKERS="1", QUEUE_TIMEOUT="5")
    assert "DEKSDENFLOW_WORKERS is" in message
    assert "DEKSDENFLOW_QUEUE_TIMEOUT_S" in message


def test_names_without_our_prefix_are_none_of_our_business():
    assert load_settings({"PATH": "/bin", "deksdenflow_env": "x", "DEKSDENFLOW_REDIS_URL": "redis://h"}).env == "local"


@pytest.mark.parametrize("name", sorted(FOREIGN_NAMES))
def test_names_that_other_programs_read_are_ignored(name: str):
    assert load(**{name: "anything"}) == load()


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("API_PORT", "http", "a port number, 0 to 65535"),
        ("API_PORT", "65536", "a port number, 0 to 65535"),
        ("MAX_ATTEMPTS", "0", "a whole number from 1 to 20"),
        ("MAX_ATTEMPTS", "2.5", "a whole number from 1 to 20"),
        ("STEP_TIMEOUT_S", "0", "a number of seconds"),
        ("STEP_TIMEOUT_S", "nan", "a number of seconds"),
        ("BACKOFF_MAX_S", "inf", "a number of seconds"),
        ("LOG_LEVEL", "loud", "DEBUG, INFO, WARNING or ERROR"),
        ("CODEX_SANDBOX", "no", "required or off"),
        ("AUTO_QA_ON_CI", "maybe", "true or false"),
        ("LOG_JSON", "2", "true or false"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,everybody", "addresses or networks"),
        ("FORGE_HOSTS", "github.com=bitbucket", "host=github"),
        ("PUBLIC_URL", "flow.example.org", "an address like https://host/path"),
        ("PUBLIC_URL", "https://user:pass@host", "an address like"),
        ("MODEL_EXEC", "no spaces", "the name of a model"),
        ("ENV", "Production!", "a short lower-case name"),
        ("API_HOST", "0.0.0.0/0", "a host name or an address"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_accepted(name: str, value: str, accepted: str):
    message = refusal(**{name: value})
    assert message.startswith(f"DEKSDENFLOW_{name} is '{value}'; accepted: ")
    assert accepted in message


def test_a_long_wrong_value_is_shown_in_part():
    assert len(refusal(API_PORT="9" * 5000)) < 200


@pytest.mark.parametrize(
    ("text", "value"),
    [(text, True) for text in ("1", "true", "TRUE", "Yes", "on")]
    + [(text, False) for text in ("0", "false", "No", "OFF", "")],
)
def test_a_switch_knows_the_usual_words_in_any_case(text: str, value: bool):
    assert load(AUTO_QA_ON_CI=text).auto_qa_on_ci is value


def test_an_empty_value_counts_as_not_set():
    assert load(API_TOKEN="", MAX_ATTEMPTS=" ", LOG_JSON="") == load()


def test_the_word_null_is_a_token_like_any_other():
    assert load(API_TOKEN="null").api_token == Secret("null")


def test_words_of_a_choice_are_accepted_in_any_case():
    assert load(LOG_LEVEL="debug").log_level == "DEBUG"


def test_lists_are_split_on_commas():
    settings = load(TRUSTED_PROXIES="10.0.0.1, 192.168.0.7/16,", FORGE_HOSTS="GitHub.com=github, git.example.org")
    assert settings.trusted_proxies == ("10.0.0.1/32", "192.168.0.0/16")
    assert settings.forges == {"github.com": "github", "git.example.org": None}


def test_a_home_folder_is_expanded():
    assert load(DB_PATH="~/flow.sqlite").db_path == Path.home() / "flow.sqlite"


def test_a_secret_may_come_from_a_file_without_its_line_break(tmp_path: Path):
    file = tmp_path / "token"
    file.write_text(" spaces count \r\n")
    assert load(API_TOKEN_FILE=str(file)).api_token == Secret(" spaces count ")


def test_even_the_redis_url_may_come_from_a_file(tmp_path: Path):
    file = tmp_path / "url"
    file.write_text("redis://:pw@h:6379/0\n")
    assert load_settings({"DEKSDENFLOW_REDIS_URL_FILE": str(file)}).redis_url == Secret("redis://:pw@h:6379/0")


def test_the_files_that_secrets_came_from_are_known_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "key").write_text("sk-1")
    monkeypatch.chdir(tmp_path)
    assert load(CODEX_API_KEY_FILE="key", API_TOKEN="t").secret_files() == (tmp_path / "key",)


def test_a_secret_given_twice_is_refused(tmp_path: Path):
    (tmp_path / "t").write_text("x")
    assert "are both set" in refusal(API_TOKEN="x", API_TOKEN_FILE=str(tmp_path / "t"))


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_a_secret_file_that_holds_no_text_is_refused(tmp_path: Path, content: bytes | None):
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    assert refusal(API_TOKEN_FILE=str(file)).startswith("DEKSDENFLOW_API_TOKEN_FILE is ")


def test_a_folder_is_no_secret_file(tmp_path: Path):
    assert "cannot be read: Is a directory" in refusal(API_TOKEN_FILE=str(tmp_path))


@pytest.mark.parametrize("name", ["API_PORT_FILE", "DB_PATH_FILE"])
def test_what_is_no_secret_cannot_come_from_a_file(name: str):
    assert f"{name} is not a setting" in refusal(**{name: "/etc/hostname"})


def test_settings_show_no_secret_and_list_them_all():
    settings = load(REDIS_URL="redis://:hunter2000@h/0", API_TOKEN="abc-token", SECRET_KEY="def-key")
    assert "hunter" not in repr(settings)
    assert "abc-token" not in f"{settings} {settings.api_token}"
    assert {"hunter2000", "abc-token", "def-key"} <= set(settings.secrets())


def test_settings_cannot_be_written_as_json_by_accident():
    with pytest.raises(TypeError):
        msgspec.json.encode(load(API_TOKEN="abc-token"))


def test_every_setting_says_what_it_means_and_every_check_what_it_accepts():
    for variable in VARIABLES.values():
        assert variable.meaning.endswith((".", ")"))
        assert variable.accepts or variable.kind is Secret


def test_the_table_for_the_documentation_has_a_row_for_every_setting():
    lines = settings_table().splitlines()
    assert [line.split("`")[1] for line in lines[2:]] == [PREFIX + name.upper() for name in VARIABLES]
    assert {line.count(" | ") for line in lines[2:]} == {2}
    assert "| `DEKSDENFLOW_AUTO_QA_ON_CI` | `false` |" in settings_table()


ANY_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60)


@given(name=st.sampled_from([*VARIABLES, *(f"{name}_file" for name in VARIABLES)]), value=ANY_TEXT)
def test_whatever_one_variable_holds_it_is_accepted_or_refused_in_one_line(name: str, value: str):
    try:
        load(**{name.upper(): value})
    except StartupError as error:
        message = str(error)
    else:
        return
    assert len(message.splitlines()) == 1
    assert PREFIX in message


@given(name=st.text(string.ascii_uppercase + "_", min_size=1, max_size=40))
def test_any_other_name_is_refused_with_a_name_that_is_known(name: str):
    known = {variable.name for variable in VARIABLES.values()}
    if name in known | FOREIGN_NAMES or name.removesuffix("_FILE") in known:
        return
    nearest = refusal(**{name: "x"}).rpartition(PREFIX)[2]
    assert nearest.removesuffix("_FILE") in known


def test_a_secret_is_equal_to_its_like_whatever_characters_it_has():
    assert Secret("ü\udcff") == Secret("ü\udcff")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


def test_the_environment_of_the_tests_holds_no_setting():
    assert not [name for name in os.environ if name.startswith(PREFIX)]
