"""SQL of the table tokens."""

from collections.abc import Sequence

from shared.repository.database import Tx
from shared.schemas.records import Token


def add(tx: Tx, project_id: int, name: str, prefix: str, token_hash: str, expires_at: int | None) -> Token:
    """Store a token by its hash."""
    token_id = tx.insert(
        "INSERT INTO tokens (project_id, name, prefix, hash, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
        (project_id, name, prefix, token_hash, tx.now, expires_at),
    )
    token = get(tx, project_id, token_id)
    if token is None:
        raise LookupError(f"token {token_id}")
    return token


def get(tx: Tx, project_id: int, token_id: int) -> Token | None:
    """One token of a project."""
    return tx.load(Token, "SELECT * FROM tokens WHERE id = ? AND project_id = ?", (token_id, project_id))


def by_hash(tx: Tx, token_hash: str) -> Token | None:
    """The live token with this hash: neither revoked nor expired."""
    return tx.load(
        Token,
        "SELECT * FROM tokens WHERE hash = ? AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)",
        (token_hash, tx.now),
    )


def is_live(tx: Tx, project_id: int, token_id: int) -> bool:
    """Whether the token is neither revoked nor expired."""
    token = get(tx, project_id, token_id)
    return token is not None and token.revoked_at is None and (token.expires_at is None or token.expires_at > tx.now)


def of_project(tx: Tx, project_id: int) -> Sequence[Token]:
    """All tokens of a project, revoked ones too."""
    return tx.load_all(Token, "SELECT * FROM tokens WHERE project_id = ? ORDER BY id", (project_id,))


def revoke(tx: Tx, project_id: int, token_id: int) -> bool:
    """End a token now; False when there is none that is live."""
    return (
        tx.run(
            "UPDATE tokens SET revoked_at = ? WHERE id = ? AND project_id = ? AND revoked_at IS NULL",
            (tx.now, token_id, project_id),
        )
        > 0
    )


def touch(tx: Tx, token_id: int, *, older_than: int) -> None:
    """Remember that the token was used, at most once in a while."""
    tx.run(
        "UPDATE tokens SET last_used_at = ? WHERE id = ? AND (last_used_at IS NULL OR last_used_at < ?)",
        (tx.now, token_id, older_than),
    )
