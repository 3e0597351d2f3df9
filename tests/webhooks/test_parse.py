"""What a proven delivery says of itself: its key, its event, the body and headers that are kept."""

import contextlib
import hashlib
import json
from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.webhooks.parse import delivery_of
from services.webhooks.verify import Headers
from shared.errors import Invalid, WrongMediaType
from shared.schemas.records import Delivery
from shared.schemas.statuses import Provider
from tests.webhooks.payloads import Payload, own, published

JSON = (b"content-type", b"application/json")
FORM = (b"content-type", b"application/x-www-form-urlencoded")


def github(body: bytes, *headers: tuple[bytes, bytes]) -> Delivery:
    usual = (JSON, (b"x-github-event", b"push"), (b"x-github-delivery", b"d-1"))
    return delivery_of(Provider.GITHUB, [*headers, *usual], body)


def gitlab(body: bytes, *headers: tuple[bytes, bytes]) -> Delivery:
    return delivery_of(Provider.GITLAB, [*headers, JSON, (b"x-gitlab-event", b"Pipeline Hook")], body)


def ci(body: bytes, *headers: tuple[bytes, bytes]) -> Delivery:
    return delivery_of(Provider.CI, [*headers, JSON], body)


@pytest.mark.parametrize("payload", [*own(), *published()], ids=str)
def test_every_real_payload_is_kept_as_the_same_event(payload: Payload) -> None:
    provider = Provider(payload.provider)
    names: Headers = [
        JSON,
        (f"x-{provider}-event".encode(), payload.event.encode()),
        (b"x-github-delivery", b"d-1"),
        (b"idempotency-key", b"d-1"),
    ]
    delivery = delivery_of(provider, names, payload.read())
    sent, kept = json.loads(payload.read()), json.loads(delivery.body)
    if isinstance(sent.get("object_attributes"), dict):
        sent["object_attributes"].pop("variables", None)
    assert kept == sent
    assert (delivery.event, delivery.delivery_key) == (payload.event, "d-1")


def test_a_github_delivery_is_known_by_its_guid_and_event() -> None:
    delivery = github(b'{"ref": "refs/heads/x"}')
    assert (delivery.delivery_key, delivery.event, delivery.body) == ("d-1", "push", b'{"ref": "refs/heads/x"}')
    assert delivery.body_sha256 == hashlib.sha256(b'{"ref": "refs/heads/x"}').hexdigest()


def test_a_gitlab_delivery_is_known_by_the_best_name_that_it_carries() -> None:
    signed, keyed = (b"webhook-id", b"w-1"), (b"idempotency-key", b"k-1")
    uuids = ((b"x-gitlab-webhook-uuid", b"hook"), (b"x-gitlab-event-uuid", b"event"))
    assert gitlab(b"{}", *uuids, keyed, signed).delivery_key == "w-1"
    assert gitlab(b"{}", *uuids, keyed).delivery_key == "k-1"
    assert gitlab(b"{}", *uuids).delivery_key == f"hook:event:{hashlib.sha256(b'{}').hexdigest()}"


def test_a_ci_report_is_known_by_its_own_id_else_by_what_it_says_and_of_whom() -> None:
    assert ci(b"{}", (b"idempotency-key", b"k-1"), (b"x-deksdenflow-delivery", b"r-1")).delivery_key == "r-1"
    assert ci(b"{}", (b"idempotency-key", b"k-1")).delivery_key == "k-1"
    assert ci(b"{}").delivery_key == hashlib.sha256(b"{}").hexdigest()
    assert ci(b"{}").event == "report"
    about = delivery_of(Provider.CI, [JSON], b"{}", ["7"])
    assert about.delivery_key != ci(b"{}").delivery_key
    assert about.headers == {"content-type": "application/json", "deksdenflow-protocol-run-id": "7"}


def test_two_deliveries_of_an_old_gitlab_differ_by_their_content() -> None:
    assert gitlab(b'{"a":1}').delivery_key != gitlab(b'{"a":2}').delivery_key


@pytest.mark.parametrize("name", [b"x-github-delivery", b"x-github-event"])
@pytest.mark.parametrize("value", [b"", b"\xff\xff", b"a b\tc\x00", b"x" * 201])
def test_a_github_delivery_without_a_usable_id_or_event_is_refused(name: bytes, value: bytes) -> None:
    with pytest.raises(Invalid, match=name.decode()):
        github(b"{}", (name, value))


def test_the_form_that_github_sends_by_default_is_read() -> None:
    text = '{"zen": "a & b = ü +"}'
    for form in (urlencode({"payload": text}), f"payload={quote_plus(text)}"):
        assert github(form.encode(), FORM).body == text.encode()


