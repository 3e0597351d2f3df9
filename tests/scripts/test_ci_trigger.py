"""`scripts/ci_trigger.py` against the real API, with a worker's hand: it says whether the forge was asked."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from shared.errors import Category
from shared.schemas.reports import Ending, Failed, SyncDone
from shared.schemas.statuses import JobKind
from shared.web.server import serve
from tests.api.house import TOKEN, House, open_house

SCRIPT = Path(__file__).parents[2] / "scripts" / "ci_trigger.py"
RUN = "https://github.com/acme/shop/actions/runs/9"


@asynccontextmanager
async def served(folder: Path, ending: Ending | None = None) -> AsyncIterator[tuple[House, str]]:
    """The API on loopback, with a protocol run that has a commit; every sync job ends like this."""
    urls: list[str] = []
    ready, stop = asyncio.Event(), asyncio.Event()

    def bound(url: str) -> None:
        urls.append(url)
        ready.set()

    async def work(house: House) -> None:
        while True:
            if ending and await house.rows("SELECT 1 FROM jobs WHERE kind = 'sync' AND state = 'queued'"):
                await house.end(await house.claim(JobKind.SYNC), ending)
            await asyncio.sleep(0.05)

    async with open_house(folder) as house:
        serving = asyncio.create_task(
            serve(house.app, name="api", host="127.0.0.1", port=0, grace_s=1, stop=stop, bound=bound)
        )
        await ready.wait()
        await house.executed(await house.project())
        await house.database.write(lambda tx: tx.run("UPDATE protocol_runs SET pushed_sha = head_sha"))
        working = asyncio.create_task(work(house))
        try:
            yield house, urls[0]
        finally:
            working.cancel()
            stop.set()
            await serving


async def trigger(base: str, *arguments: str, token: str = TOKEN) -> tuple[int, str]:
    """The exit code and all that it said, in one line."""
    environment = {"DEKSDENFLOW_API_BASE": base, "DEKSDENFLOW_API_TOKEN": token}
    script = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), *arguments, env=environment, stdout=-1, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await asyncio.wait_for(script.communicate(), 30)
    return script.returncode or 0, said.decode()


@pytest.mark.parametrize("branch", [True, False])
async def test_it_tells_the_address_of_the_run(tmp_path: Path, branch: bool) -> None:
    async with served(tmp_path, SyncDone(url=RUN)) as (house, url):
        name = (await house.rows("SELECT branch FROM protocol_runs"))[0]["branch"]
        who = ["--project", "1", "--branch", name] if branch else ["--protocol", "1"]
        code, said = await trigger(url, *who, "--workflow", "ci.yml", "--input", "suite=a=b")
        assert (code, said) == (0, f"ci_trigger: triggered for protocol 1: {RUN}\n")
        (job,) = await house.rows("SELECT payload FROM jobs WHERE kind = 'sync'")
        assert job["payload"] == '{"trigger":{"workflow":"ci.yml","inputs":{"suite":"a=b"}}}'


async def test_what_the_forge_did_not_take_is_exit_1_with_the_reason(tmp_path: Path) -> None:
    failed = Failed(category=Category.AUTH, message="The token may not start workflows.")
    async with served(tmp_path, failed) as (_, url):
        code, said = await trigger(url, "--protocol", "1", "--workflow", "ci.yml")
        assert (code, "may not start workflows" in said) == (1, True)


async def test_without_a_worker_it_is_exit_1_after_the_wait(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, url):
        code, said = await trigger(url, "--protocol", "1", "--workflow", "ci.yml", "--wait", "0")
        assert (code, "does a worker run" in said) == (1, True)


async def test_refusals_are_exit_1_in_one_line(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, url):
        for arguments, token, word in (
            (["--protocol", "99"], TOKEN, "404"),
            (["--protocol", "1"], "wrong", "401"),
            (["--project", "1", "--branch", "nobody's"], TOKEN, "no protocol run"),
        ):
            code, said = await trigger(url, *arguments, token=token)
            assert (code, word in said, len(said.splitlines())) == (1, True, 1), said
    code, said = await trigger("http://127.0.0.1:1", "--protocol", "1")
    assert (code, len(said.splitlines())) == (1, 1)


@pytest.mark.parametrize(
    ("base", "arguments"),
    [
        ("", ["--protocol", "1"]),
        ("ftp://x", ["--protocol", "1"]),
        ("http://127.0.0.1:1", []),
        ("http://127.0.0.1:1", ["--branch", "x"]),
        ("http://127.0.0.1:1", ["--protocol", "x"]),
        ("http://127.0.0.1:1", ["--protocol", "1", "--input", "x"]),
    ],
    ids=str,
)
async def test_a_call_that_cannot_be_meant_is_exit_2(base: str, arguments: list[str]) -> None:
    assert (await trigger(base, *arguments))[0] == 2
