"""`doctor` and `migrate`: what is checked, what is found, and how each finding says to mend it."""

import email.utils
import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from services.cli.__main__ import main
from services.cli.afar import told_of
from services.cli.checks import compare_clocks
from shared.schemas.answers import CheckAnswer, ServiceAnswer
from tests.api.house import TOKEN
from tests.cli.served import Line, Said, one_line

KEY = "correct-horse-battery-staple-0123456789"


class Machine:
    """A machine on which `doctor` is called; nobody outside is asked."""

    def __init__(self, folder: Path, redis_url: str, port: int, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.database = folder / "flow.sqlite"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "DEKSDENFLOW_REDIS_URL": redis_url,
            "DEKSDENFLOW_DB_PATH": str(self.database),
            "DEKSDENFLOW_WORKSPACES_DIR": str(folder / "work"),
            "DEKSDENFLOW_SECRET_KEY": KEY,
            "DEKSDENFLOW_CODEX_API_KEY": "k",
            "DEKSDENFLOW_CODEX_SANDBOX": "off",
            "DEKSDENFLOW_FORGE_HOSTS": f"127.0.0.1:{port}=github",
            "DEKSDENFLOW_API_BASE": f"http://127.0.0.1:{port}",
        }

    def call(self, *words: str, **settings: str) -> Said:
        self._capsys.readouterr()
        environment = self.environment | {f"DEKSDENFLOW_{name}": value for name, value in settings.items()}
        code = main(words, {name: value for name, value in environment.items() if value}, self.folder)
        said = self._capsys.readouterr()
        return Said(code, said.out, said.err)

    def found(self, name: str, **settings: str) -> list[dict[str, Any]]:
        """The findings of one name; whatever is not well says how to mend it."""
        said = self.call("doctor", "--json", **settings)
        findings = said.json["findings"]
        assert said.code == int(any(each["state"] == "fail" for each in findings)) == int(not said.json["ok"])
        assert all(each["fix"] for each in findings if each["state"] != "ok")
        return [each for each in findings if each["name"] == name]

    def states(self, name: str, **settings: str) -> set[str]:
        return {each["state"] for each in self.found(name, **settings)}


@pytest.fixture
def machine(tmp_path: Path, redis_url: str, free_port: int, capsys: pytest.CaptureFixture[str]) -> Machine:
    return Machine(tmp_path, redis_url, free_port, capsys)


def test_on_a_machine_that_is_well_nothing_fails(machine: Machine) -> None:
    assert machine.call("migrate").out == f"{machine.database} is at migration 1\n"
    said = machine.call("doctor")
    assert (said.code, said.err) == (0, "")
    assert said.out.endswith("Nothing is broken.\n")
    assert "✔ database  " in said.out
    assert "✔ git       git version" in said.out
    assert "✔ redis     it answers" in said.out


def test_the_database_is_made_and_told(machine: Machine) -> None:
    assert machine.found("database")[0]["state"] == "warn"
    said = machine.call("migrate", "--json")
    assert said.json == {"database": str(machine.database), "migration": 1}
    assert machine.states("database") == {"ok"}
    assert "cannot be used" in one_line(machine.call("migrate", DB_PATH="/proc/none/flow.sqlite"), 2)


