"""What a repository URL, a branch and a protocol may be called."""

import os
import re
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.schemas.names import (
    PROTOCOL_NAME,
    check_branch,
    check_git_url,
    check_protocol_name,
    slug,
    url_host,
    url_path,
)

FORGES = frozenset({"github.com", "git.corp.example:8443", "gitlab"})


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/a/b",
        "https://github.com/a/b.git",
        "https://GitHub.com/a/b.git/",
        "https://github.com:443/a/b",
        "https://gitlab.com/group/sub-group/project.name",
        "https://dev.azure.com/org/My%20Project/_git/repo",
        "ssh://git@github.com/a/b",
        "ssh://git@github.com:22/a/b",
        "ssh://org-123@github.com/~user/b",
        "git@github.com:a/b.git",
        "git@xn--bcher-kva.example:a/b",
    ],
)
def test_a_public_repository_is_accepted(url: str) -> None:
    check_git_url(url, allow_local=False)


@pytest.mark.parametrize(
    "url",
    [
        "",
        " ",
        "github.com/a/b",
        "a/b",
        "./a",
        "../a",
        "~/a",
        "C:\\a",
        "http://github.com/a/b",
        "HTTP://github.com/a/b",
        "Https://github.com/a/b",
        "git://github.com/a/b",
        "ftp://github.com/a/b",
        "file:///a/b",
        "FILE:///a/b",
        "ext::sh -c whoami",
        "ext::https://github.com/a/b",
        "fd::17/foo",
        "https::https://github.com/a/b",
        "--upload-pack=touch x",
        "-u",
        "https://user:token@github.com/a/b",
        "https://token@github.com/a/b",
        "https://github.com@evil.example/a/b",
        "https://:@github.com/a/b",
        "ssh://git:secret@github.com/a/b",
        "ssh://github.com/a/b",
        "ssh://-oProxyCommand=x@github.com/a/b",
        "ssh://git@-oProxyCommand=x/a/b",
        "-oProxyCommand=x@github.com:a/b",
        "git@-oProxyCommand=x:a/b",
        "git@github.com:-x",
        "git@github.com:",
        "git@github.com:a:b",
        "git@github.com:../a",
        "https://github.com",
        "https://github.com/",
        "https://github.com:/a/b",
        "https://github.com:8443/a/b",
        "https://github.com:99999/a/b",
        "https://github.com:x/a/b",
        "ssh://git@github.com:2222/a/b",
        "https://github.com/a/../b",
        "https://github.com/a/%2e%2E/b",
        "https://github.com/a%2fb/..%2f",
        "https://github.com/a/b?x=1",
        "https://github.com/a/b#x",
        "https://github.com/a/b%00",
        "https://github.com/a/b%0a",
        "https://github.com/a/b c",
        "https://github.com/a/b\n",
        "\nhttps://github.com/a/b",
        "https://github.com/a\tb",
        "https://github.com/a/\u202eb",
        "https://github.com/a/b\x00",
        "https://github.com\\@evil.example/a",
        "https://githüb.com/a/b",
        "https://git_hub.com/a/b",
        "https://.github.com/a/b",
        "https://github..com/a/b",
        "https://github.com./a/b",
        "https://localhost/a/b",
        "https://LOCALHOST/a/b",
        "https://x.localhost/a/b",
        "https://gitlab/a/b",
        "https://git.corp.local/a/b",
        "https://metadata.google.internal/a/b",
        "https://127.0.0.1/a/b",
        "https://169.254.169.254/a/b",
        "https://2130706433/a/b",
        "https://0x7f000001/a/b",
        "https://0x7f.1/a/b",
        "https://127.1/a/b",
        "https://[::1]/a/b",
        "https://[::ffff:127.0.0.1]/a/b",
        "git@127.0.0.1:a/b",
        "git@localhost:a/b",
        "https://" + "a" * 64 + ".com/a/b",
        "https://" + "a." * 130 + "com/a/b",
        "https://github.com/" + "a" * 2000,
        "/srv/git/a.git",
    ],
)
def test_everything_else_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="git_url"):
        check_git_url(url, allow_local=False)


@pytest.mark.parametrize("path", ["/srv/git/a.git", "/srv/zoë/my repo", "/a:b", "/a-b/-c"])
def test_a_local_path_is_accepted_where_it_is_allowed(path: str) -> None:
    check_git_url(path, allow_local=True)
    with pytest.raises(ValueError, match="DEKSDENFLOW_ALLOW_LOCAL_REPOS"):
        check_git_url(path, allow_local=False)


@pytest.mark.parametrize("path", ["/a/../b", "/..", "//host/share", "/a\nb", "/a\0b", "a/b", "file:///a", "~/a", "."])
def test_an_unsound_local_path_is_refused_even_there(path: str) -> None:
    with pytest.raises(ValueError, match="git_url"):
        check_git_url(path, allow_local=True)


@pytest.mark.parametrize(
    "url", ["https://github.com/a/b", "https://git.corp.example:8443/a/b", "git@gitlab:a/b", "ssh://git@gitlab/a/b"]
)
def test_a_listed_host_is_accepted_as_it_is_listed(url: str) -> None:
    check_git_url(url, allow_local=False, hosts=FORGES)


