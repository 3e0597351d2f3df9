"""The test of a webhook: a signed delivery goes over real HTTP to the public address, and each hop is told."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services.webhooks.app import create_app
from shared.repository import deliveries
from shared.repository.database import Tx
from shared.schemas.statuses import DeliveryStatus
from shared.web.server import serve
from tests.api.house import ADMIN, House, open_house
from tests.fakes.forge.wire import Certificates

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HOPS = ["public_url", "secret", "dns", "connection", "answer", "stored", "processed"]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@asynccontextmanager
async def webhooks_of(house: House, port: int) -> AsyncIterator[None]:
    """The webhook service over the same database."""
    ready, stop = asyncio.Event(), asyncio.Event()
    app = create_app(house.settings, house.database, house.flow, house.queue, house.vault)
    serving = asyncio.create_task(
        serve(app, name="webhooks", host="127.0.0.1", port=port, grace_s=1, stop=stop, bound=lambda _: ready.set())
    )
    await ready.wait()
    try:
        yield
    finally:
        stop.set()
        await serving


@asynccontextmanager
async def settling(house: House) -> AsyncIterator[None]:
    """A worker's hand: every delivery is ignored as soon as it is there."""

    def settle(tx: Tx) -> None:
        for row in tx.rows("SELECT id FROM deliveries WHERE status = 'received'"):
            deliveries.settle(tx, row["id"], DeliveryStatus.IGNORED, "ping")

    async def work() -> None:
        while True:
            await house.database.write(settle)
            await asyncio.sleep(0.02)

    task = asyncio.create_task(work())
    try:
        yield
    finally:
        task.cancel()


@asynccontextmanager
async def answering(port: int, head: bytes, **more: Any) -> AsyncIterator[list[bytes]]:
    """A server that says one thing to everybody; gives what it was asked."""
    asked: list[bytes] = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(head)
            await writer.drain()
        except asyncio.IncompleteReadError:
            pass  # it was only looked whether anybody is there
        finally:
            writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", port, **more)
    async with server:
        yield asked


async def hook(house: House, **wish: Any) -> int:
    project = await house.project()
    made = await house.client.post(f"/projects/{project}/hooks", json={"provider": "github"} | wish, headers=ADMIN)
    assert made.status_code == 201
    return project


async def probed(house: House, project: int) -> dict[str, Any]:
    answer = await house.client.post(f"/projects/{project}/webhook_test", headers=ADMIN, timeout=30)
    assert answer.status_code == 200, answer.text
    assert [each["name"] for each in answer.json()["hops"]] == HOPS
    return answer.json()


def stuck(answer: dict[str, Any]) -> tuple[str, str]:
    """The hop that failed, and what it said; all before it are fine, none behind it was reached."""
    (place,) = [number for number, each in enumerate(answer["hops"]) if each["ok"] is False]
    assert all(each["ok"] is True for each in answer["hops"][:place])
    assert all(each["ok"] is None for each in answer["hops"][place + 1 :])
    return answer["hops"][place]["name"], answer["hops"][place]["detail"]


@pytest.mark.parametrize(
    ("wish", "event"),
    [
        ({"provider": "github"}, "ping"),
        ({"provider": "gitlab"}, "Tag Push Hook"),
        ({"provider": "gitlab", "scheme": "signing"}, "Tag Push Hook"),
        ({"provider": "ci"}, "report"),
    ],
    ids=str,
)
async def test_it_goes_all_the_way_to_the_worker_by_every_scheme(
    tmp_path: Path, wish: dict[str, str], event: str
) -> None:
    port = free_port()
    async with open_house(tmp_path, public_url=f"http://localhost:{port}") as house:
        project = await hook(house, **wish)
        async with webhooks_of(house, port), settling(house):
            answers = [await probed(house, project) for _ in range(2)]
        assert "is not https" in answers[0]["settings"]["ssl_verification"]
        assert [answer["ok"] for answer in answers] == [True, True]
        assert all(each["ok"] for answer in answers for each in answer["hops"])
        rows = await house.rows("SELECT id, event, project_id FROM deliveries ORDER BY id")
        assert [(row["id"], row["event"], row["project_id"]) for row in rows] == [
            (answer["delivery_id"], event, project) for answer in answers
        ]


async def test_without_a_public_address_it_says_which_setting_to_make(house: House) -> None:
    answer = await probed(house, await hook(house))
    assert "DEKSDENFLOW_PUBLIC_URL" in stuck(answer)[1]
    assert (stuck(answer)[0], answer["settings"]["payload_url"]) == ("public_url", None)
    assert answer["settings"]["ssl_verification"] == "not known: DEKSDENFLOW_PUBLIC_URL is not set"


