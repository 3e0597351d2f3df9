"""The place for what a push says, which both forges tell in the same members."""

import msgspec

from shared.forges.fields import branch_of, sha_of
from shared.schemas.forge import BranchWord, NoWord, Word


class Push(msgspec.Struct, frozen=True):
    """The body of a push event; zeros stand for a branch that was not there before, or is not after."""

    ref: str
    before: str | None
    after: str | None
    forced: bool | None = None


def push_word(push: Push) -> Word:
    """Which branch was moved to where; nothing for tags and for other names."""
    if push.ref.startswith("refs/tags/"):
        return NoWord(reason="tag")
    branch = branch_of(push.ref.removeprefix("refs/heads/"))
    if branch is None or not push.ref.startswith("refs/heads/"):
        return NoWord(reason="no_branch")
    after = sha_of(push.after)
    if after is None and set(push.after or "x") != {"0"}:
        return NoWord(reason="no_commit")
    return BranchWord(branch=branch, before=sha_of(push.before), after=after, forced=bool(push.forced))
