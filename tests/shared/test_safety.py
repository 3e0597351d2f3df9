"""What a service demands before it starts, and where it listens."""

import pytest

from shared.errors import StartupError
from shared.safety import Service, effective_host, require_for
from shared.secret import Secret
from shared.settings import Settings, load_settings

TOKEN = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
KEY = "c0ffee00c0ffee11c0ffee22c0ffee33deadbeef"
SAFE = {"REDIS_URL": "redis://redis:6379/0", "ENV": "production", "API_TOKEN": TOKEN, "SECRET_KEY": KEY}


def settings(**names: str) -> Settings:
    return load_settings({f"DEKSDENFLOW_{name}": value for name, value in names.items()})


def refusal(service: Service = "api", **changes: str) -> str:
    with pytest.raises(StartupError) as caught:
        require_for(service, settings(**{**SAFE, **changes}))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("service", ["api", "webhooks", "worker", "local"])
def test_every_service_starts_with_safe_settings(service: Service):
    require_for(service, settings(**SAFE))


@pytest.mark.parametrize("service", ["api", "webhooks", "worker", "local"])
def test_every_service_starts_in_local_with_nothing_set(service: Service):
    require_for(service, settings(REDIS_URL="redis://h"))


def test_the_api_does_not_start_without_a_token_outside_local():
    assert refusal(API_TOKEN="") == (
        "DEKSDENFLOW_API_TOKEN must be set when DEKSDENFLOW_ENV is 'production' (it may stay unset in local)"
    )


def test_both_missing_credentials_are_named_at_once():
    assert "DEKSDENFLOW_API_TOKEN and DEKSDENFLOW_SECRET_KEY" in refusal(API_TOKEN="", SECRET_KEY="")


@pytest.mark.parametrize("service", ["webhooks", "worker"])
def test_the_other_services_need_the_key_but_not_the_token(service: Service):
    require_for(service, settings(**{**SAFE, "API_TOKEN": ""}))
    assert "DEKSDENFLOW_SECRET_KEY must be set" in refusal(service, SECRET_KEY="")


@pytest.mark.parametrize("weak", ["changeme", "deksdenflow", "Deksdenflow", "password", "changeme-changeme-changeme"])
@pytest.mark.parametrize("name", ["API_TOKEN", "WEBHOOK_TOKEN", "WEBHOOK_TOKEN_PREVIOUS"])
def test_a_well_known_token_is_refused_outside_local(name: str, weak: str):
    message = refusal(**{name: weak})
    assert message.startswith(f"DEKSDENFLOW_{name} is a well-known default")
    assert weak not in message


def test_a_short_token_is_refused_outside_local():
    assert "shorter than 16 characters" in refusal(API_TOKEN="abcdefghijklmno")


@pytest.mark.parametrize("weak", ["x" * 40, "changeme" * 5, "0f1e2d3c4b5a69788796a5b4c3d2e1f"])
def test_a_key_that_can_be_guessed_is_refused_outside_local(weak: str):
    assert "DEKSDENFLOW_SECRET_KEY is too easy to guess" in refusal(SECRET_KEY=weak)


def test_a_default_password_of_redis_is_refused_outside_local():
    message = refusal(REDIS_URL="redis://:deksdenflow@redis:6379/0")
    assert message == "the password in DEKSDENFLOW_REDIS_URL is a well-known default"


def test_a_failpoint_is_refused_outside_local():
    assert "DEKSDENFLOW_FAILPOINT is for crash tests" in refusal("worker", FAILPOINT="before_claim:2")
    require_for("worker", settings(REDIS_URL="redis://h", FAILPOINT="before_claim:2"))


def test_weak_credentials_are_nobodys_business_in_local():
    require_for("api", settings(REDIS_URL="redis://h", API_TOKEN="changeme", SECRET_KEY="x"))


@pytest.mark.parametrize("service", ["api", "webhooks", "worker"])
def test_without_a_token_only_loopback_is_listened_on(service: str):
    assert effective_host(service, settings(REDIS_URL="redis://h")) == "127.0.0.1"
    assert effective_host(service, settings(REDIS_URL="redis://h", API_TOKEN="dev")) == "0.0.0.0"


def test_an_address_that_was_chosen_is_taken():
    chosen = settings(REDIS_URL="redis://h", API_HOST="::1", WEBHOOK_HOST="10.0.0.1", WORKER_HOST="localhost")
    assert [effective_host(service, chosen) for service in ("api", "webhooks", "worker")] == [
        "::1",
        "10.0.0.1",
        "localhost",
    ]


@pytest.mark.parametrize("service", ["webhooks", "worker"])
def test_an_address_that_was_chosen_for_the_api_is_that_of_the_others_too(service: str):
    assert (
        effective_host(service, settings(REDIS_URL="redis://h", API_TOKEN="dev", API_HOST="127.0.0.1")) == "127.0.0.1"
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "flow.example.org"])
def test_an_open_address_without_a_token_is_refused_even_in_local(host: str):
    with pytest.raises(StartupError, match="without DEKSDENFLOW_API_TOKEN only a loopback address"):
        require_for("api", settings(REDIS_URL="redis://h", API_HOST=host))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1"])
def test_a_loopback_address_without_a_token_is_fine_in_local(host: str):
    require_for("local", settings(REDIS_URL="redis://h", API_HOST=host))


def test_the_checks_take_a_struct_and_read_no_environment():
    require_for(
        "api", Settings(redis_url=Secret("redis://h"), env="staging", api_token=Secret(TOKEN), secret_key=Secret(KEY))
    )
