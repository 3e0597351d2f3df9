"""Requests made from the API's own description, good ones and bad: no failure, and no answer it does not describe."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from schemathesis.core.failures import FailureGroup

from shared.web.server import serve
from tests.api.house import ADMIN, open_house

EXAMPLES_EACH = 5
LEFT_OUT = {
    "positive_data_acceptance",  # 400 also refuses what a schema cannot say, such as a URL of a host not accepted
    "ignored_auth",  # it cannot leave out a header that it did not make; test_auth asks every route without one
}


@pytest.fixture
def served(tmp_path: Path, redis_url: str) -> Iterator[str]:
    """The URL of an API with one of everything, served by a thread of this process."""
    urls: list[str] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def bound(url: str) -> None:
        urls.append(url)
        ready.set()

    async def run() -> None:
        async with open_house(tmp_path, redis=redis_url) as house:
            house.client.headers.update(ADMIN)
            project = await house.project()
            await house.project_token(project)
            await house.executed(project)
            await serve(house.app, name="api", host="127.0.0.1", port=0, grace_s=1, stop=stop, bound=bound)

    def main() -> None:
        try:
            loop.run_until_complete(run())
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=main)
    thread.start()
    ready.wait(30)
    try:
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_nothing_fails_and_nothing_is_answered_that_is_not_described(served: str, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(f"{served}/schema/openapi.json")
    # A made-up If-Match is a good header that matches nothing, whatever else is wrong with the request.
    schema.config.checks.negative_data_rejection.expected_statuses.append("412")
    checks = [CHECKS.get_one(name) for name in CHECKS.get_all_names() if name not in LEFT_OUT]
    found: list[str] = []
    for result in schema.get_all_operations():
        operation = result.ok()

        @hypothesis.settings(
            max_examples=EXAMPLES_EACH,
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode), real=hypothesis.strategies.booleans())
        def probe(case: Any, real: bool) -> None:
            if real and mode is GenerationMode.POSITIVE:
                case.path_parameters = {name: 1 if name != "name" else "key" for name in case.path_parameters or {}}
            try:
                case.call_and_validate(headers=ADMIN, checks=checks)
            except FailureGroup as failures:
                found.append(str(failures))

        try:
            probe()
        except hypothesis.errors.Unsatisfiable:
            continue  # nothing about it can be wrong
    assert not found, "\n\n".join(found[:10])
