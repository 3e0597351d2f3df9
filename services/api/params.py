"""The parameters that many routes share, with their bounds and their words."""

from typing import Annotated

from litestar.params import PathParameter, QueryParameter

# What every JSON reader can hold exactly.
LAST_ID = 2**53 - 1


def read_number(text: str) -> int | None:
    """The number from 0 to LAST_ID that the text is, written in plain digits; None where it is none."""
    fits = text.isascii() and text.isdecimal() and len(text) <= len(str(LAST_ID)) and int(text) <= LAST_ID
    return int(text) if fits else None


ProjectId = Annotated[int, PathParameter(ge=1, le=LAST_ID, description="Id of the project.")]
ProtocolId = Annotated[int, PathParameter(ge=1, le=LAST_ID, description="Id of the protocol run.")]
StepId = Annotated[int, PathParameter(ge=1, le=LAST_ID, description="Id of the step run.")]
AttemptId = Annotated[int, PathParameter(ge=1, le=LAST_ID, description="Id of the attempt.")]
JobId = Annotated[int, PathParameter(ge=1, le=LAST_ID, description="Id of the job.")]
TokenId = Annotated[int, PathParameter(ge=1, le=LAST_ID, description="Id of the token.")]
HookId = Annotated[int, PathParameter(ge=1, le=LAST_ID, description="Id of the hook.")]
NotifierId = Annotated[int, PathParameter(ge=1, le=LAST_ID, description="Id of the notifier.")]
NoticeId = Annotated[int, PathParameter(ge=1, le=LAST_ID, description="Id of the message.")]
DeliveryId = Annotated[int, PathParameter(ge=1, le=LAST_ID, description="Id of the delivery.")]
SecretName = Annotated[
    str, PathParameter(pattern=r"^[a-z][a-z0-9_]{0,63}$(?!\n)", description="Name of the secret, such as forge_token.")
]

Limit = Annotated[int, QueryParameter(ge=1, le=500, description="How many at most.")]
Cursor = Annotated[
    str | None, QueryParameter(max_length=200, description="Where to go on: from the `Link` header of the page before.")
]
DEFAULT_LIMIT = 50

OfProject = Annotated[int | None, QueryParameter(ge=1, le=LAST_ID, description="Only those of this project.")]
OfProtocol = Annotated[int | None, QueryParameter(ge=1, le=LAST_ID, description="Only those of this protocol run.")]
