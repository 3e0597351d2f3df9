"""The pages of deliveries, the queue, the service and the charts, as they are sent."""

import re
import time
from pathlib import Path

import pytest

from services.api.console.charts import OTHERS, RANGES, Range, Series, chart, parts, spread
from services.api.console.filters import MOST_OFFERED
from services.api.console.hearing import pretty
from services.api.console.routes.service import shown_settings
from shared.errors import Category
from shared.repository.database import Tx
from shared.runtime import FAKE
from shared.schemas.reports import Failed
from shared.schemas.statuses import JobKind
from shared.secret import Secret
from shared.settings import PREFIX, Settings
from tests.api.console.conftest import Window
from tests.api.console.crowd import HOSTILE, SHOWN, crowd, hostile
from tests.api.house import ADMIN, House, open_house

PAGES = ("/console/deliveries", "/console/queue", "/console/service", "/console/charts")


async def text_of(window: Window, path: str) -> str:
    answer = await window.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.mark.parametrize("path", ["/console/deliveries", "/console/deliveries/7", "/console/queue", "/console/charts"])
async def test_what_others_wrote_is_shown_and_does_nothing(inside: Window, house: House, path: str) -> None:
    await house.database.write(hostile)
    page = await text_of(inside, path)
    assert HOSTILE not in page
    assert "<img src=x" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert SHOWN in page


async def test_a_delivery_says_what_became_of_it_and_leads_to_what_it_is_about(inside: Window, house: House) -> None:
    protocol_id, step_id = await house.executed(await house.project())
    number = await house.delivery(
        "applied", project_id=1, protocol_id=protocol_id, step_id=step_id, effect="nothing new"
    )
    page = await text_of(inside, "/console/deliveries")
    assert "It told nothing that was not known already." in page
    page = await text_of(inside, f"/console/deliveries/{number}")
    for place in ("projects/1", f"protocols/{protocol_id}", f"steps/{step_id}"):
        assert f'href="/console/{place}"' in page


async def test_deliveries_are_narrowed_and_turned_over(inside: Window, house: House) -> None:
    for _ in range(51):
        await house.delivery()
    failed = await house.delivery("failed")
    page = await text_of(inside, "/console/deliveries")
    assert page.count('class="row-card"') == 50
    older = re.findall(r'href="([^"]+)" rel="next"', page)
    assert (await text_of(inside, older[0])).count('class="row-card"') == 2
    page = await text_of(inside, "/console/deliveries?status=failed&provider=github&event=push&project_id=")
    assert re.findall(r'id="delivery-(\d+)"', page) == [str(failed)]
    assert "No delivery fits" in await text_of(inside, "/console/deliveries?provider=gitlab")


@pytest.mark.parametrize("path", ["/console/deliveries", "/console/queue"])
async def test_one_of_several_projects_is_chosen_by_its_name_and_of_many_by_its_number(
    inside: Window, house: House, path: str
) -> None:
    first = await house.project("one")
    assert 'name="project_id"' not in await text_of(inside, path)
    second = await house.project("two")
    page = await text_of(inside, f"{path}?project_id={second}")
    assert f'<option value="{first}">one</option><option value="{second}" selected>two</option>' in page

    def more(tx: Tx) -> None:
        (copied,) = tx.rows("SELECT * FROM projects WHERE id = ?", (first,))
        for number in range(MOST_OFFERED):
            copy = {**dict(copied), "id": None, "name": f"copy {number}"}
            tx.run(f"INSERT INTO projects VALUES ({', '.join('?' * len(copy))})", tuple(copy.values()))

    await house.database.write(more)
    assert '<input id="by-project_id"' in await text_of(inside, path)


@pytest.mark.parametrize(
    "path",
    [
        "/console/deliveries?status=lost",
        "/console/deliveries?project_id=-1",
        "/console/deliveries?before=x",
        "/console/queue?job_type=none",
        "/console/queue?before=99999999999999999999",
        f"/console/deliveries?project_id={'9' * 5000}",
        "/console/charts?over=1y",
    ],
)
async def test_a_filter_that_means_nothing_is_refused_in_words(inside: Window, path: str) -> None:
    answer = await inside.get(path)
    assert answer.status_code == 400
    assert "one of" in answer.text or "the number of one" in answer.text


