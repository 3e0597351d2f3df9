"""`scripts/ci/report.sh`, under bash and dash, against the real webhook service, and against servers that fail."""

import hashlib
import hmac
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pysqlite3
import pytest

from shared.forges import read_delivery
from shared.schemas.forge import CiWord, Said
from shared.schemas.statuses import Provider
from tests.webhooks.test_main import webhooks

SCRIPT = Path(__file__).parents[2] / "scripts" / "ci" / "report.sh"
# The first python3 on a PATH may be a script that needs more of it.
PYTHON = sys.executable
SHELLS = [["bash"], ["dash"]]
TOKEN = 'tok"en \\ $(id) `id` %s ünï ' + "0123456789" * 8  # longer than one block of the hash
SHA, HEAD = "1f0c2b7a90d4e5566778899aabbccddeeff00112", "2" * 40

# What the script may start; each is recorded with its arguments.
TOOLS = tuple(
    "cat curl cut date git grep head iconv jq mktemp od openssl python3 rm sed sha256sum tr wc".split()  # noqa: SIM905  a list to read
)

GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_REF_NAME": "0001-pears",
    "GITHUB_SHA": SHA,
    "GITHUB_JOB": "test",
    "GITHUB_RUN_ID": "9001",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_REPOSITORY": "orchard/pears",
    "GITHUB_REPOSITORY_ID": "77",
    "GITHUB_SERVER_URL": "https://github.com",
}
GITLAB = {
    "GITLAB_CI": "true",
    "CI_COMMIT_REF_NAME": "0001-pears",
    "CI_COMMIT_SHA": SHA,
    "CI_JOB_NAME": "test",
    "CI_PIPELINE_ID": "3001",
    "CI_PIPELINE_SOURCE": "push",
    "CI_PIPELINE_URL": "https://gitlab.com/orchard/pears/-/pipelines/3001",
    "CI_PROJECT_ID": "77",
    "CI_PROJECT_PATH": "orchard/pears",
    "CI_PROJECT_URL": "https://gitlab.com/orchard/pears",
}
PLAIN = {"DEKSDENFLOW_BRANCH": "0001-pears", "CI_COMMIT_SHA": SHA}

HOSTILE = [
    'quote"back\\slash',
    "$(touch pwned)`touch pwned`;touch pwned|touch pwned&",
    "'; touch pwned; '",
    "-n --data=@/etc/passwd",
    "%s%n%d\\n\\0101\\x41",
    "ünïcødé-日本-🍐",
    "* ? [a-z] ~ ! # {a,b}",
    '"}],"state":"success","x":"',
    "x" * 4000,
]


class Machine:
    """A folder to run in, and a PATH that records what is started with which arguments."""

    def __init__(self, folder: Path, tools: list[str]) -> None:
        self.folder, self.bin, self.started = folder / "run", folder / "bin", folder / "started"
        self.folder.mkdir()
        self.bin.mkdir()
        for tool in tools:
            self.tool(tool, f'exec {PYTHON if tool == "python3" else shutil.which(tool)} "$@"')
        self.tool("sleep", "exit 0")

    def tool(self, name: str, text: str) -> None:
        file = self.bin / name
        file.write_text(f'#!/bin/sh\nprintf "%s\\n" "{name} $*" >> {self.started}\n{text}\n')
        file.chmod(0o755)

    def report(
        self, shell: list[str], base: str, state: str, env: Mapping[str, str | bytes]
    ) -> "subprocess.CompletedProcess[bytes]":
        defaults: dict[str, str | bytes] = {
            "PATH": str(self.bin),
            "TMPDIR": str(self.folder),
            "DEKSDENFLOW_API_BASE": base,
            "DEKSDENFLOW_WEBHOOK_TOKEN": TOKEN,
            "DEKSDENFLOW_API_TOKEN": "accepted-and-unused",
        }
        ended = subprocess.run(
            [str(shutil.which(shell[0])), *shell[1:], str(SCRIPT), *([state] if state else [])],
            cwd=self.folder,
            env={os.fsencode(name): os.fsencode(value) for name, value in (defaults | dict(env)).items()},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended
        assert ended.stdout == b""
        assert len(ended.stderr.decode().splitlines()) == 1, ended.stderr
        assert list(self.folder.iterdir()) == [], "it leaves nothing behind"
        return ended


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, [tool for tool in TOOLS if shutil.which(tool)])