def test_a_database_that_is_none_is_damaged_or_is_read_by_others_is_found(machine: Machine) -> None:
    machine.call("migrate")
    machine.database.chmod(0o644)
    assert machine.states("database") == {"ok", "warn"}
    data = bytearray(machine.database.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    machine.database.write_bytes(data)
    assert "fail" in machine.states("database")
    machine.database.write_text("not a database, but long enough to be looked at" * 40)
    assert "fail" in machine.states("database")


def test_a_clock_that_was_set_back_is_found(machine: Machine) -> None:
    machine.call("migrate")
    ahead = int((time.time() + 3600) * 1000)
    with sqlite3.connect(machine.database) as connection:
        connection.execute(
            "INSERT INTO events (event_type, entity, actor, metadata, created_at)"
            " VALUES ('synced', 'line', 'a', '{}', ?)",
            (ahead,),
        )
    connection.close()
    assert "ahead of now" in machine.found("clock")[0]["text"]


@pytest.mark.parametrize(("off", "state"), [(0, "ok"), (20, "ok"), (300, "fail"), (-300, "fail")])
def test_a_clock_is_compared_with_a_forges(off: int, state: str) -> None:
    now = time.time()
    assert compare_clocks("forge", email.utils.formatdate(now + off, usegmt=True), now).state == state
    assert compare_clocks("forge", "yesterday", now).state == "warn"


def test_settings_with_which_no_service_starts_are_found(machine: Machine) -> None:
    (finding,) = machine.found("settings", NONSENSE="1")
    assert (finding["state"], "DEKSDENFLOW_NONSENSE" in finding["text"]) == ("fail", True)
    assert machine.states("settings", API_HOST="0.0.0.0") == {"fail"}
    assert "api will not start" in machine.found("settings", ENV="production")[0]["text"]


def test_missing_programs_are_found(machine: Machine) -> None:
    machine.environment["PATH"] = "/nowhere"
    assert machine.states("git") == {"fail"}
    assert (
        "DEKSDENFLOW_CODEX_BIN=/nowhere/codex is no program"
        in machine.found("codex", CODEX_BIN="/nowhere/codex")[0]["text"]
    )


def test_codex_its_login_and_its_sandbox_are_looked_at(machine: Machine) -> None:
    assert machine.states("codex") == machine.states("login") == {"ok"}
    assert machine.states("sandbox") == {"warn"}
    other = machine.folder / "codex"
    other.write_text("#!/bin/sh\necho codex-cli 0.1.0\nexit $(($# > 1))\n")
    other.chmod(0o755)
    assert machine.states("codex", CODEX_BIN=str(other)) == {"warn"}
    assert machine.states("sandbox", CODEX_BIN=str(other), CODEX_SANDBOX="required") == {"fail"}
    assert machine.states("login", CODEX_API_KEY="") == {"fail"}
    assert machine.states("login", CODEX_API_KEY="", MODEL_BASE_URL="http://127.0.0.1:9/v1") == {"ok"}
    (machine.folder / ".codex").mkdir()
    (machine.folder / ".codex" / "auth.json").write_text("{}")
    assert machine.states("login", CODEX_API_KEY="") == {"ok"}


def test_a_redis_that_does_not_answer_is_found(machine: Machine, free_port: int) -> None:
    assert machine.states("redis", REDIS_URL=f"redis://127.0.0.1:{free_port}/0") == {"fail"}
    assert machine.states("redis", REDIS_URL="") == {"ok"}


def test_weak_and_open_secrets_are_found(machine: Machine) -> None:
    assert machine.states("secrets") == {"ok"}
    assert "SECRET_KEY is too easy" in machine.found("secrets", SECRET_KEY="short")[0]["text"]
    assert "API_TOKEN is a well-known default" in machine.found("secrets", API_TOKEN="changeme-please-now")[0]["text"]
    file = machine.folder / "token"
    file.write_text("a-token-that-is-long-enough")
    file.chmod(0o644)
    found = machine.found("secrets", API_TOKEN_FILE=str(file))
    assert found[0]["fix"] == f"chmod go-rwx {file}"


def test_a_public_address_that_does_not_answer_is_found(machine: Machine, cli: Line) -> None:
    assert machine.states("address", PUBLIC_URL=cli.served.url) == {"ok"}
    assert machine.states("address", PUBLIC_URL=f"{cli.served.url}/elsewhere") == {"fail"}
    assert machine.states("address") == {"warn"}


def test_a_server_that_is_not_there_is_found_and_told_apart_from_this_terminal(machine: Machine) -> None:
    (finding,) = machine.found("api")
    assert (finding["of"], finding["state"]) == ("server", "warn")
    assert all(each["of"] == "terminal" for each in machine.found("git"))
    told = machine.call("doctor").out
    assert told.index("This terminal") < told.index("git  ") < told.index("The server at http://") < told.index("api  ")


def test_the_services_are_told_as_the_server_sees_them(machine: Machine, cli: Line) -> None:
    server = {"API_BASE": cli.served.url, "API_TOKEN": TOKEN}
    assert machine.found("api", **server)[0]["text"] == f"{cli.served.url} is ready (database: migration 1)"
    for name in ("webhooks", "worker"):
        (finding,) = machine.found(name, **server)
        assert (finding["of"], finding["state"]) == ("server", "warn")
        assert "not known to the API" in finding["text"]
    (finding,) = machine.found("worker", API_BASE=cli.served.url)
    assert "DEKSDENFLOW_API_TOKEN" in finding["fix"]


def test_what_is_broken_at_the_server_is_told_with_its_remedy() -> None:
    broken = (
        CheckAnswer(name="redis", ok=False, detail="Redis does not answer"),
        CheckAnswer(name="codex", ok=False, detail="sandbox_missing: no bubblewrap"),
        CheckAnswer(name="database", ok=True, detail="migration 1"),
    )
    found = told_of(
        ServiceAnswer(name="worker", status="unready", address="http://127.0.0.1:9/x", note="", checks=broken)
    )
    assert [(each.name, each.state, each.of) for each in found] == [("worker", "fail", "server")] * 2
    assert "DEKSDENFLOW_REDIS_URL" in found[0].fix
    assert "doctor" in found[1].fix


def test_what_disks_have_left_is_told(machine: Machine) -> None:
    free = shutil.disk_usage(machine.folder).free / 1024**3
    assert all(abs(float(each["text"].split()[0]) - free) < 1 for each in machine.found("disk"))
