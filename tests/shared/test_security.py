"""Tokens, comparisons and the sealing of secrets."""

import re
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import SealError, StartupError
from shared.secret import Secret
from shared.security import FileSecret, Vault, hash_token, load_or_create_key, new_hook_key, new_token, same

ANY = st.text() | st.text(st.characters(categories=["Cs", "Ll"])) | st.binary()
VAULT = Vault(Secret("k" * 40))


def test_a_token_is_256_random_bits_with_a_mark_of_its_kind():
    token = new_token("project")
    assert re.fullmatch(r"dfp_[A-Za-z0-9_-]{43}", token.text.reveal())
    assert new_token("webhook").text.reveal().startswith("dfw_")
    assert len({new_token("project").text.reveal() for _ in range(100)}) == 100


def test_what_is_stored_of_a_token_finds_it_and_does_not_contain_it():
    token = new_token("project")
    assert token.hash == hash_token(token.text.reveal())
    assert re.fullmatch(r"[0-9a-f]{64}", token.hash)
    assert token.text.reveal().startswith(token.prefix)
    assert len(token.prefix) == 8
    assert "dfp_" not in repr(token).replace(token.prefix, "")


def test_hook_keys_fit_into_a_url_and_differ():
    keys = {new_hook_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{24}", key) for key in keys)


@given(ANY, ANY)
def test_a_comparison_never_raises_and_knows_equal_from_different(one: str | bytes, other: str | bytes):
    assert same(one, one)
    as_bytes = [each if isinstance(each, bytes) else each.encode(errors="surrogatepass") for each in (one, other)]
    assert same(one, other) is (as_bytes[0] == as_bytes[1])


@given(st.text(st.characters()))
def test_whatever_somebody_sends_as_a_token_can_be_hashed(text: str):
    assert len(hash_token(text)) == 64


@given(text=st.text(), context=st.text())
def test_what_was_sealed_opens_in_its_place(text: str, context: str):
    assert VAULT.open(VAULT.seal(text, context), context) == text


def test_a_blob_shows_nothing_and_is_different_every_time():
    one, other = (
        VAULT.seal("glpat-hunter2000", "project:3:forge_token"),
        VAULT.seal("glpat-hunter2000", "project:3:forge_token"),
    )
    assert b"hunter" not in one
    assert one != other


def test_a_blob_does_not_open_in_another_row():
    with pytest.raises(SealError, match="belongs to another row"):
        VAULT.open(VAULT.seal("x", "project:3:forge_token"), "project:4:forge_token")


def test_another_key_is_told_apart_from_a_changed_blob():
    with pytest.raises(SealError, match="sealed under another SECRET_KEY"):
        Vault(Secret("o" * 40)).open(VAULT.seal("x", "hook:1"), "hook:1")


@given(position=st.integers(0, 60), bit=st.integers(0, 7))
def test_a_changed_bit_anywhere_is_noticed(position: int, bit: int):
    blob = bytearray(VAULT.seal("a secret of some length", "hook:1"))
    blob[position % len(blob)] ^= 1 << bit
    with pytest.raises(SealError):
        VAULT.open(bytes(blob), "hook:1")


@given(st.binary(max_size=80))
def test_bytes_that_were_never_sealed_are_refused(blob: bytes):
    with pytest.raises(SealError):
        VAULT.open(blob, "hook:1")


@pytest.mark.parametrize("length", range(22))
def test_a_blob_that_was_cut_is_refused(length: int):
    with pytest.raises(SealError):
        VAULT.open(VAULT.seal("x", "hook:1")[:length], "hook:1")


def test_the_same_key_opens_in_another_process():
    assert Vault(Secret("k" * 40)).open(VAULT.seal("x", "hook:1"), "hook:1") == "x"


def test_a_key_file_is_made_once_and_for_its_owner_alone(tmp_path: Path):
    path = tmp_path / "flow.sqlite.key"
    key = load_or_create_key(path)
    assert re.fullmatch(r"[0-9a-f]{64}", key.reveal())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create_key(path) == key
    assert [each.name for each in tmp_path.iterdir()] == ["flow.sqlite.key"]


def test_of_those_who_ask_at_once_all_get_the_same_key(tmp_path: Path):
    barrier = threading.Barrier(8)

    def ask(_: int) -> str:
        barrier.wait()
        return load_or_create_key(tmp_path / "key").reveal()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["key"]


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path):
    path = tmp_path / "key"
    load_or_create_key(path)
    path.chmod(0o644)
    with pytest.raises(StartupError, match="chmod 600"):
        load_or_create_key(path)


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 8])
def test_a_key_file_without_a_key_is_refused_and_kept(tmp_path: Path, content: bytes):
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(StartupError, match="holds no key"):
        load_or_create_key(path)
    assert path.read_bytes() == content


def test_a_key_file_in_no_folder_is_a_startup_error(tmp_path: Path):
    with pytest.raises(StartupError, match="cannot be used: No such file"):
        load_or_create_key(tmp_path / "missing" / "key")


def test_a_secret_file_is_read_each_time(tmp_path: Path):
    path = tmp_path / "token"
    secret = FileSecret(str(path))
    for text in ("first", "second"):
        path.write_text(f"{text}\n")
        assert secret.read() == Secret(text)


@pytest.mark.parametrize("path", ["/dev/zero", "/tmp", "/nowhere/at/all", "a\0b", ""])
def test_what_is_no_plain_file_is_no_secret_file(path: str):
    with pytest.raises(SealError):
        FileSecret(path).read()


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe", b"x" * 65_537])
def test_a_file_without_a_text_of_reasonable_size_is_no_secret(tmp_path: Path, content: bytes):
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(SealError):
        FileSecret(str(path)).read()
