"""The settings of a project by forms: who may, what changes, what is refused, and what is shown this once alone."""

import re
from html import unescape

import pytest

from services.api.console import access_forms, project_form
from shared.errors import Category
from shared.repository import projects
from shared.schemas.reports import Failed
from shared.schemas.statuses import JobKind
from tests.api.console.conftest import Window
from tests.api.house import ADMIN, House

DATA = {"accept": "application/json"}
HOSTILE = "<img src=x onerror=alert(1)>\u202e"
PLACE = "/console/projects/1/settings"
FORMS = (PLACE, *(f"{PLACE}/{part}" for part in ("hooks", "rotate", "test", "tokens", "secrets", "notifiers")))
BUTTONS = (
    "/console/projects/1/actions/disable_hook",
    "/console/projects/1/actions/revoke_token",
    "/console/projects/1/actions/delete_secret",
    "/console/notifiers/1/actions/test",
    "/console/notifiers/1/actions/remove",
    "/console/notifiers/1/actions/retry",
    "/console/service/notifiers",
)
TOLD = {"kind": "webhook", "url": "https://example.org/hook", "event-attention": "on"}


async def as_shown(house: House) -> dict[str, str]:
    """What the form of project 1 holds now."""
    record = await house.database.read(lambda tx: projects.get(tx, 1))
    assert record is not None
    return {**project_form.shown(record), "version": str(record.version)}


async def project(house: House) -> dict[str, object]:
    return (await house.client.get("/projects/1", headers=ADMIN)).json()


def once(page: str) -> list[str]:
    """What a page shows this once."""
    return [unescape(text) for text in re.findall(r'<code class="once" tabindex="0">([^<]*)</code>', page)]


async def everything_kept(house: House) -> str:
    """All rows of all tables but for the console's session, in one text."""
    tables = await house.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
    rows = [row for each in tables for row in await house.rows(f'SELECT * FROM "{each["name"]}"')]
    return " ".join(repr(dict(row)) for row in rows)


async def test_a_project_token_sees_and_does_nothing_of_it(house: House, window: Window) -> None:
    token = await house.project_token(await house.project())
    await house.client.post("/projects/1/notifiers", json={"kind": "slack", "url": "https://x.org/y"}, headers=ADMIN)
    await window.log_in(token)
    before = await everything_kept(house)
    assert (await window.get(PLACE)).status_code == 403
    assert "/settings" not in (await window.get("/console/projects/1")).text
    for path in (*FORMS, *BUTTONS):
        answer = await window.post(path, part="1", name="forge_token", hook_id="1", provider="ci")
        assert answer.status_code == 403, path
    after = await everything_kept(house)
    assert re.sub(r"'last_used_at': \d+", "", after) == re.sub(r"'last_used_at': \d+", "", before)


@pytest.mark.parametrize("path", [*FORMS, *BUTTONS])
async def test_a_form_without_its_pages_token_changes_nothing(house: House, inside: Window, path: str) -> None:
    await house.project()
    before = await everything_kept(house)
    assert (await inside.post(path, csrf="wrong", provider="ci", name="x")).status_code == 403
    foreign = {"sec-fetch-site": "cross-site"}
    assert (await inside.post(path, headers=foreign, provider="ci", name="x")).status_code == 403
    assert await everything_kept(house) == before


@pytest.mark.parametrize("path", [PLACE, *FORMS])
async def test_what_nobody_registered_has_no_settings(inside: Window, path: str) -> None:
    path = path.replace("/1/", "/7/")
    assert (await inside.get(path)).status_code == 404
    fields = {"version": "1", "provider": "ci", "hook_id": "1", "name": "x", "secret": "forge_token", "value": "v"}
    assert (await inside.post(path, **fields | TOLD)).status_code == 404


