"""Bodies that no forge sends: refused, or read into words that are as small and plain as any; never another error."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Invalid
from shared.forges import read_delivery
from shared.schemas.forge import PROTOCOL_HEADER, CiWord, PullWord, Said
from shared.schemas.statuses import Provider
from tests.shared.forges.cases import SHA, Case, every_case

REPORT = {"state": "success", "sha": SHA, "branch": "0001-pears", "context": "ci", "target_url": "https://ci.test/"}
BODIES: list[tuple[str, str, Any]] = [
    *((case.sent.provider, case.sent.event, case.sent.said) for case in every_case()),
    ("ci", "report", REPORT | {"repository": "a/b", "run_id": 1, "run_attempt": 1, "at": 1, "protocol_run_id": 12}),
]
MEGABYTE = 1_000_000
SMALL: list[Any] = [
    *(None, True, False, 0, -1, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400, 0.5, 1e308, "", "0", "None"),
    *("\0", "a\0b", "\x1b[31m", "\u202e", "\ud800", "../../etc/passwd", "javascript:alert(1)", "https://", "0" * 40),
    *([], {}, [[]], [None], {"": {}}, {"id": None}),
]
LARGE: list[Any] = [
    *("x" * MEGABYTE, "/" * MEGABYTE, "\u00e9" * MEGABYTE, "1" * 5000, "https://" + "x" * MEGABYTE),
    *(f"refs/heads/{'x' * MEGABYTE}", ["x"] * 10_000, [{"id": 1, "status": "failed", "name": "x" * 9999}] * 500),
]


def judge(provider: str, event: str, body: bytes, **headers: str) -> Said | None:
    """What was read, None where it was refused; anything else fails the test."""
    said, problem = None, ""
    try:
        said = read_delivery(Provider(provider), event, headers, body)
    except Invalid as error:
        problem = str(error)
    assert problem.isprintable()
    assert len(problem) < 5000
    if said is None:
        return None
    encoded = msgspec.json.encode(said)
    assert len(encoded) < 40_000
    for leaf in leaves(msgspec.to_builtins(said)):
        assert leaf is None or (leaf.isprintable() if isinstance(leaf, str) else 0 <= leaf < 2**63)
    word = said.word
    if isinstance(word, CiWord | PullWord):
        assert word.url is None or word.url.startswith(("https://", "http://"))
        assert word.sha is None or len(word.sha) in {40, 64}
    if isinstance(word, CiWord):
        assert 0 < len(word.name) <= 200
        assert len(word.context) < 500
    return said


def leaves(value: Any) -> Iterator[Any]:
    """Every value inside that has none inside itself."""
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if members is None:
        yield value
    else:
        for inner in members:
            yield from leaves(inner)


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every way into a JSON value, the value itself left out."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in members:
        yield (*way, key)
        yield from places(inner, (*way, key))


def inside(value: Any, way: tuple[Any, ...]) -> Any:
    for key in way:
        value = value[key]
    return value


def changed(body: Any, way: tuple[Any, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(body))
    member = copy
    for key in way[:-1]:
        member = member[key]
    if value is ...:
        del member[way[-1]]
    else:
        member[way[-1]] = value
    return copy


def one_of_each_shape() -> list[Case]:
    """Of the cases that differ in a word only, the first is enough to change at every place."""
    kinds: dict[tuple[str, str], Case] = {}
    for case in every_case():
        kinds.setdefault((case.sent.provider, case.sent.event), case)
    return list(kinds.values())


@pytest.mark.parametrize("case", one_of_each_shape(), ids=str)
def test_no_hostile_value_at_any_place_does_more_than_have_the_delivery_refused(case: Case) -> None:
    for way in places(case.sent.said):
        for value in (..., *SMALL, LARGE[0]):
            judge(case.sent.provider, case.sent.event, json.dumps(changed(case.sent.said, way, value)).encode())


@given(st.data())
def test_no_hostile_values_at_many_places_do_either(data: st.DataObject) -> None:
    provider, event, body = data.draw(st.sampled_from(BODIES))
    for way in data.draw(st.lists(st.sampled_from(list(places(body))), min_size=1, max_size=5)):
        try:
            body = changed(body, way, data.draw(st.sampled_from([..., *SMALL, *LARGE])))
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took that place away
    judge(provider, event, json.dumps(body).encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
EVENTS = sorted({(provider, event) for provider, event, _ in BODIES})


@given(st.sampled_from(EVENTS), st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_at_all_do_either(named: tuple[str, str], body: bytes) -> None:
    judge(*named, body)


@given(st.sampled_from([("github", event) for event in ("push", "status", "check_run")]), st.text())
def test_no_name_of_an_event_does_either(named: tuple[str, str], event: str) -> None:
    provider, _ = named
    judge(provider, event, json.dumps(REPORT).encode())


@pytest.mark.parametrize(("provider", "event"), EVENTS)
def test_json_that_is_nested_too_deeply_is_refused(provider: str, event: str) -> None:
    for opening, closing in ((b'{"a":', b"}"), (b"[", b"]")):
        depth = 200_000
        assert judge(provider, event, b'{"repository":' + opening * depth + b"1" + closing * depth + b"}") is None
        assert judge(provider, event, opening * depth) is None


@pytest.mark.parametrize("case", one_of_each_shape(), ids=str)
def test_text_that_is_no_utf_8_is_refused_wherever_it_is_read(case: Case) -> None:
    for way, value in ((way, inside(case.sent.said, way)) for way in places(case.sent.said)):
        if isinstance(value, str):
            body = json.dumps(changed(case.sent.said, way, "\x01")).encode().replace(b"\\u0001", b"\xff\xfe")
            judge(case.sent.provider, case.sent.event, body)


@pytest.mark.parametrize("value", ["", " ", "12", "0", "-1", "1e3", "9" * 400, "\0", "\u0661\u0662", "x" * MEGABYTE])
def test_a_stored_header_that_names_no_protocol_run_is_refused(value: str) -> None:
    said = judge("ci", "report", json.dumps(REPORT).encode(), **{PROTOCOL_HEADER: value})
    assert (said is not None) == (value in {"", "12"})
