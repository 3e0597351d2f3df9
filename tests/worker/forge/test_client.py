"""The calls themselves: who gets the token, what a failure becomes, limits of time, size and pages, ETags."""

import time
from email.utils import formatdate
from pathlib import Path

import pytest

from services.worker.forge import Address, Forges, address_of
from shared.errors import Category, JobError
from shared.redaction import MARK, Redactor
from shared.schemas.statuses import Provider
from shared.secret import Secret
from tests.fakes.forge import CUT, HANG, Answer, FakeForge
from tests.worker.forge.conftest import BRANCH, TOKEN, Stage

THIEF = "thief.elsewhere.test"


async def failure(stage: Stage) -> JobError:
    with pytest.raises(JobError) as caught:
        await stage.door.pull(1)
    assert TOKEN not in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    ("git_url", "at"),
    [
        ("https://github.com/acme/pears.git", Address("github.com", "acme/pears")),
        ("https://GitHub.com/acme/pears", Address("github.com", "acme/pears")),
        ("https://git.example.test:8443/a/b/c.git/", Address("git.example.test:8443", "a/b/c")),
        ("https://git.example.test/a/b%2Bc.git", Address("git.example.test", "a/b+c")),
        ("git@github.com:acme/pears.git", Address("github.com", "acme/pears")),
        ("ssh://git@git.example.test:2222/acme/pears.git", Address("git.example.test", "acme/pears")),
        ("https://github.com/pears", None),
        ("https://github.com", None),
        ("/srv/git/pears.git", None),
    ],
)
def test_the_address_is_in_the_git_url(git_url: str, at: Address | None) -> None:
    assert address_of(git_url) == at


async def test_a_url_that_is_none_of_the_forge_has_no_door(forges: Forges) -> None:
    assert forges.of(Provider.GITHUB, "https://github.com/a/b/c", Secret(TOKEN)) is None
    assert forges.of(Provider.GITLAB, "/srv/git/pears.git", Secret(TOKEN)) is None
    assert forges.of(Provider.CI, "https://github.com/a/b", Secret(TOKEN)) is None


async def test_each_place_is_asked_at_its_own_address(stage: Stage, elsewhere: Stage) -> None:
    for each in (stage, elsewhere):
        await each.door.repository()
    asked = {(one.host, one.path) for one in stage.world.asked}
    if stage.repo.provider == "github":
        assert ("api.github.com", "/repos/acme/pears") in asked
    else:
        assert ("git.example.test", "/api/v4/projects/acme%2Ffruit%2Fpears") in asked
    if elsewhere.repo.provider == "github":
        assert ("code.example.test:8443", "/api/v3/repos/acme/pears") in asked
    else:
        assert ("gitlab.com", "/api/v4/projects/acme%2Ffruit%2Fpears") in asked


async def test_a_server_of_ones_own_does_everything_too(elsewhere: Stage) -> None:
    await elsewhere.door.open_pull(branch=BRANCH, base="main", title="t", body="b")
    assert not (await elsewhere.door.edit_pull(1, title="t", body="b", ready=True)).draft
    elsewhere.repo.ci(elsewhere.sha, "failure", log="E\n")
    first, *_ = await elsewhere.door.ci_of(elsewhere.sha)
    assert await elsewhere.door.red_log(first) == "E\n"
    assert elsewhere.world.hosts_that_saw(TOKEN) == {elsewhere.repo.host}


# The token


async def test_the_token_is_in_one_header_and_nowhere_else(stage: Stage) -> None:
    stage.repo.ci(stage.sha, "failure", log="E\n")
    await stage.door.open_pull(branch=BRANCH, base="main", title="t", body="b")
    for word in await stage.door.ci_of(stage.sha):
        await stage.door.red_log(word)
    name = "authorization" if stage.repo.provider == "github" else "private-token"
    for one in stage.world.asked:
        said = [one.path, one.body.decode(), *one.query.values()]
        assert not any(TOKEN in text for text in said)
        assert {key for key, value in one.headers.items() if TOKEN in value} <= {name}
    assert stage.world.hosts_that_saw(TOKEN) == {stage.api_host}


async def test_a_token_is_known_to_the_redactor_before_it_is_used(stage: Stage, redactor: Redactor) -> None:
    assert redactor.redact(f"x {TOKEN} y") == f"x {MARK} y"


@pytest.mark.parametrize("token", ["two words", "line\n", "schlüssel-1234567", ""])
async def test_what_cannot_be_a_token_is_refused_without_showing_it(forges: Forges, token: str) -> None:
    with pytest.raises(JobError, match=r"The token for github\.com") as caught:
        forges.of(Provider.GITHUB, "https://github.com/a/b", Secret(token))
    assert caught.value.category is Category.CONFIG
    assert not token or token not in caught.value.message


