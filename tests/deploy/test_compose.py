"""What compose.yaml promises: one public origin, no secret in sight, nothing that a service does not need."""

import re
from typing import Any

import pytest
from msgspec.structs import replace

from shared.safety import require_for
from shared.settings import FOREIGN_NAMES, VARIABLES, load_settings
from tests.deploy.conftest import DEPLOY

OURS = ("api", "webhooks", "worker")
ALL = ("proxy", "redis", *OURS)
PREFIX = "DEKSDENFLOW_"

Services = dict[str, dict[str, Any]]


def test_these_are_the_services(services: Services) -> None:
    assert set(services) == set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_every_container_is_closed_as_far_as_it_goes(services: Services, name: str) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert any(mount.startswith("/tmp") for mount in service["tmpfs"])
    assert service["init"] is True
    assert service["restart"] == "unless-stopped"
    assert not service.get("privileged")
    assert not {"pid", "ipc", "network_mode", "devices", "userns_mode"} & set(service)


def test_only_the_proxy_gets_a_capability_back_the_one_for_low_ports(services: Services) -> None:
    assert {name: service["cap_add"] for name, service in services.items() if service.get("cap_add")} == {
        "proxy": ["NET_BIND_SERVICE"]
    }


def test_only_the_worker_has_a_seccomp_profile_of_its_own_and_none_is_switched_off(services: Services) -> None:
    options = {name: [o for o in service["security_opt"] if "no-new" not in o] for name, service in services.items()}
    assert [name for name, extra in options.items() if extra] == ["worker"]
    (seccomp,) = options["worker"]
    assert re.fullmatch(r"seccomp[:=].*seccomp-worker\.json", seccomp)
    assert "unconfined" not in str(options)


def test_only_the_proxy_has_ports_and_they_are_on_loopback(services: Services) -> None:
    ports = {name: service["ports"] for name, service in services.items() if service.get("ports")}
    assert set(ports) == {"proxy"}
    assert {port["host_ip"] for port in ports["proxy"]} == {"127.0.0.1"}


def test_no_container_sees_the_docker_socket_or_a_folder_of_the_host(services: Services) -> None:
    binds = [mount for service in services.values() for mount in service.get("volumes", ()) if mount["type"] == "bind"]
    assert [(mount["target"], mount["read_only"]) for mount in binds] == [("/etc/caddy/Caddyfile", True)]


def test_only_the_proxy_and_the_worker_have_a_way_out(services: Services, compose: dict[str, Any]) -> None:
    inside = {name for name, network in compose["networks"].items() if network.get("internal")}
    assert {name for name, service in services.items() if set(service["networks"]) - inside} == {"proxy", "worker"}
    assert all(inside & set(service["networks"]) for service in services.values())
    assert not set(services["proxy"]["networks"]) & set(services["worker"]["networks"]) - inside


def test_the_services_share_one_volume_and_redis_has_none(services: Services) -> None:
    mounts = {name: {v["source"] for v in service.get("volumes", ())} for name, service in services.items()}
    assert [mounts[name] for name in OURS] == [{"state"}] * 3
    assert mounts["redis"] == set()


def test_redis_saves_nothing_and_evicts_nothing(services: Services) -> None:
    command = services["redis"]["command"]
    options = dict(zip(command[2::2], command[3::2], strict=True))
    assert (options["--save"], options["--appendonly"], options["--maxmemory-policy"]) == ("", "no", "noeviction")


def test_redis_asks_for_a_password_that_stands_in_no_command_line(services: Services) -> None:
    assert services["redis"]["command"][1] == "/run/secrets/redis_conf"
    assert "requirepass" not in str(services["redis"]["command"])


@pytest.mark.parametrize("name", ALL)
def test_no_secret_stands_in_an_environment(services: Services, name: str) -> None:
    secrets = {f"{PREFIX}{variable.name}" for variable in VARIABLES.values() if variable.kind.__name__ == "Secret"}
    environment = services[name].get("environment", {})
    assert not secrets & set(environment)
    given = {key for key in environment if key.removesuffix("_FILE") in secrets}
    mounted = {f"/run/secrets/{secret['source']}" for secret in services[name].get("secrets", ())}
    assert {environment[key] for key in given} <= mounted