async def test_every_field_of_a_project_is_changed_by_the_form(house: House, inside: Window) -> None:
    await house.project()
    typed = await as_shown(house) | {
        "name": " store ",
        "git_url": "https://gitlab.com/acme/store.git",
        "base_branch": "trunk",
        "ci_provider": "gitlab",
        "planning": "gpt-5.5",
        "required_contexts": "ci/test\r\n\r\nci/lint",
        "progression": "auto_until",
        "until": "3",
        "plan_approval": "true",
        "judged_by": "qa",
        "auto_qa_after_exec": "true",
        "auto_qa_on_ci": "false",
        "ci_completes_step": "",
        "auto_fix": "2",
        "allow_no_changes": "true",
        "open_pr": "steps_done",
        "completion": "merge",
        "ci_settle_s": "5",
    }
    answer = await inside.post(PLACE, **typed)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/projects/1")
    changed = await project(house)
    assert (changed["name"], changed["base_branch"], changed["ci_provider"]) == ("store", "trunk", "gitlab")
    assert changed["default_models"] == {"planning": "gpt-5.5"}
    assert changed["policy"] == {
        "version": 1,
        "progression": "auto_until:3",
        "plan_approval": True,
        "judged_by": "qa",
        "required_contexts": ["ci/test", "ci/lint"],
        "auto_fix": 2,
        "completion": "merge",
        "open_pr": "steps_done",
        "allow_no_changes": True,
        "auto_qa_after_exec": True,
        "auto_qa_on_ci": False,
        "ci_completes_step": None,
        "ci_settle_s": 5,
    }
    page = (await inside.get(PLACE)).text
    assert 'value="auto_until" selected' in page
    assert "ci/test\nci/lint</textarea>" in page
    again = await inside.post(
        PLACE, **await as_shown(house) | {"progression": "auto", "ci_provider": "", "planning": ""}
    )
    assert again.status_code == 303
    changed = await project(house)
    assert (changed["ci_provider"], changed["default_models"]) == (None, {})
    assert (await house.rows("SELECT policy FROM projects"))[0]["policy"].count('"progression":"auto"') == 1


async def test_what_was_not_typed_anew_is_not_told_as_changed(house: House, inside: Window) -> None:
    await house.project()
    assert (await inside.post(PLACE, **await as_shown(house))).status_code == 303
    assert (await project(house))["version"] == 1
    assert (await inside.post(PLACE, **await as_shown(house) | {"auto_fix": "1"})).status_code == 303
    (event,) = await house.rows("SELECT metadata FROM events WHERE event_type = 'project_changed'")
    assert '"changed":["policy"]' in event["metadata"].replace(" ", "")


async def test_who_looked_at_an_older_version_changes_nothing(house: House, inside: Window) -> None:
    await house.project()
    typed = await as_shown(house) | {"name": "mine"}
    await house.client.patch("/projects/1", json={"name": "theirs"}, headers=ADMIN | {"if-match": "*"})
    page = await inside.post(PLACE, **typed)
    assert (page.status_code, "is at version 2, not 1" in page.text) == (412, True)
    assert 'value="mine"' in page.text
    assert "Load it as it is now" in page.text
    data = await inside.post(PLACE, headers=DATA, **typed)
    assert (data.status_code, data.headers["content-type"]) == (412, "application/problem+json")
    untouched = await as_shown(house) | {"version": "1"}
    assert (await inside.post(PLACE, **untouched)).status_code == 412
    assert (await project(house))["name"] == "theirs"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": " "}, "Name: fill this in."),
        ({"git_url": ""}, "Repository: fill this in."),
        ({"git_url": "ext::sh -c id"}, "git_url"),
        ({"base_branch": ""}, "Base branch: fill this in."),
        ({"base_branch": "-x"}, "branch"),
        ({"ci_provider": "ci"}, "Forge: Invalid"),
        ({"exec": "no model"}, "Model that works: it is not of the form that is needed here."),
        ({"progression": "never"}, "Steps start: it is not of the form that is needed here."),
        (
            {"progression": "auto_until", "until": ""},
            "The last step that starts by itself: a whole number from 0 to 999.",
        ),
        ({"progression": "auto_until", "until": "1e3"}, "a whole number from 0 to 999."),
        ({"auto_fix": "11"}, "Repairs by itself: a whole number from 0 to 10."),
        ({"auto_fix": "9" * 5000}, "Repairs by itself: a whole number from 0 to 10."),
        ({"ci_settle_s": ""}, "Red CI may change its mind for: a whole number from 0 to 3600."),
        ({"plan_approval": "perhaps"}, "The plan needs a person&#39;s approval: Expected"),
        ({"judged_by": "nobody"}, "A step is complete by: Invalid"),
        ({"required_contexts": "x" * 201}, "CI that must be green: at most 200 characters."),
        ({"version": ""}, "Version: fill this in."),
        ({"version": "x"}, "Version: Expected"),
    ],
)
async def test_what_is_wrong_is_said_in_the_words_of_the_form(
    house: House, inside: Window, changes: dict[str, str], said: str
) -> None:
    await house.project()
    page = await inside.post(PLACE, **await as_shown(house) | changes)
    assert page.status_code == 400
    alert = page.text.partition('role="alert"')[2].partition("</div>")[0]
    assert said in alert
    assert (await project(house))["version"] == 1


