"""The answers of attention."""

import msgspec

from shared.schemas.answers import Time
from shared.schemas.steering import EvidenceAnswer


class Way(msgspec.Struct, frozen=True):
    """An answer that is accepted, with the fields that it needs."""

    action: str
    label: str
    needs: tuple[str, ...] = ()


class AttentionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that waits for a person."""

    id: str
    kind: str
    project_id: int | None
    project_name: str | None
    protocol_run_id: int | None
    protocol_name: str | None
    step_run_id: int | None
    title: str
    because: str
    since: Time | None
    evidence: tuple[EvidenceAnswer, ...]
    answers: tuple[Way, ...]
