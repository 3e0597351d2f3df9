"""SQL that brings together what decides which actions are possible: two statements, however many the protocol runs."""

from collections.abc import Sequence

import msgspec

from shared.repository import jobs
from shared.repository.database import Tx, as_json
from shared.schemas.records import Protocol, StepState
from shared.states.waiting import Standing

# All steps of a run come as one text: a list of fifty runs may have a thousand of them.
_STEPS = (
    "SELECT protocol_id, json_group_array(json_object('id', id, 'step_index', step_index, 'status', status,"
    " 'phase', phase, 'depends_on', json(depends_on)) ORDER BY step_index) AS steps FROM step_runs"
    " WHERE protocol_id IN (SELECT value FROM json_each(?)) GROUP BY protocol_id"
)
_states = msgspec.json.Decoder(tuple[StepState, ...])


def of(tx: Tx, protocols: Sequence[Protocol]) -> list[Standing]:
    """How each of these stands; of those that are over the steps decide nothing, and are left out."""
    unfinished = as_json([each.id for each in protocols if not each.status.terminal])
    steps = {row["protocol_id"]: _states.decode(row["steps"]) for row in tx.rows(_STEPS, (unfinished,))}
    found = jobs.open_of_protocols(tx, [each.id for each in protocols])
    return [
        Standing(protocol=each, steps=steps.get(each.id, ()), jobs=tuple(found.get(each.id, ()))) for each in protocols
    ]