async def test_a_taken_name_is_a_conflict(house: House, inside: Window) -> None:
    await house.project("shop")
    await house.project("store")
    page = await inside.post(PLACE, **await as_shown(house) | {"name": "store"})
    assert (page.status_code, "There already is a project" in page.text) == (409, True)


async def test_hostile_words_are_shown_and_do_nothing(house: House, inside: Window) -> None:
    await house.project()
    await inside.post(PLACE, **await as_shown(house) | {"name": HOSTILE, "required_contexts": HOSTILE})
    made = await inside.post(f"{PLACE}/tokens", name=HOSTILE)
    await inside.post(f"{PLACE}/secrets", secret="forge_token", file_name=f"/{HOSTILE}")
    refused = await inside.post(f"{PLACE}/tokens", name=HOSTILE + "\n")
    for page in ((await inside.get(PLACE)).text, made.text, refused.text):
        assert "<img src=x" not in page
        assert "&lt;img src=x onerror=alert(1)&gt;‹U+202E›" in page
        assert "\u202e" not in page


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
async def test_the_secret_of_a_new_address_is_shown_once_with_what_to_enter_where(
    house: House, inside: Window, capfd: pytest.CaptureFixture[str], accept: str
) -> None:
    await house.project()
    answer = await inside.post(f"{PLACE}/hooks", headers={"accept": accept}, provider="github", scheme="signing")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    (secret,) = once(answer.text)
    assert secret.startswith("dfw_")
    assert "Settings → Webhooks → Add webhook" in answer.text
    assert "Pull requests" in answer.text
    assert "reaches this service, and then <code>/webhooks/github/" in answer.text
    assert "data-shown" in answer.text
    assert secret not in str(answer.headers)
    assert secret not in "".join(inside.http.cookies.values())
    assert secret not in await everything_kept(house)
    for path in (PLACE, f"{PLACE}/hooks", "/console/projects/1", "/console"):
        page = await inside.get(path)
        assert (page.status_code, secret in page.text) == (200, False), path
    assert secret not in "".join(capfd.readouterr())


async def test_an_address_gets_a_new_secret_and_an_end(house: House, inside: Window) -> None:
    await house.project()
    (first,) = once((await inside.post(f"{PLACE}/hooks", provider="ci")).text)
    (second,) = once((await inside.post(f"{PLACE}/rotate", hook_id="1", overlap="7")).text)
    (third,) = once((await inside.post(f"{PLACE}/rotate", hook_id="1", overlap="0")).text)
    assert len({first, second, third}) == 3
    (hook,) = (await house.client.get("/projects/1/hooks", headers=ADMIN)).json()
    assert [each["valid_until"] for each in hook["secrets"]] == [None]
    ended = await inside.post("/console/projects/1/actions/disable_hook", part="1", back=PLACE)
    assert (ended.status_code, ended.headers["location"]) == (303, PLACE)
    assert "1 ended" in (await inside.get(PLACE)).text
    for path in ("rotate", "test"):
        assert (await inside.post(f"{PLACE}/{path}", hook_id="1")).status_code == 404


async def test_gitlab_is_asked_how_it_proves_itself(house: House, inside: Window) -> None:
    await house.project()
    page = (await inside.post(f"{PLACE}/hooks", provider="gitlab", scheme="signing")).text
    assert "Signing token" in page
    assert once(page)[0].startswith("whsec_")
    assert "Secret token" in (await inside.post(f"{PLACE}/hooks", provider="gitlab")).text


async def test_the_test_of_an_address_tells_how_far_it_came(house: House, inside: Window) -> None:
    await house.project()
    await inside.post(f"{PLACE}/hooks", provider="github")
    page = await inside.post(f"{PLACE}/test", headers=DATA, hook_id="1")
    assert (page.status_code, page.headers["cache-control"]) == (200, "no-store")
    assert "It does not work yet" in page.text
    assert "DEKSDENFLOW_PUBLIC_URL" in page.text
    assert not once(page.text)


