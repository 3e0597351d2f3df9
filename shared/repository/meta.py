"""The database's own few values."""

from shared.repository.database import Tx


def instance(tx: Tx) -> str:
    """The random name of this installation; it keeps two of them apart on one Redis."""
    row = tx.row("SELECT value FROM meta WHERE key = 'instance'")
    return row["value"] if row else ""


def migration(tx: Tx) -> int:
    """The number of the newest migration that was applied."""
    row = tx.row("SELECT max(number) AS number FROM schema_migrations")
    return row["number"] if row else 0
