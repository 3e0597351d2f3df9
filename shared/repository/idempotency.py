"""SQL of the table idempotency_keys: the answer that a repeated request gets again."""

from shared.repository.database import Row, Tx, as_json


def find(tx: Tx, scope: str, key: str) -> Row | None:
    """The stored answer: request_sha256, status, headers (a dict), body."""
    return tx.row(
        "SELECT request_sha256, status, headers, body FROM idempotency_keys WHERE scope = ? AND key = ?", (scope, key)
    )


def keep(
    tx: Tx, scope: str, key: str, *, request_sha256: str, status: int, headers: dict[str, str], body: bytes
) -> None:
    """Store the answer to a request, unless another one with the same key was quicker."""
    tx.run(
        "INSERT INTO idempotency_keys (scope, key, request_sha256, status, headers, body, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (scope, key, request_sha256, status, as_json(headers), body, tx.now),
    )


def forget_before(tx: Tx, created_before: int) -> int:
    """Delete answers that are older than that; gives how many."""
    return tx.run("DELETE FROM idempotency_keys WHERE created_at < ?", (created_before,))
