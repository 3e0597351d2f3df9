"""The place for the forms of what opens doors and of who is told: their inputs, and what they ask for (pure)."""

from datetime import UTC, datetime, timedelta
from typing import Final

from services.api.console import forms
from services.api.console.forms import Field, Typed
from shared.schemas.notices import ATTENTION, DEFAULT, CreateNotifier
from shared.schemas.requests import Body, CreateHook, CreateToken, ProbeHook, PutSecret, RotateHook
from shared.schemas.statuses import EventType
from shared.workflow.projects import SECRET_NAMES

EVENT: Final = "event-"
EVENTS: Final = tuple(dict.fromkeys((*DEFAULT, *sorted(each.value for each in EventType))))

HOOK: Final = (
    Field(
        name="provider",
        label="Who delivers",
        kind="choice",
        choices=(("github", "GitHub"), ("gitlab", "GitLab"), ("ci", "CI jobs, by scripts/ci/report.sh")),
    ),
    Field(
        name="scheme",
        label="GitLab proves itself by",
        kind="choice",
        hint="GitHub and CI jobs sign what they send.",
        choices=(("", "a secret token"), ("signing", "a signing token (19.0 and newer)")),
    ),
)
ROTATE: Final = (
    Field(name="hook_id", label="", kind="hidden"),
    Field(
        name="overlap",
        label="The present secret stays valid",
        kind="choice",
        hint="So that nothing is lost until the new one is entered at the forge.",
        choices=(("", "for a day"), ("7", "for a week"), ("0", "no longer: it is known to others")),
    ),
)
TOKEN: Final = (
    Field(name="name", label="Name", hint="What it is for, such as nightly.", needed=True),
    Field(
        name="days",
        label="It ends",
        kind="choice",
        choices=(("", "when somebody revokes it"), ("7", "in a week"), ("30", "in 30 days"), ("365", "in a year")),
    ),
)
SECRET: Final = (
    Field(name="secret", label="Secret", kind="choice", choices=tuple((name, name) for name in SECRET_NAMES)),
    Field(name="value", label="Its value", kind="secret", hint="It is stored encrypted, and never shown again."),
    Field(
        name="file_name",
        label="Or the file that holds it",
        hint="An absolute path on the worker's machine, read whenever the secret is used.",
    ),
)
NOTIFIER: Final = (
    Field(
        name="kind",
        label="Form of the messages",
        kind="choice",
        choices=(("webhook", "webhook, signed by Standard Webhooks"), ("slack", "Slack, an incoming webhook")),
    ),
    Field(
        name="url",
        label="Address",
        kind="address",
        hint="https; it is stored encrypted, and only its host is shown again.",
        needed=True,
    ),
)
FORMS: Final = {"hooks": HOOK, "rotate": ROTATE, "tokens": TOKEN, "secrets": SECRET, "notifiers": NOTIFIER}


class Rotation(Body, frozen=True):
    """Which hook gets a new secret, and for how many days the present one stays."""

    hook_id: int
    overlap: int | None = None


class Span(Body, frozen=True):
    """After how many days something ends."""

    days: int | None = None


class Named(Body, frozen=True):
    """Which secret is meant."""

    secret: str


def hook(typed: Typed) -> CreateHook:
    """The address that is to be made; how it proves itself is asked for GitLab alone."""
    fields = {"provider": typed.get("provider", "")}
    if fields["provider"] == "gitlab":
        fields["scheme"] = typed.get("scheme", "")
    return forms.read(CreateHook, fields, forms.labels_of(HOOK))


def rotation(typed: Typed, now: int) -> tuple[int, RotateHook]:
    """The hook, and what becomes of its present secret; `now` in milliseconds since 1970."""
    fields = {name: typed.get(name, "") for name in ("hook_id", "overlap")}
    found = forms.read(Rotation, fields, forms.labels_of(ROTATE))
    until = None if found.overlap is None else _in_days(found.overlap, now, "overlap", ROTATE)
    return found.hook_id, RotateHook(previous_valid_until=until)


def tested(typed: Typed) -> ProbeHook:
    """The hook that a delivery is sent to."""
    return forms.read(ProbeHook, {"hook_id": typed.get("hook_id", "")})


def token(typed: Typed, now: int) -> CreateToken:
    """The token that is to be made; `now` in milliseconds since 1970."""
    labels = forms.labels_of(TOKEN)
    days = forms.read(Span, {"days": typed.get("days", "")}, labels).days
    named = forms.read(CreateToken, {"name": typed.get("name", "").strip()}, labels)
    return CreateToken(name=named.name, expires_at=None if days is None else _in_days(days, now, "days", TOKEN))


def secret(typed: Typed) -> tuple[str, PutSecret]:
    """The secret's name, and what is to be stored."""
    labels = forms.labels_of(SECRET)
    name = forms.read(Named, {"secret": typed.get("secret", "")}, labels).secret
    value, file_name = typed.get("value", ""), typed.get("file_name", "").strip()
    if bool(value) == bool(file_name):
        raise forms.flawed("value", "fill in either this or the file that holds it.", labels)
    return name, forms.read(PutSecret, {"value": value, "file_name": file_name}, labels)


def notifier(typed: Typed) -> CreateNotifier:
    """Who is to be told of what."""
    labels = forms.labels_of(NOTIFIER)
    events = [name.removeprefix(EVENT) for name in typed if name.startswith(EVENT)]
    if not events:
        raise forms.flawed(f"{EVENT}{ATTENTION}", "choose one at least.", {f"{EVENT}{ATTENTION}": "What is told"})
    fields = {"kind": typed.get("kind", ""), "url": typed.get("url", "").strip(), "events": events}
    return forms.read(CreateNotifier, fields, labels)


def _in_days(days: int, now: int, name: str, fields: tuple[Field, ...]) -> datetime:
    offered = {key for field in fields if field.name == name for key, _ in field.choices}
    if str(days) not in offered:
        raise forms.flawed(name, "choose one of those.", forms.labels_of(fields))
    return datetime.fromtimestamp(now / 1000, UTC) + timedelta(days=days)
