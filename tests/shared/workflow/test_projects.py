"""Projects, their secrets, tokens and hooks: every change has its event, no event has a secret."""

from typing import Any

import pytest

from shared.errors import Conflict, Invalid, NotFound, PreconditionFailed
from shared.schemas.policy import Policy
from shared.schemas.records import Project
from shared.schemas.statuses import JobKind, Provider
from shared.workflow import projects as verbs
from shared.workflow.unit import Caller
from tests.shared.workflow.ground import Ground


@pytest.fixture
def ground() -> Ground:
    return Ground()


def told(ground: Ground) -> list[str]:
    return [row["event_type"] for row in ground.sql("SELECT event_type FROM events ORDER BY id")]


def change(ground: Ground, project: Project, version: int | None = None, **changes: Any) -> Project:
    return ground.run(verbs.change_project, project.id, version, changes, allow_local=False)


@pytest.mark.parametrize(
    ("git_url", "base_branch"),
    [
        ("file:///etc", "main"),
        ("/srv/repo", "main"),
        ("https://user:pw@example.org/x.git", "main"),
        ("https://example.org/x.git", "-x"),
        ("https://example.org/x.git", "a..b"),
        ("ext::sh -c id", "main"),
    ],
)
def test_a_dangerous_address_or_branch_is_refused(ground: Ground, git_url: str, base_branch: str):
    with pytest.raises(Invalid):
        ground.run(
            verbs.register_project,
            name="x",
            git_url=git_url,
            base_branch=base_branch,
            ci_provider=None,
            default_models={},
            policy=Policy(),
            allow_local=False,
        )
    assert told(ground) == []


def test_a_name_is_taken_once(ground: Ground):
    ground.project("one")
    with pytest.raises(Conflict, match="already is a project"):
        ground.project("one")


def test_a_project_cannot_take_the_name_of_another(ground: Ground):
    ground.project("one")
    other = ground.project("two")
    with pytest.raises(Conflict):
        change(ground, other, name="one")
    assert change(ground, other, name="two").version == 2


def test_a_change_needs_the_version_that_was_read(ground: Ground):
    project = ground.project()
    changed = change(ground, project, project.version, policy=Policy(auto_fix=1))
    assert (changed.version, changed.policy.auto_fix) == (2, 1)
    with pytest.raises(PreconditionFailed):
        change(ground, project, project.version, policy=Policy(auto_fix=2))


@pytest.mark.parametrize(
    ("changes", "set_up"),
    [
        ({"git_url": "https://example.org/other.git"}, True),
        ({"base_branch": "trunk"}, True),
        ({"name": "renamed"}, False),
        ({"policy": Policy(auto_fix=1)}, False),
    ],
)
def test_another_repository_is_set_up_again(ground: Ground, changes: dict[str, Any], set_up: bool):
    project = ground.project()
    change(ground, project, **changes)
    assert [job.kind for job in ground.rung] == ([JobKind.SETUP] if set_up else [])


def test_a_changed_policy_is_not_that_of_open_protocols(ground: Ground):
    project = ground.project()
    protocol = ground.opened(project=project)
    change(ground, project, policy=Policy(auto_fix=5))
    assert ground.protocol(protocol.id).policy.auto_fix == 0
    assert ground.opened(project=project).policy.auto_fix == 5


def test_secrets_tokens_and_hooks_are_events_without_their_secrets(ground: Ground):
    project = ground.project()
    ground.run(verbs.put_secret, project.id, "forge_token", sealed=b"sealed-bytes")
    ground.run(verbs.put_secret, project.id, "forge_token", file_name="forge.txt")
    ground.run(verbs.delete_secret, project.id, "forge_token")
    token = ground.run(verbs.add_token, project.id, name="ci", prefix="dk_ab", token_hash="the-hash", expires_at=None)
    ground.run(verbs.revoke_token, project.id, token.id)
    ground.run(
        verbs.add_hook, project.id, provider=Provider.GITHUB, key="the-key", scheme="hmac", sealed=b"sealed-bytes"
    )
    assert told(ground)[3:] == ["secret_set"] * 3 + ["token_created", "token_revoked", "hook_created"]
    metadata = " ".join(row["metadata"] for row in ground.sql("SELECT metadata FROM events"))
    assert not any(word in metadata for word in ("sealed-bytes", "the-hash", "the-key", "forge.txt"))


@pytest.mark.parametrize(
    ("verb", "more"),
    [
        (verbs.set_up_project, {}),
        (verbs.put_secret, {"name": "forge_token", "sealed": b""}),
        (verbs.delete_secret, {"name": "forge_token"}),
        (verbs.add_token, {"name": "x", "prefix": "", "token_hash": "", "expires_at": None}),
        (verbs.revoke_token, {"token_id": 1}),
        (verbs.add_hook, {"provider": Provider.GITHUB, "key": "k", "scheme": "hmac", "sealed": None}),
        (verbs.change_project, {"version": None, "changes": {}, "allow_local": False}),
    ],
)
def test_somebody_elses_project_does_not_exist(ground: Ground, verb: Any, more: dict[str, Any]):
    project = ground.project()
    before = told(ground)
    with pytest.raises(NotFound):
        ground.run_as(Caller("token", project_id=project.id + 1), verb, project.id, **more)
    assert told(ground) == before


def test_what_is_not_there_cannot_be_deleted_or_revoked(ground: Ground):
    project = ground.project()
    with pytest.raises(NotFound):
        ground.run(verbs.delete_secret, project.id, "none")
    with pytest.raises(NotFound):
        ground.run(verbs.revoke_token, project.id, 4711)
