"""SQL of the table holds: what keeps jobs from starting."""

from collections.abc import Sequence

from shared.repository.database import Tx
from shared.schemas.records import Hold

# The hold of everything; every other name is a credential.
LINE = "line"
# The credential of who has no key in the settings: Codex's own login.
LOGIN = "login"


def get(tx: Tx, name: str) -> Hold | None:
    """The hold of this name, which may be over."""
    return tx.load(Hold, "SELECT * FROM holds WHERE name = ?", (name,))


def put(tx: Tx, hold: Hold) -> None:
    """Store or replace a hold."""
    tx.run(
        "INSERT INTO holds (name, reason, message, until, actor, created_at) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET reason = excluded.reason, message = excluded.message,"
        " until = excluded.until, actor = excluded.actor, created_at = excluded.created_at",
        (hold.name, hold.reason, hold.message, hold.until, hold.actor, tx.now),
    )


def drop(tx: Tx, name: str) -> None:
    """Forget a hold."""
    tx.run("DELETE FROM holds WHERE name = ?", (name,))


def in_force(tx: Tx) -> Sequence[Hold]:
    """What holds now. One from a time that is still to come is none: the clock was set back, and it might never end."""
    return tx.load_all(
        Hold,
        "SELECT * FROM holds WHERE until IS NULL OR until > ?1 AND created_at <= ?1 ORDER BY name",
        (tx.now,),
    )


def over(tx: Tx) -> Sequence[Hold]:
    """What does not hold any more, but is still written down."""
    return tx.load_all(Hold, "SELECT * FROM holds WHERE until <= ?1 OR created_at > ?1 AND until > ?1", (tx.now,))
