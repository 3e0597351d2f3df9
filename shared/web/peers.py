"""The place for who is at the other end: the peer's address behind trusted proxies, and how often it guessed wrong."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

WINDOW_S = 60.0
FAILURES_PER_WINDOW = 20
PEERS_REMEMBERED = 10_000


class Peers:
    """Names the peer of a connection; `X-Forwarded-For` counts only as far as trusted proxies wrote it."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self._trusted = tuple(ipaddress.ip_network(network) for network in trusted)

    def peer(self, scope: Mapping[str, Any]) -> str:
        """The address of whoever is asking; empty where there is none (a Unix socket)."""
        client = scope.get("client")
        address = str(client[0]) if client else ""
        if not self._trusted or not self._trusts(address):
            return address
        for hop in reversed(_forwarded(scope)):
            address = hop
            if not self._trusts(hop):
                break
        return address

    def _trusts(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._trusted)


class FailureLimit:
    """Counts failed credentials by peer within a window; a valid credential is never held up by it."""

    def __init__(
        self,
        allowed: int = FAILURES_PER_WINDOW,
        window_s: float = WINDOW_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowed = allowed
        self._window_s = window_s
        self._clock = clock
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def failed(self, peer: str) -> int:
        """Count a failure; gives the seconds to wait once there were too many, else 0."""
        now = self._clock()
        begun, count = self._failures.pop(peer, (now, 0))
        if now - begun >= self._window_s:
            begun, count = now, 0
        self._failures[peer] = (begun, count + 1)
        if len(self._failures) > PEERS_REMEMBERED:
            self._failures.popitem(last=False)
        return int(begun + self._window_s - now) + 1 if count >= self._allowed else 0


def _forwarded(scope: Mapping[str, Any]) -> list[str]:
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return [part.strip() for value in values for part in value.split(",") if part.strip()]
