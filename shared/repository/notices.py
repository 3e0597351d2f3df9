"""SQL of the tables notifiers and notices: who is told outside, and each message."""

from collections.abc import Sequence
from typing import Any

from shared.repository.database import Tx, as_json
from shared.schemas.notices import Notice, NoticeStatus, Notifier
from shared.schemas.records import Job

# The jobs that send messages to notifier ?1.
_TO_NOTIFIER = (
    "kind = 'notify' AND EXISTS (SELECT 1 FROM notices WHERE notices.id = jobs.payload ->> 'notice'"
    " AND notices.notifier_id = ?1)"
)


def add_notifier(tx: Tx, notifier: Notifier) -> Notifier:
    """Store somebody to be told; its id is given by the database."""
    notifier_id = tx.insert(
        "INSERT INTO notifiers (project_id, kind, key, host, url, secret, events, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            notifier.project_id,
            notifier.kind,
            notifier.key,
            notifier.host,
            notifier.url,
            notifier.secret,
            as_json(notifier.events),
            tx.now,
        ),
    )
    return expect_notifier(tx, notifier_id)


def get_notifier(tx: Tx, notifier_id: int) -> Notifier | None:
    """One of those who are told."""
    return tx.load(Notifier, "SELECT * FROM notifiers WHERE id = ?", (notifier_id,))


def expect_notifier(tx: Tx, notifier_id: int) -> Notifier:
    """One that a foreign key promises."""
    notifier = get_notifier(tx, notifier_id)
    if notifier is None:
        raise LookupError(f"notifier {notifier_id}")
    return notifier


def notifiers(tx: Tx, project_id: int | None) -> Sequence[Notifier]:
    """Those who are told of one project alone, or of all, ended ones too."""
    return tx.load_all(Notifier, "SELECT * FROM notifiers WHERE project_id IS ? ORDER BY id", (project_id,))


def live(tx: Tx) -> Sequence[Notifier]:
    """All who are told now."""
    return tx.load_all(Notifier, "SELECT * FROM notifiers WHERE disabled_at IS NULL ORDER BY id")


def failing(tx: Tx) -> Sequence[Notifier]:
    """Those whom no message reaches for a while."""
    return [each for each in live(tx) if each.failing_since is not None]


def disable(tx: Tx, notifier_id: int) -> bool:
    """Tell it nothing more; False when that is so already."""
    ended = "UPDATE notifiers SET disabled_at = ? WHERE id = ? AND disabled_at IS NULL"
    return tx.run(ended, (tx.now, notifier_id)) > 0


def note_health(tx: Tx, notifier_id: int, failures: int, failing_since: int | None) -> None:
    """Keep how well it can be reached."""
    tx.run("UPDATE notifiers SET failures = ?, failing_since = ? WHERE id = ?", (failures, failing_since, notifier_id))


def open_jobs(tx: Tx, notifier_id: int) -> Sequence[Job]:
    """The jobs that are to send it something, or do."""
    return tx.load_all(
        Job,
        f"SELECT * FROM jobs WHERE {_TO_NOTIFIER} AND state IN ('queued', 'running') ORDER BY id",  # noqa: S608  ours
        (notifier_id,),
    )


def put_off(tx: Tx, notifier_id: int, until: int) -> None:
    """Send it nothing of what waits before that time, and then first what was tried least."""
    tx.run(
        f"UPDATE jobs SET run_at = ?2 + attempt WHERE {_TO_NOTIFIER} AND state = 'queued' AND run_at < ?2",  # noqa: S608  ours
        (notifier_id, until),
    )


def bring_on(tx: Tx, notifier_id: int) -> None:
    """Send it now what was put off; a message that failed by itself waits for its own time."""
    tx.run(
        f"UPDATE jobs SET run_at = ?2 WHERE {_TO_NOTIFIER} AND state = 'queued' AND attempt = 0 AND run_at > ?2",  # noqa: S608  ours
        (notifier_id, tx.now),
    )


def add(tx: Tx, notifier_id: int, about: str, event_type: str, payload: dict[str, Any]) -> int | None:
    """Store a message; None when the same was told to the same before."""
    if tx.row("SELECT 1 FROM notices WHERE notifier_id = ? AND about = ?", (notifier_id, about)) is not None:
        return None
    return tx.insert(
        "INSERT INTO notices (notifier_id, about, event_type, payload, status, created_at)"
        " VALUES (?, ?, ?, ?, 'queued', ?)",
        (notifier_id, about, event_type, as_json(payload), tx.now),
    )


def get(tx: Tx, notice_id: int) -> Notice | None:
    """One message."""
    return tx.load(Notice, "SELECT * FROM notices WHERE id = ?", (notice_id,))


def expect(tx: Tx, notice_id: int) -> Notice:
    """One message that its job promises."""
    notice = get(tx, notice_id)
    if notice is None:
        raise LookupError(f"notice {notice_id}")
    return notice


def page(tx: Tx, notifier_id: int, *, before: int, limit: int) -> Sequence[Notice]:
    """The messages to one, newest first, by id below `before`."""
    return tx.load_all(
        Notice,
        "SELECT * FROM notices WHERE notifier_id = ? AND id < ? ORDER BY id DESC LIMIT ?",
        (notifier_id, before, limit),
    )


def settle(tx: Tx, notice_id: int, status: NoticeStatus, answer: str, *, tried: bool) -> None:
    """Write what became of a message, after one more try or without one."""
    tx.run(
        "UPDATE notices SET status = ?1, answer = ?2, tries = tries + ?3, tried_at = iif(?3, ?4, tried_at)"
        " WHERE id = ?5",
        (status, answer, int(tried), tx.now, notice_id),
    )


def reopen(tx: Tx, notice_id: int) -> Notice:
    """Let a message be sent again."""
    tx.run("UPDATE notices SET status = 'queued' WHERE id = ?", (notice_id,))
    return expect(tx, notice_id)
