"""The program itself: its help, wrong usage, a server that is not there, and how it ends as a process."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cyclopts import App

from services.cli.__main__ import main
from services.cli.app import build
from services.cli.ending import Exit
from tests.cli.served import SOON_S, Line, Said, one_line
from tests.waiting import until

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "bin" / "deksdenflow"


def commands(app: App, *before: str) -> Iterator[tuple[tuple[str, ...], App]]:
    for name in app:
        if not name.startswith("-"):
            each = app[name]
            yield (*before, name), each
            yield from commands(each, *before, name)


COMMANDS = dict(commands(build()))


def said_by(capsys: pytest.CaptureFixture[str], *words: str, **environment: str) -> Said:
    capsys.readouterr()
    code = main(words, environment)
    said = capsys.readouterr()
    return Said(code, said.out, said.err)


def test_all_commands_are_there() -> None:
    top = {name[0] for name in COMMANDS}
    asked = {"status", "watch", "logs", "diff", "explain", "attention", "deliveries", "jobs", "project", "doctor"}
    acting = {
        "run",
        "approve",
        "reject",
        "retry",
        "skip",
        "next",
        "qa",
        "start",
        "pause",
        "resume",
        "unblock",
        "cancel",
    }
    services = {"up", "demo", "api", "worker", "webhooks", "migrate", "completion"}
    assert top == asked | acting | services | {"resolve", "stop-the-line", "start-the-line"}


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_every_command_says_what_it_does_in_a_sentence(
    name: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    said = said_by(capsys, *name, "--help")
    assert said.code == 0
    usage, about, *_ = [each for each in re.split(r"\n\s*\n", said.out) if each.strip()]
    assert usage.startswith(f"Usage: deksdenflow {' '.join(name)}")
    assert re.match(r"[A-Z]", about.strip())
    assert re.search(r"[.:]\s*$", about.strip())


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_every_option_says_what_it_is_for(name: tuple[str, ...]) -> None:
    for argument in COMMANDS[name].assemble_argument_collection() if COMMANDS[name].default_command else ():
        if argument.parse and argument.show:
            assert argument.parameter.help, argument.name


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_every_command_that_tells_something_tells_programs_too(name: tuple[str, ...]) -> None:
    runs_a_service = {("up",), ("demo",), ("api",), ("worker",), ("webhooks",), ("completion",), ("project",)}
    command = COMMANDS[name]
    names = {each.name for each in command.assemble_argument_collection()} if command.default_command else set[str]()
    assert ("--json" in names) == (name not in runs_a_service)


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    said = said_by(capsys)
    assert (said.code, said.err) == (0, "")
    assert "stop-the-line" in said.out


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("status", "--nonsense"),
        ("run",),
        ("skip", "3.1"),
        ("approve", "what?"),
        ("approve", "a7"),
        ("cancel",),
        ("cancel", "j5.1"),
        ("jobs", "--status", "asleep"),
        ("jobs", "--limit", "many"),
        ("jobs", "--limit", "0"),
        ("status", "--api", "ftp://host"),
        ("status", "--api", "http://host:port"),
    ],
)
def test_wrong_usage_is_one_line(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    said = said_by(capsys, *words)
    one_line(said, 2)
    assert said.out == ""


def test_a_server_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str], free_port: int) -> None:
    for words in (("status",), ("watch", "3"), ("project", "list", "--json")):
        said = said_by(capsys, *words, DEKSDENFLOW_API_BASE=f"http://127.0.0.1:{free_port}")
        assert "deksdenflow up" in one_line(said, 3)
        assert said.out == ""


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>"),
        (502, b"Bad gateway"),
        (302, b""),
        (200, b"{}"),
        (200, b'[{"name": "\xff"}]'),
        (200, b'[{"other": ' + b"[" * 9000),
        (409, b'{"title": "\xff"}'),
    ],
)
def test_an_answer_of_somebody_else_is_one_line(capsys: pytest.CaptureFixture[str], status: int, body: bytes) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        said = said_by(capsys, "project", "list", "--api", f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert "no DeksdenFlow, or of another release" in one_line(said, 3)


def test_who_gives_no_token_or_a_wrong_one_is_told_where_it_goes(cli: Line) -> None:
    for token in ("", "wrong-but-long-enough"):
        text = one_line(cli("project", "list", DEKSDENFLOW_API_TOKEN=token), 4)
        assert "Set DEKSDENFLOW_API_TOKEN" in text
        assert "wrong-but" not in text


def test_a_token_may_lie_in_a_file_or_be_a_projects(cli: Line, name: str) -> None:
    project = cli.do(cli.house.project(name))
    file = cli.folder / "token"
    file.write_text(cli.environment.pop("DEKSDENFLOW_API_TOKEN") + "\n")
    assert cli("project", "show", project, DEKSDENFLOW_API_TOKEN_FILE=str(file)).code == 0
    file.write_text(cli.do(cli.house.project_token(project)))
    said = cli("project", "list", "--json", DEKSDENFLOW_PROJECT_TOKEN_FILE=str(file))
    assert [each["id"] for each in said.json] == [project]
    assert cli("status", DEKSDENFLOW_PROJECT_TOKEN_FILE=str(file)).code == 0
    assert "needs the API token" in one_line(cli("stop-the-line", DEKSDENFLOW_PROJECT_TOKEN=file.read_text()), 4)


@pytest.mark.parametrize(
    "environment",
    [
        {"DEKSDENFLOW_API_TOKEN_FILE": "/nowhere"},
        {"DEKSDENFLOW_API_TOKEN": "a", "DEKSDENFLOW_API_TOKEN_FILE": "/nowhere"},
        {"DEKSDENFLOW_PROJECT_TOKEN": "two\nlines"},
        {"DEKSDENFLOW_API_BASE": "nonsense"},
    ],
)
def test_a_setting_that_cannot_be_used_is_one_line(
    capsys: pytest.CaptureFixture[str], environment: dict[str, str]
) -> None:
    one_line(said_by(capsys, "status", **environment), 2)


def test_every_exit_code_has_a_meaning() -> None:
    assert all(code.meaning for code in Exit)
    assert len({code.meaning for code in Exit}) == len(Exit)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    said = said_by(capsys, "completion", shell)
    assert said.code == 0
    assert "stop-the-line" in said.out
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=said.out, text=True, check=True)


def environment(**more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": str(ROOT)} | more


def program(*words: str, **more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-m", "services.cli", *words]
    return subprocess.Popen(
        command, env=environment(**more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/"
    )


def test_ctrl_c_ends_a_watch_without_a_word(cli: Line, name: str) -> None:
    run = cli.do(cli.house.planned(cli.do(cli.house.project(name))))
    with program(
        "watch", str(run), **{key: cli.environment[key] for key in cli.environment if "API" in key}
    ) as process:
        until(lambda: cli.house.app.state.feed.readers == 1, within=SOON_S)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SOON_S)
    assert (process.returncode, err) == (130, "")
    assert "Traceback" not in out


def test_ctrl_c_ends_it_without_a_word_also_before_all_is_imported(tmp_path: Path) -> None:
    slow = "import signal; print('importing', flush=True); signal.pause()"
    (tmp_path / "cyclopts.py").write_text(slow)
    with program("status", PYTHONPATH=f"{tmp_path}:{ROOT}") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SOON_S)
    assert (process.returncode, err) == (-signal.SIGINT, "")


def test_a_reader_that_leaves_ends_it_without_a_word(cli: Line) -> None:
    settings = {key: value for key, value in cli.environment.items() if "API" in key}
    with program("project", "list", "--json", **settings) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode in {0, 1}


def shell(line: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = f"{sys.executable} -P -m services.cli {line}"
    return subprocess.run(
        ["bash", "-c", command], env=environment(**more), capture_output=True, text=True, cwd="/", check=False
    )


def test_no_help_waits_for_what_the_services_are_made_of() -> None:
    asked = "import sys, services.cli.app as program; program.build(); print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"litestar", "arq", "redis", "fakeredis"} & set(said.split())


def test_output_that_is_closed_is_not_missed(cli: Line) -> None:
    settings = {key: value for key, value in cli.environment.items() if "API" in key}
    done = shell("project list >&-", **settings)
    assert (done.returncode, done.stderr) == (Exit.OK, "")


def test_a_redis_that_is_away_leaves_the_findings_readable(free_port: int) -> None:
    nobody = f"127.0.0.1:{free_port}"
    done = shell("doctor --json", DEKSDENFLOW_API_BASE=f"http://{nobody}", DEKSDENFLOW_REDIS_URL=f"redis://{nobody}")
    assert done.returncode == Exit.FAILED
    assert "redis" in [each["name"] for each in json.loads(done.stdout)["findings"] if each["state"] == "fail"]


@pytest.mark.parametrize("words", ["project list", "project list --json", "--help"])
def test_output_that_has_no_room_is_one_line(cli: Line, words: str) -> None:
    settings = {key: value for key, value in cli.environment.items() if "API" in key}
    done = shell(f"{words} >/dev/full", **settings)
    assert done.returncode == Exit.FAILED
    assert done.stderr.startswith("deksdenflow: the output cannot be written")
    assert done.stderr.count("\n") == 1


def test_a_terminal_that_lacks_a_character_gets_another(cli: Line, name: str) -> None:
    run = cli.do(cli.house.planned(cli.do(cli.house.project(name))))
    settings = {key: value for key, value in cli.environment.items() if "API" in key}
    done = shell(f"status {run}", **settings, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (Exit.OK, "")
    assert "?" in done.stdout


@pytest.mark.parametrize("service", ["up", "worker"])
def test_a_service_is_started_in_its_place_and_ended_by_a_signal(tmp_path: Path, redis_url: str, service: str) -> None:
    settings = {
        "DEKSDENFLOW_REDIS_URL": redis_url,
        "DEKSDENFLOW_DB_PATH": str(tmp_path / "flow.sqlite"),
        "DEKSDENFLOW_WORKSPACES_DIR": str(tmp_path / "work"),
        **{f"DEKSDENFLOW_{name}_PORT": "0" for name in ("API", "WEBHOOK", "WORKER")},
    }
    with program(service, **settings) as process:
        assert process.stdout is not None
        assert process.stdout.readline()  # it says where it listens
        process.terminate()
        process.communicate(timeout=SOON_S)
    assert process.returncode == 0


@pytest.mark.parametrize("service", ["api", "webhooks"])
def test_a_service_that_cannot_start_ends_as_the_service_does(tmp_path: Path, service: str) -> None:
    with program(service, DEKSDENFLOW_DB_PATH=str(tmp_path / "flow.sqlite")) as process:
        _, err = process.communicate(timeout=SOON_S)
    assert (process.returncode, "DEKSDENFLOW_REDIS_URL is not set" in err) == (2, True)


def test_the_demo_takes_its_options(tmp_path: Path) -> None:
    with program("demo", "--model", "not a model") as process:
        _, err = process.communicate(timeout=SOON_S)
    assert process.returncode == 2
    assert "is not the name of a model" in err


def test_the_program_runs_from_any_folder_and_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "__init__.py").write_text("raise SystemExit('somebody elses code')")
    link = tmp_path / "deksdenflow"
    link.symlink_to(PROGRAM)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        done = subprocess.run(
            [link, "status", "--api", f"http://127.0.0.1:{taken.getsockname()[1]}"],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert "no DeksdenFlow answers" in done.stderr


@pytest.mark.parametrize("service", ["api", "worker"])
def test_in_an_image_with_one_service_all_that_needs_no_other_works(tmp_path: Path, cli: Line, service: str) -> None:
    (tmp_path / "services").mkdir()
    for name in ("shared", "services/__init__.py", "services/cli", f"services/{service}", "bin"):
        (tmp_path / name).symlink_to(ROOT / name)
    settings = {name: value for name, value in cli.environment.items() if "API" in name}

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "services.cli", *words],
            env=environment(**settings)
            | {"PYTHONPATH": str(tmp_path), "DEKSDENFLOW_FORGE_HOSTS": "127.0.0.1:1=github"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    assert call("status").returncode == 0
    for other in ({"api", "worker", "webhooks"} - {service}) | {"up"}:
        done = call(other)
        assert (done.returncode, "not part of this installation" in done.stderr) == (3, True), done.stderr
    found = {each["name"]: each for each in json.loads(call("doctor", "--json").stdout)["findings"]}
    assert found["codex"]["state"] == ("ok" if service == "worker" else "warn")
    assert found["api"]["state"] == "ok"
