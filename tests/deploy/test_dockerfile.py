"""What the images promise: what is in them is known by hash, nobody in them is root, nothing in them builds."""

import re

import pytest

from shared.settings import VARIABLES
from tests.deploy.conftest import DEPLOY, line_of

SERVICES = {"api": 8000, "webhooks": 8001, "worker": 8002}

Stages = dict[str, list[str]]


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_has_a_target_that_runs_it(stages: Stages, name: str) -> None:
    assert stages[name][-1] == f'CMD ["python", "-m", "services.{name}"]'


@pytest.mark.parametrize("name", SERVICES)
def test_it_runs_as_the_one_uid_that_shares_the_files(stages: Stages, name: str) -> None:
    users = [line for line in line_of(stages, name) if line.startswith("USER")]
    assert users[-1] == "USER 10001:10001"


@pytest.mark.parametrize(("name", "port"), SERVICES.items())
def test_its_health_is_asked_by_python_on_its_own_port(stages: Stages, name: str, port: int) -> None:
    (check,) = (line for line in stages[name] if line.startswith("HEALTHCHECK"))
    path = "/health/ready" if name == "worker" else "/health"
    assert f"urlopen('http://127.0.0.1:{port}{path}'" in check
    assert f"EXPOSE {port}" in stages[name]
    field = {"api": "api_port", "webhooks": "webhook_port", "worker": "worker_port"}[name]
    assert VARIABLES[field].default == port


@pytest.mark.parametrize(
    ("name", "lock"), [("api", "requirements"), ("webhooks", "requirements"), ("worker", "requirements-codex")]
)
def test_its_packages_are_installed_by_hash_from_its_lock(stages: Stages, name: str, lock: str) -> None:
    (source,) = re.findall(r"COPY --from=(\S+) /opt/venv /opt/venv", "\n".join(stages[name]))
    (install,) = (line for line in stages[source] if "install" in line)
    assert "--require-hashes" in install
    assert "--only-binary :all:" in install
    assert f"-r {lock}.lock" in install


@pytest.mark.parametrize("name", SERVICES)
def test_pip_is_gone_and_no_compiler_comes_in(stages: Stages, name: str) -> None:
    lines = line_of(stages, name)
    assert any("pip uninstall -y" in line and "rm -rf /usr/local/lib/python3*/ensurepip" in line for line in lines)
    installed = {
        word for line in lines for words in re.findall(r"apt-get install (.*?)(?:&&|$)", line) for word in words.split()
    }
    wanted = {"ca-certificates", "git", "openssh-client"} if name == "worker" else set()
    assert {word for word in installed if not word.startswith("-")} == wanted


@pytest.mark.parametrize("name", SERVICES)
def test_only_its_own_rooms_are_in_it(stages: Stages, name: str) -> None:
    copied = [line.split()[1] for line in line_of(stages, name) if line.startswith("COPY") and "--from" not in line]
    command_line = set[str]() if name == "webhooks" else {"services/cli", "bin"}
    assert set(copied) == {"LICENSE", "shared", "services/__init__.py", f"services/{name}"} | command_line


def test_the_base_is_named_once_and_never_by_latest(stages: Stages) -> None:
    assert {lines[0] for lines in stages.values()} <= {"FROM ${PYTHON_IMAGE}", *(f"FROM {name}" for name in stages)}
    text = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.13-slim$", text, re.MULTILINE)


def test_what_is_copied_is_let_through_to_the_builder(stages: Stages) -> None:
    ignore = (DEPLOY.parent / ".dockerignore").read_text().splitlines()
    copied = {
        word.split("/")[0]
        for lines in stages.values()
        for line in lines
        if line.startswith("COPY") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert ignore[1] == "*"
    assert copied <= {line.removeprefix("!") for line in ignore if line.startswith("!")}


def test_no_layer_is_given_a_secret(stages: Stages) -> None:
    for lines in stages.values():
        assert not [line for line in lines if re.match(r"(ENV|ARG).*(TOKEN|SECRET|KEY|PASSW)", line)]
