"""Which answers of Codex are accepted; what is refused, and with which words."""

import json
import re
from typing import Any

import msgspec
import pytest

from services.worker.answers import (
    EXECUTION_SCHEMA,
    MAX_STEPS,
    PLAN_SCHEMA,
    QA_SCHEMA,
    BadAnswer,
    ExecutionAnswer,
    PlanAnswer,
    QaAnswer,
    decode_execution,
    decode_plan,
    decode_qa,
)
from shared.errors import Category

STEP = {"title": "Fix the sum", "type": "work", "instructions": "Add, do not subtract.", "depends_on": []}
PLAN = {"summary": "Two steps.", "plan_md": "# Plan\n\nText.", "context_md": "", "steps": [STEP]}
EXECUTION = {
    "summary": "Fixed.",
    "commit_type": "fix",
    "commit_scope": "calc",
    "commit_subject": "Add instead of subtracting",
    "notes": "",
}
FINDING = {"severity": "warning", "file": "calc.py", "message": "No test for zero."}
QA = {"summary": "Good.", "findings": [FINDING], "next_actions": ["Merge it."], "verdict": "pass"}


def plan(**changes: Any) -> str:
    return json.dumps(PLAN | changes)


def steps(*changes: dict[str, Any]) -> str:
    return plan(steps=[STEP | change for change in changes])


def execution(**changes: Any) -> str:
    return json.dumps(EXECUTION | changes)


def qa(**changes: Any) -> str:
    return json.dumps(QA | changes)


def test_good_answers_are_accepted() -> None:
    assert decode_plan(plan()).steps[0].title == "Fix the sum"
    assert decode_execution(execution()).commit_type == "fix"
    assert decode_qa(qa()).verdict == "pass"


@pytest.mark.parametrize(
    "text",
    ["", " ", "VERDICT: PASS", "**Verdict:** PASS", "Looks good!", "null", "[]", '"pass"', "{", "{}", "[" * 200_000]
    + ['```json\n{"verdict":"pass"}\n```', '{"verdict":"pass"}', '{"verdict": "pass"} and more', '"\\ud800"'],
)
def test_a_verdict_in_anything_but_the_agreed_object_is_none(text: str) -> None:
    with pytest.raises(BadAnswer) as caught:
        decode_qa(text)
    assert caught.value.category is Category.BAD_OUTPUT
    assert caught.value.message.startswith("The answer was not accepted: ")


@pytest.mark.parametrize("verdict", ["PASS", "Pass", "pass ", "passed", "ok", "", None, True, 1, ["pass"]])
def test_only_the_two_words_are_verdicts(verdict: object) -> None:
    with pytest.raises(BadAnswer, match=re.escape("$.verdict")):
        decode_qa(qa(verdict=verdict))


def test_a_pass_with_a_blocking_finding_is_a_fail() -> None:
    assert decode_qa(qa(findings=[FINDING, FINDING | {"severity": "blocking"}])).verdict == "fail"


def test_words_in_a_text_do_not_turn_a_verdict() -> None:
    assert decode_qa(qa(summary="VERDICT: PASS", verdict="fail")).verdict == "fail"
    assert decode_qa(qa(summary="VERDICT: FAIL", verdict="pass")).verdict == "pass"


@pytest.mark.parametrize("field", list(QA))
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(BadAnswer, match=f"`{field}`"):
        decode_qa(json.dumps({name: value for name, value in QA.items() if name != field}))


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(BadAnswer, match="`mood`"):
        decode_plan(plan(mood="fine"))


@pytest.mark.parametrize("count", [0, MAX_STEPS + 1, 300])
def test_a_plan_has_one_to_fifty_steps(count: int) -> None:
    with pytest.raises(BadAnswer, match=re.escape("$.steps")) as caught:
        decode_plan(plan(steps=[STEP] * count))
    assert caught.value.category is Category.PLAN_INVALID


def test_a_plan_of_fifty_steps_is_accepted() -> None:
    assert len(decode_plan(plan(steps=[STEP] * MAX_STEPS)).steps) == MAX_STEPS


@pytest.mark.parametrize("depends_on", [[2], [3], [0], [-1], [99]])
def test_a_step_depends_on_earlier_ones_only(depends_on: list[int]) -> None:
    with pytest.raises(BadAnswer, match="step 2 may only depend on"):
        decode_plan(steps({}, {"depends_on": depends_on}, {}))


def test_a_step_may_depend_on_an_earlier_one() -> None:
    assert decode_plan(steps({}, {"depends_on": [1]})).steps[1].depends_on == (1,)


@pytest.mark.parametrize("char", ["\x00", "\x1b", "\x7f", "\u0085", "\u202e", "\u2028"])
def test_characters_that_change_what_is_shown_are_refused(char: str) -> None:
    for text in (steps({"title": f"a{char}b"}), steps({"instructions": f"a{char}b"}), plan(plan_md=f"a{char}b")):
        with pytest.raises(BadAnswer, match=f"U\\+{ord(char):04X}"):
            decode_plan(text)


@pytest.mark.parametrize("title", ["two\nlines", "a\tb", "", "  ", "x" * 121])
def test_a_title_is_one_line_that_says_something(title: str) -> None:
    with pytest.raises(BadAnswer, match=re.escape("$.steps[0].title") + "|" + re.escape("$.steps[...].title")):
        decode_plan(steps({"title": title}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("commit_type", "feature"),
        ("commit_scope", "Two Words"),
        ("commit_scope", "a\nb"),
        ("commit_subject", ""),
        ("commit_subject", "x" * 101),
        ("commit_subject", "one\ntwo"),
        ("summary", ""),
    ],
)
def test_the_words_of_a_commit_fit_into_one(field: str, value: str) -> None:
    with pytest.raises(BadAnswer, match=re.escape(f"$.{field}")):
        decode_execution(execution(**{field: value}))


def test_an_answer_without_end_is_refused() -> None:
    with pytest.raises(BadAnswer, match="longer than"):
        decode_execution(execution(notes="x" * 1_000_001))


@pytest.mark.parametrize(
    ("schema", "kind"), [(PLAN_SCHEMA, PlanAnswer), (EXECUTION_SCHEMA, ExecutionAnswer), (QA_SCHEMA, QaAnswer)]
)
def test_the_schema_asks_for_what_the_decoder_wants(schema: dict[str, Any], kind: type[msgspec.Struct]) -> None:
    (decoded,), components = msgspec.json.schema_components([kind])
    assert shape(schema, {}) == shape(decoded, components)


def shape(schema: dict[str, Any], components: dict[str, Any]) -> Any:
    """Types, names and enumerations of a schema, without its limits and descriptions."""
    if "$ref" in schema:
        schema = components[schema["$ref"].rpartition("/")[2]]
    if schema.get("type") == "object":
        assert schema["additionalProperties"] is False
        assert set(schema["required"]) == set(schema["properties"])
        return {name: shape(entry, components) for name, entry in schema["properties"].items()}
    if schema.get("type") == "array":
        return [shape(schema["items"], components)]
    return sorted(schema["enum"]) if "enum" in schema else schema["type"]


def test_every_field_is_explained_to_the_model() -> None:
    for schema in (PLAN_SCHEMA, EXECUTION_SCHEMA, QA_SCHEMA):
        properties: Any = schema["properties"]
        assert all(entry.get("description") for entry in properties.values())
