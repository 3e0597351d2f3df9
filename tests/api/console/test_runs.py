"""The pages of a protocol run, a step and an attempt: in every status, with hostile and with large contents."""

import json
import re
import time
from collections.abc import Generator
from contextlib import contextmanager
from urllib.parse import urlencode

import pytest

from shared.errors import Category
from shared.schemas.reports import Failed
from shared.schemas.statuses import ProtocolStatus, StepStatus
from tests.api.console import scenes
from tests.api.console.conftest import Window
from tests.api.console.crowd import HOSTILE, SHOWN, hostile, huge, long_run
from tests.api.house import ADMIN, House

NOW = 1_800_000_000_000


def buttons(page: str, kind: str) -> set[str]:
    """The actions that a page offers on things of this kind."""
    return set(re.findall(rf'action="/console/{kind}/\d+/actions/(\w+)"', page))


async def seen(window: Window, path: str) -> str:
    answer = await window.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


async def status_is(house: House, run: int, status: str) -> None:
    over = status in {"failed", "cancelled", "completed"}
    await house.database.write(
        lambda tx: tx.run(
            "UPDATE protocol_runs SET status = ?, reason = 'operator', phase = NULL, finished_at = ? WHERE id = ?",
            (status, NOW if over else None, run),
        )
    )


@pytest.mark.parametrize("status", list(ProtocolStatus))
async def test_a_protocol_is_shown_in_every_status(house: House, inside: Window, status: str) -> None:
    run = await scenes.planned(house, await house.project())
    await status_is(house, run, status)
    page = await seen(inside, f"/console/protocols/{run}")
    explained = (await house.client.get(f"/protocols/{run}/explain", headers=ADMIN)).json()
    assert f'<span class="badge s-{status}">{status}</span>' in page
    assert explained["because"].replace("'", "&#39;") in page
    assert explained["if_nobody_acts"].replace("'", "&#39;") in page
    started = {"start": "plan_again"}
    assert buttons(page, "protocols") == {started.get(name, name) for name in explained["actions"]}


@pytest.mark.parametrize("status", list(StepStatus))
async def test_a_step_is_shown_in_every_status(house: House, inside: Window, status: str) -> None:
    _, step = await house.executed(await house.project())
    over = status in {"cancelled", "completed"}
    await house.database.write(
        lambda tx: tx.run(
            "UPDATE step_runs SET status = ?, reason = 'operator', phase = NULL, finished_at = ? WHERE id = ?",
            (status, NOW if over else None, step),
        )
    )
    page = await seen(inside, f"/console/steps/{step}")
    explained = (await house.client.get(f"/steps/{step}/explain", headers=ADMIN)).json()
    assert f'<span class="badge s-{status}">' in page
    assert explained["because"].replace("'", "&#39;") in page
    assert buttons(page, "steps") == set(explained["actions"])


async def test_a_run_shows_its_plan_its_steps_and_what_its_agent_does(house: House, inside: Window) -> None:
    run, claim = await scenes.busy(house, await house.project())
    page = await seen(inside, f"/console/protocols/{run}")
    assert '<progress max="3" value="1"' in page
    assert "<h3>Dark theme</h3>" in page
    assert "<li>Add the dark palette</li>" in page
    assert "QA</a> passed" in page or "QA passed" in page
    assert '<span class="num plus">+9</span> <span class="num minus">−3</span>' in page
    assert "The colours are in one place." in page
    assert claim.attempt is not None
    assert f'data-grows="/console/attempts/{claim.attempt.id}/stream"' in page
    assert "12 passed in 0.41s" in page
    assert "exit 1" in page
    assert "Step 1 (Collect the colours) was executed and committed." in page


async def test_what_needs_feedback_takes_it_and_a_refusal_says_what_is_possible(house: House, inside: Window) -> None:
    _, step = await house.executed(await house.project())
    page = await seen(inside, f"/console/steps/{step}")
    assert f'id="steps-{step}-reject-feedback" name="feedback"' in page
    assert f'name="sha" value="{"a" * 40}"' in page
    empty = await inside.post(f"/console/steps/{step}/actions/reject", feedback="")
    assert empty.status_code == 400
    stale = await inside.post(f"/console/steps/{step}/actions/approve", sha="b" * 40)
    assert stale.status_code == 412
    sent = await inside.post(f"/console/steps/{step}/actions/reject", feedback="Smaller, please.")
    assert sent.status_code == 303
    again = await inside.post(f"/console/steps/{step}/actions/approve", sha="a" * 40)
    assert again.status_code == 409
    assert "It is <strong>pending</strong> now." in again.text
    assert "Smaller, please." in await seen(inside, f"/console/steps/{step}")


