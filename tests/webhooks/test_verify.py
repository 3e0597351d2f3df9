"""Whether a delivery comes from the forge: the official vectors, wrong proofs of every kind, and any garbage at all."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from services.webhooks.verify import Headers, Key, Verdict, bare_keys, screen, verify
from shared.schemas.statuses import Provider
from shared.secret import Secret

NOW_MS = 1_800_000_000_000
NOW_S = NOW_MS // 1000

GITHUB_TEXT = "It's a Secret to Everybody"
GITHUB_BODY = b"Hello, World!"
GITHUB_HEX = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
GITHUB_KEYS = (Key("hmac", Secret(GITHUB_TEXT)),)

SIGNING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SIGNING = "whsec_" + base64.b64encode(bytes(range(32))).decode()
SIGNING_KEYS = (Key("signing", Secret(SIGNING)),)


def github(body: bytes, headers: Headers, keys: tuple[Key, ...] = GITHUB_KEYS) -> Verdict:
    return verify(Provider.GITHUB, headers, body, keys, NOW_MS)


def gitlab(body: bytes, headers: Headers, keys: tuple[Key, ...], now_ms: int = NOW_MS) -> Verdict:
    return verify(Provider.GITLAB, headers, body, keys, now_ms)


def signature(value: bytes | str) -> Headers:
    return [(b"x-hub-signature-256", value if isinstance(value, bytes) else value.encode())]


def signed(body: str, *, key: str = SIGNING, at: int = NOW_S, delivery: str = "msg_1") -> list[tuple[bytes, bytes]]:
    """Headers as GitLab 19 sends them, by the reference library."""
    mark = Webhook(key).sign(delivery, datetime.fromtimestamp(at, UTC), body)
    return [
        (b"webhook-id", delivery.encode()),
        (b"webhook-timestamp", str(at).encode()),
        (b"webhook-signature", mark.encode()),
    ]


def with_header(headers: Headers, name: bytes, value: bytes) -> Headers:
    return [(key, value if key == name else old) for key, old in headers]


class TestGitHub:
    def test_the_official_vector_is_accepted(self) -> None:
        assert github(GITHUB_BODY, signature(f"sha256={GITHUB_HEX}")) is Verdict.ACCEPTED

    def test_the_case_of_the_hex_digits_does_not_matter(self) -> None:
        assert github(GITHUB_BODY, signature(f"sha256={GITHUB_HEX.upper()}")) is Verdict.ACCEPTED

    def test_the_signature_is_over_the_exact_bytes(self) -> None:
        assert github(GITHUB_BODY + b"\n", signature(f"sha256={GITHUB_HEX}")) is Verdict.WRONG

    def test_a_request_without_a_signature_is_refused(self) -> None:
        assert github(GITHUB_BODY, []) is Verdict.MISSING

    @pytest.mark.parametrize(
        "value",
        [
            b"",
            b"sha256=",
            b"sha256=ab",
            f"sha256={GITHUB_HEX}0".encode(),
            f"sha256={GITHUB_HEX[:-1]}".encode(),
            f"sha256= {GITHUB_HEX}".encode(),
            f"sha256={GITHUB_HEX}\n".encode(),
            f"SHA256={GITHUB_HEX}".encode(),
            f"sha1={GITHUB_HEX[:40]}".encode(),
            GITHUB_HEX.encode(),
            b"sha256=" + b"\xe9" * 64,
            b"sha256=" + "٣".encode() * 32,
            b"sha256=" + b"a" * 1_000_000,
        ],
        ids=lambda value: repr(value[:24]),
    )
    def test_a_signature_of_another_form_is_refused(self, value: bytes) -> None:
        assert github(GITHUB_BODY, signature(value)) is Verdict.MALFORMED

    def test_the_old_sha1_signature_is_no_proof(self) -> None:
        digest = hmac.new(GITHUB_TEXT.encode(), GITHUB_BODY, hashlib.sha1).hexdigest()
        assert github(GITHUB_BODY, [(b"x-hub-signature", f"sha1={digest}".encode())]) is Verdict.MISSING

    def test_two_signature_headers_are_refused_even_if_one_is_right(self) -> None:
        headers = [*signature(f"sha256={'0' * 64}"), *signature(f"sha256={GITHUB_HEX}")]
        assert github(GITHUB_BODY, headers) is Verdict.MALFORMED

    def test_the_former_secret_is_accepted_beside_the_new_one(self) -> None:
        keys = (Key("hmac", Secret("the new one")), *GITHUB_KEYS)
        assert github(GITHUB_BODY, signature(f"sha256={GITHUB_HEX}"), keys) is Verdict.ACCEPTED

    def test_another_secret_is_refused(self) -> None:
        keys = (Key("hmac", Secret("of another project")),)
        assert github(GITHUB_BODY, signature(f"sha256={GITHUB_HEX}"), keys) is Verdict.WRONG

    @pytest.mark.parametrize("keys", [(), (Key("hmac", Secret("")),), (Key("token", Secret(GITHUB_TEXT)),)])
    def test_without_a_secret_of_its_kind_nothing_is_accepted(self, keys: tuple[Key, ...]) -> None:
        empty = hmac.new(b"", GITHUB_BODY, hashlib.sha256).hexdigest()
        assert github(GITHUB_BODY, signature(f"sha256={empty}"), keys) is Verdict.NO_KEY

    def test_a_secret_outside_ascii_signs_as_utf8(self) -> None:
        keys = (Key("hmac", Secret("Schlüssel 🔑")),)
        digest = hmac.new("Schlüssel 🔑".encode(), GITHUB_BODY, hashlib.sha256).hexdigest()
        assert github(GITHUB_BODY, signature(f"sha256={digest}"), keys) is Verdict.ACCEPTED


class TestGitLabSigned:
    BODY = '{"test": 2432232314}'
    VECTOR = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    VECTOR_S = 1_614_265_330

    def vector(self, mark: str = VECTOR) -> Headers:
        return [
            (b"webhook-id", b"msg_p5jXN8AQM9LWM0D4loKWxJek"),
            (b"webhook-timestamp", str(self.VECTOR_S).encode()),
            (b"webhook-signature", mark.encode()),
        ]

    def test_the_official_vector_is_accepted(self) -> None:
        now = self.VECTOR_S * 1000
        assert gitlab(self.BODY.encode(), self.vector(), SIGNING_KEYS, now) is Verdict.ACCEPTED

    def test_what_the_reference_library_signs_is_accepted(self) -> None:
        body = '{"object_kind":"push","schöne":"Zeichen"}'
        assert gitlab(body.encode(), signed(body), SIGNING_KEYS) is Verdict.ACCEPTED

    def test_one_right_signature_among_several_is_enough(self) -> None:
        now = self.VECTOR_S * 1000
        for mark in (f"v1,{'A' * 43}= {self.VECTOR}", f"v1a,xyz junk {self.VECTOR}", f"{self.VECTOR} v2,AAAA"):
            assert gitlab(self.BODY.encode(), self.vector(mark), SIGNING_KEYS, now) is Verdict.ACCEPTED

    @pytest.mark.parametrize("part", [b"webhook-id", b"webhook-timestamp"])
    def test_id_and_timestamp_are_signed_too(self, part: bytes) -> None:
        headers = with_header(signed(self.BODY), part, str(NOW_S + 1).encode())
        assert gitlab(self.BODY.encode(), headers, SIGNING_KEYS) is Verdict.WRONG

    def test_the_signature_is_over_the_exact_bytes(self) -> None:
        assert gitlab(self.BODY.encode() + b" ", signed(self.BODY), SIGNING_KEYS) is Verdict.WRONG

    @pytest.mark.parametrize("shift", [-300, 300])
    def test_five_minutes_of_difference_are_tolerated(self, shift: int) -> None:
        headers = signed(self.BODY, at=NOW_S + shift)
        assert gitlab(self.BODY.encode(), headers, SIGNING_KEYS) is Verdict.ACCEPTED

    @pytest.mark.parametrize("shift", [-301, 301, -86_400])
    def test_more_than_five_minutes_are_not(self, shift: int) -> None:
        headers = signed(self.BODY, at=NOW_S + shift)
        assert gitlab(self.BODY.encode(), headers, SIGNING_KEYS) is Verdict.STALE

    @pytest.mark.parametrize(
        "stamp",
        [b"", b"nan", b"inf", b"1e9", b"-1", b"+1800000000", b"1800000000.0", b" 1800000000", b"1800000000\n"]
        + ["１２".encode(), b"1_800_000_000", b"1800000000000", b"9" * 5000, b"\xff"],
        ids=lambda stamp: repr(stamp[:16]),
    )
    def test_a_timestamp_that_is_no_plain_number_of_seconds_is_refused(self, stamp: bytes) -> None:
        headers = with_header(signed(self.BODY), b"webhook-timestamp", stamp)
        assert gitlab(self.BODY.encode(), headers, SIGNING_KEYS) is Verdict.MALFORMED

    @pytest.mark.parametrize(
        "mark",
        [b"", b"garbage", b"v1", b"v1,", b"v1,a,b", b"v2," + b"A" * 43 + b"=", b"v1," + b"A" * 44, b"v1,\xff", b" "],
        ids=repr,
    )
    def test_a_signature_of_another_form_is_refused_even_beside_the_right_token(self, mark: bytes) -> None:
        keys = (*SIGNING_KEYS, Key("token", Secret("plain")))
        headers = [*with_header(signed(self.BODY), b"webhook-signature", mark), (b"x-gitlab-token", b"plain")]
        assert gitlab(self.BODY.encode(), headers, keys) is Verdict.MALFORMED

    def test_a_wrong_signature_does_not_fall_back_to_the_right_token(self) -> None:
        keys = (*SIGNING_KEYS, Key("token", Secret("plain")))
        headers = [*signed(self.BODY, key=OTHER_SIGNING), (b"x-gitlab-token", b"plain")]
        assert gitlab(self.BODY.encode(), headers, keys) is Verdict.WRONG

    def test_a_signature_without_a_signing_token_here_does_not_fall_back_to_the_right_token(self) -> None:
        headers = [*signed(self.BODY), (b"x-gitlab-token", b"plain")]
        assert gitlab(self.BODY.encode(), headers, (Key("token", Secret("plain")),)) is Verdict.NO_KEY

    @pytest.mark.parametrize("name", [b"webhook-id", b"webhook-timestamp"])
    def test_a_missing_or_repeated_part_is_refused(self, name: bytes) -> None:
        whole = signed(self.BODY)
        missing = [pair for pair in whole if pair[0] != name]
        twice = [*whole, *(pair for pair in whole if pair[0] == name)]
        assert gitlab(self.BODY.encode(), missing, SIGNING_KEYS) is Verdict.MALFORMED
        assert gitlab(self.BODY.encode(), twice, SIGNING_KEYS) is Verdict.MALFORMED

    def test_both_signing_tokens_are_accepted_while_one_replaces_the_other(self) -> None:
        keys = (Key("signing", Secret(OTHER_SIGNING)), *SIGNING_KEYS)
        for key in (SIGNING, OTHER_SIGNING):
            assert gitlab(self.BODY.encode(), signed(self.BODY, key=key), keys) is Verdict.ACCEPTED

    @pytest.mark.parametrize("text", ["whsec_", "", "whsec_!!!", "whsec_AAAA", "whsec_ümlaut"])
    def test_a_stored_signing_token_that_is_none_opens_nothing(self, text: str) -> None:
        forged = hmac.new(b"", f"msg_1.{NOW_S}.{self.BODY}".encode(), hashlib.sha256).digest()
        mark = b"v1," + base64.b64encode(forged)
        headers = with_header(signed(self.BODY), b"webhook-signature", mark)
        assert gitlab(self.BODY.encode(), headers, (Key("signing", Secret(text)),)) is Verdict.NO_KEY


class TestGitLabToken:
    KEYS = (Key("token", Secret("plain-1")), Key("token", Secret("plain-2")))

    @pytest.mark.parametrize("token", [b"plain-1", b"plain-2"])
    def test_each_valid_token_is_accepted(self, token: bytes) -> None:
        assert gitlab(b"{}", [(b"x-gitlab-token", token)], self.KEYS) is Verdict.ACCEPTED

    @pytest.mark.parametrize("token", [b"plain-3", b"plain", b"PLAIN-1", b"plain-1 ", b"\xff\xfe", b"x" * 1_000_000])
    def test_another_token_is_refused(self, token: bytes) -> None:
        assert gitlab(b"{}", [(b"x-gitlab-token", token)], self.KEYS) is Verdict.WRONG

    def test_it_is_judged_before_the_body_is_read(self) -> None:
        assert screen(Provider.GITLAB, [(b"x-gitlab-token", b"plain-3")], self.KEYS, NOW_MS) is Verdict.WRONG
        assert screen(Provider.GITLAB, [(b"x-gitlab-token", b"plain-1")], self.KEYS, NOW_MS) is Verdict.ACCEPTED

    def test_none_is_missing_an_empty_one_is_malformed(self) -> None:
        assert gitlab(b"{}", [], self.KEYS) is Verdict.MISSING
        assert gitlab(b"{}", [(b"x-gitlab-token", b"")], self.KEYS) is Verdict.MALFORMED

    def test_it_does_not_open_a_hook_that_has_a_signing_token_only(self) -> None:
        assert gitlab(b"{}", [(b"x-gitlab-token", SIGNING.encode())], SIGNING_KEYS) is Verdict.NO_KEY

    def test_an_empty_stored_token_opens_nothing(self) -> None:
        assert gitlab(b"{}", [(b"x-gitlab-token", b"x")], (Key("token", Secret("")),)) is Verdict.NO_KEY


def test_a_secret_without_a_scheme_is_taken_by_its_form() -> None:
    plain, signing = Secret("plain"), Secret(SIGNING)
    assert bare_keys(Provider.GITHUB, [plain, signing]) == (Key("hmac", plain), Key("hmac", signing))
    assert bare_keys(Provider.GITLAB, [plain, signing]) == (Key("token", plain), Key("signing", signing))


NAMES = st.sampled_from(
    [b"x-hub-signature-256", b"x-gitlab-token", b"webhook-id", b"webhook-timestamp", b"webhook-signature"]
)
VALUES = st.one_of(
    st.binary(max_size=80),
    st.from_regex(rb"sha256=[0-9a-f]{60,68}", fullmatch=True),
    st.from_regex(rb"(v[12],[A-Za-z0-9+/=]{0,50} ?){0,4}", fullmatch=True),
    st.integers().map(lambda number: str(number).encode()),
)


@given(
    provider=st.sampled_from(Provider),
    headers=st.lists(st.tuples(NAMES | st.binary(max_size=20), VALUES), max_size=8),
    body=st.binary(max_size=200),
    keys=st.lists(st.builds(Key, st.sampled_from(["hmac", "token", "signing"]), st.text(min_size=20).map(Secret))),
    now_ms=st.integers(),
)
def test_garbage_is_refused_and_never_raises(
    provider: Provider, headers: Headers, body: bytes, keys: list[Key], now_ms: int
) -> None:
    before, after = screen(provider, headers, keys, now_ms), verify(provider, headers, body, keys, now_ms)
    assert after not in {Verdict.ACCEPTED, Verdict.UNREAD}
    assert before in {after, Verdict.UNREAD}
