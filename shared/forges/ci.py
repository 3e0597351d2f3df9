"""The place for what a CI job says by itself: the plain body of `POST /webhooks/ci`."""

from typing import Final

import msgspec

from shared.errors import Invalid
from shared.forges.fields import (
    Id,
    branch_of,
    clean,
    context_of,
    decoded,
    members,
    protocol_of,
    repository_at,
    repository_of,
    sha_of,
    time_of,
    url_of,
)
from shared.forges.outcomes import OUTCOMES
from shared.schemas.forge import CiWord, Repository, Said

DEFAULT_CONTEXT: Final = "ci"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The body; `at` is ms since 1970 or ISO 8601, `repository` an id, a path or an address."""

    state: str
    sha: str
    branch: str | None = None
    context: str | None = None
    target_url: str | None = None
    protocol_run_id: Id | str | None = None
    repository: Id | str | None = None
    run_id: Id = 0
    run_attempt: Id = 1
    at: Id | str | None = None


def read(body: bytes) -> Said:
    """What the job says; `Invalid` names what it must say otherwise, since people write these bodies."""
    if unknown := sorted(members(body).keys() - set(Report.__struct_fields__)):
        raise Invalid(
            f"Unknown fields: {', '.join(clean(name) for name in unknown[:20])}."
            f" Known ones are {', '.join(Report.__struct_fields__)}."
        )
    report = decoded(body, Report, "CI report")
    if report.state not in OUTCOMES:
        raise Invalid(
            f"state is {clean(report.state)!r}; it must be success, failure, error, pending, running, cancelled or"
            " skipped, or another word of GitHub or GitLab for how a check stands."
        )
    if (sha := sha_of(report.sha)) is None:
        raise Invalid(f"sha must be a whole commit id, 40 or 64 hexadecimal digits, not {clean(report.sha)!r}.")
    if report.branch and branch_of(report.branch) is None:
        raise Invalid(f"branch cannot be the name of a branch: {clean(report.branch)!r}.")
    context = report.context or DEFAULT_CONTEXT
    word = CiWord(
        sha=sha,
        branch=branch_of(report.branch),
        scope="ci",
        name=clean(context) or DEFAULT_CONTEXT,
        context=context_of("ci", context),
        outcome=OUTCOMES[report.state],
        run_id=report.run_id,
        run_attempt=report.run_attempt,
        at=_at(report.at),
        url=url_of(report.target_url),
        details={"said": report.state},
    )
    return Said(repository=_repository(report.repository), word=word, protocol_id=protocol_of(report.protocol_run_id))


def _at(told: int | str | None) -> int:
    if told is None or isinstance(told, int):
        return told or 0
    if not (at := time_of(told)):
        raise Invalid(f"at must be ms since 1970, or a time such as 2026-01-31T12:00:00Z, not {clean(told)!r}.")
    return at


def _repository(told: int | str | None) -> Repository | None:
    if told is None or told == "":
        return None
    if isinstance(told, int) or (told.isascii() and told.isdecimal()):
        return Repository(id=clean(str(told)))
    found = repository_at(told) if ":" in told else repository_of(None, told.removesuffix(".git"), None)
    if found is None:
        raise Invalid(f"repository must be an id, a path such as owner/name, or an address, not {clean(told)!r}.")
    return found
