"""From the end of a run to its category; the texts are those of Codex 0.163.0."""

from typing import Any

import pytest

from services.worker.codex.failures import Cut, Ending, classify
from shared.errors import Category

GOOD: dict[str, Any] = {"rc": 0, "completed": True, "message": "{}", "events": 5}


def category_of(**facts: Any) -> Category | None:
    failure = classify(Ending(**facts))
    return failure and failure.category


@pytest.mark.parametrize(
    ("said", "category"),
    [
        ("unexpected status 401 Unauthorized: no, url: http://x/v1/responses", Category.AUTH),
        ("unexpected status 403 Forbidden: no", Category.AUTH),
        ("Missing environment variable: `CODEX_API_KEY`.", Category.AUTH),
        ("unexpected status 404 Not Found: no", Category.CONFIG),
        ('{"error":{"message":"bad","type":"invalid_request_error"}}', Category.BAD_REQUEST),
        ("unexpected status 422 Unprocessable Entity: no", Category.BAD_REQUEST),
        ("Input exceeds the maximum length of 1048576 characters.", Category.PROMPT_TOO_LARGE),
        ("Codex ran out of room in the model's context window. Start a new thread.", Category.TOO_LONG),
        ("Incomplete response returned, reason: max_output_tokens", Category.TOO_LONG),
        ("Quota exceeded. Check your plan and billing details.", Category.QUOTA),
        ("You’ve hit your usage limit. Try again later.", Category.QUOTA),
        ("exceeded retry limit, last status: 429 Too Many Requests", Category.RATE_LIMITED),
        ("rate limit exceeded: try again in 1.5s", Category.RATE_LIMITED),
        ("We’re currently experiencing high demand, which may cause temporary errors.", Category.UPSTREAM),
        ("unexpected status 503 Service Unavailable: no", Category.UPSTREAM),
        ("Selected model is at capacity. Please try a different model.", Category.UPSTREAM),
        ("stream disconnected before completion: stream closed before response.completed", Category.NETWORK),
        ("stream disconnected before completion: idle timeout waiting for SSE", Category.NETWORK),
        ("Connection failed: error sending request", Category.NETWORK),
        ("thread-store conflict: thread 01a2 already has an active writer", Category.THREAD_BUSY),
        ("no rollout found for thread id 01a2", Category.SESSION_LOST),
        ("something nobody has seen", Category.UNKNOWN),
    ],
)
def test_the_text_of_a_failed_turn_decides(said: str, category: Category) -> None:
    assert category_of(rc=1, failed=said, events=3) is category


@pytest.mark.parametrize(
    ("facts", "category"),
    [
        (GOOD, None),
        (GOOD | {"message": ""}, Category.NO_ANSWER),
        (GOOD | {"message": None}, Category.NO_ANSWER),
        (GOOD | {"message": " \n"}, Category.NO_ANSWER),
        (GOOD | {"completed": False}, Category.NO_ANSWER),
        (GOOD | {"completed": False, "failed": "odd"}, Category.UNKNOWN),
        ({"rc": 1, "events": 0, "stderr_tail": "Error: unknown provider"}, Category.CONFIG),
        ({"rc": 1, "events": 0, "stderr_tail": "Error: no rollout found for thread id x"}, Category.SESSION_LOST),
        ({"rc": 2, "stderr_tail": "error: unexpected argument"}, Category.CONFIG),
        ({"rc": 101, "events": 3}, Category.CRASH),
        ({"rc": 126, "stderr_tail": "supervisor: /x: No such file or directory"}, Category.CODEX_MISSING),
        ({"rc": -9, "events": 3}, Category.KILLED),
        ({"rc": -15}, Category.KILLED),
        ({"rc": None}, Category.LOST),
        ({"rc": -15, "cut": Cut.TIMEOUT}, Category.TIMEOUT),
        ({"rc": -15, "cut": Cut.SILENCE}, Category.SILENCE),
        ({"rc": -9, "cut": Cut.STOPPED}, Category.CANCELLED),
        ({"rc": 1, "events": 3, "notice": "unexpected status 401 Unauthorized"}, Category.AUTH),
    ],
)
def test_the_end_decides_where_no_text_does(facts: dict[str, Any], category: Category | None) -> None:
    assert category_of(**facts) is category


def test_a_turn_that_completed_before_it_was_cut_is_no_failure() -> None:
    assert category_of(**GOOD, cut=Cut.TIMEOUT) is None


@pytest.mark.parametrize("cut", list(Cut))
def test_a_turn_that_was_cut_is_one_even_if_codex_ended_with_zero(cut: Cut) -> None:
    assert category_of(rc=0, events=4, cut=cut) is not None


def test_a_message_says_what_to_do_and_is_short() -> None:
    failure = classify(Ending(rc=1, failed="unexpected status 401 " + "x" * 5000, events=1))
    assert failure is not None
    assert "DEKSDENFLOW_CODEX_API_KEY" in failure.message
    assert len(failure.message) < 500