class Service:
    """The webhook service as a process, and what it has stored."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self._file = url, folder / "flow.sqlite"

    def last(self) -> tuple[dict[str, Any], Said, dict[str, str]]:
        """The newest delivery: its body, what the parsers read in it, its stored headers."""
        with pysqlite3.connect(f"file:{self._file}?mode=ro", uri=True) as db:
            provider, event, headers, body = db.execute(
                "SELECT provider, event, headers, body FROM deliveries ORDER BY id DESC LIMIT 1"
            ).fetchone()
        db.close()
        kept = json.loads(headers)
        return json.loads(body), read_delivery(Provider(provider), event, kept, body), kept

    def count(self) -> int:
        with pysqlite3.connect(f"file:{self._file}?mode=ro", uri=True) as db:
            (count,) = db.execute("SELECT count(*) FROM deliveries").fetchone()
        db.close()
        return count


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    with webhooks(folder, WEBHOOK_TOKEN=TOKEN) as (url, _):
        yield Service(url, folder)


@contextmanager
def answering(*statuses: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that gives these answers in turn, the last one for ever, and what it was sent."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            asked.append({"path": self.path, "body": body} | {k.lower(): v for k, v in self.headers.items()})
            self.send_response(statuses[min(len(asked), len(statuses)) - 1])
            self.end_headers()
            self.wfile.write(b'{"detail": "because\nof this"}')

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def word_of(said: Said) -> CiWord:
    assert isinstance(said.word, CiWord), said
    return said.word


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("state", ["success", "failure"])
@pytest.mark.parametrize(
    ("env", "scope", "name"),
    [(GITHUB, "status", "deksdenflow/test"), (GITLAB, "pipeline", "test"), (PLAIN, "ci", "ci")],
    ids=["github", "gitlab", "ci"],
)
def test_a_report_of_each_form_is_stored_and_means_what_was_said(  # noqa: PLR0917  its cases
    machine: Machine, service: Service, shell: list[str], state: str, env: dict[str, str], scope: str, name: str
) -> None:
    before = service.count()
    ended = machine.report(shell, service.url, state, env | {"DEKSDENFLOW_PROTOCOL_RUN_ID": "7"})
    assert b"(202)" in ended.stderr
    assert service.count() == before + 1
    _, said, headers = service.last()
    word = word_of(said)
    assert (word.scope, word.outcome) == (scope, "pass" if state == "success" else "fail")
    assert (word.sha, word.branch, said.protocol_id, said.from_fork) == (SHA, "0001-pears", 7, False)
    assert word.at > 0
    assert headers["deksdenflow-protocol-run-id"] == "7"
    assert word.name == name
    if scope != "ci":
        assert said.repository is not None
        assert (said.repository.id, said.repository.full_name) == ("77", "orchard/pears")
        assert word.url in {GITLAB["CI_PIPELINE_URL"], "https://github.com/orchard/pears/actions/runs/9001"}


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("provider", ["github", "gitlab", "ci"])
def test_no_name_of_a_branch_breaks_out_of_the_json_or_runs_anything(
    machine: Machine, service: Service, shell: list[str], provider: str
) -> None:
    places = {"github": ("ref",), "gitlab": ("object_attributes", "ref"), "ci": ("branch",)}
    for branch in HOSTILE:
        env = {"DEKSDENFLOW_BRANCH": branch, "DEKSDENFLOW_CI_PROVIDER": provider, "CI_COMMIT_SHA": SHA}
        before = service.count()
        machine.report(shell, service.url, "failure", env)
        assert service.count() == before + 1, branch
        with pysqlite3.connect(f"file:{service._file}?mode=ro", uri=True) as db:
            (body,) = db.execute("SELECT body FROM deliveries ORDER BY id DESC LIMIT 1").fetchone()
        db.close()
        found: Any = json.loads(body)
        for key in places[provider]:
            found = found[key]
        assert found == branch


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_bytes_that_no_json_can_hold_are_left_out(machine: Machine, service: Service, shell: list[str]) -> None:
    env: dict[str, str | bytes] = {"DEKSDENFLOW_BRANCH": b"a\nb\tc\x1b[31m\x7f\xff\xe9d", "CI_COMMIT_SHA": SHA}
    with answering(202) as (url, asked):
        machine.report(shell, url, "success", env)
    assert json.loads(asked[0]["body"])["branch"] == "a b c [31m d"


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("provider", ["github", "gitlab", "ci"])
def test_no_secret_is_ever_an_argument_or_in_a_file(machine: Machine, shell: list[str], provider: str) -> None:
    with answering(202) as (url, asked):
        machine.report(shell, url, "success", PLAIN | {"DEKSDENFLOW_CI_PROVIDER": provider})
    started = machine.started.read_text()
    assert "curl" in started
    assert TOKEN not in started
    assert hmac.new(TOKEN.encode(), asked[0]["body"], hashlib.sha256).hexdigest() not in started
    if provider == "gitlab":
        assert asked[0]["x-gitlab-token"].encode("latin-1").decode() == TOKEN
    assert "accepted-and-unused" not in started + str(asked)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("key", ["k", "x" * 63, "x" * 64, "x" * 65, "ü" * 40, "%d\\"], ids=len)
def test_the_signature_is_that_of_any_key(tmp_path: Path, shell: list[str], key: str) -> None:
    machine = Machine(tmp_path, [tool for tool in TOOLS if tool != "sha256sum" and shutil.which(tool)])
    with answering(202) as (url, asked):
        machine.report(shell, url, "success", PLAIN | {"DEKSDENFLOW_WEBHOOK_TOKEN": key})
    digest = hmac.new(key.encode(), asked[0]["body"], hashlib.sha256).hexdigest()
    assert asked[0]["x-hub-signature-256"] == f"sha256={digest}"


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_without_openssl_it_signs_all_the_same_and_without_anything_it_says_so(
    tmp_path: Path, shell: list[str]
) -> None:
    for name, missing, line in (("a", {"openssl"}, b"(202)"), ("b", {"openssl", "sha256sum"}, b"needed to sign")):
        (tmp_path / name).mkdir()
        machine = Machine(tmp_path / name, [tool for tool in TOOLS if tool not in missing and shutil.which(tool)])
        with answering(202) as (url, _):
            assert line in machine.report(shell, url, "success", PLAIN).stderr


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_it_tries_again_under_one_id_until_it_is_taken(machine: Machine, shell: list[str]) -> None:
    with answering(503, 429, 202) as (url, asked):
        assert b"(202)" in machine.report(shell, url, "success", GITHUB).stderr
    assert len(asked) == 3
    assert len({(each["x-github-delivery"], each["body"]) for each in asked}) == 1
    pauses = [line for line in machine.started.read_text().splitlines() if line.startswith("sleep")]
    assert pauses == ["sleep 2", "sleep 5"]


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize(("status", "times"), [(401, 1), (404, 1), (302, 1), (500, 4)])
def test_a_refusal_is_told_in_one_line_and_the_job_goes_on(
    machine: Machine, shell: list[str], status: int, times: int
) -> None:
    with answering(status) as (url, asked):
        said = machine.report(shell, url, "failure", PLAIN).stderr.decode()
    assert (str(status) in said, "because of this" in said, len(asked)) == (True, True, times)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize(
    ("state", "env", "line"),
    [
        ("success", {"DEKSDENFLOW_API_BASE": ""}, "API_BASE is not set"),
        ("success", {"DEKSDENFLOW_WEBHOOK_TOKEN": ""}, "WEBHOOK_TOKEN is not set"),
        ("success", {"DEKSDENFLOW_API_BASE": "file:///etc/passwd"}, "https://"),
        ("success", {"DEKSDENFLOW_CI_PROVIDER": "jenkins"}, "github, gitlab or ci"),
        ("success", {"DEKSDENFLOW_PROTOCOL_RUN_ID": "7&x=1"}, "must be a number"),
        ("success", {"CI_COMMIT_SHA": "main"}, "commit is not known"),
        ("success", {"DEKSDENFLOW_API_BASE": "http://127.0.0.1:1"}, "nobody answers"),
        ("green", {}, "usage"),
        ("", {}, "usage"),
    ],
    ids=str,
)
def test_what_is_missing_or_wrong_is_one_line(
    machine: Machine, shell: list[str], state: str, env: dict[str, str], line: str
) -> None:
    assert line in machine.report(shell, "http://127.0.0.1:1", state, PLAIN | env).stderr.decode()


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("reader", ["jq", "python3", None])
def test_the_commit_of_a_pull_request_is_its_head_and_not_the_merge(
    tmp_path: Path, shell: list[str], reader: str | None
) -> None:
    if reader is not None and shutil.which(reader) is None:
        reader = "python3"
    others = {"jq", "python3"} - {reader}
    machine = Machine(tmp_path, [tool for tool in TOOLS if tool not in others and shutil.which(tool)])
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": {"head": {"sha": HEAD, "ref": "0001-pears"}}}))
    env = GITHUB | {
        "GITHUB_REF_NAME": "12/merge",
        "GITHUB_HEAD_REF": "0001-pears",
        "GITHUB_EVENT_PATH": str(event),
    }
    with answering(202) as (url, asked):
        said = machine.report(shell, url, "success", env).stderr.decode()
    if reader is None:
        assert ("commit is not known" in said, asked) == (True, [])
    else:
        body = json.loads(asked[0]["body"])
        assert (body["sha"], body["branch"]) == (HEAD, "0001-pears")


def test_branch_and_commit_come_from_where_they_should(machine: Machine) -> None:
    names = ["DEKSDENFLOW_BRANCH", "CI_COMMIT_REF_NAME", "GITHUB_HEAD_REF", "GITHUB_REF_NAME"]
    with answering(202) as (url, asked):
        for number in (0, 1, 3):
            env = {name: name.lower() for name in names[number:] if name != "GITHUB_HEAD_REF"}
            machine.report(["dash"], url, "success", env | {"GITHUB_SHA": SHA, "DEKSDENFLOW_CI_PROVIDER": "ci"})
    assert [json.loads(each["body"])["branch"] for each in asked] == [names[n].lower() for n in (0, 1, 3)]


def test_a_plain_checkout_is_asked_last(tmp_path: Path) -> None:
    machine = Machine(tmp_path, [tool for tool in TOOLS if shutil.which(tool)])
    repository = tmp_path / "repository"
    for command in (
        ["init", "-q", "-b", "0001-pears", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "One"],
        ["remote", "add", "origin", "https://ada:password@git.example.test/orchard/pears.git"],
    ):
        repository.mkdir(exist_ok=True)
        subprocess.run(["git", *command], cwd=repository, check=True)
    sha = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, check=True, capture_output=True, text=True)
    with answering(202) as (url, asked):
        machine.report(["dash"], url, "success", {"GIT_DIR": str(repository / ".git")})
    body = json.loads(asked[0]["body"])
    assert body["repository"] == "https://git.example.test/orchard/pears.git"
    assert (body["sha"], body["branch"]) == (sha.stdout.strip(), "0001-pears")


def test_a_plain_report_tells_its_repository_where_nothing_else_does(machine: Machine) -> None:
    known = PLAIN | {"GITHUB_REPOSITORY": "orchard/pears"}
    with answering(202) as (url, asked):
        for base, env in (
            (url, known),
            (url, known | {"DEKSDENFLOW_PROTOCOL_RUN_ID": "7"}),
            (f"{url}/webhooks/ci/k-1", known),
        ):
            machine.report(["dash"], base, "success", env)
    told = [json.loads(each["body"]).get("repository") for each in asked]
    assert told == ["https://github.com/orchard/pears", None, None]


def test_the_url_of_a_hook_is_taken_as_it_is_and_says_the_form(machine: Machine) -> None:
    with answering(202) as (url, asked):
        machine.report(["dash"], f"{url}/deks/webhooks/gitlab/k-1", "failure", PLAIN)
        machine.report(["dash"], f"{url}/deks/", "failure", PLAIN | {"DEKSDENFLOW_PROTOCOL_RUN_ID": "3"})
    assert [each["path"] for each in asked] == ["/deks/webhooks/gitlab/k-1", "/deks/webhooks/ci?protocol_run_id=3"]
    assert json.loads(asked[0]["body"])["object_attributes"]["status"] == "failed"
