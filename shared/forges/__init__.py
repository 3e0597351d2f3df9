"""What forges and CI jobs say, read into one set of words: the bytes of a stored delivery in, a `Said` out; no I/O.

Which word of a forge means what is one table (`outcomes`). What each event says of a commit, a branch or a pull request
is in `github`, `gitlab` and `ci`; the readers of the forges' APIs make the same words with the same functions.

| what speaks | its context (words with one replace each other) | its name, for `required_contexts` |
|---|---|---|
| GitHub `workflow_run` | `workflow_run/<workflow id>/<trigger>` | the workflow's |
| GitHub `check_suite` | `check_suite/<app>/<suite id>` | the app's slug |
| GitHub `check_run` | `check_run/<name>` | its name |
| GitHub `status` | `status/<context>` | its context |
| GitLab pipeline | `pipeline/<source>` | its name, else `pipeline` |
| GitLab child pipeline (scope `job`: its parent decides) | `pipeline/parent_pipeline/<name or id>` | likewise |
| GitLab job | `job/<stage>/<name>` | its name |
| a CI job in GitLab's form | `pipeline/report/<name or pipeline id>` | the name it tells |
| a CI job in the plain form | `ci/<context>` | the context it tells, else `ci` |
"""

from collections.abc import Mapping

from msgspec.structs import replace

from shared.errors import Invalid
from shared.forges import ci, github, gitlab
from shared.forges.fields import protocol_of
from shared.schemas.forge import PROTOCOL_HEADER, Said
from shared.schemas.statuses import Provider


def read_delivery(provider: Provider, event: str, headers: Mapping[str, str], body: bytes) -> Said:
    """What a delivery says, by its event and its stored headers (names in lower case).

    `Invalid` when the body is not what `event` promises, and nothing else for any bytes at all.
    """
    match provider:
        case Provider.GITHUB:
            said = github.read(event, body)
        case Provider.GITLAB:
            said = gitlab.read(event, body)
        case Provider.CI:
            said = ci.read(body)
    named = protocol_of(headers.get(PROTOCOL_HEADER))
    if named is None:
        return said
    if said.protocol_id not in {None, named}:
        raise Invalid(f"The body names protocol run {said.protocol_id}, and the address of the delivery {named}.")
    return replace(said, protocol_id=named)
