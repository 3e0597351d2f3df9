"""The place for what a repository URL, a branch and a protocol may be called: pure checks that say what is wrong."""

import ipaddress
import re
import unicodedata
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

PROTOCOL_NAME: Final = re.compile(r"[0-9]{4}-[a-z0-9-]{1,60}")

MAX_URL_CHARS: Final = 2000
MAX_BRANCH_CHARS: Final = 200

_ACCEPTED: Final = "https://host/path, ssh://git@host/path or git@host:path"
_HOST: Final = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_PATH: Final = re.compile(r"[A-Za-z0-9._~/+@,=()%-]+")
_SCP: Final = re.compile(r"(?P<user>[^@/:]+)@(?P<host>[^@/:]+):(?P<path>[^:]+)")
_HELPER: Final = re.compile(r"[A-Za-z0-9+.-]+::")
_BRANCH: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+#@=-]*")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_SYMBOLIC: Final = frozenset({"HEAD", "FETCH_HEAD", "ORIG_HEAD", "MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD"})
_OWN_PORT: Final = {"https": 443, "ssh": 22}


def check_git_url(url: str, *, allow_local: bool, hosts: frozenset[str] | None = None) -> None:
    """Raise a `ValueError` whose text tells a person what is accepted instead.

    `hosts` are the names (`host` or `host:port`) that repositories may live on; None accepts every public-looking name.
    A name in `hosts` may also be a single label or use its own port. Addresses and localhost are never accepted.
    """
    if not url or len(url) > MAX_URL_CHARS:
        raise ValueError(f"git_url must have 1 to {MAX_URL_CHARS} characters")
    if any(_is_hidden(char) for char in url) or not url.isprintable():
        raise ValueError("git_url holds a control or invisible character")
    if url.startswith("/"):
        _check_local(url, allow_local=allow_local)
        return
    if "://" in url and not _HELPER.match(url):
        _check_parts(url, hosts)
        return
    scp = _SCP.fullmatch(url)
    if scp is None or _HELPER.match(url):
        local = " or an absolute path" if allow_local else ""
        raise ValueError(f"git_url is not understood; accepted: {_ACCEPTED}{local}")
    _check_user(scp["user"])
    _check_host("ssh", scp["host"].lower(), None, hosts)
    _check_path(scp["path"])


def url_host(url: str) -> str | None:
    """The host of an accepted URL in lower case, with `:port` when it is not the usual one; None for a local path."""
    if url.startswith("/"):
        return None
    if scp := _SCP.fullmatch(url):
        return scp["host"].lower()
    parts = urlsplit(url)
    return _named(parts.scheme, parts.hostname or "", parts.port)


def url_path(url: str) -> str | None:
    """The path of the repository within its host, as forges write it; None for a local path."""
    if url.startswith("/"):
        return None
    scp = _SCP.fullmatch(url)
    path = scp["path"] if scp else urlsplit(url).path
    return unquote(path).strip("/").removesuffix(".git")


def check_branch(name: str) -> None:
    """Raise a `ValueError` unless the name is safe on a command line and git takes it for a branch."""
    if not name or len(name) > MAX_BRANCH_CHARS:
        raise ValueError(f"a branch name has 1 to {MAX_BRANCH_CHARS} characters")
    if not _BRANCH.fullmatch(name):
        raise ValueError(
            f"branch {name!r}: letters, digits and . _ / + # @ = - are accepted, the first is a letter or a digit"
        )
    if ".." in name or "//" in name or name.endswith(("/", ".")):
        raise ValueError(f"branch {name!r}: no '..' or '//' inside, no '/' or '.' at the end")
    if any(part.startswith(".") or part.endswith(".lock") for part in name.split("/")):
        raise ValueError(f"branch {name!r}: no part starts with '.' or ends with '.lock'")
    if name in _SYMBOLIC or name.startswith("refs/") or _COMMIT.fullmatch(name):
        raise ValueError(f"branch {name!r} means something else to git")


