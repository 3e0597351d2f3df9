"""Telling somebody outside: what comes about is queued with it, signed, sent once, repeated, and never in the way."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest
from standardwebhooks import Webhook

from services.worker import post
from shared.repository import notices
from shared.schemas.notices import DEFAULT, Notice, Notifier, NotifierKind
from shared.workflow import attention
from shared.workflow.line import stop_line
from shared.workflow.notices import add_notifier, notifier_seal_context, probe_notifier, remove_notifier, retry_notice
from shared.workflow.protocols import cancel_protocol
from shared.workflow.steps import skip_step
from tests.worker.workshop import Workshop, open_workshop

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="


class Asked(msgspec.Struct, frozen=True):
    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Somebody's endpoint, which answers what the test says: statuses in turn, or nothing at all for `hang`."""

    def __init__(self) -> None:
        self.answers: list[str] = []
        self.asked: list[Asked] = []
        self.port = 0
        self.path = "/hooks/very-secret"
        self.body = "word"
        self.linger = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.asked.append(Asked(head[0].split()[1], headers, body))
            answer = self.answers.pop(0) if self.answers else "200 OK"
            if answer == "hang":
                await asyncio.sleep(60)
            size = "" if "content-length" in answer else f"content-length: {len(self.body)}\r\n"
            writer.write(f"HTTP/1.1 {answer}\r\n{size}connection: close\r\n\r\n{self.body}".encode())
            await writer.drain()
            if self.linger:
                await reader.read()
        except asyncio.CancelledError:
            return
        finally:
            writer.close()


@asynccontextmanager
async def receiving() -> AsyncGenerator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.take, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()


async def told(
    shop: Workshop, receiver: Receiver, kind: NotifierKind = NotifierKind.WEBHOOK, key: str = "k1", **changes: Any
) -> Notifier:
    """Have the receiver told."""
    seal, context = shop.runtime.vault.seal, notifier_seal_context(key)
    wanted = Notifier(
        id=0,
        project_id=None,
        kind=kind,
        key=key,
        host=f"http://127.0.0.1:{receiver.port}",
        url=seal(receiver.url, context),
        secret=seal(SECRET, context) if kind is NotifierKind.WEBHOOK else None,
        events=DEFAULT,
        failures=0,
        failing_since=None,
        created_at=0,
        disabled_at=None,
    )
    return await shop.call(add_notifier, msgspec.structs.replace(wanted, **changes))


async def log(shop: Workshop) -> list[Notice]:
    """Oldest first."""
    return list(reversed(await shop.runtime.database.read(notices.page, 1, before=2**62, limit=500)))


