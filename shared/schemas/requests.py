"""The bodies of requests: what may be asked for, with its bounds. Unknown fields are refused."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.schemas.statuses import Provider, StepType

# `$` alone would let a line break at the end pass.
END = r"$(?!\n)"

Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=100,
        pattern=r"^[^\x00-\x1f\x7f]+" + END,
        description="A name for people, unique among its kind.",
        examples=["shop"],
    ),
]
GitUrl = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=2000,
        description="An https or ssh address of the repository, or a local path where that is allowed.",
        examples=["https://github.com/acme/shop.git"],
    ),
]
Branch = Annotated[str, Meta(min_length=1, max_length=200, description="A branch.", examples=["main"])]
Model = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}" + END, description="The name of a model.", examples=["gpt-5.5"]),
]
Forge = Annotated[Literal["github", "gitlab"], Meta(description="Where the repository lives.")]
Scheme = Literal["hmac", "token", "signing"]
Text = Annotated[str, Meta(max_length=50_000)]
SaidText = Annotated[str, Meta(min_length=1, max_length=50_000, pattern=r"\S")]
Sentence = Annotated[str, Meta(min_length=1, max_length=2000, pattern=r"\S")]


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all request bodies."""


class Nothing(Body, frozen=True):
    """An action that takes no fields; the body may be left out or empty."""


class Models(Body, frozen=True):
    """The models of a project; what is left out comes from the settings."""

    planning: Model | None = None
    exec: Model | None = None
    qa: Model | None = None

    def chosen(self) -> dict[str, str]:
        """Those that were named, by `planning`, `exec` and `qa`."""
        named = {"planning": self.planning, "exec": self.exec, "qa": self.qa}
        return {role: model for role, model in named.items() if model is not None}


class PolicyChanges(Body, frozen=True):
    """Rules to lay over the present policy; what is left out stays as it is."""

    progression: (
        Annotated[
            str,
            Meta(
                pattern=r"^(manual|auto|auto_until:[0-9]{1,3})" + END,
                description="Whether the next step starts by itself: manual, auto or auto_until:<step>.",
                examples=["auto"],
            ),
        ]
        | UnsetType
    ) = UNSET
    plan_approval: Annotated[bool, Meta(description="A person must approve the plan.")] | UnsetType = UNSET
    judged_by: (
        Annotated[
            Literal["qa_or_approval", "qa", "approval", "qa_and_approval"], Meta(description="Who completes a step.")
        ]
        | UnsetType
    ) = UNSET
    required_contexts: (
        Annotated[
            tuple[Annotated[str, Meta(max_length=200)], ...],
            Meta(max_length=50, description="The CI contexts that must be green.", examples=[["ci/test"]]),
        ]
        | UnsetType
    ) = UNSET
    auto_fix: (
        Annotated[int, Meta(ge=0, le=10, description="Automatic repairs of a step after a red gate.")] | UnsetType
    ) = UNSET
    completion: Annotated[Literal["steps", "merge"], Meta(description="What completes the protocol.")] | UnsetType = (
        UNSET
    )
    open_pr: (
        Annotated[
            Literal["planned", "steps_done", "asked"],
            Meta(description="When the PR or MR is opened: with the plan, when all steps are done, or when asked."),
        ]
        | UnsetType
    ) = UNSET
    allow_no_changes: Annotated[bool, Meta(description="A step may change nothing.")] | UnsetType = UNSET
    auto_qa_after_exec: (
        Annotated[bool | None, Meta(description="QA right after an execution; null takes the setting.")] | UnsetType
    ) = UNSET
    auto_qa_on_ci: (
        Annotated[bool | None, Meta(description="QA when CI turns green; null takes the setting.")] | UnsetType
    ) = UNSET
    ci_completes_step: (
        Annotated[bool | None, Meta(description="Green CI alone completes a step; null takes the setting.")] | UnsetType
    ) = UNSET
    ci_settle_s: (
        Annotated[int, Meta(ge=0, le=3600, description="How long a red CI may still change its mind.")] | UnsetType
    ) = UNSET

    def changes(self) -> dict[str, Any]:
        """What was named, by the policy's field names."""
        return set_fields(self)


