"""Explanations for a caller: what the records of a protocol run say together, read in one go."""

from shared.repository import situations
from shared.repository.database import Tx
from shared.states.explain import Explanation, explain_protocol, explain_step
from shared.states.waiting import Situation
from shared.workflow import find
from shared.workflow.unit import Rules


def of_protocol(tx: Tx, scope: int | None, protocol_id: int, rules: Rules) -> Explanation:
    """Why the protocol run moves or does not."""
    return explain_protocol(situation_of(tx, find.protocol(tx, scope, protocol_id).id, rules))


def of_step(tx: Tx, scope: int | None, step_id: int, rules: Rules) -> Explanation:
    """Why the step moves or does not."""
    wanted = find.step(tx, scope, step_id)
    situation = situation_of(tx, wanted.protocol_id, rules)
    return explain_step(situation, next(step for step in situation.steps if step.id == step_id))


def situation_of(tx: Tx, protocol_id: int, rules: Rules) -> Situation:
    """All that decides how one protocol run goes on."""
    (found,) = situations.load(tx, [protocol_id], credential=rules.credential, project_limit=rules.project_concurrency)
    (whole,) = situations.with_failures(tx, [found])
    return whole
