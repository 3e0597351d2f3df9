"""The place where git's words become a category and one sentence for a person: pure."""

import re
from typing import Final

from shared.errors import Category, JobError

MAX_TAIL_CHARS: Final = 2000
MAX_LINE_CHARS: Final = 300

# In this order; the first pattern found in stderr decides.
_CAUSES: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), category, advice)
    for pattern, category, advice in (
        (
            r"returned error: 30[1-8]|redirect",
            Category.REPOSITORY,
            "the server sends us to another address, which is not followed; register the repository by its final URL",
        ),
        (
            r"host key verification failed|host identification has changed",
            Category.AUTH,
            "the host's ssh key is not the one that was seen before; check it and remove the old line from known_hosts",
        ),
        (
            (
                r"authentication failed|could not read (username|password)|permission denied \(|returned error: 40[13]"
                r"|access denied|invalid username or (password|token)|permission to .* denied"
            ),
            Category.AUTH,
            "the repository did not accept our credentials; store a token (or an ssh key) that may use it",
        ),
        (
            # A lock that somebody holds there, a full disk, its own API out of reach: no rule says no.
            r"\[remote rejected\] \((failed to (update ref|lock)|unpacker error|internal server error)|internal api",
            Category.UPSTREAM,
            "the origin could not take the push right now",
        ),
        (
            r"protected branch|pre-receive hook declined|\(hook declined\)|GH0\d\d|remote rejected",
            Category.REPOSITORY,
            "the origin refuses this push; look at its branch rules",
        ),
        (
            r"non-fast-forward|stale info|fetch first|\[rejected\]",
            Category.DIVERGED,
            "the branch at the origin was moved by somebody else; adopt it, reset it or cancel",
        ),
        (
            (
                r"repository .*not found|not appear to be a git repository|returned error: 404|no such remote"
                r"|is this a git repository|project you were looking for could not be found|couldn't find remote ref"
            ),
            Category.REPOSITORY,
            "there is no repository there that we may see; check git_url and the token",
        ),
        (
            r"transport '.*' not allowed|protocol '.*' is not supported",
            Category.REPOSITORY,
            "this kind of URL is not allowed here; use https or ssh",
        ),
        (r"shallow", Category.REPOSITORY, "the origin is a shallow clone; register a complete repository"),
        (
            (
                r"could not resolve|connection (refused|reset|timed out)|failed to connect|operation timed out"
                r"|early eof|hung up unexpectedly|rpc failed|returned error: (429|5\d\d)|network is unreachable"
                r"|no route to host|could not read from remote|unexpected disconnect|ssl_|gnutls|empty reply"
                r"|operation too slow"
            ),
            Category.NETWORK,
            "the origin cannot be reached right now",
        ),
    )
)
_TALKS_TO_ORIGIN: Final = frozenset({"fetch", "ls-remote", "push"})  # elsewhere such words are names of files
_FULL: Final = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_LOCKED: Final = re.compile(r"unable to create '[^']*\.lock': file exists", re.IGNORECASE)
_MOVED: Final = re.compile(r"cannot lock ref .* (but expected|already exists)", re.IGNORECASE)
_TELLING: Final = re.compile(r"fatal|error|remote: error|!|ssh:|host key|.*permission denied \(", re.IGNORECASE)


def job_error(verb: str, code: int, stderr: str) -> JobError:
    """The error for `git VERB` that ended with this exit code and this (already redacted) stderr."""
    tail = stderr.strip()[-MAX_TAIL_CHARS:]
    line = _telling_line(tail)
    if _FULL.search(tail):
        return JobError(Category.GIT, f"git {verb}: the disk is full; make room in WORKSPACES_DIR", stderr_tail=tail)
    if verb == "read-tree" and "invalid path" in tail:
        return JobError(
            Category.REPOSITORY, f"the commit holds a name that is not safe to write ({line})", stderr_tail=tail
        )
    if verb == "update-ref" and _MOVED.search(tail):
        return JobError(
            Category.DIVERGED, f"the branch was moved by somebody else meanwhile ({line})", stderr_tail=tail
        )
    for pattern, category, advice in _CAUSES if verb in _TALKS_TO_ORIGIN else ():
        if pattern.search(tail):
            return JobError(category, f"git {verb}: {advice} ({line})", stderr_tail=tail)
    ending = f"was killed by signal {-code}" if code < 0 else f"failed with exit code {code}"
    return JobError(Category.GIT, f"git {verb} {ending}: {line or 'it said nothing'}", stderr_tail=tail)


def told_by_push(told: str) -> JobError:
    """The error for a push that the origin answered, from its porcelain lines (redacted) and stderr."""
    rejected = next((line.split("\t")[-1] for line in told.splitlines() if line.startswith("!")), "")
    return job_error("push", 1, f"error: {rejected}\n{told}" if rejected else told)


def is_locked(error: JobError) -> bool:
    """Whether a lock file of git was in the way."""
    return bool(_LOCKED.search(error.stderr_tail))


def _telling_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if _TELLING.match(line)]
    return (told or lines or [""])[0][:MAX_LINE_CHARS]
