"""The answers that Codex gives: their JSON schemas, and the decoders that decide what is accepted (pure)."""

import unicodedata
from collections.abc import Sequence
from typing import Annotated, Literal, Never, TypeVar, get_args

import msgspec

from shared.errors import UNREADABLE, Category, JobError

StepType = Literal["work", "setup", "qa"]
CommitType = Literal["feat", "fix", "refactor", "perf", "test", "docs", "style", "build", "ci", "chore", "revert"]
Severity = Literal["blocking", "warning", "note"]
Verdict = Literal["pass", "fail"]

MAX_ANSWER_CHARS = 1_000_000
MAX_STEPS = 50

Title = Annotated[str, msgspec.Meta(min_length=1, max_length=120)]
Line = Annotated[str, msgspec.Meta(max_length=500)]
Short = Annotated[str, msgspec.Meta(max_length=4_000)]
Long = Annotated[str, msgspec.Meta(max_length=100_000)]


class _Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All fields are required: that is also what the model service asks of a strict schema."""


class PlannedStep(_Answer, frozen=True):
    """One step of a plan; `depends_on` counts the steps of the plan from 1 and names earlier ones only."""

    title: Title
    type: StepType
    instructions: Annotated[str, msgspec.Meta(min_length=1, max_length=20_000)]
    depends_on: Annotated[tuple[int, ...], msgspec.Meta(max_length=MAX_STEPS)]


class PlanAnswer(_Answer, frozen=True):
    """The plan of a protocol run; the names of its files are made by us, never by the model."""

    summary: Short
    plan_md: Annotated[str, msgspec.Meta(min_length=1, max_length=100_000)]
    context_md: Long
    steps: Annotated[tuple[PlannedStep, ...], msgspec.Meta(min_length=1, max_length=MAX_STEPS)]


class ExecutionAnswer(_Answer, frozen=True):
    """What a step did, and the words for its commit; `commit_scope` may be empty."""

    summary: Annotated[str, msgspec.Meta(min_length=1, max_length=4_000)]
    commit_type: CommitType
    commit_scope: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._/-]{0,29}$|^$")]
    commit_subject: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    notes: Short


class Finding(_Answer, frozen=True):
    """One thing that the judge saw; `file` is empty when it is about no file."""

    severity: Severity
    file: Line
    message: Annotated[str, msgspec.Meta(min_length=1, max_length=4_000)]


class QaAnswer(_Answer, frozen=True):
    """The judgement of a step. After decoding, a verdict of pass has no blocking finding."""

    summary: Annotated[str, msgspec.Meta(min_length=1, max_length=4_000)]
    findings: Annotated[tuple[Finding, ...], msgspec.Meta(max_length=200)]
    next_actions: Annotated[tuple[Line, ...], msgspec.Meta(max_length=50)]
    verdict: Verdict


class BadAnswer(JobError):
    """An answer that is not accepted; `message` is written to be sent back to the model as it is."""


A = TypeVar("A", PlanAnswer, ExecutionAnswer, QaAnswer)


def decode_plan(text: str) -> PlanAnswer:
    """Accept a plan; BadAnswer(PLAN_INVALID) says what is wrong with it."""
    plan = _decode(text, PlanAnswer, Category.PLAN_INVALID)
    for number, step in enumerate(plan.steps, 1):
        for earlier in step.depends_on:
            if not 1 <= earlier < number:
                _reject(
                    Category.PLAN_INVALID,
                    f"`$.steps[{number - 1}].depends_on` names {earlier}; step {number} may only depend on the numbers "
                    f"of earlier steps, counted from 1",
                )
    return plan


def decode_execution(text: str) -> ExecutionAnswer:
    """Accept the report of an execution; BadAnswer(BAD_OUTPUT) says what is wrong with it."""
    return _decode(text, ExecutionAnswer, Category.BAD_OUTPUT)


def decode_qa(text: str) -> QaAnswer:
    """Accept a judgement; BadAnswer(BAD_OUTPUT) says what is wrong with it.

    Only the field `verdict` counts, never words in a text. A pass that names a blocking finding contradicts itself
    and becomes a fail.
    """
    answer = _decode(text, QaAnswer, Category.BAD_OUTPUT)
    if any(finding.severity == "blocking" for finding in answer.findings):
        return msgspec.structs.replace(answer, verdict="fail")
    return answer


def _decode(text: str, kind: type[A], category: Category) -> A:
    if not text.strip():
        _reject(category, "the answer is empty")
    if len(text) > MAX_ANSWER_CHARS:
        _reject(category, f"the answer is longer than {MAX_ANSWER_CHARS:,} characters")
    try:
        answer = msgspec.json.decode(text, type=kind)
    except UNREADABLE as error:
        _reject(category, str(error))
    _check_texts(answer, "$", category)
    return answer


def _check_texts(value: object, path: str, category: Category) -> None:
    """Reject characters that change how a text is shown or stored; newlines and tabs are fine in long texts only."""
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            _check_texts(getattr(value, name), f"{path}.{name}", category)
    elif isinstance(value, str):
        one_line = path.rpartition(".")[2] in _ONE_LINE
        for char in value:
            if _is_control(char) and (one_line or char not in "\n\r\t"):
                what = "one line of text" if one_line and char in "\n\r\t" else "free of control characters"
                _reject(category, f"`{path}` contains U+{ord(char):04X}; it must be {what}")
        if one_line and value and not value.strip():
            _reject(category, f"`{path}` is blank")
    elif isinstance(value, Sequence):
        for number, entry in enumerate(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]  what msgspec decoded
            _check_texts(entry, f"{path}[{number}]", category)  # pyright: ignore[reportUnknownArgumentType]  as above


_BIDIRECTIONAL = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_ONE_LINE = frozenset({"title", "commit_scope", "commit_subject", "file"})


def _is_control(char: str) -> bool:
    # Cc: controls; Cs: halves of pairs; the bidirectional ones can make a text read as something else; the separators
    # break lines in some viewers only.
    return unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} or char in _BIDIRECTIONAL


def _reject(category: Category, reason: str) -> Never:
    raise BadAnswer(category, f"The answer was not accepted: {reason}.")


def _object(**properties: object) -> dict[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _text(description: str) -> dict[str, object]:
    return {"type": "string", "description": description}


def _one_of(kind: object, description: str) -> dict[str, object]:
    return {"type": "string", "enum": list(get_args(kind)), "description": description}


def _list_of(items: object, description: str) -> dict[str, object]:
    return {"type": "array", "items": items, "description": description}


# Lengths and patterns are left to the decoders: the strict subset of the model service does not know them all.
PLAN_SCHEMA = _object(
    summary=_text("Two or three sentences: what will be done and why this way."),
    plan_md=_text("The whole plan as Markdown: goal, approach, risks, how each step will be checked."),
    context_md=_text("What an executor must know of this repository, as Markdown: layout, conventions, commands."),
    steps=_list_of(
        _object(
            title=_text("What the step achieves, in one line of at most 120 characters."),
            type=_one_of(StepType, "work changes the repository; setup prepares it; qa only checks."),
            instructions=_text("Everything that somebody needs who sees this step and the plan, and nothing else."),
            depends_on=_list_of({"type": "integer"}, "Numbers of earlier steps of this list, counted from 1."),
        ),
        f"1 to {MAX_STEPS} steps, in the order of their execution.",
    ),
)
EXECUTION_SCHEMA = _object(
    summary=_text("What was done and how it was checked."),
    commit_type=_one_of(CommitType, "The type of the conventional commit."),
    commit_scope=_text("The scope of the commit: lower case, at most 30 characters, or empty."),
    commit_subject=_text("The subject of the commit: imperative, one line, at most 72 characters, no full stop."),
    notes=_text("What the next step or a reviewer must know, or empty."),
)
QA_SCHEMA = _object(
    summary=_text("What was checked, how, and what came out."),
    findings=_list_of(
        _object(
            severity=_one_of(Severity, "blocking: must be repaired before this step can count as done."),
            file=_text("The path in the repository, or empty."),
            message=_text("What is wrong and how to see it."),
        ),
        "Everything worth a repair or a remark; empty when there is nothing.",
    ),
    next_actions=_list_of({"type": "string"}, "What to do next, the most important first."),
    verdict=_one_of(Verdict, "pass only if no finding is blocking."),
)
