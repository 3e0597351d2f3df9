"""`python -m services.local up`: one process, free ports, a clean end, and one line when it cannot start."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from services.local.service import local_environment, own_login
from shared.settings import load_settings
from tests.waiting import until

ROOT = Path(__file__).parents[2]
FREE_PORTS = {f"DEKSDENFLOW_{name}_PORT": "0" for name in ("API", "WEBHOOK", "WORKER")}


@contextmanager
def local(folder: Path, *arguments: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """The program with an environment of its own, started in an empty folder."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT), **FREE_PORTS}
    process = subprocess.Popen(
        [sys.executable, "-m", "services.local", *arguments],
        cwd=folder,
        env=environment | {f"DEKSDENFLOW_{name}": value for name, value in settings.items()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def addresses_said_by(process: subprocess.Popen[str]) -> dict[str, str]:
    """The URLs of the services by their names, from the first lines on stdout."""
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(5)]
    return {line.split()[0]: line.split()[1] for line in lines if "http://" in line}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_all_three_services_answer_until_a_signal_ends_them_with_zero(tmp_path: Path, number: signal.Signals) -> None:
    with local(tmp_path) as process:
        urls = addresses_said_by(process)
        for url in (urls["API"], urls["webhooks"], urls["worker"].removesuffix("/health/ready")):
            assert httpx.get(f"{url}/health", trust_env=False).json() == {"status": "ok"}
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 0, said
        assert "Traceback" not in said


def test_it_needs_no_redis_and_takes_local_repositories(tmp_path: Path) -> None:
    with local(tmp_path, "up") as process:
        url = addresses_said_by(process)["API"]
        answer = httpx.post(f"{url}/projects", json={"name": "x", "git_url": str(tmp_path / "x.git")}, trust_env=False)
        assert answer.status_code == 201
        until(lambda: "job_failed" in httpx.get(f"{url}/events", trust_env=False).text)
        assert (tmp_path / ".deksdenflow.sqlite").exists()


def test_what_keeps_it_from_starting_is_one_line_and_exit_code_two(tmp_path: Path) -> None:
    with local(tmp_path, API_PROT="1") as process:
        _, said = process.communicate(timeout=20)
    assert process.returncode == 2
    assert said == ("deksdenflow: DEKSDENFLOW_API_PROT is not a setting; the nearest one is DEKSDENFLOW_API_PORT\n")


def test_a_taken_port_is_one_line_and_ends_the_services_that_had_begun(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with local(tmp_path, WEBHOOK_PORT=str(port), LOG_LEVEL="ERROR") as process:
            _, said = process.communicate(timeout=20)
    assert process.returncode == 2
    assert said == (
        f"deksdenflow: cannot listen on 127.0.0.1:{port}: Address already in use; end what is there,"
        " or set another DEKSDENFLOW_WEBHOOK_PORT\n"
    )


def test_a_command_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with local(tmp_path, "sideways") as process:
        _, said = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "'sideways'" in said


def test_a_redis_that_was_named_is_kept() -> None:
    named = local_environment({"DEKSDENFLOW_REDIS_URL": "redis://localhost:6379/0"})
    assert named["DEKSDENFLOW_REDIS_URL"] == "redis://localhost:6379/0"


def test_a_redis_url_in_a_file_is_not_overruled() -> None:
    assert "DEKSDENFLOW_REDIS_URL" not in local_environment({"DEKSDENFLOW_REDIS_URL_FILE": "/run/secrets/redis"})


def test_an_empty_value_counts_as_not_set() -> None:
    assert local_environment({"DEKSDENFLOW_REDIS_URL": ""})["DEKSDENFLOW_REDIS_URL"] == "fakeredis://"


def test_the_persons_own_login_is_used_only_where_no_key_and_no_gateway_is_set(tmp_path: Path) -> None:
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".codex" / "auth.json").write_text("{}")
    person = {"HOME": str(tmp_path)}
    plain = load_settings(local_environment({}), allow_fake=True)
    keyed = load_settings(local_environment({"DEKSDENFLOW_CODEX_API_KEY": "a-key"}), allow_fake=True)
    gated = load_settings(local_environment({"DEKSDENFLOW_MODEL_BASE_URL": "http://127.0.0.1:1/v1"}), allow_fake=True)
    assert own_login(plain, person) == tmp_path / ".codex"
    assert own_login(keyed, person) is None
    assert own_login(gated, person) is None
    assert own_login(plain, {"HOME": str(tmp_path / "elsewhere")}) is None
