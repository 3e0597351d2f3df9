"""The one table of what a person can do by a button: the words, the form, and the verb of the workflow."""

from collections.abc import Mapping
from typing import Final

from services.api.console import forms
from services.api.console.button import Action
from services.api.console.forms import Field, Typed
from services.api.console.project_actions import NOTIFIERS, PROJECTS
from shared.errors import NotFound
from shared.schemas import requests
from shared.schemas.requests import Body
from shared.workflow import deliveries, line, protocols, pulls, queue, steps, sync
from shared.workflow.unit import Unit

FEEDBACK = Field(name="feedback", label="What is to be done differently", kind="text", needed=True)
WHY = Field(name="reason", label="Why", kind="line", needed=True)
SHA = Field(name="sha", label="", kind="hidden")
VERSION = Field(name="version", label="", kind="hidden")


def find_action(kind: str, name: str) -> Action | None:
    """The action of this name on things of this kind (the word in the path, such as `protocols`)."""
    return ACTIONS.get(kind, {}).get(name)


def do(unit: Unit, kind: str, thing_id: int, name: str, typed: Typed) -> object:
    """Do it, with what was typed into its form."""
    action = find_action(kind, name)
    if action is None:
        raise NotFound(f"There is no action {name} for {kind}.")
    fields = {field.name: _value(field, typed) for field in action.fields}
    return action.verb(unit, thing_id, forms.read(action.body, fields, forms.labels_of(action.fields)))


def _value(field: Field, typed: Typed) -> str | bool:
    given = typed.get(field.name, "")
    return given == "on" if field.kind == "check" else given


class PlanSeen(Body, frozen=True):
    """Which version of the protocol the plan was looked at in."""

    version: int | None = None


class PlanSentBack(requests.Feedback, frozen=True):
    """Likewise, and what is wrong with it."""

    version: int | None = None


PROTOCOLS: Final = {
    "start": Action(
        label="Start planning",
        hint="Codex reads the repository and proposes the steps.",
        verb=lambda unit, key, data: protocols.start_protocol(unit, key, plan=data.plan),
        body=requests.StartProtocol,
        tone="main",
    ),
    "start_with_steps": Action(
        label="Start with these steps",
        hint="The steps that were added by hand are its plan.",
        verb=lambda unit, key, _: protocols.start_protocol(unit, key, plan=False),
        tone="main",
    ),
    "plan_again": Action(
        label="Plan anew",
        hint="Codex makes another plan; this one is given up.",
        verb=lambda unit, key, _: protocols.start_protocol(unit, key),
    ),
    "approve_plan": Action(
        label="Approve the plan",
        hint="The steps may start.",
        verb=lambda unit, key, data: protocols.approve_plan(unit, key, version=data.version),
        body=PlanSeen,
        fields=(VERSION,),
        tone="main",
    ),
    "reject_plan": Action(
        label="Send the plan back",
        hint="It is planned again with what you say.",
        verb=lambda unit, key, data: protocols.reject_plan(unit, key, feedback=data.feedback, version=data.version),
        body=PlanSentBack,
        fields=(FEEDBACK, VERSION),
    ),
    "pause": Action(
        label="Pause",
        hint="Nothing new starts.",
        verb=lambda unit, key, data: protocols.pause_protocol(unit, key, mode=data.mode),
        body=requests.PauseProtocol,
        fields=(
            Field(
                name="mode",
                label="What runs now",
                kind="choice",
                choices=(("drain", "may finish"), ("interrupt", "is stopped and goes on later")),
            ),
        ),
    ),
    "resume": Action(
        label="Resume",
        hint="It goes on from where its steps stand.",
        verb=lambda unit, key, _: protocols.resume_protocol(unit, key),
        tone="main",
    ),
    "unblock": Action(
        label="Go on",
        hint="The cause of the block is removed.",
        verb=lambda unit, key, _: protocols.unblock_protocol(unit, key),
        tone="main",
    ),
    "run_next_step": Action(
        label="Run the next step",
        hint="The lowest step that waits for its start is queued.",
        verb=lambda unit, key, _: protocols.run_next_step(unit, key),
        tone="main",
    ),
    "retry_latest": Action(
        label="Retry the failed step",
        hint="The failed step that the others wait for is queued again.",
        verb=lambda unit, key, _: protocols.retry_latest(unit, key),
        tone="main",
    ),
    "open_pr": Action(
        label="Publish",
        hint="The branch is pushed. At a forge its pull or merge request is opened or brought up to date, too.",
        verb=lambda unit, key, _: protocols.open_pr(unit, key),
    ),
    "sync": Action(
        label="Look at the forge",
        hint="For deliveries that never came.",
        verb=lambda unit, key, _: sync.sync_protocol(unit, key),
    ),
    "trigger_ci": Action(
        label="Run CI",
        hint="The forge is asked for a CI run of the branch.",
        verb=lambda unit, key, data: sync.trigger_ci(unit, key, workflow=data.workflow, inputs=data.inputs),
        body=requests.TriggerCi,
        fields=(Field(name="workflow", label="Workflow file", hint="GitHub alone needs it, such as ci.yml."),),
    ),
    "adopt": Action(
        label="Go on from their commit",
        hint="What somebody else pushed to the branch is taken over.",
        verb=lambda unit, key, data: pulls.adopt_branch(unit, key, data.sha),
        body=requests.AdoptBranch,
        fields=(Field(name="sha", label="Commit", hint="The one that you have looked at.", needed=True),),
    ),
    "reset": Action(
        label="Return to our commit",
        hint="The branch at the origin goes back to our last commit; theirs is given up.",
        verb=lambda unit, key, _: pulls.reset_branch(unit, key),
        tone="danger",
        asks=True,
    ),
    "fail": Action(
        label="Give up",
        hint="It fails for good.",
        verb=lambda unit, key, data: protocols.fail_protocol(unit, key, reason=data.reason),
        body=requests.Because,
        fields=(WHY,),
        tone="danger",
    ),
    "cancel": Action(
        label="Cancel the run",
        hint="It ends for good; what runs is stopped.",
        verb=lambda unit, key, _: protocols.cancel_protocol(unit, key),
        tone="danger",
        asks=True,
    ),
}