async def test_cookies_are_not_kept(stage: Stage) -> None:
    stage.world.fault("", Answer(200, b"{}", {"set-cookie": "session=1; Path=/"}))
    with pytest.raises(JobError):
        await stage.door.pull(1)
    await stage.door.repository()
    assert not any("cookie" in one.headers for one in stage.world.asked)


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_another_host_is_named_and_not_followed(stage: Stage, status: int) -> None:
    stage.world.fault("", Answer(status, b"", {"location": f"https://{THIEF}/in?code=abc"}))
    error = await failure(stage)
    assert error.category is Category.REPOSITORY
    assert f"https://{THIEF}/in " in error.message
    assert "abc" not in error.message
    assert THIEF not in {one.host for one in stage.world.asked}


@pytest.mark.parametrize(
    "to", ["http://{host}/x", "https://{host}:444/x", "https://{host}.evil.test/x", "//evil.test/x"]
)
async def test_no_other_scheme_port_or_name_is_the_same_origin(stage: Stage, to: str) -> None:
    where = to.format(host=stage.api_host)
    stage.world.fault("", Answer(302, b"", {"location": where}))
    assert (await failure(stage)).category is Category.REPOSITORY
    assert {one.host for one in stage.world.asked} == {stage.api_host}


async def test_a_redirect_of_a_change_is_named_and_not_followed(stage: Stage) -> None:
    stage.world.fault("", Answer(307, b"", {"location": f"https://{stage.api_host}/new/name"}))
    with pytest.raises(JobError, match="register it by its new URL"):
        await stage.door.open_pull(branch=BRANCH, base="main", title="t", body="b")
    assert len(stage.world.asked) == 1


async def test_a_renamed_repository_is_still_read(stage: Stage) -> None:
    stage.world.rename(stage.repo, stage.repo.full_name + "-and-apples")
    known = await stage.door.repository()
    assert (known.id, known.full_name) == (str(stage.repo.id), stage.repo.full_name)


async def test_redirects_in_a_circle_end(stage: Stage) -> None:
    stage.world.fault("", Answer(302, b"", {"location": "/round"}), times=50)
    assert (await failure(stage)).category is Category.REPOSITORY
    assert len(stage.world.asked) == 3


# Failures


@pytest.mark.parametrize(
    ("status", "category"),
    [
        (400, Category.BAD_REQUEST),
        (401, Category.AUTH),
        (403, Category.AUTH),
        (404, Category.REPOSITORY),
        (408, Category.UPSTREAM),
        (410, Category.REPOSITORY),
        (422, Category.BAD_REQUEST),
        (429, Category.RATE_LIMITED),
        (500, Category.UPSTREAM),
        (502, Category.UPSTREAM),
        (503, Category.UPSTREAM),
    ],
)
async def test_every_refusal_has_its_category_for_reads_and_changes(
    stage: Stage, status: int, category: Category
) -> None:
    stage.world.fault("", Answer(status, b"<html>a proxy's page</html>"), times=2)
    assert (await failure(stage)).category is category
    with pytest.raises(JobError) as caught:
        await stage.door.open_pull(branch=BRANCH, base="main", title="t", body="b")
    assert caught.value.category is category
    assert "<html>" not in caught.value.message


async def test_a_wrong_token_is_told_with_where_to_put_a_right_one(stage: Stage) -> None:
    with pytest.raises(JobError, match="did not accept the token") as caught:
        await stage.door_with("wrong-token").repository()
    error = caught.value
    assert error.category is Category.AUTH
    assert "forge_token" in error.message
    assert f"DEKSDENFLOW_{stage.repo.provider.upper()}_TOKEN" in error.message
    assert "wrong-token" not in error.message


async def test_a_missing_permission_is_named(github: Stage) -> None:
    told = b'{"message": "Resource not accessible by personal access token", "status": "403"}'
    github.world.fault("/check-suites$", Answer(403, told))
    with pytest.raises(JobError, match=r"Resource not accessible.*permission Checks \(read\)") as caught:
        await github.door.ci_of(github.sha)
    assert caught.value.category is Category.AUTH


@pytest.mark.parametrize(
    "answer",
    [Answer(200, b"{"), Answer(200, b"[]"), Answer(200, b"\xff\xfe"), Answer(200, b"[" * 100_000), Answer(200, b"{}")],
)
async def test_an_answer_that_is_not_understood_is_the_forges_fault(stage: Stage, answer: Answer) -> None:
    stage.world.fault("", answer)
    error = await failure(stage)
    assert error.category is Category.UPSTREAM
    assert "not understood" in error.message


async def test_an_answer_without_end_is_not_taken_in(stage: Stage) -> None:
    stage.world.fault("", Answer(200, b'"' + b"x" * (9 << 20) + b'"'))
    error = await failure(stage)
    assert error.category is Category.UPSTREAM
    assert "answers more than" in error.message