async def test_the_body_of_a_delivery_is_coloured_and_without_its_secrets(inside: Window, house: House) -> None:
    await house.database.write(hostile)
    page = await text_of(inside, "/console/deliveries/7")
    assert '<span class="k">&#34;title&#34;</span>' in page
    assert "ghp_0123456789" not in page
    assert "***" in page


def test_a_long_body_loses_its_colours_and_not_its_end() -> None:
    drawn = pretty({"first": "x" * 70_000, "last": "<b>"})
    assert drawn.startswith("{")
    assert "&lt;b&gt;" in drawn
    assert len(drawn.striptags()) > 70_000


async def test_a_delivery_is_applied_again_by_its_button_and_refused_where_that_cannot_be(
    inside: Window, house: House
) -> None:
    number = await house.delivery("failed")
    button = f"/console/deliveries/{number}/actions/replay"
    assert button in await text_of(inside, f"/console/deliveries/{number}")
    assert (await inside.post(button, back=f"/console/deliveries/{number}")).status_code == 303
    page = await text_of(inside, f"/console/deliveries/{number}")
    assert button not in page
    assert "It waits for a worker." in page
    refused = await inside.post(button)
    assert refused.status_code == 409
    assert "received" in refused.text


async def test_the_queue_shows_who_runs_what_and_offers_what_is_allowed(inside: Window, house: House) -> None:
    await house.planned(await house.project())
    await house.client.post("/protocols/1/actions/run_next_step", headers=ADMIN)
    claim = await house.claim(JobKind.EXECUTE)
    page = await text_of(inside, "/console/queue")
    assert f"run by <code>{claim.job.owner}</code>" in page
    assert f"/console/jobs/{claim.job.id}/actions/cancel" in page
    await house.end(claim, Failed(category=Category.CONFIG, message="It <b>fell</b>"))
    page = await text_of(inside, f"/console/queue?status=failed&job_type={JobKind.EXECUTE}")
    assert "It &lt;b&gt;fell&lt;/b&gt;" in page
    assert f"/console/jobs/{claim.job.id}/actions/retry" in page


async def test_the_line_is_stopped_and_resumed_by_its_buttons(inside: Window, house: House) -> None:
    await house.project()
    assert (await inside.post("/console/line/actions/stop", interrupt="on")).status_code == 303
    page = await text_of(inside, "/console/queue")
    assert "The line is stopped" in page
    assert "because the line is stopped" in page
    assert "/console/line/actions/resume" in page
    assert (await inside.post("/console/line/actions/resume")).status_code == 303
    assert "The line runs" in await text_of(inside, "/console/queue")


async def test_a_project_token_sees_its_own_and_neither_the_line_nor_the_service(house: House, window: Window) -> None:
    first, other = await house.project("first"), await house.project("other")
    own, foreign = await house.delivery(project_id=first), await house.delivery(project_id=other)
    await window.log_in(await house.project_token(first))
    page = await text_of(window, "/console/deliveries")
    assert re.findall(r'id="delivery-(\d+)"', page) == [str(own)]
    assert (await window.get(f"/console/deliveries/{foreign}")).status_code == 404
    assert (await window.get(f"/console/queue?project_id={other}")).status_code == 404
    page = await text_of(window, "/console/queue")
    assert "/console/line/actions" not in page
    assert "/console/service" not in page
    assert "other" not in re.sub(r"<[^>]+>", "", page)
    assert (await window.get("/console/service")).status_code == 403


async def test_the_service_page_tells_how_everything_is_and_what_it_cannot_know(tmp_path: Path) -> None:
    async with open_house(tmp_path, worker_port=0, webhook_port=9) as house:
        window = Window(house)
        await window.log_in()
        page = await text_of(window, "/console/service")
    assert "Redis does not answer" in page
    assert "migration 1" in page
    assert "which this service is not told" in page
    assert "Nothing of ours answers there" in page


