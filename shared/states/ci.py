"""The verdict of the CI on one commit: pure, from the facts about it, the policy and the time."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from shared.schemas.policy import Policy
from shared.schemas.records import Fact
from shared.schemas.statuses import GateState, Outcome

# What speaks for a commit as a whole. Single checks and jobs do only where the policy names them.
DECIDING = frozenset({"workflow_run", "check_suite", "status", "pipeline", "ci"})
ACTIONS_APP = "github-actions"
NAMED_IN_SUMMARY = 5


class CiVerdict(msgspec.Struct, frozen=True):
    """What the CI says of a commit now; `due` is when that may be something else without a new fact."""

    state: GateState
    summary: str
    contexts: tuple[dict[str, Any], ...]
    due: int | None = None
    url: str | None = None


def judge_ci(policy: Policy, facts: Iterable[Fact], now: int) -> CiVerdict | None:
    """The verdict; None where no fact decides and the policy asks for none.

    Red, and green where the policy names no contexts, need that nothing runs and that the newest fact came a while ago:
    more may be on its way. What the CI did not decide is never a pass and never a failure.
    """
    facts = _deciding(policy, tuple(facts))
    missing = [name for name in policy.required_contexts if name not in {fact.name for fact in facts}]
    if not facts:
        return CiVerdict(GateState.PENDING, f"waits for {_names(missing)}", ()) if missing else None
    by = {outcome: [fact for fact in facts if fact.outcome is outcome] for outcome in Outcome}
    settles_at = max(fact.received_at for fact in facts) + policy.ci_settle_s * 1000
    # A fact from the future came before the clock was set back.
    settling = 0 < settles_at - now <= policy.ci_settle_s * 1000
    green = not missing and bool(by[Outcome.PASS]) and len(by[Outcome.PASS]) + len(by[Outcome.SOFT_PASS]) == len(facts)
    due: int | None = None
    if by[Outcome.RUNNING]:
        state, summary = GateState.PENDING, f"running: {_names_of(by[Outcome.RUNNING])}"
    elif green and (policy.required_contexts or not settling):
        state, summary = GateState.PASSED, f"passed: {_names_of(facts)}"
    elif by[Outcome.FAIL] and not settling:
        state, summary = GateState.FAILED, f"failed: {_names_of(by[Outcome.FAIL])}"
    elif by[Outcome.WAITING_HUMAN] and not by[Outcome.FAIL]:
        waiting = _names_of(by[Outcome.WAITING_HUMAN])
        state, summary = GateState.PENDING, f"the CI waits for a person at the forge: {waiting}"
    elif missing and not by[Outcome.FAIL]:
        state, summary = GateState.PENDING, f"waits for {_names(missing)}"
    elif settling:
        state, summary, due = GateState.PENDING, f"ended, may still change: {_told(facts)}", settles_at
    else:
        state, summary = GateState.INCONCLUSIVE, f"the CI gave no verdict: {_told(facts)}"
    return CiVerdict(state, summary, tuple(_shown(fact) for fact in facts), due, _url(by, facts))


def _deciding(policy: Policy, facts: Sequence[Fact]) -> tuple[Fact, ...]:
    if policy.required_contexts:
        chosen = [fact for fact in facts if fact.name in policy.required_contexts]
    else:
        runs = any(fact.scope == "workflow_run" for fact in facts)
        chosen = [
            fact
            for fact in facts
            if fact.scope in DECIDING
            and not (runs and fact.scope == "check_suite" and fact.details.get("app") == ACTIONS_APP)
        ]
    return tuple(sorted(chosen, key=lambda fact: (fact.name, fact.context)))


def _shown(fact: Fact) -> dict[str, Any]:
    return {
        "context": fact.context,
        "name": fact.name,
        "scope": fact.scope,
        "outcome": fact.outcome.value,
        "url": fact.url,
        "run_attempt": fact.run_attempt,
    }


def _url(by: dict[Outcome, list[Fact]], facts: Sequence[Fact]) -> str | None:
    """The page to look at first."""
    order = [*by[Outcome.FAIL], *by[Outcome.WAITING_HUMAN], *by[Outcome.RUNNING], *facts]
    return next((fact.url for fact in order if fact.url), None)


def _told(facts: Iterable[Fact]) -> str:
    counted = Counter(fact.outcome.value for fact in facts)
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(counted.items()))


def _names_of(facts: Iterable[Fact]) -> str:
    return _names([fact.name for fact in facts])


def _names(names: Iterable[str]) -> str:
    different = list(dict.fromkeys(names))
    more = len(different) - NAMED_IN_SUMMARY
    return ", ".join(different[:NAMED_IN_SUMMARY]) + (f" and {more} more" if more > 0 else "")