class CreateProject(Body, frozen=True):
    """Register a repository."""

    name: Name
    git_url: GitUrl
    base_branch: Branch = "main"
    ci_provider: Annotated[Forge | None, Meta(description="Null where it is neither of these.")] = None
    default_models: Models = Models()
    policy: PolicyChanges = PolicyChanges()


class ChangeProject(Body, frozen=True):
    """Change a project; what is left out stays as it is."""

    name: Name | UnsetType = UNSET
    git_url: GitUrl | UnsetType = UNSET
    base_branch: Branch | UnsetType = UNSET
    ci_provider: Forge | UnsetType | None = UNSET
    default_models: Annotated[Models, Meta(description="Replaces all of them.")] | UnsetType = UNSET
    policy: PolicyChanges | UnsetType = UNSET


class CreateToken(Body, frozen=True):
    """Make an access token of a project."""

    name: Name
    expires_at: Annotated[datetime, Meta(tz=True, description="Its end; null for none.")] | None = None


class PutSecret(Body, frozen=True):
    """Store a secret of a project: its value, which is sealed, or the file that holds it."""

    value: Annotated[str, Meta(min_length=1, max_length=20_000, description="The secret itself.")] | None = None
    file_name: (
        Annotated[
            str,
            Meta(
                pattern=r"^/[^\x00]{1,999}" + END,
                description="An absolute path on the machine of the worker, read whenever the secret is used.",
                examples=["/run/secrets/forge_token"],
            ),
        ]
        | None
    ) = None


class CreateHook(Body, frozen=True):
    """Make an address for the webhooks of a forge or the reports of CI jobs, with a secret of its own."""

    provider: Provider
    scheme: Annotated[
        Scheme | None,
        Meta(
            description="How deliveries prove themselves. GitHub and CI jobs: hmac. GitLab: signing (19.0 and newer) or"
            " token (the default there)."
        ),
    ] = None


class RotateHook(Body, frozen=True):
    """Give a hook a new secret."""

    scheme: Annotated[Scheme | None, Meta(description="Default: that of the present secret.")] = None
    previous_valid_until: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        Meta(
            description="When the present secret ends: at most 30 days ahead, at once where it lies in the past;"
            " default: in 24 hours."
        ),
    ] = None


class ProbeHook(Body, frozen=True):
    """Choose the hook to test."""

    hook_id: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Default: the project's newest.")] = None


class OpenProtocol(Body, frozen=True):
    """Open a protocol run: one task on one branch."""

    description: Annotated[Text, Meta(description="The task, in any words.", examples=["Add a dark theme."])] = ""
    protocol_name: Annotated[
        Annotated[str, Meta(pattern=r"^[0-9]{4}-[a-z0-9-]{1,60}" + END, examples=["0001-dark-theme"])] | None,
        Meta(description="Number and slug, also the branch; left out, the next number and the task's words are taken."),
    ] = None
    base_branch: Annotated[Branch | None, Meta(description="Default: the project's.")] = None
    model: Annotated[Model | None, Meta(description="For all of its work; default: the project's.")] = None
    policy: PolicyChanges = PolicyChanges()


class StartProtocol(Body, frozen=True):
    """Start a protocol run."""

    plan: Annotated[bool, Meta(description="False takes the steps that were added by hand as the plan.")] = True


class PauseProtocol(Body, frozen=True):
    """Pause a protocol run."""

    mode: Annotated[
        Literal["drain", "interrupt"],
        Meta(description="drain: what runs may finish. interrupt: it is stopped and resumed later."),
    ] = "drain"


class StopLine(Body, frozen=True):
    """Stop the line: no job of any project starts."""

    interrupt: Annotated[
        bool, Meta(description="Park the agents that run, to go on later; else what runs may finish.")
    ] = False


class Feedback(Body, frozen=True):
    """Say what is to be done differently."""

    feedback: Annotated[SaidText, Meta(examples=["Keep the old name as an alias."])]


class Because(Body, frozen=True):
    """Say why."""

    reason: Annotated[Sentence, Meta(examples=["Not needed any more."])]


