"""Redaction: what must never be shown is taken out, and ordinary text is left alone."""

import base64
import json
import string
import time
from urllib.parse import quote, quote_plus

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.redaction import Redactor
from shared.secret import Secret

PLAIN = Redactor()
SECRETS = st.text(string.ascii_letters + string.digits + "+/=._-&?%$#\"'\\ äé", min_size=8, max_size=60).filter(
    lambda text: text.strip() == text
)
AROUND = st.text(max_size=40)


@given(secret=SECRETS, before=AROUND, after=AROUND)
def test_a_known_secret_is_in_no_text(secret: str, before: str, after: str):
    assert secret not in Redactor([secret]).redact(f"{before}{secret}{after}")


@pytest.mark.parametrize(
    "encode",
    [
        quote,
        quote_plus,
        lambda text: quote(text, safe=""),
        lambda text: json.dumps(text)[1:-1],
        lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    ],
)
@given(secret=SECRETS)
def test_a_known_secret_is_recognised_in_the_forms_it_travels_in(encode, secret: str):
    redacted = Redactor([secret]).redact(f"seen: <{encode(secret)}>")
    assert encode(secret) not in redacted or encode(secret) == "***"
    assert "***" in redacted


@given(secret=SECRETS, user=st.text(string.ascii_lowercase, max_size=9))
def test_a_known_secret_is_recognised_inside_the_base64_of_a_login(secret: str, user: str):
    encoded = base64.b64encode(f"{user}:{secret}:tail".encode()).decode()
    left = Redactor([secret]).redact(encoded).replace("***", "")
    assert len(left) <= len(encoded) - len(secret.encode()) * 8 // 6 + 3


def test_the_lines_of_a_known_key_are_recognised_one_by_one():
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n"
    assert "VJTUt9Us8cKj" not in Redactor([key]).redact("line 3: BKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj")


def test_a_secret_may_be_learned_later():
    redactor = Redactor()
    assert redactor.redact("hunter2000") == "hunter2000"
    redactor.learn("hunter2000")
    assert redactor.redact("hunter2000") == "***"


def test_a_very_short_secret_does_not_black_out_everything():
    assert Redactor(["a", ""]).redact("a banana") == "a banana"


def test_the_longer_of_two_secrets_goes_first():
    assert Redactor(["hunter", "hunter2000"]).redact("hunter2000 hunter") == "*** ***"


TOKEN = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"ghp_{TOKEN} gho_{TOKEN} ghs_{TOKEN}", "*** *** ***"),
        (f"github_pat_{TOKEN}_{TOKEN}", "***"),
        (f"glpat-{TOKEN} gldt-{TOKEN} glptt-{TOKEN}", "*** *** ***"),
        (f"key=sk-proj-{TOKEN}", "key=***"),
        (f"whsec_{TOKEN}=", "***"),
        (f"dfp_{TOKEN} dfw_{TOKEN}", "*** ***"),
        (f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{TOKEN}", "***"),
        (f"Authorization: Bearer {TOKEN}", "Authorization: Bearer ***"),
        (f"authorization: bearer {TOKEN}==", "authorization: bearer ***"),
        ("Authorization: Basic dXNlcjpwYXNzd29yZA==", "Authorization: Basic ***"),
        (f"Private-Token: {TOKEN}", "Private-Token: ***"),
        (f"X-Gitlab-Token: {TOKEN}\r\nHost: x", "X-Gitlab-Token: ***\r\nHost: x"),
        (f"x-project-token:{TOKEN}", "x-project-token:***"),
        ("https://user:pass@example.org/x", "https://***@example.org/x"),
        ("https://:pass@example.org", "https://***@example.org"),
        (
            f"fatal: unable to access 'https://{TOKEN}@github.com/a/b'",
            "fatal: unable to access 'https://***@github.com/a/b'",
        ),
        ('{"api_token": "hunter22", "n": 1}', '{"api_token": "***", "n": 1}'),
        ('{\\"password\\": \\"hunter22\\"}', '{\\"password\\": \\"***\\"}'),
        ("GITLAB_TOKEN=hunter22 make", "GITLAB_TOKEN=*** make"),
        ("export MY_SECRET_KEY='hunter22'", "export MY_SECRET_KEY='***'"),
        ("GET /x?private_token=hunter22&a=1", "GET /x?private_token=***&a=1"),
        (f"-----BEGIN RSA PRIVATE KEY-----\n{TOKEN}\n-----END RSA PRIVATE KEY-----\nnext", "***\nnext"),
        (f"-----BEGIN PRIVATE KEY-----\n{TOKEN}", "***"),
    ],
)
def test_what_looks_like_a_credential_is_taken_out(text: str, shown: str):
    assert PLAIN.redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        '{"input_tokens": 5123, "output_tokens": 90}',
        "basic functionality, bearer of news",
        "def token(): return secret",
        'password = request.form["password"]',
        "ssh://git@github.com/a/b.git and git@github.com:a/b.git",
        "task-runner risk-assessment-of-the-whole-project",
        "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334 is a commit",
        "see https://example.org/a@b and mail me@example.org",
        "tokens used: 512, secret: no",
        "$API_TOKEN is needed; set API_TOKEN=$OTHER or API_TOKEN=",
    ],
)
def test_ordinary_text_is_left_alone(text: str):
    assert PLAIN.redact(text) == text


@given(st.text() | st.text('tokensecrt:="\\ */@?&-_.abcBearisc123', max_size=200))
def test_redacting_twice_is_the_same_as_once(text: str):
    once = PLAIN.redact(text)
    assert PLAIN.redact(once) == once


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "://",
        "token",
        "-token:",
        "sk-",
        "basic ",
        "eyJ",
        "-----BEGIN PRIVATE KEY-----",
        "?token",
        "bearer\t",
        'token" ',
    ],
)
def test_a_megabyte_of_hostile_text_takes_no_longer_than_a_moment(unit: str):
    text = unit * (1_000_000 // len(unit)) + "token= -token authorization bearer 1"
    start = time.process_time()
    PLAIN.redact(text)
    assert time.process_time() - start < 1.5


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError


class Row(msgspec.Struct):
    token: Secret
    url: str


def test_values_become_plain_json_with_the_secrets_gone():
    cleaned = Redactor(["hunter2000"]).clean(
        {
            "api_token": "anything",
            "Authorization": b"x",
            "token_count": 7,
            "nested": [{"password": "p", "hunter2000": "key"}, ("hunter2000", {1, 2})],
            3: b"\xff hunter2000",
            "row": Row(token=Secret("t"), url="https://u:p@h/"),
            "float": float("nan"),
            "huge": 1 << 70,
            "hostile": Hostile(),
        }
    )
    assert json.loads(json.dumps(cleaned, allow_nan=False)) == {
        "api_token": "***",
        "Authorization": "***",
        "token_count": 7,
        "nested": [{"password": "***", "***": "key"}, ["***", [1, 2]]],
        "3": "� ***",
        "row": "Row(token=***, url='https://***@h/')",
        "float": "nan",
        "huge": str(1 << 70),
        "hostile": "<Hostile>",
    }


def test_a_value_without_end_is_cut():
    endless: list[object] = []
    endless.extend([endless] * 50)
    assert len(json.dumps(PLAIN.clean(endless))) < 200_000


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda each: st.lists(each) | st.dictionaries(st.text() | st.integers(), each) | st.tuples(each, each),
    max_leaves=20,
)


@given(JSON_LIKE)
def test_whatever_is_cleaned_can_be_written_as_json(value: object):
    json.dumps(PLAIN.clean(value), allow_nan=False)