async def test_steps_that_were_added_by_hand_are_started_as_they_are(house: House, inside: Window) -> None:
    run = await house.protocol(await house.project())
    await house.client.post(f"/protocols/{run}/steps", json={"step_name": "One"}, headers=ADMIN)
    page = await seen(inside, f"/console/protocols/{run}")
    assert {"start_with_steps"} <= buttons(page, "protocols")
    assert "start" not in buttons(page, "protocols")
    assert (await inside.post(f"/console/protocols/{run}/actions/start_with_steps")).status_code == 303
    assert (await house.rows("SELECT status FROM protocol_runs"))[0]["status"] == "planned"


async def test_a_plan_is_read_in_every_revision(house: House, inside: Window) -> None:
    run = await scenes.planned(house, await house.project())
    await house.client.post(f"/protocols/{run}/steps", json={"step_name": "Four"}, headers=ADMIN)
    newest = await seen(inside, f"/console/protocols/{run}/plan")
    assert "Plan, revision 2" in newest
    assert "/plan?revision=1" in newest
    first = await seen(inside, f"/console/protocols/{run}/plan?revision=1")
    assert "Plan, revision 1" in first
    assert "<h3>Dark theme</h3>" in first
    assert (await inside.get(f"/console/protocols/{run}/plan?revision=9")).status_code == 404


async def test_what_happened_is_read_page_by_page(house: House, inside: Window) -> None:
    run = await scenes.planned(house, await house.project())
    await house.database.write(
        lambda tx: tx.run(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250) INSERT INTO events"
            " (project_id, protocol_id, event_type, entity, actor, metadata, created_at)"
            " SELECT 1, ?, 'synced', 'protocol', 'worker', json_object('news', i), ? FROM n",
            (run, tx.now),
        )
    )
    place, told, page = f"/console/protocols/{run}/events", 0, ""
    while place:
        page = await seen(inside, place)
        told += page.count("The forge was looked at.")
        found = re.search(r'href="([^"]*/events\?before=\d+)"', page)
        place = found[1] if found else ""
    assert told == 250
    assert "The protocol was opened." in page


async def test_gates_show_their_evidence_and_the_ends_of_logs(house: House, inside: Window) -> None:
    run, step = await scenes.refused(house, await house.project())
    contexts = [{"context": "c1", "name": "build", "outcome": "fail", "url": "https://ci.example/1"}]
    evidence = {"contexts": contexts, "logs": {"c1": "\x1b[31mE\x1b[0m: 1 failed"}, "shards": 3}
    await house.database.write(
        lambda tx: tx.run(
            "INSERT INTO gates (step_id, sha, name, state, summary, url, actor, evidence, updated_at)"
            " VALUES (?, ?, 'ci', 'failed', 'The CI is red', 'javascript:alert(1)', 'worker', ?, ?)",
            (step, "c" * 40, json.dumps(evidence), tx.now),
        )
    )
    assert f'<a href="/console/steps/{step}#gates">QA</a>' in await seen(inside, f"/console/protocols/{run}")
    page = await seen(inside, f"/console/steps/{step}")
    assert "The contrast of links on the dark page is 2.9." in page
    assert "Raise the contrast" in page
    assert '<a href="https://ci.example/1" rel="noopener noreferrer">build</a>' in page
    assert "E: 1 failed" in page
    assert "&#34;shards&#34;: 3" in page
    assert "javascript:" not in page


async def test_a_step_and_a_branch_show_their_changes_in_colour(house: House, inside: Window) -> None:
    run, step = await scenes.refused(house, await house.project())
    for path in (f"/console/steps/{step}", f"/console/steps/{step}/diff", f"/console/protocols/{run}/diff"):
        page = await seen(inside, path)
        assert "2 files" in page
        assert "tests/test_theme.py" in page
        assert '<span class="k">return</span>' in page
        assert 'class="l del" data-n="3" data-s="−"' in page


async def test_our_own_files_are_folded_where_code_follows_and_open_where_they_are_asked_for(
    house: House, inside: Window
) -> None:
    run = await scenes.planned(house, await house.project())
    log = "diff --git a/.protocols/0001-x/log.md b/.protocols/0001-x/log.md\n@@ -0,0 +1 @@\n+A line\n"
    folder = scenes.files(house, "folded", BRANCH=log + scenes.DIFF)
    await scenes.finish(house, await scenes.begin(house, run, folder), "a" * 40)
    page = await seen(inside, f"/console/protocols/{run}/diff")
    assert '<details class="file" id="file-0">' in page
    assert '<details class="file" open id="file-1">' in page
    assert '<details class="file" open id="file-0">' in await seen(inside, f"/console/protocols/{run}/diff?file=0")


