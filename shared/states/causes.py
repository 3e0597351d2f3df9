"""What each reason code means in words: what happened, and what a person does about it (pure)."""

import msgspec

from shared.schemas.statuses import Reason


class Cause(msgspec.Struct, frozen=True):
    """`what` happened, as a clause behind a colon; `remedy` is a whole sentence about what to do."""

    what: str
    remedy: str


R = Reason
_LOOK = "Read the job's error and the log of its last attempt, mend the cause, then retry."
_FINAL = "There is nothing to do."

CAUSES: dict[Reason, Cause] = {
    # protocol
    R.PLAN_FAILED: Cause("it could not be planned", "Mend what the planning job says, then start it again."),
    R.PLAN_REJECTED: Cause("its plan was rejected", "It is planned again with the feedback; look at the new plan."),
    R.STEP_FAILED: Cause("a step failed", "Retry that step, approve it with a reason, skip it or cancel it."),
    R.QA_UNAVAILABLE: Cause("QA could not be run", "Mend what the QA job says and run QA again, or judge by yourself."),
    R.PUBLISH_FAILED: Cause(
        "the branch or its pull request could not be published", "Mend what the job says, then publish (open_pr) again."
    ),
    R.CI_REGRESSED: Cause(
        "the CI turned red on the commit of a step that was done",
        "Mend the CI or run it again at the forge; or unblock to go on all the same.",
    ),
    R.DIVERGED: Cause(
        "somebody else moved the branch",
        "Look at the commit there, then adopt it, or reset the branch to ours; or cancel.",
    ),
    R.PR_CLOSED: Cause(
        "its pull request was closed without a merge", "Reopen it at the forge, or unblock to go on, or cancel."
    ),
    R.STEPS_DONE: Cause("all its steps are done", _FINAL),
    R.STEPS_CANCELLED: Cause("all its steps were cancelled", _FINAL),
    R.MERGED: Cause("its pull request was merged", _FINAL),
    R.OPERATOR: Cause("a person decided so", "Nothing is wrong; undo it if it was not meant."),
    # step
    R.NO_CHANGES: Cause(
        "the agent finished without changing a file", "Make the instructions clearer by feedback and retry, or skip it."
    ),
    R.CI_FAILED: Cause(
        "the CI is red on its commit", "Look at the CI; run it again there, or retry, approve with a reason or skip."
    ),
    R.QA_FAILED: Cause("a review found faults", "Read what was found, then retry, approve with a reason, or skip it."),
    R.GATES_PASSED: Cause("everything that it needs has passed", _FINAL),
    R.APPROVED: Cause("a person approved it", _FINAL),
    R.OVERRIDDEN: Cause("a person completed it with a reason, though not everything had passed", _FINAL),
    R.SKIPPED: Cause("a person skipped it", _FINAL),
    R.REJECTED: Cause("a person rejected its work", "It is done again with the feedback; look at the new commit."),
    R.REPAIR: Cause("a check was red", "It is repaired by itself with what was found; look at the new commit."),
    R.RETRIED: Cause("a person had it done again", "It is under way; look at the new commit."),
    R.PROTOCOL_ENDED: Cause("its protocol had ended", _FINAL),
    # a job's error category
    R.AUTH: Cause(
        "a credential was not accepted", "Log Codex in again, or renew the API key or the forge's token; then retry."
    ),
    R.CONFIG: Cause("something is set wrongly or not at all", "Set right what the error names, then retry."),
    R.BAD_REQUEST: Cause("the other side refused the request", "Read what it answered, change what it names, retry."),
    R.PROMPT_TOO_LARGE: Cause("the prompt is too large for the model", "Shorten the task or split the step; retry."),
    R.TOO_LONG: Cause(
        "the conversation became too long for the model", "Retry with a fresh thread, another model or a smaller step."
    ),
    R.QUOTA: Cause("the quota of Codex's credential is used up", "Wait, or raise the quota and resume the line."),
    R.CODEX_MISSING: Cause(
        "Codex is not installed, or cannot be run", "Install it or set DEKSDENFLOW_CODEX_BIN; retry."
    ),
    R.SANDBOX_MISSING: Cause(
        "the sandbox that Codex needs does not work on that host",
        "Mend the sandbox as deploy/README.md says, or switch it off by DEKSDENFLOW_CODEX_SANDBOX; then retry.",
    ),
    R.BAD_OUTPUT: Cause("the agent's answer was not in a form that is read", "Read its log; retry, or judge yourself."),
    R.PLAN_INVALID: Cause("the plan was not valid", "Describe the task more clearly, then start it again."),
    R.REPOSITORY: Cause(
        "the repository is not as it must be",
        "Mend what the error names at its forge, then retry; or change the project's address or branch.",
    ),
    R.POLICY: Cause(
        "the agent changed what it may not", "Read which files, and retry with feedback that says what to leave alone."
    ),
    R.CANCELLED: Cause("its job was cancelled by a person", "Retry it when it is wanted after all."),
    R.NO_ANSWER: Cause("Codex ended without an answer", _LOOK),
    R.RATE_LIMITED: Cause("the model or the forge asked to slow down", "Wait, or lower the concurrency; then retry."),
    R.UPSTREAM: Cause("the model's or the forge's service failed", "Look at that service's status page, then retry."),
    R.NETWORK: Cause("the network failed", "Look at the connection, the proxy and the names; then retry."),
    R.THREAD_BUSY: Cause("the agent's thread was in use by another process", "Retry; with a fresh thread if it stays."),
    R.SESSION_LOST: Cause("the record of the agent's thread was gone", "Retry; it begins with a fresh thread."),
    R.TIMEOUT: Cause(
        "it took longer than allowed", "Make the step smaller or raise DEKSDENFLOW_STEP_TIMEOUT_S; retry."
    ),
    R.SILENCE: Cause(
        "the agent was silent for too long",
        "Read its log; raise DEKSDENFLOW_SILENCE_TIMEOUT_S if it only worked quietly; then retry.",
    ),
    R.QUEUE_TIMEOUT: Cause("no worker took it in time", "Start more workers or raise their concurrency; then retry."),
    R.KILLED: Cause("its process was killed from outside", "Look for a lack of memory on the host, then retry."),
    R.CRASH: Cause("its program crashed", _LOOK),
    R.LOST: Cause("its worker was lost", "Look at the worker's log and the host's memory; then retry."),
    R.BUSY: Cause("something that it needs was in use", "Wait for what the error names to end, then retry."),
    R.GIT: Cause("git failed", _LOOK),
    R.UNKNOWN: Cause("it failed in a way that is not known", _LOOK),
}


def cause_of(reason: Reason | str | None) -> Cause:
    """The words for a reason code, or for an error category, which are the same words."""
    return CAUSES[Reason(reason) if reason else Reason.UNKNOWN]
