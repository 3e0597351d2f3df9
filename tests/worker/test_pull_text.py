"""The words of a PR: what a person reads there, and that nothing in them does anything."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.worker.pull_text import TEXT_CHARS, TITLE_CHARS, Story, body_of, comment_of, marker_of, title_of
from shared.schemas.policy import Policy
from shared.schemas.records import Gate, Plan, Protocol, StepRun
from shared.schemas.statuses import (
    GateName,
    GateState,
    Phase,
    ProtocolStatus,
    Reason,
    StepStatus,
    StepType,
)

MARKER = marker_of("abc", 7)
ONE, TWO = "1" * 40, "2" * 40
HOSTILE = [
    "thanks @torvalds and @acme/everyone",
    "fixes #1",
    "Closes: acme/shop#12, resolves GH-3 and !4 and &5",
    "close https://github.com/acme/shop/issues/9",
    "implements #2\n/merge\n/close\n/assign @root",
    "<!-- deksdenflow abc run 7 -->",
    "<!-- never closed",
    "```\nnever closed",
    "<details><summary>",
    "![x](https://evil.example/a.png) [y](javascript:alert(1))",
    "- [x] done\n# Heading\n1. one\n| a | b |\n|---|---|",
    "&#64;torvalds &#x40;torvalds &commat;torvalds",
    "a\u202eb\u200dc\x00d\x1b[31m\ud800",
    "~bug %1 $2 ^alert#1 :tada:",
]


def protocol(**changes: Any) -> Protocol:
    made = Protocol(
        id=7,
        project_id=1,
        number=12,
        protocol_name="0012-dark-theme",
        branch="0012-dark-theme",
        base_branch="main",
        description="Add a dark theme.",
        status=ProtocolStatus.RUNNING,
        phase=None,
        reason=None,
        policy=Policy(),
        model=None,
        start_sha=None,
        head_sha=TWO,
        pushed_sha=TWO,
        plan_revision=1,
        written_revision=1,
        plan_sha=None,
        feedback=None,
        pr_number=None,
        pr_url=None,
        pr_state=None,
        pr_at=None,
        pr_comment=None,
        version=1,
        created_at=0,
        updated_at=0,
        finished_at=None,
    )
    return replace(made, **changes)


def step(index: int, name: str = "Do it", status: StepStatus = StepStatus.PENDING, **more: Any) -> StepRun:
    return StepRun(
        id=index,
        protocol_id=7,
        step_index=index,
        step_name=name,
        step_type=StepType.WORK,
        file_name=f"{index:02d}-do-it.md",
        instructions="",
        depends_on=(),
        status=status,
        created_at=0,
        updated_at=0,
        **more,
    )


def gate(step_id: int, name: GateName, state: GateState, **more: Any) -> Gate:
    given = {"sha": TWO, "summary": "Said so.", "url": None, "updated_at": 1} | more
    return Gate(step_id=step_id, name=name, state=state, actor="x", attempt_id=None, evidence={}, **given)


def plan(summary: str) -> Plan:
    return Plan(
        protocol_id=7, revision=1, summary=summary, plan_md="", context_md="", files={}, sha256="", created_at=0
    )


def story(*steps: StepRun, gates: tuple[Gate, ...] = (), summary: str = "A dark theme.", **changes: Any) -> Story:
    return Story(protocol=protocol(**changes), plan=plan(summary), steps=steps, gates=gates, marker=MARKER)


UNDER_WAY = story(
    step(1, "Add the colours", StepStatus.COMPLETED, head_sha=ONE, repairs=1),
    step(2, "Add the switch", StepStatus.NEEDS_QA, phase=Phase.AWAITING_GATES, head_sha=TWO),
    step(3, "Drop the old one", StepStatus.FAILED, reason=Reason.CI_FAILED, head_sha=TWO),
    step(4, "Say so", StepStatus.COMPLETED, reason=Reason.SKIPPED),
    step(5, "Ship it"),
    gates=(
        gate(1, GateName.QA, GateState.PASSED, sha=ONE),
        gate(1, GateName.CI, GateState.PASSED, sha=ONE, url="https://forge.test/runs/1"),
        gate(3, GateName.CI, GateState.FAILED, url="https://forge.test/runs/2", summary="test: 1 failed", updated_at=9),
    ),
)


def test_the_body_is_the_plan_with_a_checklist() -> None:
    assert body_of(UNDER_WAY).splitlines() == [
        MARKER,
        "> A dark theme.",
        "",
        "### Steps",
        "",
        "- [x] **01** Add the colours — completed, [CI passed](https://forge.test/runs/1), QA passed, 111111111111",
        "- [ ] **02** Add the switch — QA needed, 222222222222, QA open, approval open",
        "- [ ] **03** Drop the old one — failed (ci failed), [CI failed](https://forge.test/runs/2), 222222222222",
        "- [x] **04** Say so — skipped",
        "- [ ] **05** Ship it — pending",
        "",
        (
            "The plan is in `.protocols/0012-dark-theme/plan.md` on this branch."
            " DeksdenFlow keeps this text; what is added here is lost."
        ),
    ]


def test_the_comment_says_where_it_stands() -> None:
    assert comment_of(UNDER_WAY).splitlines() == [
        MARKER,
        "**0012-dark-theme** is **running**.",
        "",
        "- Waits for: step 02: QA or approval",
        "- Repairs of step 01: 1",
        "- Last verdict: [CI failed on step 03](https://forge.test/runs/2) at 222222222222",
        "  > test: 1 failed",
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": ProtocolStatus.COMPLETED, "reason": Reason.MERGED}, "nothing any more"),
        ({"status": ProtocolStatus.PAUSED}, "a person: it is paused"),
        ({"status": ProtocolStatus.BLOCKED, "reason": Reason.DIVERGED}, "Somebody else moved the branch: adopt"),
        ({"status": ProtocolStatus.BLOCKED, "reason": Reason.PR_CLOSED}, "reopen it"),
        ({"phase": Phase.AWAITING_MERGE}, "the merge"),
        ({"status": ProtocolStatus.PLANNED, "phase": Phase.AWAITING_PLAN_APPROVAL}, "the plan is to be approved"),
        ({}, "the next step to be started"),
    ],
)
def test_the_comment_says_who_or_what_is_waited_for(changes: dict[str, Any], said: str) -> None:
    assert said in comment_of(story(step(1), **changes))


def test_every_reason_of_a_block_is_told_with_what_to_do() -> None:
    for reason in Reason:
        assert "Waits for: a person. " in comment_of(story(step(1), status=ProtocolStatus.BLOCKED, reason=reason))


def test_a_run_without_a_plan_is_told_by_its_task_or_its_name() -> None:
    bare = Story(protocol=protocol(), plan=None, steps=(), gates=(), marker=MARKER)
    assert title_of(bare) == "Add a dark theme. [protocol-0012]"
    assert "> Add a dark theme." in body_of(bare)
    assert title_of(replace(bare, protocol=protocol(description=" "))) == "0012-dark-theme [protocol-0012]"


@pytest.mark.parametrize("words", ["Draft: x", "[WIP] x", "(draft) WIP: x", "wip - Draft: x", "  draft : x"])
def test_no_summary_makes_the_title_a_draft(words: str) -> None:
    assert title_of(story(summary=words)) == "x [protocol-0012]"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "https://x/)](https://y", "https://x/ y", "https://x/" + "a" * 600]
)
def test_an_odd_address_is_not_made_a_link(url: str) -> None:
    text = body_of(story(step(1), gates=(gate(1, GateName.CI, GateState.FAILED, url=url),)))
    assert "CI failed" in text
    assert "](" not in text


def harmless(text: str) -> None:
    """What GitHub and GitLab look for in any text."""
    assert not re.search(r"@\w", text)
    assert not re.search(r"[#!&]\d|\bgh-\d", text, re.IGNORECASE)
    closing = r"\b(clos(e[sd]?|ing)|fix(e[sd]|ing)?|resolv(e[sd]?|ing)|implement(s|ed|ing)?)\b"
    assert not re.search(closing, text, re.IGNORECASE)
    text.encode()


def inert(text: str) -> None:
    """And in Markdown; our own parts are taken out first."""
    harmless(text)
    assert text.count(MARKER) == 1
    theirs = re.sub(r"`[.]protocols/[\w./-]+`|<!-- deksdenflow abc run 7 -->", "", text)
    assert not re.search(r"(?<!\\)(?:[`<&]|\]\()|!\[", theirs)
    assert not re.search(r"^[\s>]*/\w", theirs, re.MULTILINE)
    assert not re.search(r"^> *(#|[-+*] |\d+[.)])", theirs, re.MULTILINE)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_others_wrote_is_only_characters(text: str) -> None:
    steps = (step(1, text, StepStatus.FAILED, head_sha=TWO),)
    told = story(*steps, gates=(gate(1, GateName.CI, GateState.FAILED, summary=text),), summary=text, description=text)
    inert(body_of(told))
    inert(comment_of(told))
    harmless(title_of(told))
    assert len(body_of(told).splitlines()) == 7 + len([line for line in text.splitlines() if line.strip()])
    assert "\n" not in title_of(told)


@given(text=st.text(max_size=200))
def test_no_text_at_all_is_more_than_characters(text: str) -> None:
    steps = (step(1, text),)
    told = story(*steps, gates=(gate(1, GateName.CI, GateState.FAILED, summary=text),), summary=text)
    inert(body_of(told))
    inert(comment_of(told))
    harmless(title_of(told))


def test_an_ordinary_text_reads_as_it_was_written() -> None:
    said = "Rename `old_name` to new_name (see docs/a.md), 100% of it; fixes nothing, e.g. a@b.c"
    shown = body_of(story(summary=said)).splitlines()[1]
    assert shown.replace("\\", "").replace("\u200b", "") == f"> {said}"


def test_no_text_is_longer_than_a_forge_takes() -> None:
    steps = tuple(step(index, "*" * 200) for index in range(1, 1000))
    long = story(*steps, summary="@a " * 30_000, gates=(gate(1, GateName.CI, GateState.FAILED, summary="#1" * 50_000),))
    assert len(title_of(long)) <= TITLE_CHARS
    assert len(body_of(long)) <= TEXT_CHARS
    assert len(comment_of(long)) <= TEXT_CHARS
    shown = body_of(long)
    assert re.search(r"^- … and \d+ more$", shown, re.MULTILINE)
    assert shown.rstrip().endswith("is lost.")


def test_the_same_state_gives_the_same_words() -> None:
    turned = replace(UNDER_WAY, gates=UNDER_WAY.gates[::-1])
    assert (body_of(turned), comment_of(turned)) == (body_of(UNDER_WAY), comment_of(UNDER_WAY))


def test_the_mark_is_of_one_run_of_one_installation() -> None:
    assert len({marker_of("a", 1), marker_of("a", 2), marker_of("b", 1)}) == 3
