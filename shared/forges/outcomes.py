"""The one table of the words by which forges and CI jobs say how a check stands.

| word | outcome | what it means for a commit |
|---|---|---|
| success, passed | pass | green |
| neutral, skipped | soft_pass | green only beside a real pass: what was skipped proves nothing |
| failure, failed, error, timed_out, startup_failure | fail | red |
| action_required, manual | waiting_human | the CI waits for a person; no failure |
| cancelled, canceled, stale | no_verdict | neither green nor red |
| queued, running, … | running | information only; never moves anything back |
| anything else | unknown | recorded, decides nothing |

No word means one thing at GitHub and another at GitLab, so both are read by the same table: a CI job that reports by
itself may use the words of either.
"""

from collections.abc import Mapping
from typing import Final

from shared.schemas.statuses import Outcome

OUTCOMES: Final[Mapping[str, Outcome]] = {
    "success": Outcome.PASS,
    "passed": Outcome.PASS,
    "neutral": Outcome.SOFT_PASS,
    "skipped": Outcome.SOFT_PASS,
    "failure": Outcome.FAIL,
    "failed": Outcome.FAIL,
    "error": Outcome.FAIL,
    "timed_out": Outcome.FAIL,
    "startup_failure": Outcome.FAIL,
    "action_required": Outcome.WAITING_HUMAN,
    "manual": Outcome.WAITING_HUMAN,
    "cancelled": Outcome.NO_VERDICT,
    "canceled": Outcome.NO_VERDICT,
    "stale": Outcome.NO_VERDICT,
    "canceling": Outcome.RUNNING,
    "created": Outcome.RUNNING,
    "in_progress": Outcome.RUNNING,
    "pending": Outcome.RUNNING,
    "preparing": Outcome.RUNNING,
    "queued": Outcome.RUNNING,
    "requested": Outcome.RUNNING,
    "running": Outcome.RUNNING,
    "scheduled": Outcome.RUNNING,
    "waiting": Outcome.RUNNING,
    "waiting_for_callback": Outcome.RUNNING,
    "waiting_for_resource": Outcome.RUNNING,
}


def outcome_of(word: str | None) -> Outcome:
    """What this word of either forge means; `unknown` for one that neither documents."""
    return OUTCOMES.get(word or "", Outcome.UNKNOWN)


def deciding_word(status: str | None, conclusion: str | None) -> str | None:
    """Of GitHub's pair the one that counts: the conclusion of what is completed, else the status.

    The action of a delivery does not tell: there are completed ones that are queued, and requested ones that ended.
    """
    return conclusion if status in {None, "completed"} else status
