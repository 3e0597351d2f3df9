"""The policy of a project: what a protocol run may do by itself and what it needs from others."""

import re
from typing import Annotated, Any, Literal

import msgspec

from shared.schemas.statuses import GateName

# No commit's CI is waited for longer than this after its newest word, in seconds.
LONGEST_SETTLE_S = 3600

_PROGRESSION = r"^(manual|auto|auto_until:[0-9]{1,3})$"


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One versioned set of rules; a protocol keeps the one that it started with.

    A `None` takes the service's setting of the same name at the moment the protocol is opened.
    """

    version: Literal[1] = 1
    progression: Annotated[
        str, msgspec.Meta(pattern=_PROGRESSION, description="manual, auto, or auto_until:<the last step to start>")
    ] = "manual"
    plan_approval: bool = False
    judged_by: Literal["qa_or_approval", "qa", "approval", "qa_and_approval"] = "qa_or_approval"
    required_contexts: Annotated[
        tuple[Annotated[str, msgspec.Meta(max_length=200)], ...], msgspec.Meta(max_length=50)
    ] = ()
    auto_fix: Annotated[int, msgspec.Meta(ge=0, le=10, description="automatic repairs of a step after a red gate")] = 0
    completion: Literal["steps", "merge"] = "steps"
    open_pr: Literal["planned", "steps_done", "asked"] = "planned"
    allow_no_changes: bool = False
    auto_qa_after_exec: bool | None = None
    auto_qa_on_ci: bool | None = None
    ci_completes_step: bool | None = None
    ci_settle_s: Annotated[int, msgspec.Meta(ge=0, le=LONGEST_SETTLE_S)] = 60

    def starts_by_itself(self, step_index: int) -> bool:
        """Whether the step with this index starts as soon as those before it are settled."""
        if self.progression == "auto":
            return True
        until = re.fullmatch(r"auto_until:([0-9]+)", self.progression)
        return until is not None and step_index <= int(until[1])

    def judges(self) -> tuple[tuple[GateName, ...], ...]:
        """The gates a step needs, as groups of which each needs one passed member."""
        match self.judged_by:
            case "qa_or_approval":
                judged: tuple[tuple[GateName, ...], ...] = ((GateName.QA, GateName.APPROVAL),)
            case "qa":
                judged = ((GateName.QA,),)
            case "approval":
                judged = ((GateName.APPROVAL,),)
            case "qa_and_approval":
                judged = ((GateName.QA,), (GateName.APPROVAL,))
        return (*judged, (GateName.CI,)) if self.required_contexts else judged


def merged(policy: Policy, changes: dict[str, Any]) -> Policy:
    """`policy` with `changes` laid over it; raises msgspec.ValidationError that names the field."""
    return msgspec.convert(msgspec.to_builtins(policy) | changes, Policy)