def test_every_secret_is_a_file_in_the_folder_that_git_ignores(compose: dict[str, Any]) -> None:
    folder = str(DEPLOY / "secrets")
    assert all(secret["file"].startswith(folder) for secret in compose["secrets"].values())
    assert "deploy/secrets/" in (DEPLOY.parent / ".gitignore").read_text().splitlines()


def test_each_service_is_given_no_secret_that_it_does_not_need(services: Services) -> None:
    given = {name: {secret["source"] for secret in services[name].get("secrets", ())} for name in ALL}
    assert given == {
        "proxy": set(),
        "redis": {"redis_conf"},
        "api": {"api_token", "redis_url", "secret_key"},
        "webhooks": {"redis_url", "secret_key"},
        "worker": {"codex_api_key", "redis_url", "secret_key"},
    }


@pytest.mark.parametrize("name", OURS)
def test_every_setting_in_compose_is_one_and_the_service_would_start_with_it(
    services: Services, name: str, tmp_path: Any
) -> None:
    environment = {key: value or "" for key, value in services[name]["environment"].items()}
    for key in [key for key in environment if key.endswith("_FILE")]:
        file = tmp_path / key
        file.write_text("redis://:0123456789abcdef@redis:6379/0" if "REDIS" in key else "0123456789abcdef" * 4)
        environment[key] = str(file)
    settings = load_settings(environment)
    require_for(name, replace(settings, api_host="0.0.0.0"))  # pyright: ignore[reportArgumentType]  one of OURS
    assert settings.env == "production"


def test_the_sandbox_is_never_switched_off(services: Services) -> None:
    assert services["worker"]["environment"][f"{PREFIX}CODEX_SANDBOX"] == "required"
    for file in DEPLOY.iterdir():
        if file.is_file():
            assert not re.search(r"CODEX_SANDBOX\W+off", file.read_text()), file


def test_commented_settings_are_settings_too() -> None:
    known = {f"{PREFIX}{variable.name}" for variable in VARIABLES.values()}
    of_ci = set(re.findall(rf"{PREFIX}[A-Z_]+", (DEPLOY.parent / "scripts" / "ci" / "report.sh").read_text()))
    assert of_ci <= known | {PREFIX + name for name in FOREIGN_NAMES}, "a service started with it would refuse it"
    for file, more in (("compose.yaml", set()), (".env.example", set()), ("README.md", of_ci), ("Dockerfile", set())):
        named = set(re.findall(rf"{PREFIX}[A-Z_]+", (DEPLOY / file).read_text()))
        assert {name.removesuffix("_FILE") for name in named} <= known | more, file


def test_there_is_no_default_password() -> None:
    text = "".join((DEPLOY / file).read_text() for file in ("compose.yaml", ".env.example", "Caddyfile", "Dockerfile"))
    assert not re.search(r"changeme|password\s*[:=]|requirepass \w|redis://:[^$@]+@", text, re.IGNORECASE)


@pytest.mark.parametrize("name", ["proxy", "redis"])
def test_what_is_not_built_here_says_how_it_is_healthy(services: Services, name: str) -> None:
    assert services[name]["healthcheck"]["test"]


def test_the_proxy_waits_for_health_and_nobody_waits_for_the_worker_or_for_redis(services: Services) -> None:
    waits = {
        (name, other): how["condition"]
        for name, service in services.items()
        for other, how in service.get("depends_on", {}).items()
    }
    assert {pair for pair, how in waits.items() if how == "service_healthy"} == {
        ("proxy", "api"),
        ("proxy", "webhooks"),
    }
    assert not [pair for pair in waits if pair[1] == "worker"]


@pytest.mark.parametrize("name", OURS)
def test_a_service_may_finish_what_it_does(services: Services, name: str) -> None:
    assert services[name]["stop_grace_period"] == "1m0s"
    grace = float(services[name]["environment"].get(f"{PREFIX}GRACE_S") or VARIABLES["grace_s"].default)
    assert grace + 10 <= 60


def test_the_proxy_sends_deliveries_to_the_webhook_service_and_the_rest_to_the_api() -> None:
    blocks = re.findall(
        r"handle ?(\S*) \{.*?reverse_proxy \{\$\w+:(\w+:\d+)\}", (DEPLOY / "Caddyfile").read_text(), re.DOTALL
    )
    assert blocks == [("/webhooks/*", "webhooks:8001"), ("", "api:8000")]