async def test_what_cannot_be_undone_asks_first(house: House, inside: Window) -> None:
    run = await house.planned(await house.project(), policy={"plan_approval": True})
    page = await seen(inside, f"/console/protocols/{run}")
    assert f'<details id="protocols-{run}-cancel-more">' in page
    assert "<details id=" in (await seen(inside, "/console")).partition('/actions/cancel"')[2].partition("</form>")[0]


async def test_a_run_without_a_commit_has_no_changes(house: House, inside: Window) -> None:
    run = await house.protocol(await house.project())
    assert "Nothing was committed yet." in await seen(inside, f"/console/protocols/{run}/diff")


async def test_an_attempt_shows_what_it_was_told_and_how_it_ended(house: House, inside: Window) -> None:
    _, claim = await scenes.busy(house, await house.project())
    page = await seen(inside, "/console/attempts/2")
    assert "# Do it\n\nIn small steps." in page
    assert "gpt" in page
    assert "&#34;additions&#34;: 9" in page
    assert "data-grows" not in page
    page = await seen(inside, "/console/attempts/4")
    assert 'data-grows="/console/attempts/4/stream"' in page
    assert "a warning" in page
    assert buttons(page, "jobs") == {"cancel"}
    await house.end(claim, Failed(category=Category.AUTH, message=f"No key {HOSTILE}", stderr_tail=HOSTILE))
    page = await seen(inside, "/console/attempts/4")
    assert f"No key {SHOWN}" in page
    assert "data-grows" not in page
    assert buttons(page, "jobs") == set()


async def test_later_items_come_as_a_fragment(house: House, inside: Window) -> None:
    await scenes.busy(house, await house.project())
    page = await seen(inside, "/console/attempts/4")
    place = int(re.findall(r'data-from="/console/attempts/4/items" data-place="(\d+)"', page)[0])
    path = house.settings.workspaces_dir / "attempts/two/events.jsonl"
    with path.open("a") as log:
        log.write(scenes.message(f"More {HOSTILE}") + "\n" + '{"type":"item.comp')
    news = await seen(inside, f"/console/attempts/4/items?after={place}")
    assert news.count("<li ") == 1
    assert "‹U+202E›gnp.exe" in news
    end = int(re.findall(r'data-place="(\d+)"', news)[-1])
    assert "<li " not in await seen(inside, f"/console/attempts/4/items?after={end}")


async def test_hostile_words_are_inert_and_readable_wherever_they_stand(house: House, inside: Window) -> None:
    project = await house.project()
    run = await scenes.planned(
        house, project, HOSTILE, plan_md=f"[link](javascript:alert(1)) {HOSTILE}", description=f"# {HOSTILE}"
    )
    events = "\n".join(
        [
            scenes.command(HOSTILE, HOSTILE),
            scenes.message(f"{HOSTILE} [x](javascript:alert(2)) ![y](https://evil.example/y.png)"),
            scenes.message(json.dumps({"summary": HOSTILE})),
            scenes.event("reasoning", text=HOSTILE),
            scenes.event("file_change", changes=[{"path": HOSTILE, "kind": "update"}]),
            "\x00 no JSON",
        ]
    )
    diff = f"diff --git a/x.py b/x.py\n--- a/x.py\n+++ b/x.py\n@@ -0,0 +1,2 @@ {HOSTILE}\n+s = '{HOSTILE}'\n+a\rb\n"
    folder = scenes.files(house, "evil", EVENTS=events + "\n", PROMPT=HOSTILE, STDERR=HOSTILE, DIFF=diff, BRANCH=diff)
    claim = await scenes.begin(house, run, folder)
    live = await seen(inside, f"/console/protocols/{run}")
    step = await scenes.finish(house, claim, "d" * 40, HOSTILE)
    finding = {"severity": HOSTILE, "file": HOSTILE, "message": HOSTILE}
    await scenes.judged(house, step, "d" * 40, "fail", findings=(finding,), next_actions=(HOSTILE,))
    pages = [live] + [
        await seen(inside, f"/console/{path}")
        for path in (
            f"protocols/{run}",
            f"protocols/{run}/plan",
            f"protocols/{run}/events",
            f"protocols/{run}/diff",
            f"steps/{step}",
            f"steps/{step}/diff",
            "attempts/2",
            "attempts/2/items",
        )
    ]
    for page in pages:
        assert "<img" not in page.replace('<img src="/console/static/', "")
        assert 'href="javascript:' not in page
        assert "evil.example" not in page
        assert not set(page) & set("\x00\x1b\u202e\r")
        assert "‹U+202E›gnp.exe" in page
    assert "a␍b" in pages[4]


