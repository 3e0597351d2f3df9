"""The place where a forge's refusal becomes a category and one sentence for a person: pure."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast

import msgspec

from shared.errors import UNREADABLE, Category, JobError

MAX_SAID_CHARS: Final = 300
MAX_WAIT_S: Final = 3600.0
UNTOLD_WAIT_S: Final = 60.0  # what GitHub asks for where a secondary limit names no time

_LIMIT: Final = re.compile(r"rate limit|abuse detection|too many requests", re.IGNORECASE)


class Wish(msgspec.Struct, frozen=True):
    """What a call is for, as it stands in a sentence, and the permission that a token needs for it."""

    what: str
    needs: str


class Place(msgspec.Struct, frozen=True):
    """Which forge is spoken to, and where."""

    forge: str
    host: str

    def __str__(self) -> str:
        return f"{self.forge} at {self.host}"

    @property
    def advice(self) -> str:
        """Where a token is put."""
        setting = f"DEKSDENFLOW_{self.forge.upper()}_TOKEN"
        return f"set it as the project's secret forge_token, or as {setting}"


def refusal(place: Place, wish: Wish, status: int, headers: Mapping[str, str], body: bytes) -> JobError:
    """The error for an answer that is none of the ones that were hoped for; `headers` by lower-case names."""
    said = what_it_said(body)
    told = f": {said}" if said else ""
    if _is_limit(status, headers, said):
        wait_s = wait_of(headers)
        return JobError(
            Category.RATE_LIMITED,
            f"{place} accepts no more calls for now; they are made again in {wait_s:.0f} s.",
            again_in_s=wait_s,
        )
    match status:
        case 401:
            message = f"{place} did not accept the token; {place.advice}. It needs {wish.needs}."
            return JobError(Category.AUTH, message)
        case 403:
            message = f"{place} does not let this token {wish.what}{told}. It needs {wish.needs}; {place.advice}."
            return JobError(Category.AUTH, message)
        case 404 | 410 | 451:
            message = (
                f"{place} knows nothing here to {wish.what}, or hides it from this token ({status}{told});"
                f" check git_url, and that the token has {wish.needs}."
            )
            return JobError(Category.REPOSITORY, message)
        case 408:
            return JobError(Category.UPSTREAM, f"{place} could not {wish.what} in time ({status}{told}).")
        case _ if status >= 500:  # noqa: PLR2004  every server error
            again_in_s = wait_of(headers) if "retry-after" in headers else None
            message = f"{place} failed to {wish.what} ({status}{told})."
            return JobError(Category.UPSTREAM, message, again_in_s=again_in_s)
        case _:
            return JobError(Category.BAD_REQUEST, f"{place} refused to {wish.what} ({status}{told}).")


def moved(place: Place, wish: Wish, status: int, where: str) -> JobError:
    """The error for a redirect that is not followed; the query of its address may be a key to something, and is cut."""
    address = _one_line(where.partition("?")[0]) or "nowhere"
    return JobError(
        Category.REPOSITORY,
        f"{place} sends us to {address} to {wish.what} ({status}), which is not followed;"
        " if the repository was renamed or moved, register it by its new URL.",
    )


def wait_of(headers: Mapping[str, str]) -> float:
    """How many seconds to wait, by the clock of the server that says it; never more than an hour."""
    after = headers.get("retry-after", "").strip()
    if after.isdecimal():
        wait_s = float(after[:9])
    elif (moment := _moment(after)) is not None:
        wait_s = (moment - _now(headers)).total_seconds()
    elif (reset := (headers.get("x-ratelimit-reset") or headers.get("ratelimit-reset") or "")[:11]).isdecimal():
        wait_s = float(reset) - _now(headers).timestamp()
    else:
        wait_s = UNTOLD_WAIT_S
    return min(max(wait_s, 1.0), MAX_WAIT_S)


def what_it_said(body: bytes) -> str:
    """The messages in an error's body, in one short line; nothing where it is not JSON, such as a proxy's page."""
    try:
        told = msgspec.json.decode(body)
    except UNREADABLE:
        return ""
    return _one_line("; ".join(dict.fromkeys(_messages(told))))


def _messages(told: Any) -> list[str]:
    """GitHub: message, errors[].message; GitLab: message (a text, a list, or fields with lists), error."""
    match told:
        case str():
            return [told]
        case list():
            return [text for each in cast("list[Any]", told)[:20] for text in _messages(each)]
        case dict():
            return _named_messages(cast("dict[str, Any]", told))
        case _:
            return []


def _named_messages(told: dict[str, Any]) -> list[str]:
    known = [name for name in ("message", "error", "error_description", "errors") if name in told]
    if not known and "resource" in told:
        known = [name for name in ("field", "code") if name in told]
    if known:
        return [text for name in known for text in _messages(told[name])]
    return [f"{name} {text}" for name, value in list(told.items())[:20] for text in _messages(value)]


def _is_limit(status: int, headers: Mapping[str, str], said: str) -> bool:
    """GitHub says 403 or 429 for both of its limits, GitLab 429."""
    if status == 429:  # noqa: PLR2004  too many requests
        return True
    if status != 403:  # noqa: PLR2004  forbidden
        return False
    return "retry-after" in headers or headers.get("x-ratelimit-remaining") == "0" or bool(_LIMIT.search(said))


def _now(headers: Mapping[str, str]) -> datetime:
    return _moment(headers.get("date", "")) or datetime.now(UTC)


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _one_line(text: str) -> str:
    shown = "".join(char if char.isprintable() else " " for char in text[: 4 * MAX_SAID_CHARS])
    return " ".join(shown.split())[:MAX_SAID_CHARS]
