"""The verdict over a step's gates: pure, from the policy and the evidence for one commit."""

from collections.abc import Mapping

import msgspec

from shared.schemas.policy import Policy
from shared.schemas.statuses import GateName, GateState


class Verdict(msgspec.Struct, frozen=True):
    """What the gates of one commit say together; neither passed nor failed means that `open` is waited for."""

    open: tuple[GateName, ...]
    failed: tuple[GateName, ...]

    @property
    def passed(self) -> bool:
        """Whether the step is done."""
        return not self.open and not self.failed


def judge(policy: Policy, gates: Mapping[GateName, GateState]) -> Verdict:
    """The verdict: each group of required gates needs one passed member; a red CI fails even where it is not required.

    Green CI alone is enough where the policy says so. An inconclusive gate is an open one: never a pass.
    """
    if gates.get(GateName.CI) is GateState.FAILED:
        return Verdict(open=(), failed=(GateName.CI,))
    if policy.ci_completes_step and gates.get(GateName.CI) is GateState.PASSED:
        return Verdict(open=(), failed=())
    waiting: list[GateName] = []
    failed: list[GateName] = []
    for group in policy.judges():
        states = [gates.get(name) for name in group]
        if GateState.PASSED in states:
            continue
        red = [name for name, state in zip(group, states, strict=True) if state is GateState.FAILED]
        failed.extend(red)
        waiting.extend(() if red else group)
    return Verdict(open=tuple(waiting), failed=tuple(failed))