class AdoptBranch(Body, frozen=True):
    """Go on from the commit that somebody else put on the branch."""

    sha: Annotated[
        str,
        Meta(pattern=r"^[0-9a-f]{40}" + END, description="The commit that was looked at.", examples=["5" * 40]),
    ]


class TriggerCi(Body, frozen=True):
    """Ask the forge for a CI run of the branch."""

    workflow: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}" + END, examples=["ci.yml"])] | None,
        Meta(description="GitHub: the workflow's file name or id, needed. GitLab has none: it runs the pipeline."),
    ] = None
    inputs: Annotated[
        dict[
            Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,99}" + END)],
            Annotated[str, Meta(max_length=2000)],
        ],
        Meta(max_length=25, description="GitHub: inputs of the workflow. GitLab: variables of the pipeline."),
    ] = {}


class AddStep(Body, frozen=True):
    """Add a step to an open protocol run."""

    step_name: Annotated[
        str, Meta(min_length=1, max_length=200, pattern=r"\S", description="Its title.", examples=["Add a test"])
    ]
    step_index: Annotated[
        Annotated[int, Meta(ge=0, le=999)] | None, Meta(description="Its place; default: after the last one.")
    ] = None
    step_type: StepType = StepType.WORK
    model: Model | None = None
    instructions: Annotated[Text, Meta(description="What to do, in Markdown.")] = ""
    depends_on: Annotated[
        tuple[Annotated[int, Meta(ge=0, le=999)], ...],
        Meta(max_length=100, description="The indices of the steps that must be done before."),
    ] = ()


class ApproveStep(Body, frozen=True):
    """Approve what a step has done."""

    sha: Annotated[
        Annotated[str, Meta(pattern=r"^[0-9a-f]{40}" + END)] | None,
        Meta(description="The commit that was looked at; refused when the step has moved on since."),
    ] = None
    reason: Annotated[
        Sentence | None, Meta(description="Completes the step even with open or failed gates; recorded.")
    ] = None


class RetryStep(Body, frozen=True):
    """Run a failed or rejected step again."""

    model: Annotated[Model | None, Meta(description="Another model than before.")] = None
    feedback: Annotated[SaidText | None, Meta(description="What is to be done differently.")] = None
    fresh: Annotated[bool, Meta(description="Start a new conversation instead of going on with the old one.")] = False


def set_fields(body: msgspec.Struct) -> dict[str, Any]:
    """The fields of a body of changes that were named, by name."""
    values = {name: getattr(body, name) for name in body.__struct_fields__}
    return {name: value for name, value in values.items() if value is not UNSET}


EXAMPLES: dict[type[Body], Body] = {
    Nothing: Nothing(),
    CreateProject: CreateProject(
        name="shop",
        git_url="https://github.com/acme/shop.git",
        ci_provider="github",
        default_models=Models(planning="gpt-5.5"),
        policy=PolicyChanges(progression="auto"),
    ),
    ChangeProject: ChangeProject(policy=PolicyChanges(auto_fix=2, required_contexts=("ci/test",))),
    CreateToken: CreateToken(name="nightly"),
    PutSecret: PutSecret(file_name="/run/secrets/forge_token"),
    CreateHook: CreateHook(provider=Provider.GITHUB),
    RotateHook: RotateHook(scheme="signing"),
    ProbeHook: ProbeHook(),
    OpenProtocol: OpenProtocol(description="Add a dark theme.", policy=PolicyChanges(progression="auto")),
    StartProtocol: StartProtocol(),
    PauseProtocol: PauseProtocol(mode="interrupt"),
    StopLine: StopLine(interrupt=True),
    Feedback: Feedback(feedback="Keep the old name as an alias."),
    Because: Because(reason="Not needed any more."),
    AdoptBranch: AdoptBranch(sha="5" * 40),
    TriggerCi: TriggerCi(workflow="ci.yml", inputs={"suite": "long"}),
    AddStep: AddStep(step_name="Add a test", instructions="Cover the empty cart.", depends_on=(1,)),
    ApproveStep: ApproveStep(reason="Looked at it myself."),
    RetryStep: RetryStep(feedback="Use the standard library.", fresh=True),
}