def test_no_secret_is_among_the_settings_that_are_shown(tmp_path: Path) -> None:
    secret = Secret("s3cret-of-the-house", tmp_path / "token")
    settings = Settings(redis_url=Secret("redis://:s3cret-of-the-house@host/0"), api_token=secret, grace_s=7)
    shown = {each.name.removeprefix(PREFIX): each for each in shown_settings(settings)}
    assert "s3cret" not in repr(shown)
    assert (shown["API_TOKEN"].value, shown["API_TOKEN"].source) == ("set, not shown", f"file {tmp_path / 'token'}")
    assert (shown["GRACE_S"].value, shown["GRACE_S"].source) == ("7", "set")
    assert (shown["LOG_LEVEL"].value, shown["LOG_LEVEL"].source) == ("INFO", "default")
    assert shown["GITHUB_TOKEN"].value == "–"
    assert len(shown) == len(Settings.__struct_fields__)


def test_a_queue_inside_of_the_process_is_called_so() -> None:
    shown = {each.name: each for each in shown_settings(Settings(redis_url=Secret(FAKE), allow_local_repos=True))}
    assert shown[f"{PREFIX}REDIS_URL"].value == "no Redis: the queue is inside of this process"
    assert (shown[f"{PREFIX}ALLOW_LOCAL_REPOS"].value, shown[f"{PREFIX}ALLOW_LOCAL_REPOS"].source) == ("true", "set")


async def test_charts_sum_what_the_tables_hold(inside: Window, house: House) -> None:
    await house.database.write(crowd, events=10, attempts=700)
    page = await text_of(inside, "/console/charts?over=30d")
    assert "1 k steps done, 30 runs completed, 10 given up" in page
    assert "80% of 1 k passed" in page
    assert "700 executions" in page
    (tokens,) = await house.rows("SELECT sum(input_tokens + output_tokens) AS count FROM attempts")
    assert f"{tokens['count'] / 1e6:.1f} M tokens" in page
    assert "others" in page
    assert "crowd" in page


async def test_an_empty_house_has_pages_that_say_so(inside: Window) -> None:
    assert "Nothing in the last 7 days" in await text_of(inside, "/console/charts")
    assert "There was no job yet" in await text_of(inside, "/console/queue")
    assert "No forge has sent anything yet" in await text_of(inside, "/console/deliveries")


@pytest.mark.parametrize("over", RANGES)
def test_a_range_ends_with_the_piece_that_is_now(over: Range) -> None:
    now = 1_700_000_123_456
    since = over.since(now)
    assert since <= now
    assert (now - since) // over.width == over.pieces - 1


def test_a_chart_is_as_high_as_its_highest_piece_and_has_its_figures_as_a_table() -> None:
    drawn = chart("k", "T", "", [Series("a", "c1", [1, 3]), Series("b", "c2", [0, 1])], ["x", "y"], summary="")
    assert [(bar.x < 50, bar.top, bar.height) for bar in drawn.bars] == [
        (True, 75, 25),
        (False, 25, 75),
        (False, 0, 25),
    ]
    assert drawn.rows == [("x", ["1", "–"]), ("y", ["3", "1"])]
    assert chart("k", "T", "", [], ["x"], summary="").empty


def test_what_is_too_many_for_colours_is_added_up() -> None:
    rows = [{"piece": 0, "model": f"m{number}", "count": 10 - number} for number in range(8)]
    found = parts(rows, 1, "model", "unnamed")
    assert [each.name for each in found] == ["m0", "m1", "m2", "m3", "m4", OTHERS]
    assert found[-1].values == [5 + 4 + 3]
    assert spread([{"piece": 5, "count": 1}], 2) == [0, 0]


async def test_every_page_is_quick_with_a_hundred_thousand_events(inside: Window, house: House) -> None:
    def crowded(tx: Tx) -> None:
        crowd(tx)
        hostile(tx)

    await house.database.write(crowded)
    for path in (*PAGES, "/console", "/console/projects", "/console/deliveries/7", "/console/charts?over=30d"):
        await text_of(inside, path)
        took: list[float] = []
        for _ in range(3):
            began = time.perf_counter()
            await text_of(inside, path)
            took.append(time.perf_counter() - began)
        assert min(took) < 0.3, f"{path} took {min(took):.3f} s"
