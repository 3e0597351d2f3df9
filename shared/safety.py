"""The place for the question whether a service may start with these settings: what is demanded outside `local`."""

import ipaddress
from typing import Literal
from urllib.parse import urlsplit

from shared.errors import StartupError
from shared.secret import Secret
from shared.settings import PREFIX, Settings

Service = Literal["api", "webhooks", "worker", "local"]

WELL_KNOWN_PASSWORDS = frozenset({"deksdenflow", "password", "secret", "token", "admin", "redis"})
PLACEHOLDERS = ("changeme", "change-me", "change_me")
MIN_TOKEN_CHARS = 16
MIN_KEY_CHARS = 32
MIN_KEY_ALPHABET = 8


def require_for(service: Service, settings: Settings) -> None:
    """Raise a `StartupError` when this service must not start with these settings."""
    if not settings.is_local:
        _demand_credentials(service, settings)
    if service in {"api", "local"} and settings.api_token is None and not _is_loopback(effective_host("api", settings)):
        message = (
            f"{PREFIX}API_HOST is {settings.api_host!r}: without {PREFIX}API_TOKEN only a loopback address is served"
        )
        raise StartupError(message)


def effective_host(service: Literal["api", "webhooks", "worker"], settings: Settings) -> str:
    """The address to listen on: its own, else the API's, else all once there is an API token, else loopback alone."""
    chosen = {"api": settings.api_host, "webhooks": settings.webhook_host, "worker": settings.worker_host}[service]
    return chosen or settings.api_host or ("127.0.0.1" if settings.api_token is None else "0.0.0.0")  # noqa: S104  see the docstring


def _demand_credentials(service: Service, settings: Settings) -> None:
    needed = {"SECRET_KEY": settings.secret_key}
    if service in {"api", "local"}:
        needed["API_TOKEN"] = settings.api_token
    missing = " and ".join(f"{PREFIX}{name}" for name, value in sorted(needed.items()) if value is None)
    if missing:
        raise StartupError(f"{missing} must be set when {PREFIX}ENV is {settings.env!r} (it may stay unset in local)")
    flaws = secret_flaws(settings)
    if settings.failpoint:
        flaws.append(f"{PREFIX}FAILPOINT is for crash tests in local")
    if flaws:
        raise StartupError("; ".join(flaws))


def secret_flaws(settings: Settings) -> list[str]:
    """What is wrong with the tokens, keys and passwords that are set, a sentence each."""
    tokens = {
        "API_TOKEN": settings.api_token,
        "WEBHOOK_TOKEN": settings.webhook_token,
        "WEBHOOK_TOKEN_PREVIOUS": settings.webhook_token_previous,
    }
    return [
        *(f"{PREFIX}{name} {flaw}" for name, token in tokens.items() if token and (flaw := _token_flaw(token))),
        *_key_flaws(settings),
        *_redis_flaws(settings),
    ]


def _token_flaw(token: Secret) -> str:
    text = token.reveal()
    if _is_well_known(text):
        return "is a well-known default; make one with: openssl rand -hex 32"
    if len(text) < MIN_TOKEN_CHARS:
        return f"is shorter than {MIN_TOKEN_CHARS} characters; make one with: openssl rand -hex 32"
    return ""


def _key_flaws(settings: Settings) -> list[str]:
    if settings.secret_key is None:
        return []
    text = settings.secret_key.reveal()
    if len(text) >= MIN_KEY_CHARS and len(set(text)) >= MIN_KEY_ALPHABET and not _is_well_known(text):
        return []
    return [f"{PREFIX}SECRET_KEY is too easy to guess; make one with: openssl rand -hex 32"]


def _redis_flaws(settings: Settings) -> list[str]:
    password = urlsplit(settings.redis_url.reveal()).password
    return [f"the password in {PREFIX}REDIS_URL is a well-known default"] if _is_well_known(password or "") else []


def _is_well_known(text: str) -> bool:
    plain = text.lower()
    return plain in WELL_KNOWN_PASSWORDS or any(word in plain for word in PLACEHOLDERS)


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
