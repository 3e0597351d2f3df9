"""SQL of the table events: append and read, never change."""

from collections.abc import Sequence

from shared.repository.database import Tx, as_json
from shared.schemas.records import Event


def append(tx: Tx, event: Event) -> int:
    """Write one line; gives its id."""
    return tx.insert(
        "INSERT INTO events (project_id, protocol_id, step_id, attempt_id, job_id, delivery_id, event_type, entity,"
        " from_status, to_status, reason, actor, request_id, metadata, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            event.project_id,
            event.protocol_id,
            event.step_id,
            event.attempt_id,
            event.job_id,
            event.delivery_id,
            event.event_type,
            event.entity,
            event.from_status,
            event.to_status,
            event.reason,
            event.actor,
            event.request_id,
            as_json(event.metadata),
            tx.now,
        ),
    )


def of_all(tx: Tx, *, before: int, limit: int) -> Sequence[Event]:
    """All events, newest first, by id below `before`."""
    return tx.load_all(Event, "SELECT * FROM events WHERE id < ? ORDER BY id DESC LIMIT ?", (before, limit))


def of_project(tx: Tx, project_id: int, *, before: int, limit: int) -> Sequence[Event]:
    """A project's events, newest first, by id below `before`."""
    return tx.load_all(
        Event,
        "SELECT * FROM events WHERE project_id = ? AND id < ? ORDER BY id DESC LIMIT ?",
        (project_id, before, limit),
    )


def of_protocol(tx: Tx, protocol_id: int, *, before: int, limit: int) -> Sequence[Event]:
    """A protocol's events, newest first, by id below `before`."""
    return tx.load_all(
        Event,
        "SELECT * FROM events WHERE protocol_id = ? AND id < ? ORDER BY id DESC LIMIT ?",
        (protocol_id, before, limit),
    )


def of_step(tx: Tx, step_id: int, *, before: int, limit: int) -> Sequence[Event]:
    """A step's events, newest first, by id below `before`."""
    return tx.load_all(
        Event,
        "SELECT * FROM events WHERE step_id = ? AND id < ? ORDER BY id DESC LIMIT ?",
        (step_id, before, limit),
    )


def was_told(tx: Tx, protocol_id: int, event_type: str) -> bool:
    """Whether the protocol has an event of this type."""
    row = tx.row("SELECT 1 FROM events WHERE protocol_id = ? AND event_type = ? LIMIT 1", (protocol_id, event_type))
    return row is not None


def following(
    tx: Tx,
    *,
    after: int,
    limit: int,
    project_id: int | None = None,
    protocol_id: int | None = None,
    step_id: int | None = None,
) -> Sequence[Event]:
    """Events by id above `after`, oldest first; of the narrowest that is named, by its index."""
    if step_id is not None:
        sql, of = "SELECT * FROM events WHERE step_id = ? AND id > ? ORDER BY id LIMIT ?", (step_id,)
    elif protocol_id is not None:
        sql, of = "SELECT * FROM events WHERE protocol_id = ? AND id > ? ORDER BY id LIMIT ?", (protocol_id,)
    elif project_id is not None:
        sql, of = "SELECT * FROM events WHERE project_id = ? AND id > ? ORDER BY id LIMIT ?", (project_id,)
    else:
        sql, of = "SELECT * FROM events WHERE id > ? ORDER BY id LIMIT ?", ()
    return tx.load_all(Event, sql, (*of, after, limit))


def first_id(tx: Tx) -> int:
    """The oldest event's number; 0 when there is none."""
    row = tx.row("SELECT coalesce(min(id), 0) AS id FROM events")
    return row["id"] if row else 0


def last_id(tx: Tx) -> int:
    """The newest event's number; 0 when there is none."""
    row = tx.row("SELECT coalesce(max(id), 0) AS id FROM events")
    return row["id"] if row else 0
