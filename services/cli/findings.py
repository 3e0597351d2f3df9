"""What a check of `doctor` gives, and how it asks by HTTP."""

from collections.abc import Mapping
from typing import Final, Literal

import httpx
import msgspec

from services.cli.rest import is_loopback

ASK_S: Final = 5.0

State = Literal["ok", "warn", "fail"]
Place = Literal["terminal", "server"]


class Finding(msgspec.Struct, frozen=True):
    """What a check found, how to mend it, and whether it is of this terminal or of the server that it speaks to."""

    name: str
    state: State
    text: str
    fix: str = ""
    of: Place = "terminal"


async def ask(url: str, headers: Mapping[str, str] | None = None) -> httpx.Response | str:
    """The answer, or why there was none."""
    ours = is_loopback(httpx.URL(url).host)
    try:
        async with httpx.AsyncClient(timeout=ASK_S, trust_env=not ours) as client:
            return await client.get(url, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return str(error) or type(error).__name__
