"""The place for the shape of a refusal on the wire: RFC 9457 problem details."""

from typing import Annotated

import msgspec
from msgspec import Meta

URN = "urn:deksdenflow:problem:"


class Flaw(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a request."""

    field: Annotated[str, Meta(description="Which part, such as `policy.auto_fix`.", examples=["base_branch"])]
    message: Annotated[str, Meta(description="What was expected there.", examples=["Expected `str`, got `int`"])]


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request was refused, and what can be done about it."""

    type: Annotated[
        str,
        Meta(description="Stable name of the kind of problem.", examples=[f"{URN}wrong-status"]),
    ]
    title: Annotated[str, Meta(description="What the type means.", examples=["That is not possible as things stand"])]
    status: Annotated[int, Meta(description="The HTTP status.", examples=[409])]
    detail: Annotated[str | None, Meta(description="What happened this time, in one or two sentences.")] = None
    request_id: Annotated[str | None, Meta(description="The same as in the header `X-Request-ID`.")] = None
    status_now: Annotated[
        str | None, Meta(description="The current status of the thing that was addressed.", examples=["completed"])
    ] = None
    allowed_actions: Annotated[
        tuple[str, ...] | None, Meta(description="The actions that this status allows.", examples=[["retry", "skip"]])
    ] = None
    errors: Annotated[tuple[Flaw, ...] | None, Meta(description="What is wrong with the request, by field.")] = None