async def test_an_answer_that_is_packed_wrongly_is_not_understood(stage: Stage) -> None:
    stage.world.fault("", Answer(200, b"no gzip", {"content-encoding": "gzip"}))
    assert (await failure(stage)).category is Category.UPSTREAM


async def test_a_silent_forge_is_not_waited_for_for_ever(stage: Stage) -> None:
    stage.world.fault("", HANG)
    error = await failure(stage)
    assert error.category is Category.NETWORK
    assert "in time" in error.message


async def test_a_connection_that_breaks_is_the_network(stage: Stage) -> None:
    stage.world.fault("", CUT)
    assert (await failure(stage)).category is Category.NETWORK


async def test_a_forge_that_is_not_there_is_the_network(stage: Stage) -> None:
    stage.world.refuse()
    assert (await failure(stage)).category is Category.NETWORK
    stage.world.refuse(everybody=False)
    await stage.door.repository()


async def test_a_certificate_of_nobody_known_is_not_believed(
    world: FakeForge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world.repository("github", "github.com", "acme/pears", token=TOKEN)
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.delenv("SSL_CERT_DIR")
    forges = Forges(redactor=Redactor())
    try:
        door = forges.of(Provider.GITHUB, "https://github.com/acme/pears", Secret(TOKEN))
        assert door is not None
        with pytest.raises(JobError, match=r"(?i)certificate") as caught:
            await door.repository()
        assert caught.value.category is Category.NETWORK
        assert world.asked == []
    finally:
        await forges.aclose()


async def test_after_a_failure_the_next_call_is_like_any_other(stage: Stage) -> None:
    for answer in (Answer(500), CUT, Answer(200, b"{")):
        stage.world.fault("", answer)
        await failure(stage)
    await stage.door.repository()


# Limits


@pytest.mark.parametrize(
    ("answer", "wait_s"),
    [
        (Answer(429, b"", {"retry-after": "17"}), 17),
        (Answer(403, b"", {"retry-after": "17"}), 17),
        (Answer(429, b"", {"retry-after": "0"}), 1),
        (Answer(429, b"", {"retry-after": "99999999"}), 3600),
        (Answer(429, b"", {"retry-after": "soon"}), 60),
        (Answer(403, b'{"message": "You have exceeded a secondary rate limit."}'), 60),
        (Answer(429), 60),
    ],
)
async def test_a_limit_says_when_to_come_again(stage: Stage, answer: Answer, wait_s: float) -> None:
    stage.world.fault("", answer)
    error = await failure(stage)
    assert error.category is Category.RATE_LIMITED
    assert error.again_in_s == wait_s


@pytest.mark.parametrize(
    ("status", "name", "left"),
    [(403, "x-ratelimit-reset", {"x-ratelimit-remaining": "0"}), (429, "ratelimit-reset", {})],
)
async def test_the_end_of_a_limit_is_taken_by_the_forges_own_clock(
    stage: Stage, status: int, name: str, left: dict[str, str]
) -> None:
    theirs = time.time() - 100_000
    headers = {"date": formatdate(theirs, usegmt=True), name: str(int(theirs) + 90), **left}
    stage.world.fault("", Answer(status, b"", headers))
    error = await failure(stage)
    assert error.category is Category.RATE_LIMITED
    assert error.again_in_s == pytest.approx(90, abs=2)


async def test_a_limit_may_name_a_date(stage: Stage) -> None:
    now = time.time()
    headers = {"date": formatdate(now, usegmt=True), "retry-after": formatdate(now + 40, usegmt=True)}
    stage.world.fault("", Answer(429, b"", headers))
    assert (await failure(stage)).again_in_s == pytest.approx(40, abs=2)


async def test_a_server_at_work_on_itself_may_say_when_too(stage: Stage) -> None:
    stage.world.fault("", Answer(503, b"", {"retry-after": "30"}))
    error = await failure(stage)
    assert (error.category, error.again_in_s) == (Category.UPSTREAM, 30)


async def test_a_missing_permission_is_no_limit(stage: Stage) -> None:
    stage.world.fault("", Answer(403, b'{"message": "Forbidden"}', {"x-ratelimit-remaining": "4999"}))
    error = await failure(stage)
    assert (error.category, error.again_in_s) == (Category.AUTH, None)


# What is asked again


async def test_what_did_not_change_is_not_sent_again(github: Stage) -> None:
    github.repo.status(github.sha, "deploy", "pending")
    first = await github.door.ci_of(github.sha)
    assert await github.door.ci_of(github.sha) == first
    assert all("if-none-match" in one.headers for one in github.world.asked[4:])
    github.repo.status(github.sha, "deploy", "success")
    assert await github.door.ci_of(github.sha) != first


async def test_what_one_token_may_read_is_not_kept_for_another(github: Stage) -> None:
    await github.door.repository()
    with pytest.raises(JobError) as caught:
        await github.door_with("another-token").repository()
    assert caught.value.category is Category.AUTH
    assert "if-none-match" not in github.world.asked[-1].headers
