"""What a forge says of a repository: the words that deliveries, polls and CI reports are all read into."""

from typing import Any, Final, Literal

import msgspec

from shared.schemas.statuses import Outcome, PullState

# The header that a delivery is stored with when its URL names the protocol run that it is about.
PROTOCOL_HEADER: Final = "deksdenflow-protocol-run-id"


class Repository(msgspec.Struct, frozen=True, kw_only=True):
    """A repository as its forge names it; `id` never changes, `full_name` is its path, `host` where it lives."""

    id: str | None
    full_name: str | None = None
    host: str | None = None


class CiWord(msgspec.Struct, frozen=True, kw_only=True, tag="ci"):
    """One outcome for one commit.

    `scope` is the kind of thing that ended or runs, `name` what people and `required_contexts` call it. Words with one
    `context` replace each other on a commit: the newest by `run_id`, `run_attempt` and `at` (ms; 0 when it is not told)
    is true. `details` are shown as evidence, and hold what the log of a red job is found by.
    """

    sha: str
    branch: str | None
    scope: Literal["workflow_run", "check_suite", "check_run", "status", "pipeline", "job", "ci"]
    name: str
    context: str
    outcome: Outcome
    run_id: int = 0
    run_attempt: int = 1
    at: int = 0
    url: str | None = None
    details: dict[str, Any] = {}


class PullWord(msgspec.Struct, frozen=True, kw_only=True, tag="pull"):
    """A pull or merge request as it stood at `at` (ms); `sha` is the head of its branch."""

    number: int
    state: PullState
    branch: str
    base: str
    sha: str | None
    at: int
    draft: bool = False
    merge_sha: str | None = None
    url: str | None = None


class BranchWord(msgspec.Struct, frozen=True, kw_only=True, tag="branch"):
    """A branch was moved; `after` is None when it is gone."""

    branch: str
    before: str | None
    after: str | None
    forced: bool = False


class NoWord(msgspec.Struct, frozen=True, kw_only=True, tag="none"):
    """Nothing that concerns a protocol run; `reason` says why in one word, such as `ping` or `tag`."""

    reason: str


Word = CiWord | PullWord | BranchWord | NoWord


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """All that one delivery says; `protocol_id` is there where a CI job named its protocol run itself."""

    repository: Repository | None
    word: Word
    from_fork: bool = False
    protocol_id: int | None = None