STEPS: Final = {
    "run": Action(
        label="Run", hint="The step is queued.", verb=lambda unit, key, _: steps.run_step(unit, key), tone="main"
    ),
    "run_qa": Action(
        label="Run QA",
        hint="Codex judges the commit in a copy of its own.",
        verb=lambda unit, key, _: steps.run_qa(unit, key),
    ),
    "approve": Action(
        label="Approve",
        hint="The commit is good. Against open or red gates it takes a reason.",
        verb=lambda unit, key, data: steps.approve_step(unit, key, sha=data.sha, reason=data.reason),
        body=requests.ApproveStep,
        fields=(Field(name="reason", label="Reason", hint="Only needed where gates are open or red."), SHA),
        tone="main",
    ),
    "reject": Action(
        label="Send back",
        hint="The step is done again with what you say.",
        verb=lambda unit, key, data: steps.reject_step(unit, key, feedback=data.feedback),
        body=requests.Feedback,
        fields=(FEEDBACK,),
    ),
    "retry": Action(
        label="Retry",
        hint="The step is executed once more.",
        verb=lambda unit, key, data: steps.retry_step(
            unit, key, model=data.model, feedback=data.feedback, fresh=data.fresh
        ),
        body=requests.RetryStep,
        fields=(
            Field(name="feedback", label="What is to be done differently", kind="text"),
            Field(name="model", label="Another model"),
            Field(name="fresh", label="Start a new conversation", kind="check"),
        ),
    ),
    "skip": Action(
        label="Skip",
        hint="The others go on without it.",
        verb=lambda unit, key, data: steps.skip_step(unit, key, reason=data.reason),
        body=requests.Because,
        fields=(WHY,),
    ),
    "cancel": Action(
        label="Cancel the step",
        hint="The step ends; what works on it is stopped.",
        verb=lambda unit, key, _: steps.cancel_step(unit, key),
        tone="danger",
        asks=True,
    ),
}

JOBS: Final = {
    "cancel": Action(
        label="Cancel",
        hint="What runs is stopped.",
        verb=lambda unit, key, _: queue.cancel_job(unit, key),
        tone="danger",
    ),
    "retry": Action(
        label="Retry", hint="The work is queued again.", verb=lambda unit, key, _: queue.retry_job(unit, key)
    ),
}

DELIVERIES: Final = {
    "replay": Action(
        label="Apply again",
        hint="What it says is applied as if it came now.",
        verb=lambda unit, key, _: deliveries.replay_delivery(unit, key),
    ),
}

LINE: Final = {
    "stop": Action(
        label="Stop the line",
        hint="No job of any project starts until somebody resumes.",
        verb=lambda unit, _, data: line.stop_line(unit, interrupt=data.interrupt),
        body=requests.StopLine,
        fields=(Field(name="interrupt", label="Park the agents that run, too", kind="check"),),
        tone="danger",
        admin=True,
    ),
    "resume": Action(
        label="Resume the line",
        hint="Jobs start again.",
        verb=lambda unit, _key, _data: line.resume_line(unit),
        tone="main",
        admin=True,
    ),
}

ACTIONS: Final[Mapping[str, Mapping[str, Action]]] = {
    "protocols": PROTOCOLS,
    "steps": STEPS,
    "projects": PROJECTS,
    "notifiers": NOTIFIERS,
    "jobs": JOBS,
    "deliveries": DELIVERIES,
    "line": LINE,
}
