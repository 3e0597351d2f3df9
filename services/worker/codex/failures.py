"""From the way a run of Codex ended to a failure with a category, or to none (pure)."""

import re
from enum import StrEnum

import msgspec

from shared.errors import Category

STDERR_TAIL = 4000
_PANIC = 101
_USAGE = 2
_CANNOT_START = (126, 127)


class Cut(StrEnum):
    """Why we ended a run ourselves."""

    TIMEOUT = "timeout"
    SILENCE = "silence"
    STOPPED = "stopped"


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known about a run that is over.

    `rc` is negative for a signal and None when it was never learnt. `failed` is the text of `turn.failed`, `notice`
    the last text of an `error` event, `events` the number of lines that were events.
    """

    rc: int | None
    cut: Cut | None = None
    completed: bool = False
    message: str | None = None
    failed: str | None = None
    notice: str | None = None
    events: int = 0
    stderr_tail: str = ""


class Failure(msgspec.Struct, frozen=True):
    """A category and a sentence that says what happened and what to do."""

    category: Category
    message: str


# The text is all there is: Codex gives no code. First match wins.
_BY_TEXT: tuple[tuple[re.Pattern[str], Category, str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), category, advice)
    for pattern, category, advice in (
        (
            r"unexpected status 40[13]|Missing environment variable|invalid_api_key|Not logged in",
            Category.AUTH,
            "The model service refused the key. Check DEKSDENFLOW_CODEX_API_KEY, or log in to Codex again.",
        ),
        (
            r"Quota exceeded|hit your usage limit|insufficient_quota",
            Category.QUOTA,
            "The quota of this account is used up; its work goes on by itself later. Check plan and billing.",
        ),
        (
            r"last status: 429|unexpected status 429|rate limit exceeded",
            Category.RATE_LIMITED,
            "The model service asked to slow down; it is tried again later.",
        ),
        (
            r"Input exceeds the maximum length",
            Category.PROMPT_TOO_LARGE,
            "The prompt is longer than Codex accepts. Split the step, or shorten its instructions.",
        ),
        (
            r"ran out of room in the model's context|context_length_exceeded|Incomplete response returned",
            Category.TOO_LONG,
            "The work does not fit into the model's context. Split the step, or take a larger model.",
        ),
        (
            r"already has an active writer",
            Category.THREAD_BUSY,
            "Another run still writes to this Codex thread; it is tried again shortly.",
        ),
        (
            r"no rollout found|no recorded session|thread .{0,80}not found",
            Category.SESSION_LOST,
            "The Codex thread is gone; the next attempt starts a new one.",
        ),
        (
            r"experiencing high demand|unexpected status 5\d\d|last status: 5\d\d|at capacity|overloaded",
            Category.UPSTREAM,
            "The model service is in trouble; it is tried again later.",
        ),
        (
            r"stream disconnected|stream closed before|Connection failed|idle timeout waiting|error sending request",
            Category.NETWORK,
            "The connection to the model service broke. Check DEKSDENFLOW_MODEL_BASE_URL if this repeats.",
        ),
        (
            r"unexpected status 404",
            Category.CONFIG,
            "The model service knows no such address or model. Check DEKSDENFLOW_MODEL_BASE_URL and the model's name.",
        ),
        (
            r"^\s*\{|unexpected status 4\d\d|invalid_prompt|invalid_request",
            Category.BAD_REQUEST,
            "The model service rejected the request. Check that the model's name is right and accepts this prompt.",
        ),
    )
)

_CUTS = {
    Cut.TIMEOUT: Failure(
        Category.TIMEOUT, "The time limit of the step passed. Raise DEKSDENFLOW_STEP_TIMEOUT_S or split the step."
    ),
    Cut.SILENCE: Failure(
        Category.SILENCE,
        "Codex said nothing for too long. Check that the model service answers, or raise "
        "DEKSDENFLOW_SILENCE_TIMEOUT_S.",
    ),
    Cut.STOPPED: Failure(Category.CANCELLED, "The run was stopped on request."),
}


def classify(ending: Ending) -> Failure | None:
    """Name the failure of a run, or return None for a turn that completed with an answer."""
    if ending.cut is not None and not (ending.rc == 0 and ending.completed and ending.message):
        return _CUTS[ending.cut]
    if ending.rc == 0:
        return _without_error_code(ending)
    if ending.rc is None:
        return Failure(Category.LOST, "The supervisor of Codex vanished before it told how the run ended.")
    if ending.rc < 0:
        return Failure(
            Category.KILLED,
            f"Codex was killed by signal {-ending.rc}. If the machine ran out of memory, lower "
            "DEKSDENFLOW_WORKER_CONCURRENCY.",
        )
    return _with_error_code(ending, ending.rc)


def _without_error_code(ending: Ending) -> Failure | None:
    if ending.failed is not None:
        return _by_text(ending.failed) or Failure(Category.UNKNOWN, f"Codex failed: {_clip(ending.failed)}")
    if not ending.completed:
        return Failure(Category.NO_ANSWER, "Codex ended without completing its turn.")
    if not (ending.message and ending.message.strip()):
        return Failure(Category.NO_ANSWER, "Codex completed its turn without an answer.")
    return None


def _with_error_code(ending: Ending, rc: int) -> Failure:
    if rc in _CANNOT_START:
        return Failure(Category.CODEX_MISSING, f"Codex could not be started: {_clip(ending.stderr_tail)}")
    if rc == _PANIC:
        return Failure(Category.CRASH, "Codex crashed (exit code 101).")
    said = ending.failed or ending.notice or ending.stderr_tail
    known = _by_text(said)
    if known is not None:
        return known
    if rc == _USAGE or ending.events == 0:
        return Failure(Category.CONFIG, f"Codex refused to start: {_clip(ending.stderr_tail) or f'exit code {rc}'}")
    return Failure(Category.UNKNOWN, f"Codex failed with exit code {rc}: {_clip(said) or 'it gave no reason'}")


def _by_text(text: str) -> Failure | None:
    for pattern, category, advice in _BY_TEXT:
        if pattern.search(text):
            return Failure(category, f"{advice} Codex said: {_clip(text)}")
    return None


def _clip(text: str, limit: int = 300) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