async def test_a_name_that_leads_nowhere_and_a_port_where_nobody_listens(tmp_path: Path) -> None:
    for number, (url, name) in enumerate(
        (("http://nowhere.invalid", "dns"), (f"http://127.0.0.1:{free_port()}", "connection"))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with open_house(folder, public_url=url) as house:
            assert stuck(await probed(house, await hook(house)))[0] == name


async def test_a_redirect_is_told_and_not_followed(tmp_path: Path) -> None:
    port, elsewhere = free_port(), free_port()
    moved = f"HTTP/1.1 301 Moved\r\nlocation: http://127.0.0.1:{elsewhere}/webhooks\r\ncontent-length: 0\r\n\r\n"
    async with (
        open_house(tmp_path, public_url=f"http://127.0.0.1:{port}") as house,
        answering(port, moved.encode()),
        answering(elsewhere, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") as asked,
    ):
        name, detail = stuck(await probed(house, await hook(house)))
        assert (name, str(elsewhere) in detail, asked) == ("answer", True, [])


async def test_an_answer_of_the_api_itself_is_told_as_such(tmp_path: Path) -> None:
    port, stop, ready = free_port(), asyncio.Event(), asyncio.Event()
    async with open_house(tmp_path, public_url=f"http://127.0.0.1:{port}") as house:
        serving = asyncio.create_task(
            serve(house.app, name="api", host="127.0.0.1", port=port, grace_s=1, stop=stop, bound=lambda _: ready.set())
        )
        await ready.wait()
        name, detail = stuck(await probed(house, await hook(house)))
        stop.set()
        await serving
        assert (name, detail[:3], "webhook service" in detail) == ("answer", "404", True)


async def test_another_installation_at_the_address_is_found_out(tmp_path: Path) -> None:
    port = free_port()
    accepted = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}"
    async with open_house(tmp_path, public_url=f"http://127.0.0.1:{port}") as house, answering(port, accepted):
        answer = await probed(house, await hook(house))
        assert (stuck(answer)[0], answer["ok"], answer["delivery_id"]) == ("stored", False, None)


async def test_without_a_worker_the_delivery_is_stored_and_said_to_be_queued(tmp_path: Path) -> None:
    port = free_port()
    async with open_house(tmp_path, public_url=f"http://127.0.0.1:{port}") as house, webhooks_of(house, port):
        answer = await probed(house, await hook(house))
        name, detail = stuck(answer)
        assert (name, answer["ok"], "no worker" in detail) == ("processed", True, True)


async def test_the_certificate_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port, certificates = free_port(), Certificates(tmp_path / "tls")
    accepted = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}"
    async with (
        open_house(tmp_path, public_url=f"https://localhost:{port}") as house,
        answering(port, accepted, ssl=certificates.context("localhost")),
    ):
        project = await hook(house)
        untrusted = await probed(house, project)
        assert (stuck(untrusted)[0], "TLS" in stuck(untrusted)[1]) == ("connection", True)
        assert untrusted["settings"]["ssl_verification"] == "enabled"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
        assert stuck(await probed(house, project))[0] == "stored"


async def test_a_hook_without_a_secret_says_so_and_so_does_a_project_without_a_hook(house: House) -> None:
    project = await house.project()
    none = await house.client.post(f"/projects/{project}/webhook_test", headers=ADMIN)
    assert (none.status_code, f"/projects/{project}/hooks" in none.json()["detail"]) == (400, True)


async def test_what_to_enter_is_there_to_the_word_and_holds_no_secret(tmp_path: Path) -> None:
    async with open_house(tmp_path, public_url="https://nowhere.invalid/") as house:
        project = await house.project()
        for provider, events in (
            ("github", {"Workflow runs", "Check suites", "Statuses", "Pull requests", "Pushes"}),
            ("gitlab", {"Push events", "Merge request events", "Pipeline events"}),
            ("ci", {"success", "failure"}),
        ):
            made = await house.client.post(f"/projects/{project}/hooks", json={"provider": provider}, headers=ADMIN)
            answer = await probed(house, project)
            assert answer["hook_id"] == made.json()["id"]
            assert answer["settings"]["payload_url"] == made.json()["url"]
            assert re.fullmatch(rf"https://nowhere.invalid/webhooks/{provider}/[\w-]+", made.json()["url"])
            assert events <= set(answer["settings"]["events"])
            assert made.json()["secret"] not in str(answer)
