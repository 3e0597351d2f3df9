"""The words of a PR or MR: its title, its body with the checklist of steps, and our one comment. Pure.

Whatever a model, a person or a forge wrote is shown as the characters that it is made of: it formats nothing, pings
nobody, closes no issue, gives GitLab no order, and cannot play our own marks.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from shared.schemas.records import Gate, Plan, Protocol, StepRun
from shared.schemas.statuses import GateName, GateState, Phase, ProtocolStatus, Reason, StepStatus
from shared.states.gates import judge

# GitHub takes 256 characters of a title and GitLab 255, of which `Draft: ` needs some; GitHub takes 65536 of a text.
TITLE_CHARS: Final = 200
TEXT_CHARS: Final = 60_000

_SUMMARY_CHARS: Final = 3000
_NAME_CHARS: Final = 160
_SAID_CHARS: Final = 1500
_URL_CHARS: Final = 500
_SHOWN_SHA: Final = 12

_NOTHING: Final = "\u200b"  # a character without width or meaning
_DRAFT: Final = re.compile(r"\s*(\[(draft|wip)\]|\((draft|wip)\)|(draft|wip)\s*(:|-))\s*", re.IGNORECASE)
# What a forge makes a link or a ping of, and the words by which it closes issues.
_REFERENCE: Final = re.compile(r"@(?=\w)|(?:[#!&]|\bgh-)(?=\d)", re.IGNORECASE)
_CLOSING: Final = re.compile(
    r"\b([cfir])(los(?:e[sd]?|ing)|ix(?:e[sd]|ing)?|mplement(?:s|ed|ing)?|esolv(?:e[sd]?|ing))\b", re.IGNORECASE
)
_MARKUP: Final = re.compile(r"([\\`*_{}\[\]<>|~$^&])")
_AT_THE_START: Final = re.compile(r"^(?=[#+=/-]|\d+[.)])")
_LINK: Final = re.compile(r"https?://[^\s<>()\[\]\"'\\`|]+", re.IGNORECASE)

_CAUSES: Final[Mapping[Reason, str]] = {
    Reason.PLAN_FAILED: "Planning failed: start it again.",
    Reason.STEP_FAILED: "A step failed: retry, approve, skip or cancel it.",
    Reason.QA_UNAVAILABLE: "QA gave no verdict: run it again, or approve, reject or skip the step.",
    Reason.PUBLISH_FAILED: "Publishing failed: remove the cause, then open the PR again.",
    Reason.CI_REGRESSED: "CI is red on work that was done already: run it again or repair it.",
    Reason.DIVERGED: "Somebody else moved the branch: adopt what is there, reset it, or cancel.",
    Reason.PR_CLOSED: "This was closed without a merge: reopen it or cancel the run.",
}
_PHASES: Final[Mapping[Phase, str]] = {
    Phase.QUEUED: "a worker",
    Phase.EXECUTING: "its execution",
    Phase.BACKOFF: "the next try",
    Phase.PARKED: "its execution to go on",
    Phase.QA_QUEUED: "QA to start",
    Phase.QA_RUNNING: "the verdict of QA",
    Phase.INCONCLUSIVE: "a person: QA gave no verdict",
}


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """All that is told of a protocol run; `gates` are those of its steps' present commits, `marker` names the run.

    `marker` is the same for all times, and other for every run of every installation.
    """

    protocol: Protocol
    plan: Plan | None
    steps: tuple[StepRun, ...]
    gates: tuple[Gate, ...]
    marker: str


def marker_of(instance: str, protocol_id: int) -> str:
    """The hidden mark by which our own texts are found again."""
    return f"<!-- deksdenflow {instance} run {protocol_id} -->"


def title_of(story: Story) -> str:
    """One line; no word of the model makes it a draft or takes that away."""
    protocol = story.protocol
    place = f" [protocol-{protocol.number:04d}]"
    words = _line(story.plan.summary if story.plan else "") or _line(protocol.description) or protocol.protocol_name
    while found := _DRAFT.match(words):
        words = words[found.end() :]
    return _broken(_cut(words or protocol.protocol_name, TITLE_CHARS // 2)) + place


def body_of(story: Story) -> str:
    """What it is about, and the checklist of its steps."""
    protocol, plan = story.protocol, story.plan
    about = plan.summary if plan and plan.summary.strip() else protocol.description
    head = [story.marker, *_quoted(about, _SUMMARY_CHARS), "", "### Steps", ""]
    where = f".protocols/{protocol.protocol_name}/plan.md"
    tail = ["", f"The plan is in `{where}` on this branch. DeksdenFlow keeps this text; what is added here is lost."]
    gates = _by_step(story.gates)
    return _fitted(head, [_step_line(protocol, step, gates.get(step.id, ())) for step in story.steps], tail)


def comment_of(story: Story) -> str:
    """Where the run stands: what is waited for, what was repaired, and the last verdict."""
    protocol = story.protocol
    state = _words(protocol.status) + (f" ({_words(protocol.reason)})" if protocol.reason else "")
    head = [story.marker, f"**{protocol.protocol_name}** is **{state}**.", ""]
    lines = [f"- Waits for: {each}" for each in _waits(story)]
    lines += [f"- Repairs of step {step.step_index:02d}: {step.repairs}" for step in story.steps if step.repairs]
    return _fitted(head, [*lines, *_last_verdict(story)], [])


def _step_line(protocol: Protocol, step: StepRun, gates: Sequence[Gate]) -> str:
    mark = "x" if step.status is StepStatus.COMPLETED else " "
    state = _words(step.reason if step.reason is Reason.SKIPPED else step.status)
    if step.status is StepStatus.FAILED and step.reason is not None:
        state += f" ({_words(step.reason)})"
    parts = [state, *(_gate_words(gate) for gate in gates)]
    if step.head_sha is not None:
        parts.append(step.head_sha[:_SHOWN_SHA])
    if step.status is StepStatus.NEEDS_QA:
        open_gates = judge(protocol.policy, {gate.name: gate.state for gate in gates}).open
        parts += [f"{_label(name)} open" for name in open_gates if name not in {gate.name for gate in gates}]
    return f"- [{mark}] **{step.step_index:02d}** {_inline(step.step_name, _NAME_CHARS)} — {', '.join(parts)}"


def _gate_words(gate: Gate) -> str:
    return _linked(f"{_label(gate.name)} {_words(gate.state)}", gate.url)


def _waits(story: Story) -> list[str]:
    protocol = story.protocol
    if protocol.status.terminal:
        return ["nothing any more."]
    if protocol.status is ProtocolStatus.PAUSED:
        return ["a person: it is paused."]
    if protocol.status is ProtocolStatus.BLOCKED:
        return [f"a person. {_CAUSES.get(protocol.reason or Reason.UNKNOWN, 'It is blocked.')}"]
    if protocol.phase is Phase.AWAITING_PLAN_APPROVAL:
        return ["a person: the plan is to be approved."]
    if protocol.phase is Phase.AWAITING_MERGE:
        return ["the merge."]
    gates = _by_step(story.gates)
    waiting = [
        f"step {step.step_index:02d}: {told}"
        for step in story.steps
        if (told := _step_waits(protocol, step, gates.get(step.id, ())))
    ]
    return waiting or ["the next step to be started."]


def _step_waits(protocol: Protocol, step: StepRun, gates: Sequence[Gate]) -> str | None:
    if step.status.settled or step.status is StepStatus.FAILED or step.phase is None:
        return None
    if step.phase is Phase.AWAITING_GATES:
        verdict = judge(protocol.policy, {gate.name: gate.state for gate in gates})
        return " or ".join(_label(name) for name in verdict.open) or None
    return _PHASES.get(step.phase)


def _last_verdict(story: Story) -> list[str]:
    """The newest word of a gate that decided something, with what it found."""
    decided = [gate for gate in story.gates if gate.state is not GateState.PENDING]
    if not decided:
        return []
    gate = max(decided, key=lambda each: (each.updated_at, each.step_id, each.name))
    index = next((step.step_index for step in story.steps if step.id == gate.step_id), 0)
    told = f"{_label(gate.name)} {_words(gate.state)} on step {index:02d}"
    lines = [f"- Last verdict: {_linked(told, gate.url)} at {gate.sha[:_SHOWN_SHA]}"]
    return [*lines, *(f"  {each}" for each in _quoted(gate.summary, _SAID_CHARS))]


def _by_step(gates: Sequence[Gate]) -> dict[int, list[Gate]]:
    found: dict[int, list[Gate]] = {}
    for gate in sorted(gates, key=lambda each: each.name):
        found.setdefault(gate.step_id, []).append(gate)
    return found


def _label(name: GateName) -> str:
    return {GateName.CI: "CI", GateName.QA: "QA", GateName.APPROVAL: "approval"}[name]


def _words(code: str) -> str:
    return "QA needed" if code == StepStatus.NEEDS_QA else code.replace("_", " ")


def _linked(words: str, url: str | None) -> str:
    sound = url is not None and len(url) <= _URL_CHARS and _LINK.fullmatch(url)
    return f"[{words}]({url})" if sound else words


def _quoted(text: str, limit: int) -> list[str]:
    """A text of several lines as a quotation; no line of it begins like an order."""
    cut = _cut(text.strip(), limit)
    return [f"> {_inline(line, limit)}".rstrip() for line in cut.splitlines() if line.strip()]


def _inline(text: str, limit: int) -> str:
    """One line that means nothing but itself."""
    escaped = _MARKUP.sub(r"\\\1", _cut(_line(text), limit))
    return _AT_THE_START.sub(_NOTHING, _broken(escaped))


def _line(text: str) -> str:
    """Without line breaks, and without what cannot be seen or turns a line around."""
    seen = "".join(char if char.isspace() or unicodedata.category(char)[0] != "C" else "" for char in text)
    return " ".join(seen.split())


def _broken(text: str) -> str:
    """The same to the eye, with something inside of whatever a forge would act upon."""
    return _CLOSING.sub(rf"\1{_NOTHING}\2", _REFERENCE.sub(rf"\g<0>{_NOTHING}", text))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _fitted(head: Sequence[str], lines: Sequence[str], tail: Sequence[str]) -> str:
    """As many of the lines as there is room for, and how many there are more."""
    room = TEXT_CHARS - sum(len(line) + 1 for line in (*head, *tail)) - 40
    shown: list[str] = []
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            break
        shown.append(line)
    more = len(lines) - len(shown)
    rest = [f"- … and {more} more"] if more else []
    return "\n".join((*head, *shown, *rest, *tail)) + "\n"