def check_protocol_name(name: str) -> None:
    """Raise a `ValueError` unless the name is four digits and a slug, which also is a good branch and folder name."""
    if not PROTOCOL_NAME.fullmatch(name):
        raise ValueError(f"protocol_name {name!r}: expected four digits and a slug, such as 0001-fix-login")


def slug(text: str, max_len: int) -> str:
    """Lower-case ASCII words joined by `-`, cut between words where possible; `task` when nothing is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    whole = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if len(whole) > max_len:
        head, dash, _ = whole[: max_len + 1].rpartition("-")
        whole = head if dash else whole[:max_len]
    return whole.strip("-") or "task"[:max_len]


def _is_hidden(char: str) -> bool:
    return unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _check_local(path: str, *, allow_local: bool) -> None:
    if not allow_local:
        raise ValueError(
            f"git_url is a local path, which DEKSDENFLOW_ALLOW_LOCAL_REPOS does not allow here; accepted: {_ACCEPTED}"
        )
    if ".." in path.split("/"):
        raise ValueError("git_url: the path must not contain '..'")
    if path.startswith("//"):
        raise ValueError("git_url: the path must start with one '/'")


def _check_parts(url: str, hosts: frozenset[str] | None) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"git_url is not a URL ({error}); accepted: {_ACCEPTED}") from error
    if parts.scheme not in _OWN_PORT or url.partition("://")[0] != parts.scheme:
        raise ValueError(f"git_url: {url.partition(':')[0]!r} is not an accepted scheme; accepted: {_ACCEPTED}")
    _check_userinfo(parts)
    if "?" in url or "#" in url:
        raise ValueError("git_url must not contain '?' or '#'")
    if ":" in parts.netloc.rpartition("@")[2] and port is None:
        raise ValueError("git_url: the port is missing after ':'")
    _check_host(parts.scheme, parts.hostname or "", port, hosts)
    _check_path(parts.path.removeprefix("/"))


def _check_userinfo(parts: SplitResult) -> None:
    userinfo, at, _ = parts.netloc.rpartition("@")
    if not at:
        if parts.scheme == "ssh":
            raise ValueError("git_url: an ssh URL names its user, as in ssh://git@host/path")
        return
    if parts.scheme == "https" or ":" in userinfo:
        raise ValueError("git_url must not contain credentials; store the token as a secret of the project")
    _check_user(userinfo)


def _check_user(user: str) -> None:
    if not _USER.fullmatch(user):
        raise ValueError(f"git_url: {user!r} is not an accepted user name")


def _check_host(scheme: str, host: str, port: int | None, hosts: frozenset[str] | None) -> None:
    if not _HOST.fullmatch(host):
        raise ValueError("git_url: the host is not a plain DNS name (IP addresses are not accepted)")
    last = host.rpartition(".")[2]
    if _is_address(host) or not last[0].isalpha():
        raise ValueError("git_url: IP addresses are not accepted; use the host's name")
    if last == "localhost":
        raise ValueError(
            "git_url: localhost is not accepted; use an absolute path where local repositories are allowed"
        )
    named = _named(scheme, host, port)
    if hosts is not None:
        if named not in hosts:
            raise ValueError(
                f"git_url: {named} is not among the accepted hosts: {', '.join(sorted(hosts))}"
                " (DEKSDENFLOW_FORGE_HOSTS names them)"
            )
        return
    if named != host:
        raise ValueError(f"git_url: port {port} is not accepted")
    if "." not in host or last in {"local", "internal"}:
        raise ValueError(f"git_url: {host} is not a public host name")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _named(scheme: str, host: str, port: int | None) -> str:
    return host if port in {None, _OWN_PORT.get(scheme)} else f"{host}:{port}"


def _check_path(path: str) -> None:
    if not path.strip("/"):
        raise ValueError("git_url: the path of the repository is missing")
    if path.startswith("-") or not _PATH.fullmatch(path):
        raise ValueError("git_url: the path holds a character that is not accepted")
    plain = unquote(path)
    if ".." in plain.split("/") or plain.count("/") != path.count("/") or any(_is_hidden(char) for char in plain):
        raise ValueError("git_url: the path must not contain '..' or an encoded '/' or control character")
