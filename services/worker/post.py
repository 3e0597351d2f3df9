"""The one door to those who want to be told: one POST, signed, without redirects, within a few seconds."""

import asyncio
import contextlib
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import accumulate
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import httpx
import msgspec

from services.worker.forge.failures import wait_of
from shared.errors import Category, JobError, SealError
from shared.log import on_one_line
from shared.redaction import Redactor
from shared.schemas.notices import Notice, Notifier
from shared.schemas.outside import shown_host
from shared.security import Vault, signed_headers
from shared.workflow.notices import notifier_seal_context

CONNECT_S: Final = 3.0
READ_S: Final = 5.0
WHOLE_S: Final = 8.0
BODY_S: Final = 1.0
SHOWN_CHARS: Final = 300
# So much is read, so that a secret is found whole that begins in what is shown.
READ_BYTES: Final = 8192
# Shorter parts of an address are ordinary words.
SECRET_PART_CHARS: Final = 8
Network = IPv4Network | IPv6Network
# Where a machine finds what only it shall know, such as the credentials that its cloud gives it.
REFUSED = (ip_network("169.254.0.0/16"), ip_network("fe80::/10"), ip_network("fd00:ec2::254/128"))
# What Slack takes of a text: in a header, and elsewhere.
_HEADER_CHARS, _TEXT_CHARS = 150, 3000
_AGAIN: Final = frozenset({408, 409, 425, 429})


class Post:
    """Sends messages, but to no address of the `refused` networks; `allow_http` is for one's own machine."""

    def __init__(
        self, vault: Vault, redactor: Redactor, *, allow_http: bool, refused: Sequence[Network] = REFUSED
    ) -> None:
        self._vault, self._redactor, self._allow_http, self._refused = vault, redactor, allow_http, refused
        self._http: httpx.AsyncClient | None = None

    async def send(self, notifier: Notifier, notice: Notice, sender: str, now_ms: int) -> str:
        """Send one message; gives the first line of the answer. The same message has the same id at each try."""
        context = notifier_seal_context(notifier.key)
        try:
            url = self._vault.open(notifier.url, context)
            secret = None if notifier.secret is None else self._vault.open(notifier.secret, context)
            shown_host(url, allow_http=self._allow_http)
        except (SealError, ValueError) as error:
            raise JobError(Category.CONFIG, f"The message cannot be sent: {error}.") from error
        self._redactor.learn(url)
        headers = {"content-type": "application/json"}
        body = msgspec.json.encode(notice.payload if secret is not None else _slack(notice))
        if secret is not None:
            self._redactor.learn(secret)
            headers |= signed_headers(f"msg_{sender}_{notice.id}", now_ms // 1000, body, secret)
        return await self._ask(notifier, url, headers, body)

    async def aclose(self) -> None:
        """Hang up."""
        if self._http is not None:
            await self._http.aclose()

    async def _ask(self, notifier: Notifier, url: str, headers: dict[str, str], body: bytes) -> str:
        if self._http is None:
            timeout = httpx.Timeout(READ_S, connect=CONNECT_S)
            # Nothing packed, which could not be shown; and no cookie of one receiver is kept for another.
            usual = {"user-agent": "deksdenflow", "accept-encoding": "identity"}
            jar = CookieJar(DefaultCookiePolicy(allowed_domains=()))
            self._http = httpx.AsyncClient(timeout=timeout, follow_redirects=False, headers=usual, cookies=jar)

        async def look(name: str, info: Mapping[str, Any]) -> None:
            if name == "connection.connect_tcp.complete":
                address = str(info["return_value"].get_extra_info("server_addr")[0])
                if is_in(address, self._refused):
                    await info["return_value"].aclose()
                    raise JobError(Category.CONFIG, f"{notifier.host} is at {address}, to which no messages are sent.")

        asked = self._http.stream("POST", url, headers=headers, content=body, extensions={"trace": look})
        hidden = Redactor(_secrets(url))
        try:
            async with asyncio.timeout(WHOLE_S), asked as said:
                text = await _first(said)
        except TimeoutError as error:
            raise JobError(Category.NETWORK, f"{notifier.host} did not answer within {WHOLE_S:g} s.") from error
        except httpx.HTTPError as error:
            why = on_one_line(self._redactor.redact(hidden.redact(str(error) or type(error).__name__)))
            raise JobError(Category.NETWORK, f"{notifier.host} cannot be reached: {why}") from error
        shown = self._redactor.redact(hidden.redact(text))[:SHOWN_CHARS]
        told = on_one_line(f"{said.status_code} {shown}").strip()
        if said.is_success:
            return told
        raise _refusal(notifier.host, said, told)


def is_in(address: str, networks: Sequence[Network]) -> bool:
    """Whether the address, in any of its forms, is in one of them."""
    ip = ip_address(address.partition("%")[0])
    plain = (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip
    return any(plain in network for network in networks)


def _refusal(host: str, said: httpx.Response, told: str) -> JobError:
    if said.is_redirect:
        message = f"{host} answered by a redirect, which is not followed: give the address itself."
        return JobError(Category.CONFIG, message)
    if said.status_code == HTTPStatus.GONE:
        return JobError(Category.CONFIG, f"{host} wants no more messages ({told}): remove the notifier.")
    if said.is_client_error and said.status_code not in _AGAIN:
        return JobError(Category.BAD_REQUEST, f"{host} refused the message: {told}")
    again_in_s = wait_of(said.headers) if "retry-after" in said.headers else None
    return JobError(Category.UPSTREAM, f"{host} could not take the message: {told}", again_in_s=again_in_s)


async def _first(said: httpx.Response) -> str:
    """How the body begins; what it fails to say changes nothing about its status."""
    text = b""
    with contextlib.suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(BODY_S):
            async for chunk in said.aiter_raw():
                text += chunk
                if len(text) >= READ_BYTES:
                    break
    return text[:READ_BYTES].decode(errors="replace")


def _secrets(url: str) -> set[str]:
    """What of an address could let somebody in: the address, all behind the host, and each part of that."""
    parts = urlsplit(url)
    behind = parts.path + (f"?{parts.query}" if parts.query else "")
    found = [url, behind, parts.path, parts.query, *re.split(r"[/?&=]", behind)]
    return {form for each in found for form in (each, unquote(each)) if len(form) >= SECRET_PART_CHARS}


def _slack(notice: Notice) -> dict[str, Any]:
    """A message in Slack's form, in texts of which it reads no marks."""
    data = notice.payload["data"]
    title, because = str(data.get("title") or notice.event_type), str(data.get("because") or "")
    where = " · ".join(each for each in (data.get("project_name"), data.get("protocol_name")) if each)
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _text(title, _HEADER_CHARS)}]
    if because:
        blocks.append({"type": "section", "text": _text(because, _TEXT_CHARS)})
    if where:
        blocks.append({"type": "context", "elements": [_text(where, _TEXT_CHARS)]})
    return {"text": _plain(title, _TEXT_CHARS), "mrkdwn": False, "blocks": blocks}


def _text(text: str, most: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": _plain(text, most), "emoji": False}


def _plain(text: str, most: int) -> str:
    """On one line, `&`, `<` and `>` written as Slack wants them, and cut between two characters."""
    signs = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
    pieces = [signs.get(sign, sign) for sign in on_one_line(" ".join(text.split()))]
    sizes = [*accumulate(len(piece) for piece in pieces)]
    fits = bisect_right(sizes, most)
    return "".join(pieces if fits == len(pieces) else [*pieces[: bisect_right(sizes, most - 1)], "…"])
