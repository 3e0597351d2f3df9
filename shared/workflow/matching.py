"""Which project, protocol run and step a delivery is about: by ids and commits before names, and never a stranger's."""

from typing import Literal

import msgspec

from shared.repository import deliveries, projects, protocols, steps
from shared.repository.database import Tx
from shared.schemas.forge import BranchWord, CiWord, NoWord, PullWord, Repository, Said
from shared.schemas.names import url_host, url_path
from shared.schemas.records import Delivery, Project, Protocol, StepRun
from shared.schemas.statuses import Provider, PullState


class Target(msgspec.Struct, frozen=True):
    """What a delivery is about, or the `reason` why it is about nothing of ours, in one word.

    `look` says what should be asked before it counts: the forge about the pull, or the origin about the branch.
    """

    project: Project | None = None
    protocol: Protocol | None = None
    step: StepRun | None = None
    reason: str | None = None
    look: Literal["pull", "origin"] | None = None


def target(tx: Tx, delivery: Delivery, said: Said) -> Target:
    """Look up what a delivery is about; it writes nothing."""
    if delivery.hook_id is not None:
        found = _within(tx, _of_hook(tx, delivery.hook_id), said)
        return found or Target(project=_of_hook(tx, delivery.hook_id), reason="foreign_repository")
    candidates = _of_bare_url(tx, delivery.provider, said)
    targets = [found for project in candidates if (found := _within(tx, project, said)) is not None]
    if not targets:
        return Target(reason="unknown_repository")
    # One repository may be registered twice: the one that has a use for the delivery gets it.
    return next((each for each in targets if each.reason is None), targets[0])


def is_named(project: Project, repository: Repository) -> bool:
    """Whether the project's URL names this repository; what the forge does not tell is not compared."""
    host, path = url_host(project.git_url), url_path(project.git_url)
    if host is None or path is None or repository.full_name is None:
        return False
    same_host = repository.host is None or _bare(repository.host) == _bare(host)
    return same_host and repository.full_name.lower() == path.lower()


def is_ours(tx: Tx, protocol: Protocol, word: PullWord) -> bool:
    """Whether it is the protocol's own PR or MR.

    While none is known, or ours is closed, an open one of our branch into our base is taken as ours. One that is over
    is taken only with a commit of ours: an older branch may have had the same name.
    """
    if word.number == protocol.pr_number:
        return True
    if protocol.pr_number is not None and protocol.pr_state is not PullState.CLOSED:
        return False
    if word.branch != protocol.branch or word.base != protocol.base_branch:
        return False
    if word.state is PullState.OPEN:
        return True
    return protocol.pr_number is None and word.sha is not None and knows(tx, protocol, word.sha)


def knows(tx: Tx, protocol: Protocol, sha: str) -> bool:
    """Whether the commit is one that the protocol made, adopted or grew from."""
    return any(run.id == protocol.id for run in protocols.of_commit(tx, protocol.project_id, sha))


def _of_hook(tx: Tx, hook_id: int) -> Project | None:
    hook = deliveries.get_hook(tx, hook_id)
    return None if hook is None else projects.get(tx, hook.project_id)


def _of_bare_url(tx: Tx, provider: Provider, said: Said) -> list[Project]:
    repository = said.repository
    found: list[Project] = []
    if repository is not None and repository.id is not None and provider is not Provider.CI:
        found += [each for each in projects.of_repository(tx, repository.id) if each.ci_provider is provider]
    if repository is not None and repository.id is None and repository.full_name is not None:
        # A CI job knows the path of its repository, but seldom its id.
        found += [each for each in projects.of_path(tx, repository.full_name) if is_named(each, repository)]
    elif repository is not None:
        found += [each for each in projects.unlearned(tx) if is_named(each, repository)]
    if not found and said.protocol_id is not None and (run := protocols.get(tx, said.protocol_id)):
        found += [projects.expect(tx, run.project_id)]
    return found


def _within(tx: Tx, project: Project | None, said: Said) -> Target | None:
    """What of the project it is about; None when it is about another repository."""
    if project is None or (said.repository is not None and not _is_of(project, said.repository)):
        return None
    if isinstance(said.word, NoWord):
        return Target(project=project, reason=said.word.reason)
    if said.from_fork:
        return Target(project=project, reason="fork")
    match said.word:
        case CiWord():
            found = _of_ci(tx, project, said.word, said.protocol_id)
        case PullWord():
            found = _of_pull(tx, project, said.word)
        case BranchWord():
            found = _of_branch(tx, project, said.word)
    return found


def _is_of(project: Project, repository: Repository) -> bool:
    if project.repository_id is None:
        return is_named(project, repository) or (repository.id is None and repository.full_name is None)
    host = url_host(project.git_url)
    elsewhere = host is not None and repository.host is not None and _bare(repository.host) != _bare(host)
    if repository.id is not None:
        return repository.id == project.repository_id and not elsewhere
    return repository.full_name is None or is_named(project, repository)


def _of_ci(tx: Tx, project: Project, word: CiWord, protocol_id: int | None) -> Target:
    known = protocols.of_commit(tx, project.id, word.sha)
    if protocol_id is not None:
        named = protocols.get(tx, protocol_id)
        if named is None or named.project_id != project.id:
            return Target(project=project, reason="foreign_protocol")
        if word.branch is not None and word.branch != named.branch:
            return Target(project=project, protocol=named, reason="other_branch")
        known = [run for run in known if run.id == named.id]
    if not known:
        return Target(project=project, reason="foreign_commit")
    ends = [step for step in steps.at_commit(tx, project.id, word.sha) if step.protocol_id in {run.id for run in known}]
    owners = {step.protocol_id for step in ends}
    protocol = max(known, key=lambda run: (run.id in owners, run.branch == word.branch, run.id))
    step = next((step for step in reversed(ends) if step.protocol_id == protocol.id), None)
    return Target(project=project, protocol=protocol, step=step)


def _of_pull(tx: Tx, project: Project, word: PullWord) -> Target:
    protocol = protocols.of_pull(tx, project.id, word.number) or protocols.of_branch(tx, project.id, word.branch)
    if protocol is None:
        return Target(project=project, reason="other_branch")
    if not is_ours(tx, protocol, word):
        return Target(project=project, protocol=protocol, reason="other_request")
    look: Literal["pull", "origin"] | None = None
    if not protocol.status.terminal:
        moved = word.sha is not None and protocol.head_sha is not None and not knows(tx, protocol, word.sha)
        look = "origin" if moved and word.state is PullState.OPEN else None
        look = "pull" if word.state is not PullState.OPEN else look
    return Target(project=project, protocol=protocol, look=look)


def _of_branch(tx: Tx, project: Project, word: BranchWord) -> Target:
    protocol = protocols.of_branch(tx, project.id, word.branch)
    if protocol is None:
        return Target(project=project, reason="other_branch")
    ours = word.after is None or protocol.head_sha is None or knows(tx, protocol, word.after)
    look: Literal["origin"] | None = None if ours or protocol.status.terminal else "origin"
    return Target(project=project, protocol=protocol, look=look)


def _bare(host: str) -> str:
    return host.lower().partition(":")[0]
