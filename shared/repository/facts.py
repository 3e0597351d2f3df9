"""SQL of the table facts: the newest word on each context of a commit."""

from collections.abc import Sequence
from typing import Any

from shared.repository.database import Tx, as_json
from shared.schemas.records import Fact
from shared.schemas.statuses import Outcome

# Of two words that tell the same time the end of a run is the later one; then the graver word is believed.
_GRAVITY = (
    Outcome.RUNNING,
    Outcome.PASS,
    Outcome.SOFT_PASS,
    Outcome.UNKNOWN,
    Outcome.NO_VERDICT,
    Outcome.WAITING_HUMAN,
    Outcome.FAIL,
)


def put(tx: Tx, fact: Fact) -> bool:
    """Keep the word if it is newer than the one on its context; False when it changes nothing.

    Which of two is kept does not depend on which came first.
    """
    present = tx.load(
        Fact,
        "SELECT * FROM facts WHERE project_id = ? AND repository_id = ? AND sha = ? AND context = ?",
        (fact.project_id, fact.repository_id, fact.sha, fact.context),
    )
    if present is not None and _order(fact) <= _order(present):
        return False
    tx.run(
        "INSERT INTO facts (project_id, repository_id, sha, context, scope, name, provider, outcome, run_id,"
        " run_attempt, observed_at, received_at, url, delivery_id, details)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (project_id, repository_id, sha, context) DO UPDATE SET scope = excluded.scope,"
        " name = excluded.name, provider = excluded.provider, outcome = excluded.outcome, run_id = excluded.run_id,"
        " run_attempt = excluded.run_attempt, observed_at = excluded.observed_at, received_at = excluded.received_at,"
        " url = excluded.url, delivery_id = excluded.delivery_id, details = excluded.details",
        (
            fact.project_id,
            fact.repository_id,
            fact.sha,
            fact.context,
            fact.scope,
            fact.name,
            fact.provider,
            fact.outcome,
            fact.run_id,
            fact.run_attempt,
            fact.observed_at,
            tx.now,
            fact.url,
            fact.delivery_id,
            as_json(fact.details),
        ),
    )
    return True


def of_commit(tx: Tx, project_id: int, repository_id: str, sha: str) -> Sequence[Fact]:
    """All that is known of one commit, by context."""
    return tx.load_all(
        Fact,
        "SELECT * FROM facts WHERE project_id = ? AND repository_id = ? AND sha = ? ORDER BY context",
        (project_id, repository_id, sha),
    )


def name_repository(tx: Tx, project_id: int, repository_id: str) -> None:
    """Give what was kept before the repository's id was known its id."""
    tx.run(
        "UPDATE facts SET repository_id = ? WHERE project_id = ? AND repository_id = ''", (repository_id, project_id)
    )


def _order(fact: Fact) -> tuple[Any, ...]:
    ended = fact.outcome is not Outcome.RUNNING
    said = (fact.name, fact.scope, fact.url or "", as_json(fact.details))
    return (fact.run_id, fact.run_attempt, fact.observed_at, ended, _GRAVITY.index(fact.outcome), *said)