@pytest.mark.parametrize("form", [b"", b"payload", b"payload=", b"x=1", b"payload={}&payload={}", b"payload=%ff"])
@pytest.mark.parametrize("more", [b"", b"&a=1&b=2"])
def test_a_form_without_exactly_one_payload_is_refused(form: bytes, more: bytes) -> None:
    with pytest.raises(Invalid):
        github(form + more, FORM)


@pytest.mark.parametrize("kind", [b"", b"text/plain", b"application/xml", b"multipart/form-data; boundary=x", b"\xff"])
def test_another_content_type_is_refused_with_the_one_to_set(kind: bytes) -> None:
    with pytest.raises(WrongMediaType, match="application/json"):
        github(b"{}", (b"content-type", kind))


def test_the_content_type_may_have_parameters_and_any_case() -> None:
    assert github(b"{}", (b"content-type", b"Application/JSON; charset=utf-8")).body == b"{}"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"{}{}", b'{"a":"\xff"}', b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"],
    ids=lambda body: repr(body[:12]),
)
@pytest.mark.parametrize("send", [github, gitlab, ci])
def test_a_body_that_is_no_json_object_is_refused(send: object, body: bytes) -> None:
    assert callable(send)
    with pytest.raises(Invalid, match="not the JSON object of an event"):
        send(body)


def test_values_of_ci_variables_are_not_kept() -> None:
    (payload,) = (each for each in own() if each.file.name == "gitlab.pipeline.json")
    assert b"canary" in payload.read()
    delivery = gitlab(payload.read())
    assert b"canary" not in delivery.body
    assert json.loads(delivery.body)["object_attributes"]["status"] == "success"


@pytest.mark.parametrize("send", [gitlab, ci])
def test_values_of_ci_variables_are_taken_out_wherever_they_stand(send: object) -> None:
    secret = {"variables": [{"key": "K", "value": "canary"}]}
    body = {"object_kind": "pipeline", **secret, "object_attributes": {"status": "failed", **secret}}
    body["builds"] = [{"id": 1, **secret}, {"id": 2, "environment": {"name": "x", **secret}}]
    assert callable(send)
    kept = send(json.dumps(body).encode()).body
    assert b"canary" not in kept
    assert json.loads(kept)["builds"] == [{"id": 1}, {"id": 2, "environment": {"name": "x"}}]


@pytest.mark.parametrize(
    "body",
    [
        b'{"object_attributes":{"v\\u0061riables":[{"value":"canary"}]}}',
        b'{"object_attributes":{"variables":[{"value":"canary"}]},"object_attributes":{}}',
        b'{"object_attributes":{"variables":["canary"],"variables":[]}}',
    ],
)
def test_values_of_ci_variables_do_not_slip_through_in_another_spelling(body: bytes) -> None:
    assert b"canary" not in gitlab(body).body


def test_only_headers_that_describe_the_delivery_are_kept() -> None:
    kept = github(
        b"{}",
        (b"x-hub-signature-256", b"sha256=secret"),
        (b"authorization", b"Bearer secret"),
        (b"cookie", b"secret"),
        (b"x-forwarded-for", b"10.0.0.1"),
        (b"x-github-hook-id", b"77"),
        (b"user-agent", b"GitHub-Hookshot/1"),
    ).headers
    assert kept == {
        "content-type": "application/json",
        "user-agent": "GitHub-Hookshot/1",
        "x-github-delivery": "d-1",
        "x-github-event": "push",
        "x-github-hook-id": "77",
    }
    assert "x-gitlab-token" not in gitlab(b"{}", (b"x-gitlab-token", b"secret")).headers


def test_a_kept_header_is_short_and_printable() -> None:
    kept = github(b"{}", (b"user-agent", b"a\x1b[31m\xff" + b"b" * 1000)).headers
    assert kept["user-agent"] == ("a\ufffd[31m\ufffd" + "b" * 1000)[:300]


NAMES = st.sampled_from(
    [b"content-type", b"x-github-event", b"x-github-delivery", b"x-gitlab-event", b"webhook-id", b"idempotency-key"]
)
USUAL = st.sampled_from([b"application/json", b"application/x-www-form-urlencoded", b"push", b"1"])


@given(
    provider=st.sampled_from(Provider),
    headers=st.lists(st.tuples(NAMES | st.binary(), USUAL | st.binary()), max_size=8),
    body=st.binary() | st.just(b"{}") | st.just(b"payload={}"),
)
def test_garbage_is_either_a_delivery_or_refused(provider: Provider, headers: Headers, body: bytes) -> None:
    with contextlib.suppress(Invalid, WrongMediaType):
        delivery = delivery_of(provider, headers, body)
        assert delivery.delivery_key
        assert delivery.event
        assert isinstance(json.loads(delivery.body), dict)