async def test_what_waits_and_what_ends_is_told_once_and_proves_itself(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop, receiving() as receiver:
        await told(shop, receiver)
        await shop.open("Greet")
        await shop.work()
        await shop.call(skip_step, 1, reason="not needed")
        await shop.work()
        said = [Webhook(SECRET).verify(asked.body, asked.headers) for asked in receiver.asked]
        assert [each["type"] for each in said] == ["attention", "protocol_completed"]
        assert said[0]["data"]["id"] == "p1.next_step"
        assert said[0]["data"]["project_name"] == "sample"
        assert said[1]["data"]["title"] == "0001-do-it: protocol completed"
        assert len({asked.headers["webhook-id"] for asked in receiver.asked}) == 2
        assert [(notice.status, notice.tries, notice.answer) for notice in await log(shop)] == [
            ("sent", 1, "200 word")
        ] * 2
        assert "very-secret" not in json.dumps([dict(row) for row in await shop.rows("SELECT * FROM events")])


async def test_slack_is_told_in_its_own_form_and_unsigned(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop, receiving() as receiver:
        await told(shop, receiver, NotifierKind.SLACK)
        await shop.open("Greet")
        await shop.work()
        (asked,) = receiver.asked
        assert asked.path == "/hooks/very-secret"
        assert "webhook-signature" not in asked.headers
        body = json.loads(asked.body)
        assert body["text"] == "The next step of 0001-do-it can start"
        assert [block["type"] for block in body["blocks"]] == ["header", "section", "context"]
        assert body["blocks"][0]["text"]["text"] == body["text"]


async def test_what_fails_is_sent_again_later_by_the_same_id_until_it_is_taken(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop, receiving() as receiver:
        await told(shop, receiver)
        receiver.answers = ["500 Oh", "429 Slow"]
        await shop.call(probe_notifier, 1)
        await shop.work()
        assert len(receiver.asked) == 1
        for seconds in (6, 31):
            shop.pass_time(seconds)
            await shop.work()
        assert len({asked.headers["webhook-id"] for asked in receiver.asked}) == 1
        assert len({asked.body for asked in receiver.asked}) == 1
        (notice,) = await log(shop)
        assert (notice.status, notice.tries) == ("sent", 3)
        assert (await shop.runtime.database.read(notices.expect_notifier, 1)).failures == 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("302 Found\r\nlocation: http://127.0.0.1:1/", "a redirect, which is not followed"),
        ("404 Not Found", "refused the message: 404 word"),
    ],
)
async def test_what_will_never_work_is_not_repeated_but_on_request(ground_floor: Path, answer: str, words: str) -> None:
    async with open_workshop(ground_floor) as shop, receiving() as receiver:
        await told(shop, receiver)
        receiver.answers = [answer]
        await shop.call(probe_notifier, 1)
        await shop.work()
        shop.pass_time(4000)
        await shop.work()
        (notice,) = await log(shop)
        assert notice.status == "failed"
        assert words in (notice.answer or "")
        assert len(receiver.asked) == 1
        await shop.call(retry_notice, 1, notice.id)
        await shop.work()
        assert [each.status for each in await log(shop)] == ["sent"]
        assert len({asked.headers["webhook-id"] for asked in receiver.asked}) == 1


async def test_one_that_hangs_or_fails_for_long_is_called_failing_and_is_in_nobodys_way(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop, receiving() as receiver:
        await told(shop, receiver)
        receiver.answers = ["hang", *["503 No"] * 20]
        await shop.open("Greet", "Greet again")
        async with asyncio.timeout(15):
            await shop.work()
        (first,) = await log(shop)
        assert "cannot be reached" in (first.answer or "") or "did not answer" in (first.answer or "")
        for seconds in (6, 31, 121, 601):
            shop.pass_time(seconds)
            await shop.work()
        assert (await shop.runtime.database.read(waiting, shop)) == ["n1.notifier_failing", "p1.next_step"]
        assert (await shop.event("notifier_failing")).metadata["host"] == f"http://127.0.0.1:{receiver.port}"
        for step in (1, 2):
            await shop.call(skip_step, step, reason="not needed")
        assert (await shop.protocol()).status == "completed"
        before = len(receiver.asked)
        await shop.work()
        assert len(receiver.asked) == before + 1, "one message at a time finds out whether it is back"
        shop.pass_time(10_000)
        await shop.work()
        assert all(notice.tries <= 1 for notice in (await log(shop))[1:]), "whom nothing reaches is tried once"
        receiver.answers = []
        await shop.call(probe_notifier, 1)
        await shop.work()
        assert await shop.event("notifier_recovered")
        assert not [name for name in await shop.runtime.database.read(waiting, shop) if "notifier" in name]


async def test_messages_to_a_dead_receiver_wait_behind_one_of_them_and_hold_up_no_other(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop, receiving() as dead, receiving() as well:
        await told(shop, dead)
        await told(shop, well, key="k2")
        dead.answers = ["503 No"] * 100
        await probes(shop, 1, 20)
        await shop.call(probe_notifier, 2)
        await shop.work()
        assert (len(dead.asked), len(well.asked)) == (1, 1)
        for seconds in (6, 31, 121, 601):
            shop.pass_time(seconds)
            await shop.work()
        assert len(dead.asked) == 5
        assert len({asked.headers["webhook-id"] for asked in dead.asked}) == 5, "each has its turn"
        dead.answers = []
        shop.pass_time(1801)
        await shop.work()
        assert {notice.status for notice in await log(shop)} == {"sent"}


async def test_what_waits_for_too_long_for_one_that_is_failing_is_not_sent_any_more(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop, receiving() as dead:
        await told(shop, dead)
        dead.answers = ["503 No"] * 100
        await probes(shop, 1, 20)
        for _ in range(16):
            await shop.work()
            shop.pass_time(3601)
        assert len(dead.asked) < 16
        assert {notice.status for notice in await log(shop)} == {"failed"}
        assert "took no message for too long" in str([notice.answer for notice in await log(shop)])
        assert not await shop.due()
        dead.answers = []
        await shop.call(retry_notice, 1, 20)
        await shop.work()
        assert (await log(shop))[-1].status == "sent"


async def test_what_waits_for_one_that_is_removed_ends_without_a_word(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop, receiving() as receiver:
        await told(shop, receiver)
        receiver.answers = ["hang"]
        await probes(shop, 1, 6)
        async with shop.working():
            await shop.until("SELECT 1 FROM jobs WHERE state = 'running'")
            await shop.call(remove_notifier, 1)
        shop.pass_time(4000)
        await shop.work()
        assert len(receiver.asked) <= 1
        for notice in await log(shop):
            assert (notice.status, notice.answer) == (
                "failed",
                "Not sent: the notifier was removed before this was taken.",
            )
        assert not await shop.events("job_failed", "notifier_failing", "job_retry_scheduled")
        assert {row["state"] for row in await shop.jobs("notify")} == {"cancelled"}
        assert await shop.runtime.database.read(waiting, shop) == []


async def test_a_message_that_waited_for_a_worker_for_long_is_sent_all_the_same(ground_floor: Path) -> None:
    async with open_workshop(ground_floor, queue_timeout_s=60) as shop, receiving() as receiver:
        await told(shop, receiver)
        await shop.call(probe_notifier, 1)
        shop.pass_time(3600)
        await shop.work()
        assert [notice.status for notice in await log(shop)] == ["sent"]


async def probes(shop: Workshop, notifier_id: int, count: int) -> None:
    """Queue so many messages."""
    for _ in range(count):
        await shop.call(probe_notifier, notifier_id)
        shop.pass_time(0.002)


@pytest.mark.parametrize(
    "body",
    [
        "No hook /services/T00000000/B00000000/abcdefgh1234 here",
        "No hook abcdefgh1234",
        "No such token: s3cr3t/w0rd",
        "/services/T00000000/B00000000/abcdefgh1234?token=s3cr3t%2Fw0rd",
        f"{'x' * 290}/services/T00000000/B00000000/abcdefgh1234",
    ],
)
@pytest.mark.parametrize("status", ["404 No", "503 No", "200 OK"])
async def test_what_of_the_address_is_secret_is_not_kept_though_the_receiver_says_it(
    ground_floor: Path, body: str, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_workshop(ground_floor) as shop, receiving() as receiver:
        receiver.path, receiver.body = "/services/T00000000/B00000000/abcdefgh1234?token=s3cr3t%2Fw0rd", body
        receiver.answers = [status]
        await told(shop, receiver)
        await shop.call(probe_notifier, 1)
        await shop.work()
        (notice,) = await log(shop)
        assert notice.tries == 1
        kept = [await shop.rows(f"SELECT * FROM {table}") for table in ("notices", "jobs", "events")]
        said = str([[dict(row) for row in rows] for rows in kept]) + caplog.text
        for secret in ("abcdefgh", "T0000", "s3cr3t"):
            assert secret not in said


@pytest.mark.parametrize(
    ("answer", "least_s"),
    [
        ("429 Slow\r\nretry-after: 900", 900),
        ("503 No\r\ndate: Mon, 02 Mar 2026 10:00:00 GMT\r\nretry-after: Mon, 02 Mar 2026 10:15:00 GMT", 900),
        ("503 No\r\nretry-after: 99999999", 3600),
    ],
)
async def test_who_says_when_to_come_again_is_not_asked_before(ground_floor: Path, answer: str, least_s: int) -> None:
    async with open_workshop(ground_floor) as shop, receiving() as receiver:
        await told(shop, receiver)
        receiver.answers = [answer]
        await probes(shop, 1, 2)
        await shop.work()
        shop.pass_time(least_s - 60)
        await shop.work()
        assert len(receiver.asked) == 1
        shop.pass_time(61)
        await shop.work()
        assert {notice.status for notice in await log(shop)} == {"sent"}


async def test_who_is_gone_is_not_asked_again_for_this_and_the_log_says_so(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop, receiving() as receiver:
        await told(shop, receiver)
        receiver.answers = ["410 Gone"]
        await shop.call(probe_notifier, 1)
        await shop.work()
        shop.pass_time(10_000)
        await shop.work()
        (notice,) = await log(shop)
        assert (notice.status, notice.tries) == ("failed", 1)
        assert "wants no more messages (410 word): remove the notifier" in (notice.answer or "")


async def test_an_answer_counts_though_its_body_never_ends(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop, receiving() as receiver:
        await told(shop, receiver)
        receiver.answers = ["200 OK\r\nx-none: 1\r\ncontent-length: 5000"]
        receiver.linger = True
        await shop.call(probe_notifier, 1)
        await shop.work()
        assert [(notice.status, notice.answer) for notice in await log(shop)] == [("sent", "200 word")]


async def test_a_cookie_of_a_receiver_goes_nowhere(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop, receiving() as receiver:
        await told(shop, receiver)
        receiver.answers = ["200 OK\r\nset-cookie: session=abc; path=/"]
        await probes(shop, 1, 2)
        await shop.work()
        assert len(receiver.asked) == 2
        assert not [asked for asked in receiver.asked if "cookie" in asked.headers]


async def test_nothing_is_said_to_addresses_that_a_machine_has_for_itself(ground_floor: Path) -> None:
    refused = (ip_network("127.0.0.0/8"),)
    async with open_workshop(ground_floor) as shop, receiving() as receiver:
        shop.doors.post = post.Post(shop.runtime.vault, shop.runtime.redactor, allow_http=True, refused=refused)
        await told(shop, receiver)
        await shop.call(probe_notifier, 1)
        await shop.work()
        (notice,) = await log(shop)
        assert (notice.status, notice.tries) == ("failed", 1)
        assert "is at 127.0.0.1, to which no messages are sent" in (notice.answer or "")
        assert receiver.asked == []


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "fe80::1%1", "fd00:ec2::254"]
)
def test_addresses_that_a_machine_has_for_itself_are_known(address: str) -> None:
    assert post.is_in(address, post.REFUSED)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "fd12:3456::1", "93.184.216.34"])
def test_receivers_of_ones_own_network_may_be_told(address: str) -> None:
    assert not post.is_in(address, post.REFUSED)


async def test_what_others_wrote_is_inert_in_slack(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop, receiving() as receiver:
        await told(shop, receiver, NotifierKind.SLACK)
        name = "a*b* _c_ `d` <!channel> <https://evil.example|x> &amp;\nline\u202eback"
        payload = {"title": name, "because": "<" * 5000, "project_name": name, "protocol_name": name}
        await shop.call(probe_notifier, 1)
        await shop.change("UPDATE notices SET payload = json_set(payload, '$.data', json(?))", json.dumps(payload))
        await shop.work()
        body = json.loads(receiver.asked[0].body)
        header, section, context = body["blocks"]
        texts = [header["text"], section["text"], *context["elements"]]
        assert {text["type"] for text in texts} == {"plain_text"}, "Slack reads no marks in these"
        assert body["mrkdwn"] is False
        for text in (body["text"], *(text["text"] for text in texts)):
            assert not re.search(r"[<>\n\u202e]|&(?!(amp|lt|gt);)", text)
        assert len(header["text"]["text"]) <= 150
        assert len(section["text"]["text"]) <= 3000
        assert section["text"]["text"].endswith("&lt;…")
        assert "&lt;!channel&gt; &lt;https://evil.example|x&gt; &amp;amp; line" in body["text"]


def waiting(tx: Any, shop: Workshop) -> list[str]:
    return [found.id for found in attention.waiting(tx, None, shop.runtime.flow.rules)]


async def test_a_stopped_line_is_told_of_while_it_stands(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop, receiving() as receiver:
        await told(shop, receiver)
        await shop.call(stop_line)
        await shop.work()
        (asked,) = receiver.asked
        assert json.loads(asked.body)["data"]["kind"] == "line"


async def test_only_what_is_wanted_of_the_wanted_project_is_told(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop, receiving() as receiver:
        await shop.open("Greet")
        await told(shop, receiver, events=("cancelled",), project_id=1)
        await shop.call(cancel_protocol, 1)
        await shop.work()
        assert [json.loads(asked.body)["type"] for asked in receiver.asked] == ["cancelled"]


async def test_a_try_that_was_lost_is_repeated_by_the_same_id(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop, receiving() as receiver:
        await told(shop, receiver)
        await shop.call(probe_notifier, 1)
        await shop.work()
        await shop.change("UPDATE jobs SET state = 'queued', finished_at = NULL, dispatch = 2 WHERE kind = 'notify'")
        await shop.work()
        first, second = receiver.asked
        assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
