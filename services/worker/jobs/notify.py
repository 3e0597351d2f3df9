"""Sends one message to somebody who wants to be told."""

from services.worker.doors import Doors
from services.worker.lease import Lease
from shared.errors import Category, JobError
from shared.failpoints import fp
from shared.repository import meta, notices
from shared.repository.database import Tx
from shared.schemas.notices import Notice, NoticeDone, Notifier


async def notify(doors: Doors, lease: Lease) -> NoticeDone:
    """Send the message that was stored with what it tells; a crash in between sends the same one again, by its id."""

    def read(tx: Tx) -> tuple[Notifier, Notice, str]:
        notice = notices.expect(tx, lease.claim.job.payload["notice"])
        return notices.expect_notifier(tx, notice.notifier_id), notice, meta.instance(tx)

    notifier, notice, instance = await doors.database.read(read)
    if notifier.disabled_at is not None:
        raise JobError(Category.CONFIG, f"{notifier.host} is not to be told any more.")
    lease.check()
    answer = await doors.post.send(notifier, notice, instance, doors.database.clock())
    fp("notice_sent")
    return NoticeDone(answer=answer)