@pytest.mark.parametrize(
    "url",
    [
        "https://gitlab.com/a/b",
        "https://github.com.evil.example/a/b",
        "https://git.corp.example/a/b",
        "https://github.com:8443/a/b",
        "git@evil.example:a/b",
    ],
)
def test_another_host_is_refused_with_the_list(url: str) -> None:
    with pytest.raises(ValueError, match=r"accepted hosts: git\.corp\.example:8443, github\.com, gitlab"):
        check_git_url(url, allow_local=False, hosts=FORGES)


def test_an_address_is_refused_even_when_it_is_listed() -> None:
    with pytest.raises(ValueError, match="IP addresses"):
        check_git_url("https://10.0.0.1/a", allow_local=False, hosts=frozenset({"10.0.0.1"}))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://GitHub.com/a", "github.com"),
        ("https://github.com:443/a", "github.com"),
        ("https://git.corp.example:8443/a", "git.corp.example:8443"),
        ("ssh://git@Host.example:22/a", "host.example"),
        ("git@Host.example:a", "host.example"),
        ("/srv/git", None),
    ],
)
def test_a_url_tells_its_host(url: str, host: str | None) -> None:
    assert url_host(url) == host


@given(st.text(max_size=60))
def test_no_text_at_all_makes_the_check_fail_in_another_way(text: str) -> None:
    for url in (text, f"https://{text}", f"ssh://{text}", f"https://github.com/{text}", f"git@{text}", f"/{text}"):
        try:
            check_git_url(url, allow_local=True)
        except ValueError as error:
            assert "git_url" in str(error)  # noqa: PT017  both outcomes are right
        else:
            assert url.isprintable()
            url_host(url)


@pytest.mark.parametrize(
    "name", ["main", "Develop", "release/2.x", "feature/ABC-1_x", "0001-fix", "a#1", "x@y", "v1+2"]
)
def test_an_ordinary_branch_is_accepted(name: str) -> None:
    check_branch(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-x",
        "+main",
        "@",
        "@{u}",
        "a@{1}",
        "HEAD",
        "FETCH_HEAD",
        "refs/heads/x",
        "a..b",
        "a//b",
        "/a",
        "a/",
        "a.",
        ".a",
        "a/.b",
        "a.lock",
        "a.lock/b",
        "a b",
        "a\nb",
        "a\0",
        "x;rm",
        "$(id)",
        "`id`",
        "a~1",
        "a^",
        "a:b",
        "a?",
        "a*",
        "a[",
        "a\\b",
        "ä",
        "d" * 201,
        "0123456789abcdef0123456789abcdef01234567",
    ],
)
def test_an_unsound_branch_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="branch"):
        check_branch(name)


@settings(max_examples=60)
@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._/+#@=-]{0,30}", fullmatch=True))
def test_whatever_we_accept_as_a_branch_git_accepts_too(name: str) -> None:
    try:
        check_branch(name)
    except ValueError:
        return
    said = subprocess.run(
        ["git", "check-ref-format", "--branch", name],
        check=False,
        capture_output=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert said.stdout.decode().strip() == name


@pytest.mark.parametrize("name", ["0001-fix-login", "9999-a", "0000-" + "x" * 60])
def test_a_protocol_name_is_a_number_and_a_slug(name: str) -> None:
    check_protocol_name(name)
    check_branch(name)


@pytest.mark.parametrize("name", ["", "1-x", "0001", "0001-", "00001-x", "0001-X", "0001-a_b", "0001-a/b", "0001-a\n"])
def test_another_protocol_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="0001-fix-login"):
        check_protocol_name(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fix the login", "fix-the-login"),
        ("  Größe & Maß: naïve café!  ", "groe-ma-naive-cafe"),
        ("a" * 80, "a" * 60),
        ("word " * 20, "word-word-word-word-word-word-word-word-word-word-word-word"),
        ("日本語", "task"),
        ("", "task"),
        ("---", "task"),
        ("../../etc/passwd", "etc-passwd"),
    ],
)
def test_a_slug_is_made_of_the_words(text: str, expected: str) -> None:
    assert slug(text, 60) == expected


@given(st.text(max_size=200), st.integers(min_value=1, max_value=80))
def test_a_slug_is_always_sound_and_short_enough(text: str, max_len: int) -> None:
    made = slug(text, max_len)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", made)
    assert len(made) <= max_len


@given(st.text(max_size=200))
def test_a_number_and_a_slug_make_a_protocol_name(text: str) -> None:
    assert PROTOCOL_NAME.fullmatch(f"0042-{slug(text, 60)}")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://github.com/octo/demo.git", "octo/demo"),
        ("https://gitlab.example.org/group/sub/demo", "group/sub/demo"),
        ("ssh://git@github.com/octo/demo.git/", "octo/demo"),
        ("git@github.com:octo/demo.git", "octo/demo"),
        ("https://github.com/octo/d%65mo", "octo/demo"),
        ("/srv/repos/demo.git", None),
    ],
)
def test_the_path_of_a_repository_within_its_host(url: str, path: str | None):
    assert url_path(url) == path
