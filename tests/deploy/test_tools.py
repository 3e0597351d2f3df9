"""The files of `deploy/` before the programs that are made to judge them."""

from tests.deploy.conftest import tool

COMPOSE = ("-f", "deploy/compose.yaml")


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    found = tool("hadolint", "--no-color", "--failure-threshold", "style", "deploy/Dockerfile")
    assert (found.returncode, found.stdout) == (0, "")


def test_compose_yaml_follows_the_compose_specification() -> None:
    found = tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "deploy/compose.yaml")
    assert found.returncode == 0, found.stdout


def test_the_real_compose_accepts_compose_yaml() -> None:
    found = tool("docker-compose", "--env-file", "deploy/.env.example", *COMPOSE, "config", "-q")
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_without_a_public_url_compose_says_which_file_to_write() -> None:
    found = tool("docker-compose", "--env-file", "/dev/null", *COMPOSE, "config", "-q")
    assert found.returncode != 0
    assert "set PUBLIC_URL in deploy/.env" in found.stderr
