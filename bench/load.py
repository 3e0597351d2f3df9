"""A load generator that costs little: fixed requests over kept-open connections, answers read by their length."""

import asyncio
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

CONNECTIONS = 8


class Request(msgspec.Struct, frozen=True):
    """One HTTP request as it goes over the wire."""

    url: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def wire(self) -> bytes:
        """The bytes."""
        parts = urlsplit(self.url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        lines = [f"{self.method} {target} HTTP/1.1", f"host: {parts.netloc}", f"content-length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


async def per_second(request: Request, seconds: float, connections: int = CONNECTIONS) -> float:
    """Answers per second over some seconds; an answer that is no success ends the measurement."""
    end = time.perf_counter() + seconds
    began = time.perf_counter()
    counts = await asyncio.gather(*(_one(request, end) for _ in range(connections)))
    return sum(counts) / (time.perf_counter() - began)


async def compared(requests: Sequence[Request], seconds: float, rounds: int) -> list[list[float]]:
    """Answers per second of several requests in turns, so that a machine that drifts treats all of them alike."""
    rates: list[list[float]] = [[] for _ in requests]
    for request in requests:
        await per_second(request, 0.3)
    for _ in range(rounds):
        for place, request in enumerate(requests):
            rates[place].append(await per_second(request, seconds))
    return rates


async def _one(request: Request, end: float) -> int:
    parts = urlsplit(request.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    wire, count = request.wire(), 0
    try:
        while time.perf_counter() < end:
            writer.write(wire)
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
            body = await reader.readexactly(length)
            if not lines[0].startswith(b"http/1.1 2"):
                raise RuntimeError(f"{request.method} {request.url}: {head[:60]!r} {body[:200]!r}")
            count += 1
    finally:
        writer.close()
    return count
