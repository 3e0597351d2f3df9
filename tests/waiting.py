"""Waiting for a condition, with a deadline: the only way a test lets time pass."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(check: Callable[[], Awaitable[T]], *, within: float = 10.0, every: float = 0.02) -> T:
    """The first truthy answer of `check`; TimeoutError with its last answer after `within` seconds."""
    end = time.monotonic() + within
    while not (answer := await check()):
        if time.monotonic() > end:
            message = f"still {answer!r} after {within:g} s"
            raise TimeoutError(message)
        await asyncio.sleep(every)
    return answer


def until(check: Callable[[], T], *, within: float = 10.0, every: float = 0.02) -> T:
    """As `eventually`, for tests without an event loop."""
    end = time.monotonic() + within
    while not (answer := check()):
        if time.monotonic() > end:
            message = f"still {answer!r} after {within:g} s"
            raise TimeoutError(message)
        time.sleep(every)
    return answer