async def test_a_token_is_shown_once_and_lets_in_until_it_is_revoked(house: House, inside: Window) -> None:
    await house.project()
    answer = await inside.post(f"{PLACE}/tokens", name="nightly", days="30")
    (token,) = once(answer.text)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert token not in await everything_kept(house)
    assert token not in (await inside.get(PLACE)).text
    (known,) = (await house.client.get("/projects/1/tokens", headers=ADMIN)).json()
    assert known["name"] == "nightly"
    assert known["expires_at"] is not None
    held = {"x-project-token": token}
    assert (await house.client.get("/projects/1", headers=held)).status_code == 200
    assert (await inside.post("/console/projects/1/actions/revoke_token", part="1")).status_code == 303
    assert (await house.client.get("/projects/1", headers=held)).status_code == 401
    assert (await inside.post("/console/projects/1/actions/revoke_token", part="1")).status_code == 404


@pytest.mark.parametrize(
    ("part", "fields", "said"),
    [
        ("tokens", {"name": ""}, "Name: fill this in."),
        ("tokens", {"name": "x", "days": "31"}, "It ends: choose one of those."),
        ("tokens", {"name": "x", "days": "-1"}, "It ends: choose one of those."),
        ("tokens", {"name": "x", "days": "9" * 400}, "It ends:"),
        ("hooks", {}, "Who delivers: fill this in."),
        ("hooks", {"provider": "sourcehut"}, "Who delivers: Invalid"),
        ("hooks", {"provider": "gitlab", "scheme": "hmac"}, "scheme: deliveries of gitlab"),
        ("rotate", {"hook_id": "1", "overlap": "99"}, "The present secret stays valid: choose one of those."),
        ("rotate", {"hook_id": ""}, "Hook id: fill this in."),
        ("rotate", {"hook_id": "x"}, "Hook id: Expected"),
        ("secrets", {"secret": "forge_token"}, "Its value: fill in either this or the file that holds it."),
        ("secrets", {"secret": "forge_token", "value": "v", "file_name": "/f"}, "Its value: fill in either"),
        (
            "secrets",
            {"secret": "forge_token", "file_name": "f"},
            "Or the file that holds it: it is not of the form",
        ),
        ("secrets", {"secret": "other", "value": "v"}, "No secret"),
        ("notifiers", {"kind": "webhook", "url": "https://example.org"}, "What is told: choose one at least."),
        ("notifiers", TOLD | {"url": ""}, "Address: fill this in."),
        ("notifiers", TOLD | {"url": "ftp://example.org"}, "url: it must begin with https://"),
        ("notifiers", TOLD | {"kind": "pager"}, "Form of the messages: Invalid"),
        ("notifiers", TOLD | {"event-nothing": "on"}, "events: there is no event"),
    ],
)
async def test_what_a_part_refuses_is_said_beside_it_and_leaves_nothing(
    house: House, inside: Window, part: str, fields: dict[str, str], said: str
) -> None:
    await house.project()
    await house.client.post("/projects/1/hooks", json={"provider": "ci"}, headers=ADMIN)
    before = await everything_kept(house)
    page = await inside.post(f"{PLACE}/{part}", **fields)
    assert page.status_code == 400
    assert said in unescape(page.text)
    assert ('role="alert"' in page.text) == (part != "rotate")
    data = await inside.post(f"{PLACE}/{part}", headers=DATA, **fields)
    assert (data.status_code, said in data.json()["detail"]) == (400, True)
    assert await everything_kept(house) == before


async def test_a_part_that_is_none_is_not_found(house: House, inside: Window) -> None:
    await house.project()
    for answer in (await inside.get(f"{PLACE}/keys"), await inside.post(f"{PLACE}/keys")):
        assert (answer.status_code, "is no part of a project" in answer.text) == (404, True)
    huge = await inside.post("/console/projects/1/actions/revoke_token", part=str(2**70))
    assert huge.status_code == 400


async def test_a_secret_is_stored_by_name_and_shown_to_nobody(house: House, inside: Window) -> None:
    await house.project()
    kept = await inside.post(f"{PLACE}/secrets", secret="forge_token", value="ghp_very-secret")
    assert (kept.status_code, kept.headers["location"]) == (303, f"{PLACE}#secrets")
    page = (await inside.get(PLACE)).text
    assert "stored encrypted" in page
    assert "ghp_very-secret" not in page + await everything_kept(house)
    refused = await inside.post(f"{PLACE}/secrets", secret="forge_token", value="ghp_very-secret", file_name="/f")
    assert (refused.status_code, "ghp_very-secret" in refused.text) == (400, False)
    await inside.post(f"{PLACE}/secrets", secret="forge_token", file_name="/run/secrets/forge_token")
    assert "/run/secrets/forge_token" in (await inside.get(PLACE)).text
    assert (await inside.post("/console/projects/1/actions/delete_secret", name="forge_token")).status_code == 303
    assert (await house.client.get("/projects/1/secrets", headers=ADMIN)).json() == []
    assert (await inside.post("/console/projects/1/actions/delete_secret", name="forge_token")).status_code == 404


