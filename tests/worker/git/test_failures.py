"""What git says, and what becomes of it."""

import pytest

from services.worker.git.failures import is_locked, job_error, told_by_push
from shared.errors import Category


@pytest.mark.parametrize(
    ("stderr", "category"),
    [
        ("fatal: Authentication failed for 'https://forge/x'", Category.AUTH),
        ("fatal: could not read Username for 'https://forge': terminal prompts disabled", Category.AUTH),
        ("git@forge: Permission denied (publickey).\nfatal: Could not read from remote repository.", Category.AUTH),
        ("Host key verification failed.\nfatal: Could not read from remote repository.", Category.AUTH),
        ("remote: Permission to a/b.git denied to c.\nfatal: ... returned error: 403", Category.AUTH),
        ("remote: Repository not found.\nfatal: repository 'https://forge/x/' not found", Category.REPOSITORY),
        ("fatal: '/x' does not appear to be a git repository\nfatal: Could not read from", Category.REPOSITORY),
        ("fatal: transport 'ext' not allowed", Category.REPOSITORY),
        ("fatal: unable to access 'https://x/': The requested URL returned error: 301", Category.REPOSITORY),
        ("fatal: unable to access 'https://x/': Could not resolve host: x", Category.NETWORK),
        ("fatal: unable to access 'https://x/': The requested URL returned error: 502", Category.NETWORK),
        ("fatal: the remote end hung up unexpectedly", Category.NETWORK),
        ("ssh: connect to host x port 22: Connection timed out", Category.NETWORK),
        ("error: RPC failed; curl 18 transfer closed", Category.NETWORK),
        ("fatal: something never seen before", Category.GIT),
        ("", Category.GIT),
    ],
)
def test_words_about_the_origin_have_their_category(stderr: str, category: Category) -> None:
    assert job_error("fetch", 128, stderr).category is category


def test_words_in_names_of_local_files_mean_nothing() -> None:
    error = job_error("update-index", 128, "fatal: Unable to process path redirect/authentication failed")
    assert error.category is Category.GIT


@pytest.mark.parametrize(
    ("line", "category"),
    [
        ("!\tabc:refs/heads/x\t[rejected] (stale info)", Category.DIVERGED),
        ("!\tabc:refs/heads/x\t[rejected] (fetch first)", Category.DIVERGED),
        ("!\tabc:refs/heads/x\t[remote rejected] (protected branch hook declined)", Category.REPOSITORY),
        ("!\tabc:refs/heads/x\t[remote rejected] (failed to update ref)", Category.UPSTREAM),
        ("!\tabc:refs/heads/x\t[remote rejected] (unpacker error)", Category.UPSTREAM),
    ],
)
def test_a_rejected_push_has_its_category(line: str, category: Category) -> None:
    error = told_by_push(f"To https://forge/x\n{line}\nDone\nerror: failed to push some refs")
    assert error.category is category
    assert line.rsplit("\t", 1)[-1] in error.message


def test_a_forge_whose_own_parts_do_not_answer_is_no_refusal() -> None:
    told = (
        "remote: GitLab: Internal API error (503)\n!\tabc:refs/heads/x\t[remote rejected] (pre-receive hook declined)"
    )
    assert told_by_push(told).retryable
    assert not told_by_push(told.replace("Internal API error (503)", "You are not allowed to push")).retryable


def test_a_branch_that_moved_between_two_commands_is_divergence() -> None:
    said = "fatal: update_ref failed: cannot lock ref 'refs/heads/x': is at 1 but expected 2"
    assert job_error("update-ref", 128, said).category is Category.DIVERGED


def test_a_full_disk_is_named() -> None:
    error = job_error("write-tree", 128, "error: file write error: No space left on device")
    assert "make room in WORKSPACES_DIR" in error.message
    assert error.retryable


def test_a_lock_file_in_the_way_is_known() -> None:
    said = "fatal: Unable to create '/x/index.lock': File exists.\n\nAnother git process seems to be running"
    assert is_locked(job_error("read-tree", 128, said))
    assert not is_locked(job_error("update-ref", 128, "cannot lock ref 'x': is at 1 but expected 2"))


def test_a_killed_git_is_told_as_such() -> None:
    assert "was killed by signal 9" in job_error("fetch", -9, "").message
