"""The place for which address outside may be told something: parsed once, and shown only by its host."""

from urllib.parse import urlsplit

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def shown_host(url: str, *, allow_http: bool) -> str:
    """What of the address may be shown; ValueError says what is wrong with it. http goes to this machine alone."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError("url: it is no address") from error
    if not host or not url.isprintable() or " " in url:
        raise ValueError("url: it is no address")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("url: without a user, a password and a fragment")
    if parts.scheme != "https" and not (parts.scheme == "http" and allow_http and host in LOOPBACK):
        raise ValueError("url: it must begin with https://, or with http:// to this machine where ENV is local")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port else "")
