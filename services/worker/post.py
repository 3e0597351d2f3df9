"""The one door to those who want to be told: one POST, signed, without redirects, within a few seconds."""

import asyncio
from typing import Any, Final

import httpx
import msgspec

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
SHOWN_BYTES: Final = 300
_AGAIN: Final = frozenset({408, 409, 425, 429})


class Post:
    """Sends messages; `allow_http` is for one's own machine."""

    def __init__(self, vault: Vault, redactor: Redactor, *, allow_http: bool) -> None:
        self._vault, self._redactor, self._allow_http = vault, redactor, allow_http
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
            agent = {"user-agent": "deksdenflow"}
            self._http = httpx.AsyncClient(timeout=timeout, follow_redirects=False, headers=agent)
        try:
            async with asyncio.timeout(WHOLE_S), self._http.stream("POST", url, headers=headers, content=body) as said:
                text = await _first(said)
        except TimeoutError as error:
            raise JobError(Category.NETWORK, f"{notifier.host} did not answer within {WHOLE_S:g} s.") from error
        except httpx.HTTPError as error:
            why = on_one_line(self._redactor.redact(str(error) or type(error).__name__))
            raise JobError(Category.NETWORK, f"{notifier.host} cannot be reached: {why}") from error
        told = on_one_line(self._redactor.redact(f"{said.status_code} {text}")).strip()
        if said.is_success:
            return told
        if said.is_redirect:
            message = f"{notifier.host} answered by a redirect, which is not followed: give the address itself."
            raise JobError(Category.CONFIG, message)
        if said.is_client_error and said.status_code not in _AGAIN:
            raise JobError(Category.BAD_REQUEST, f"{notifier.host} refused the message: {told}")
        raise JobError(Category.UPSTREAM, f"{notifier.host} could not take the message: {told}")


async def _first(said: httpx.Response) -> str:
    text = b""
    async for chunk in said.aiter_raw(SHOWN_BYTES):
        text += chunk
        if len(text) >= SHOWN_BYTES:
            break
    return text[:SHOWN_BYTES].decode(errors="replace")


def _slack(notice: Notice) -> dict[str, Any]:
    """A message in Slack's form, in which `&`, `<` and `>` have a meaning."""
    data = notice.payload["data"]
    title, because = _plain(data.get("title") or notice.event_type), _plain(data.get("because") or "")
    where = _plain(" · ".join(each for each in (data.get("project_name"), data.get("protocol_name")) if each))
    lines = [f"*{title}*", because, *([f"_{where}_"] if where else [])]
    return {"text": title, "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "\n".join(lines)[:2900]}}]}


def _plain(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
