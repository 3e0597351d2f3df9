"""The folder of an attempt."""

from pathlib import Path

import pytest

from services.worker.codex.attempt import (
    AttemptFiles,
    environment_of,
    make_room,
    prepare,
    shut_out,
    skills_of,
    tidy,
)
from services.worker.codex.request import CodexRequest
from shared.errors import Category, JobError
from tests.worker.codex.ground import Ground


def prepared(request: CodexRequest) -> AttemptFiles:
    files = make_room(request)
    prepare(request, files, str)
    return files


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).mkdir(parents=True)


def test_a_denied_folder_that_contains_a_kept_one_is_replaced_by_the_rest_of_it(tmp_path: Path) -> None:
    make(tmp_path, "repos/1.git", "repos/2.git", "trees/1", "trees/2", "db")
    shut = shut_out([tmp_path], keep=[tmp_path / "repos/1.git", tmp_path / "trees/1"])
    assert {str(path.relative_to(tmp_path)) for path in shut} == {"repos/2.git", "trees/2", "db"}


def test_a_denied_path_that_does_not_exist_is_left_out(tmp_path: Path) -> None:
    assert list(shut_out([tmp_path / "nothing"], keep=[])) == []


def test_a_kept_path_is_never_denied_nor_what_it_contains(tmp_path: Path) -> None:
    make(tmp_path, "trees/1/src")
    assert list(shut_out([tmp_path / "trees/1"], keep=[tmp_path / "trees/1"])) == []


def test_the_environment_is_ours_alone(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "secret")
    request = ground.request(environment={"HTTPS_PROXY": "http://proxy", "HOME": "/root", "PATH": "/opt/bin"})
    environment = environment_of(request, AttemptFiles(request.attempt_dir))
    assert environment == {
        "PATH": f"{request.attempt_dir}/bin:/opt/bin",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "HTTPS_PROXY": "http://proxy",
        "HOME": str(request.attempt_dir / "tmp" / "home"),
        "TMPDIR": str(request.attempt_dir / "tmp"),
        "CODEX_HOME": str(request.attempt_dir / "codex_home"),
        "DEKSDENFLOW_RUN": str(request.marker),
        "CODEX_API_KEY": "sk-test-key",
    }


@pytest.mark.parametrize("asked", [{}, {"PATH": "bin:/usr/bin::.:/bin"}])
def test_programs_are_never_looked_for_in_the_current_directory(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, asked: dict[str, str]
) -> None:
    monkeypatch.setenv("PATH", ".:/usr/bin:relative::/bin")
    request = ground.request(environment=asked)
    environment = environment_of(request, AttemptFiles(request.attempt_dir))
    assert environment["PATH"] == f"{request.attempt_dir}/bin:/usr/bin:/bin"


def test_the_folder_is_for_us_alone(ground: Ground) -> None:
    files = prepared(ground.request())
    assert files.root.stat().st_mode & 0o077 == 0
    assert files.codex_home.stat().st_mode & 0o077 == 0


def test_a_worktree_that_is_not_there_is_an_error_of_the_repository(ground: Ground) -> None:
    with pytest.raises(JobError) as caught:
        make_room(ground.request(worktree=ground.root / "nothing"))
    assert caught.value.category is Category.REPOSITORY


def test_a_login_is_lent_and_its_renewed_tokens_are_given_back(ground: Ground) -> None:
    login = ground.root / "login"
    login.mkdir()
    (login / "auth.json").write_text("old tokens")
    (login / "auth.json").chmod(0o600)
    request = ground.request(api_key=None, base_url=None, login_home=login)
    files = prepared(request)
    lent = files.codex_home / "auth.json"
    assert lent.read_text() == "old tokens"
    lent.write_text("new tokens")
    tidy(request, files)
    assert (login / "auth.json").read_text() == "new tokens"
    assert (login / "auth.json").stat().st_mode & 0o777 == 0o600
    assert not lent.exists()


def test_a_login_that_is_not_there_says_how_to_log_in(ground: Ground) -> None:
    with pytest.raises(JobError, match="codex login") as caught:
        prepared(ground.request(login_home=ground.root))
    assert caught.value.category is Category.AUTH


def test_the_record_of_a_thread_is_copied_from_the_attempt_that_last_ran_it(ground: Ground) -> None:
    earlier = AttemptFiles(ground.root / "attempts" / "0")
    name = Path("sessions/2026/11/22/rollout-2026-11-22T16-10-18-abc.jsonl")
    (earlier.codex_home / name).parent.mkdir(parents=True)
    (earlier.codex_home / name).write_text("{}")
    files = prepared(ground.request(thread_id="abc", resume_from=earlier.root))
    assert (files.codex_home / name).read_text() == "{}"


@pytest.mark.parametrize("thread_id", ["../../x", "*", "abc def", "--help", ""])
def test_a_thread_id_that_is_none_is_refused(ground: Ground, thread_id: str) -> None:
    with pytest.raises(JobError) as caught:
        prepared(ground.request(thread_id=thread_id))
    assert caught.value.category is Category.SESSION_LOST


def test_skills_are_found_through_links_and_loops(tmp_path: Path) -> None:
    make(tmp_path, ".agents/skills/a/b", ".codex", "docs/x")
    (tmp_path / ".codex/skills").symlink_to("../docs")
    (tmp_path / ".agents/skills/loop").symlink_to("..")
    for place in (".agents/skills/a", ".agents/skills/a/b", "docs/x"):
        (tmp_path / place / "SKILL.md").touch()
    found = {str(path.relative_to(tmp_path)) for path in skills_of(tmp_path)}
    assert found == {".agents/skills/a/SKILL.md", ".agents/skills/a/b/SKILL.md", "docs/x/SKILL.md"}