async def test_a_projects_token_sees_its_own_alone(house: House, window: Window) -> None:
    mine, other = await house.project("mine"), await house.project("other")
    run, step = await house.executed(mine)
    foreign, step_2 = await house.executed(other)
    await window.log_in(await house.project_token(mine))
    for kind, own, theirs in (("protocols", run, foreign), ("steps", step, step_2), ("attempts", 1, 3)):
        assert (await window.get(f"/console/{kind}/{own}")).status_code == 200
        assert (await window.get(f"/console/{kind}/{theirs}")).status_code == 404
    for path in (
        "protocols/2/plan",
        "protocols/2/events",
        "protocols/2/diff",
        f"steps/{step_2}/diff",
        "attempts/3/items",
    ):
        assert (await window.get(f"/console/{path}")).status_code == 404
    refused = await window.post(f"/console/protocols/{foreign}/actions/cancel")
    assert refused.status_code == 404


async def test_who_is_not_logged_in_sees_nothing_of_it(house: House, window: Window) -> None:
    run, step = await house.executed(await house.project())
    for path in (f"protocols/{run}", f"steps/{step}", "attempts/1", "attempts/1/items", f"protocols/{run}/diff"):
        answer = await window.get(f"/console/{path}")
        assert answer.status_code == 303
        assert answer.headers["location"] == f"/console/login?{urlencode({'next': f'/console/{path}'})}"


@pytest.mark.parametrize("path", ["protocols/99", "steps/99", "attempts/99", "attempts/99/items", "protocols/99/diff"])
async def test_what_is_not_there_is_said(inside: Window, path: str) -> None:
    assert (await inside.get(f"/console/{path}")).status_code == 404


class Cost:
    """What reading costs the database: statements, and thousands of its own steps."""

    statements = 0
    thousands = 0


@contextmanager
def counted(house: House) -> Generator[Cost]:
    cost = Cost()

    def heard(sql: str) -> None:
        cost.statements += sql.lstrip().startswith(("SELECT", "WITH"))

    def stepped() -> int:
        cost.thousands += 1
        return 0

    connections = [each._conn for each in house.database._readers]
    for each in connections:
        each.set_trace_callback(heard)
        each.set_progress_handler(stepped, 1000)
    yield cost
    for each in connections:
        each.set_trace_callback(None)
        each.set_progress_handler(None, 0)


async def test_five_hundred_steps_and_a_hundred_thousand_events_are_a_page_like_any_other(
    house: House, inside: Window
) -> None:
    await house.database.write(long_run)
    assert (await seen(inside, "/console/protocols/99/plan")).count("word *words* `code`") == 10_000 - 30_000 // 21 - 1
    await house.database.write(hostile)
    await house.database.write(huge)
    line = "".join(f"+value_{number} = '{number}'\n" for number in range(5000))
    patch = f"diff --git a/a.py b/a.py\n--- /dev/null\n+++ b/a.py\n@@ -0,0 +1,5000 @@\n{line}"
    wide = f"diff --git a/w.js b/w.js\n--- /dev/null\n+++ b/w.js\n@@ -0,0 +1 @@\n+{'x' * 1_000_000}\n"
    events = "\n".join(
        [scenes.message("y" * 1_000_000), *(scenes.command(f"run {n}", "z" * 2000) for n in range(2000))]
    )
    scenes.files(house, "many", EVENTS=events + "\n", DIFF=wide + patch, BRANCH=wide + patch, PROMPT="p" * 1_000_000)
    for path in (
        "deliveries",
        "deliveries/7",
        "protocols/99",
        "protocols/99/plan",
        "protocols/99/events",
        "protocols/99/diff",
        "steps/99249",
        "steps/99249/diff?file=1&line=2000",
        "steps/70007",
        "attempts/99249",
        "attempts/99250",
        "steps/99250",
    ):
        await seen(inside, f"/console/{path}")  # templates and lexers are read once
        began = time.process_time()
        with counted(house) as cost:
            page = await seen(inside, f"/console/{path}")
        spent = time.process_time() - began
        assert cost.statements <= 25, path
        assert cost.thousands < 250, path
        assert len(page) < (1_200_000 if path.endswith("/plan") else 800_000), path
        assert spent < 1.5, path
    page = await seen(inside, "/console/protocols/99")
    assert page.count('class="node ') == 501
    assert page.count('<li class="fold">') == 2
    page = await seen(inside, "/console/protocols/99/diff")
    assert "999000 more characters" in page
