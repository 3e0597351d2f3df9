"""Genuine deliveries that other projects publish, where a folder has them, and what was expected of each."""

import json
from typing import Any

import pytest

from shared.forges import read_delivery
from shared.schemas.forge import BranchWord, CiWord, NoWord, PullWord, Said, Word
from shared.schemas.statuses import Provider, PullState
from tests.webhooks.payloads import PUBLISHED, payload, published

# What each expected kind is here: one that was opened, or whose head moved, is an open one with the head that it has.
STATES = {
    "pr_opened": PullState.OPEN,
    "pr_head_moved": PullState.OPEN,
    "pr_closed": PullState.CLOSED,
    "pr_merged": PullState.MERGED,
}
# Where the expectation is wrong, and why.
ARGUED = {
    "gitlab/xanzy.group_merge_request.json": (
        "it was made by hand: the names of its members end in blanks (`iid `, `source_branch `), so it has neither a"
        " number nor a branch that it could be matched by"
    ),
}


def expected() -> list[dict[str, Any]]:
    file = PUBLISHED / "expected.json"
    entries = json.loads(file.read_bytes()) if file.is_file() else []
    return [entry for entry in entries if (PUBLISHED / entry["file"]).is_file()]


def read(file: str, event: str) -> Said:
    delivery = payload(PUBLISHED / file, file.partition("/")[0], event)
    return read_delivery(Provider(delivery.provider), delivery.event, {}, delivery.read())


def has_the_kind(word: Word, kind: str, event: str) -> bool:
    match kind:
        case "ci":
            return isinstance(word, CiWord)
        case "ci_job":
            return isinstance(word, CiWord) and word.scope == "job"
        case "branch_moved" | "branch_deleted":
            return isinstance(word, BranchWord) and (word.after is None) == (kind == "branch_deleted")
        case "ping" | "merge_group_checks_requested":
            return isinstance(word, NoWord) and word.reason == event
        case "ignore" if isinstance(word, PullWord):
            # That it was labelled or assigned is nothing to us, but each delivery also says how the request stands, as
            # of a time; a level is never too much, and one that was lost before is made good.
            return event in {"pull_request", "merge_request"} and word.state is PullState.OPEN
        case "ignore":
            return isinstance(word, NoWord)
        case _:
            return isinstance(word, PullWord) and word.state is STATES[kind]


def differences(said: Said, event: str, expect: dict[str, Any]) -> dict[str, Any]:
    """What is expected otherwise. `branches` of a status are not, since they only contain its commit."""
    at, word = said.repository, said.word
    found: dict[str, Any] = {
        "repo_id": at and at.id,
        "project_id": at and at.id,
        "repo": at and at.full_name,
        "project": at and at.full_name,
        "from_fork": said.from_fork,
    }
    if isinstance(word, CiWord | PullWord | BranchWord):
        found |= {name: getattr(word, name, None) for name in ("scope", "outcome", "branch", "number", "base")}
        found["sha"] = word.after if isinstance(word, BranchWord) else word.sha
    wrong = {name: value for name, value in found.items() if name in expect and str(expect[name]) != str(value)}
    return wrong if has_the_kind(word, expect["kind"], event) else wrong | {"word": word}


@pytest.mark.skipif(not expected(), reason="no folder of published payloads (DEKSDENFLOW_PAYLOADS_DIR)")
def test_genuine_deliveries_say_what_was_expected_of_them() -> None:
    wrong = {
        entry["file"]: found
        for entry in expected()
        if (found := differences(read(entry["file"], entry["event"]), entry["event"], entry["expect"]))
    }
    assert wrong.keys() == ARGUED.keys() & {entry["file"] for entry in expected()}, wrong


@pytest.mark.skipif(not published(), reason="no folder of published payloads (DEKSDENFLOW_PAYLOADS_DIR)")
def test_every_genuine_delivery_is_read() -> None:
    for delivery in published():
        assert read_delivery(Provider(delivery.provider), delivery.event, {}, delivery.read())
