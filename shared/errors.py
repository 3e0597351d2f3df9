"""The one tree of everything DeksdenFlow raises on purpose.

DeksdenFlowError
├── StartupError            a service cannot start; one line on stderr, exit 2
├── Refusal                 a request is refused; becomes an RFC 9457 problem
│   ├── Invalid             400  the request itself is wrong
│   ├── Unauthenticated     401  no valid credential
│   ├── Forbidden           403  a valid credential that may not do this
│   ├── NotFound            404  no such thing, or not for this caller
│   ├── Conflict            409  the current status does not allow it
│   ├── PreconditionFailed  412  the caller's version or commit is stale
│   ├── PreconditionNeeded  428  the change needs If-Match
│   ├── TooLarge            413  the body is over the limit
│   ├── WrongMediaType      415  the body is not in a form that we read
│   ├── TooMany             429  too many failed attempts; wait
│   └── Unavailable         503  something we depend on does not answer
├── SealError               a stored secret cannot be opened: another key, another row, or changed bytes
└── JobError                a job failed; its category decides about a retry
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

# What msgspec raises for the JSON of others: broken syntax, broken Unicode, wrong types, and nesting without end.
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)


class DeksdenFlowError(Exception):
    """Base of all our errors; `str(error)` is one sentence for a person."""


class StartupError(DeksdenFlowError):
    """A service cannot start with this configuration or database."""


class SealError(DeksdenFlowError):
    """A stored secret cannot be opened: another key, another row, changed bytes, or its file is gone."""


class Refusal(DeksdenFlowError):
    """A request that is refused, with what the caller can do about it.

    `type` is the stable last part of the problem's URI, `status_now` the current status of the thing that was
    addressed, `allowed_actions` the names of the actions that it accepts in this status.
    """

    http_status = 400
    type = "invalid"
    title = "The request is not valid"

    def __init__(
        self,
        detail: str,
        *,
        type: str | None = None,  # noqa: A002  the word of RFC 9457
        status_now: str | None = None,
        allowed_actions: Sequence[str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        if type is not None:
            self.type = type
        self.status_now = status_now
        self.allowed_actions = None if allowed_actions is None else tuple(allowed_actions)


class Invalid(Refusal):
    """400: the request itself is wrong; `detail` names the field."""


class Unauthenticated(Refusal):
    """401: no credential, or one that is not valid."""

    http_status = 401
    type = "unauthenticated"
    title = "Authentication is needed"


class Forbidden(Refusal):
    """403: a valid credential that may not do this."""

    http_status = 403
    type = "forbidden"
    title = "This credential may not do that"


class NotFound(Refusal):
    """404: no such thing, or it belongs to somebody else."""

    http_status = 404
    type = "not-found"
    title = "Not found"


class Conflict(Refusal):
    """409: the current status, or what is there already, does not allow it."""

    http_status = 409
    type = "wrong-status"
    title = "That is not possible as things stand"


class PreconditionFailed(Refusal):
    """412: the caller's version or commit is stale."""

    http_status = 412
    type = "stale"
    title = "It has changed since you read it"


class PreconditionNeeded(Refusal):
    """428: this change needs an If-Match header."""

    http_status = 428
    type = "if-match-needed"
    title = "If-Match is needed"


class TooLarge(Refusal):
    """413: the body is over the limit."""

    http_status = 413
    type = "too-large"
    title = "The body is too large"


class WrongMediaType(Refusal):
    """415: the body is not in a form that we read."""

    http_status = 415
    type = "wrong-media-type"
    title = "The body has a media type that is not read here"


class TooMany(Refusal):
    """429: too many failed attempts from there."""

    http_status = 429
    type = "too-many"
    title = "Too many failed attempts"

    def __init__(self, detail: str, *, retry_after_s: int) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Unavailable(Refusal):
    """503: something we depend on does not answer."""

    http_status = 503
    type = "unavailable"
    title = "Temporarily unavailable"


class Category(StrEnum):
    """Why a job failed; decides whether it is tried again."""

    # never retried as they are: a person must do something
    AUTH = "auth"
    CONFIG = "config"
    BAD_REQUEST = "bad_request"
    PROMPT_TOO_LARGE = "prompt_too_large"
    TOO_LONG = "too_long"
    QUOTA = "quota"
    CODEX_MISSING = "codex_missing"
    SANDBOX_MISSING = "sandbox_missing"
    BAD_OUTPUT = "bad_output"
    PLAN_INVALID = "plan_invalid"
    REPOSITORY = "repository"
    DIVERGED = "diverged"
    POLICY = "policy"
    CANCELLED = "cancelled"
    # retried with backoff until the attempts are used up
    NO_ANSWER = "no_answer"
    RATE_LIMITED = "rate_limited"
    UPSTREAM = "upstream"
    NETWORK = "network"
    THREAD_BUSY = "thread_busy"
    SESSION_LOST = "session_lost"
    TIMEOUT = "timeout"
    SILENCE = "silence"
    QUEUE_TIMEOUT = "queue_timeout"
    KILLED = "killed"
    CRASH = "crash"
    LOST = "lost"
    BUSY = "busy"
    GIT = "git"
    UNKNOWN = "unknown"

    @property
    def retryable(self) -> bool:
        """Whether the same job may succeed when it is simply run again later."""
        return self not in _PERMANENT


_PERMANENT = frozenset(
    {
        Category.AUTH,
        Category.CONFIG,
        Category.BAD_REQUEST,
        Category.PROMPT_TOO_LARGE,
        Category.TOO_LONG,
        Category.QUOTA,
        Category.CODEX_MISSING,
        Category.SANDBOX_MISSING,
        Category.BAD_OUTPUT,
        Category.PLAN_INVALID,
        Category.REPOSITORY,
        Category.DIVERGED,
        Category.POLICY,
        Category.CANCELLED,
        Category.QUEUE_TIMEOUT,
    }
)


class JobError(DeksdenFlowError):
    """A job failed: the category, one sentence that says what to do, and the tail of stderr (already redacted).

    `again_in_s` is for how long it is of no use to try again, where somebody told it.
    """

    def __init__(
        self, category: Category, message: str, *, stderr_tail: str = "", again_in_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.category = category
        self.message = message
        self.stderr_tail = stderr_tail
        self.again_in_s = again_in_s

    @property
    def retryable(self) -> bool:
        """Whether the reconciler may simply run the job again."""
        return self.category.retryable