@pytest.mark.parametrize(
    ("path", "place", "of"),
    [(f"{PLACE}/notifiers", PLACE, 1), ("/console/service/notifiers", "/console/service", None)],
)
async def test_somebody_is_told_and_the_signing_secret_shown_once(
    house: House, inside: Window, path: str, place: str, of: int | None
) -> None:
    await house.project()
    answer = await inside.post(path, **TOLD | {"url": "https://example.org/hook?key=s3cret", "event-qa_failed": "on"})
    (secret,) = once(answer.text)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert secret.startswith("whsec_")
    where = "/notifiers" if of is None else "/projects/1/notifiers"
    (known,) = (await house.client.get(where, headers=ADMIN)).json()
    assert (known["project_id"], known["events"]) == (of, ["attention", "qa_failed"])
    page = (await inside.get(place)).text
    assert "https://example.org" in page
    assert "s3cret" not in page + answer.text
    assert secret not in page + await everything_kept(house)
    assert (await inside.post("/console/notifiers/1/actions/test", back=place)).headers["location"] == place
    assert "Last messages" in (await inside.get(place)).text
    await house.database.write(lambda tx: tx.run("UPDATE notices SET status = 'failed', answer = '<b>503'"))
    page = (await inside.get(place)).text
    assert "&lt;b&gt;503" in page
    assert "Send again" in page
    assert (await inside.post("/console/notifiers/1/actions/retry", part="1")).status_code == 303
    assert (await house.rows("SELECT status FROM notices"))[0]["status"] == "queued"
    assert (await inside.post("/console/notifiers/1/actions/remove")).status_code == 303
    assert "1 removed" in (await inside.get(place)).text
    assert (await inside.post("/console/notifiers/1/actions/test")).status_code == 404


async def test_slack_has_no_secret_to_show(house: House, inside: Window) -> None:
    await house.project()
    page = await inside.post(f"{PLACE}/notifiers", **TOLD | {"kind": "slack"})
    assert (page.status_code, once(page.text)) == (200, [])
    assert "There is no secret to enter." in page.text


async def test_a_refused_notifier_of_the_service_is_told_on_its_page(inside: Window) -> None:
    page = await inside.post("/console/service/notifiers", **TOLD | {"url": "nope"})
    assert (page.status_code, "url: it is no address" in page.text) == (400, True)
    data = await inside.post("/console/service/notifiers", headers=DATA, **TOLD | {"url": "nope"})
    assert data.headers["content-type"] == "application/problem+json"


def test_every_event_can_be_chosen_once() -> None:
    assert len(access_forms.EVENTS) == len(set(access_forms.EVENTS))
    assert set(access_forms.DEFAULT) <= set(access_forms.EVENTS)


async def test_who_is_not_reached_is_led_to_from_the_first_page(house: House, inside: Window) -> None:
    await house.project()
    for path in (f"{PLACE}/notifiers", "/console/service/notifiers"):
        await inside.post(path, **TOLD)
    await house.database.write(lambda tx: tx.run("UPDATE notifiers SET failing_since = 1, failures = 5"))
    page = (await inside.get("/console")).text
    assert f'href="{PLACE}#notifiers"' in page
    assert 'href="/console/service#notifiers"' in page
    for path in (PLACE, "/console/service"):
        assert "failing" in (await inside.get(path)).text


async def test_a_setup_that_failed_is_begun_again_by_one_button_and_leads_to_what_is_wrong(
    house: House, inside: Window
) -> None:
    await house.project()
    again = "/console/projects/1/actions/setup"
    assert (await inside.get("/console/projects/1")).text.count(f'action="{again}"') == 1
    await house.fail(JobKind.SETUP, Failed(category=Category.REPOSITORY, message="There is no repository."))
    page = (await inside.get("/console/projects/1")).text
    assert "There is no repository." in page
    assert page.count(f'action="{again}"') == 1
    assert f'Change it in <a href="{PLACE}">the settings</a>' in page
