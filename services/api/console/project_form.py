"""The place for the form of a project: its inputs, what of them is registered or changed, and what they show (pure)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from services.api.console import forms
from services.api.console.forms import Field, Typed
from shared.schemas.records import Project
from shared.settings import Settings

NEEDED: Final = ("name", "git_url", "base_branch")
MODELS: Final = ("planning", "exec", "qa")
YES_NO: Final = (("true", "yes"), ("false", "no"))
UNTIL: Final = "auto_until"
PRESETS: Final[dict[str, dict[str, Any]]] = {
    "careful": {"progression": "manual", "plan_approval": True, "judged_by": "qa_and_approval"},
    "balanced": {
        "progression": "auto",
        "plan_approval": True,
        "judged_by": "qa",
        "auto_qa_after_exec": True,
        "auto_fix": 1,
    },
    "alone": {
        "progression": "auto",
        "plan_approval": False,
        "judged_by": "qa",
        "auto_qa_after_exec": True,
        "auto_fix": 2,
    },
}
_NUMBERS: Final = {"until": 999, "auto_fix": 10, "ci_settle_s": 3600}
_LARGEST_CHARS: Final = 4
# The rules that are what their input holds; an empty one takes the service's setting.
_RULES: Final = (
    "plan_approval",
    "judged_by",
    "auto_fix",
    "open_pr",
    "completion",
    "allow_no_changes",
    "auto_qa_after_exec",
    "auto_qa_on_ci",
    "ci_completes_step",
    "ci_settle_s",
)


def inputs(settings: Settings, *, new: bool) -> Mapping[str, Field]:
    """The inputs by their names: those of a project that is registered, or all of one that is there."""
    places = ", ".join(sorted(settings.forges))
    path = ", or the path of a repository on this machine" if settings.allow_local_repos else ""
    models = {"planning": settings.model_planning, "exec": settings.model_exec, "qa": settings.model_qa}
    nowhere = ("", "by the address" if new else "neither of these")
    found = (
        Field(name="name", label="Name", hint="For people; unique among your projects.", needed=True),
        Field(name="git_url", label="Repository", hint=f"An https or ssh address at {places}{path}.", needed=True),
        Field(
            name="base_branch",
            label="Base branch",
            hint="Work starts from here and is meant to go back here.",
            needed=not new,
        ),
        *(
            Field(name=role, label=label, hint=f"Left empty: {models[role]}.")
            for role, label in zip(MODELS, ("Model that plans", "Model that works", "Model that judges"), strict=True)
        ),
        Field(
            name="ci_provider",
            label="Forge",
            kind="choice",
            choices=(nowhere, ("github", "GitHub"), ("gitlab", "GitLab")),
        ),
        Field(
            name="required_contexts",
            label="CI that must be green",
            kind="text",
            hint="One name a line, such as ci/test. Left empty, CI is not waited for.",
        ),
        Field(
            name="open_pr",
            label="The pull request is opened",
            kind="choice",
            choices=(
                ("planned", "with the plan"),
                ("steps_done", "when all steps are done"),
                ("asked", "when somebody asks"),
            ),
        ),
        Field(
            name="completion",
            label="A protocol is complete",
            kind="choice",
            choices=(("steps", "when its steps are done"), ("merge", "when it is merged")),
        ),
        *(() if new else _rules(settings)),
    )
    return {field.name: field for field in found}


def _rules(settings: Settings) -> Sequence[Field]:
    def by_service(name: str, label: str, *, now: bool) -> Field:
        service = ("", f"as the service says ({'yes' if now else 'no'})")
        return Field(name=name, label=label, kind="choice", choices=(service, *YES_NO))

    return (
        Field(
            name="progression",
            label="Steps start",
            kind="choice",
            choices=(
                ("manual", "when somebody starts them"),
                ("auto", "by themselves"),
                (UNTIL, "by themselves up to a step"),
            ),
        ),
        Field(
            name="until",
            label="The last step that starts by itself",
            kind="number",
            hint="Its number; for “by themselves up to a step” only.",
        ),
        Field(name="plan_approval", label="The plan needs a person's approval", kind="choice", choices=YES_NO),
        Field(
            name="judged_by",
            label="A step is complete by",
            kind="choice",
            choices=(
                ("qa_or_approval", "QA or a person's approval"),
                ("qa", "QA"),
                ("approval", "a person's approval"),
                ("qa_and_approval", "QA and a person's approval"),
            ),
        ),
        Field(
            name="auto_fix",
            label="Repairs by itself",
            kind="number",
            hint="How often a step is repaired after QA or CI found something: 0 to 10.",
            needed=True,
        ),
        by_service("auto_qa_after_exec", "QA follows each execution", now=settings.auto_qa_after_exec),
        by_service("auto_qa_on_ci", "QA follows green CI", now=settings.auto_qa_on_ci),
        by_service("ci_completes_step", "Green CI alone completes a step", now=settings.ci_completes_step),
        Field(name="allow_no_changes", label="A step may change nothing", kind="choice", choices=YES_NO),
        Field(
            name="ci_settle_s",
            label="Red CI may change its mind for",
            kind="number",
            hint="Seconds, 0 to 3600.",
            needed=True,
        ),
    )


def wanted(typed: Typed) -> Mapping[str, Any]:
    """The fields of a project to register."""
    policy = dict(PRESETS.get(typed.get("preset", ""), {}))
    contexts = forms.lines(typed.get("required_contexts", ""))
    if contexts:
        policy["required_contexts"] = contexts
    policy |= {name: typed[name] for name in ("completion", "open_pr") if typed.get(name)}
    named = {name: typed.get(name, "").strip() for name in ("name", "git_url", "base_branch", "ci_provider")}
    return {**named, "default_models": _models(typed), "policy": policy}


def shown(project: Project) -> Typed:
    """What the inputs hold for a project as it is."""
    policy = project.policy
    progression, _, until = policy.progression.partition(":")
    return {
        "name": project.name,
        "git_url": project.git_url,
        "base_branch": project.base_branch,
        "ci_provider": project.ci_provider or "",
        "required_contexts": "\n".join(policy.required_contexts),
        "progression": progression,
        "until": until,
        **{role: project.default_models.get(role, "") for role in MODELS},
        **{rule: _as_typed(getattr(policy, rule)) for rule in _RULES},
    }


def changes(typed: Typed, project: Project, labels: forms.Labels) -> Mapping[str, Any]:
    """The fields of a project that were typed anew; what the form did not send stays as it is."""
    present = shown(project)
    given = {name: typed.get(name, before).strip() for name, before in present.items()}
    for name in NEEDED:
        forms.demand(given, name, "fill this in.", labels)
    news = {name for name in present if forms.lines(given[name]) != forms.lines(present[name])}
    found: dict[str, Any] = {name: given[name] for name in NEEDED if name in news}
    if "ci_provider" in news:
        found["ci_provider"] = given["ci_provider"] or None
    if not news.isdisjoint(MODELS):
        found["default_models"] = _models(given)
    for name in news & {"auto_fix", "ci_settle_s"}:
        _demand_number(given, name, labels)
    policy: dict[str, Any] = {rule: given[rule] or None for rule in _RULES if rule in news}
    if "required_contexts" in news:
        policy["required_contexts"] = forms.lines(given["required_contexts"])
    if not news.isdisjoint({"progression", "until"}):
        policy["progression"] = _progression(given, labels)
    return found | ({"policy": policy} if policy else {})


def _progression(given: Typed, labels: forms.Labels) -> str:
    if given["progression"] != UNTIL:
        return given["progression"]
    _demand_number(given, "until", labels)
    return f"{UNTIL}:{given['until']}"


def _demand_number(given: Typed, name: str, labels: forms.Labels) -> None:
    text, most = given[name], _NUMBERS[name]
    fits = text.isascii() and text.isdecimal() and len(text) <= _LARGEST_CHARS and int(text) <= most
    if not fits:
        raise forms.flawed(name, f"a whole number from 0 to {most}.", labels)


def _models(typed: Typed) -> Mapping[str, str]:
    return {role: typed[role].strip() for role in MODELS if typed.get(role, "").strip()}


def _as_typed(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)
