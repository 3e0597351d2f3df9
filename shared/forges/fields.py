"""The single values that every delivery holds, made safe: cut to a length, checked for their form, times in ms."""

import hashlib
import re
from datetime import UTC, datetime
from typing import Annotated, Final, TypeVar

import msgspec

from shared.errors import UNREADABLE, Invalid
from shared.schemas.forge import Repository
from shared.schemas.names import url_host, url_path

MAX_NAME_CHARS: Final = 200
MAX_URL_CHARS: Final = 2000
MAX_REF_CHARS: Final = 255
MAX_PATH_CHARS: Final = 1000

# What fits a column of SQLite.
Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

_SHA: Final = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})", re.IGNORECASE)
_NOTHING: Final = re.compile(r"0+")
_DIGITS: Final = re.compile(r"[1-9][0-9]{0,17}")
_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})? ?(Z|UTC|[+-][0-9]{2}:?[0-9]{2})?"
)

T = TypeVar("T")


def decoded(body: bytes | msgspec.Raw, shape: type[T], what: str) -> T:
    """The body, or a part of it, in this shape; `Invalid` names the part that has another."""
    try:
        return msgspec.json.decode(body, type=shape)
    except UNREADABLE as error:
        raise Invalid(f"The body of the delivery is no {what}: {clean(str(error))}.") from error


def members(body: bytes) -> dict[str, msgspec.Raw]:
    """The members of the object, unread: what kind of thing it is decides how they are."""
    return decoded(body, dict[str, msgspec.Raw], "JSON object")


def clean(text: str | None, limit: int = MAX_NAME_CHARS) -> str:
    """A name or a short reason as it may be shown and stored: printable, in one line, not too long."""
    shown = "".join(char if char.isprintable() else " " for char in (text or "")[: 2 * limit])
    return " ".join(shown.split())[:limit].rstrip()


def context_of(*parts: str | None) -> str:
    """The key of a check; parts that are too long or too strange to be kept as they are stay different."""
    return "/".join(_kept(part or "") for part in parts)


def _kept(part: str) -> str:
    shown = clean(part)
    if shown == part:
        return part
    return f"{shown}#{hashlib.sha256(part.encode(errors='surrogatepass')).hexdigest()[:12]}"


def sha_of(text: str | None) -> str | None:
    """A commit, in lower case; None for what is none, the zeros that stand for nothing included."""
    if text is None or not _SHA.fullmatch(text) or _NOTHING.fullmatch(text):
        return None
    return text.lower()


def branch_of(name: str | None) -> str | None:
    """The name of a branch as it is; None where git could not have made one of that name."""
    if not name or len(name) > MAX_REF_CHARS or " " in name or not name.isprintable():
        return None
    return name


def url_of(text: str | None) -> str | None:
    """An address that a person may follow; None for any other scheme, and for what is no address."""
    if text is None or len(text) > MAX_URL_CHARS or not text.startswith(("https://", "http://")):
        return None
    return text if text.isprintable() and " " not in text else None


def time_of(*texts: str | None) -> int:
    """The latest of these times in ms, 0 where none is told; ISO 8601, or as GitLab writes it."""
    return max((_ms(text) for text in texts if text), default=0)


def _ms(text: str) -> int:
    match = _TIME.fullmatch(text)
    if match is None:
        return 0
    day, time, fraction, zone = match.groups()
    zone = "+00:00" if zone in {None, "Z", "UTC"} else zone
    try:
        moment = datetime.fromisoformat(f"{day}T{time}{zone}")
        whole = int(moment.astimezone(UTC).timestamp())
    except (ValueError, OverflowError):
        return 0
    return max(0, whole * 1000 + int((fraction or ".0")[1:4].ljust(3, "0")))


def repository_of(id_: int | None, full_name: str | None, url: str | None) -> Repository | None:
    """The repository with this id, path and address; None where neither id nor path is told."""
    name = clean(full_name, MAX_PATH_CHARS).strip("/") or None
    if id_ is None and name is None:
        return None
    return Repository(id=None if id_ is None else str(id_), full_name=name, host=_host_and_path(url)[0])


def repository_at(url: str | None, id_: int | None = None) -> Repository | None:
    """The repository at this address, for the web or for git, where nothing else tells its path."""
    return repository_of(id_, _host_and_path(url)[1], url)


def _host_and_path(url: str | None) -> tuple[str | None, str | None]:
    """Both as a project's git_url is read; nothing of what is no address."""
    if not url or len(url) > MAX_URL_CHARS or not url.isprintable():
        return None, None
    try:
        host, path = url_host(url), url_path(url)
    except ValueError:
        return None, None
    return (host, path) if host else (None, None)


def protocol_of(named: int | str | None) -> int | None:
    """The protocol run that a CI job names, told as a number or in digits; `Invalid` for anything else."""
    if named is None or named == "":
        return None
    if not _DIGITS.fullmatch(text := str(named)[:40]):
        raise Invalid(f"protocol_run_id is the number of a protocol run, not {clean(text)!r}.")
    return int(text)
