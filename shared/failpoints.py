"""The place for crash tests: named points in the code at which a process can be told to die as by `kill -9`.

Its last word on stderr is `failpoint NAME`.
"""

import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Failpoints:
    """What is armed in this process."""

    def __init__(self) -> None:
        self._left: dict[str, int] = {}

    def arm(self, spec: str | None) -> None:
        """`name` or `name:n`, or several with commas between: die where one is reached for the n-th time from now.

        `None` disarms.
        """
        parts = (part.partition(":") for part in (spec or "").split(",") if part)
        self._left = {name: int(count or "1") for name, _, count in parts}

    def reach(self, name: str) -> None:
        """Say that the process is at this point; nearly free when nothing is armed."""
        if name not in self._left:
            return
        self._left[name] -= 1
        if self._left[name] <= 0:
            with suppress(OSError):
                os.write(2, f"\nfailpoint {name}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)


# One for the process, not passed in: it is the process that dies, and a point may lie in any room.
_here = Failpoints()
arm = _here.arm
fp = _here.reach


def points(call: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Put a point before an asynchronous function and one after it: `before_name` and `after_name`."""
    before, after = f"before_{call.__name__}", f"after_{call.__name__}"

    @wraps(call)
    async def between(*args: P.args, **kwargs: P.kwargs) -> T:
        fp(before)
        result = await call(*args, **kwargs)
        fp(after)
        return result

    return between
