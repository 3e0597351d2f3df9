"""The prompts: Markdown templates beside this file, and their rendering, which touches nothing but them.

Everything that comes from a person, a repository or a forge stands in a block whose opening and closing lines carry a
marker. The marker is made anew for every prompt, so no text can close its own block and go on as an instruction.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import jinja2
import msgspec

from services.worker.answers import MAX_STEPS

_SHORTEST_MARKER = 12

# Part of the contract with the scripted model server, which finds its turn by this line.
_REQUEST_LINE = "DeksdenFlow request: "


class Prompt(msgspec.Struct, frozen=True):
    """A prompt as it is sent; `version` is the SHA-256 of the template that it was made from."""

    text: str
    version: str


class Feedback(msgspec.Struct, frozen=True):
    """Why a step is done again: `source` is one word of ours for who speaks (`ci`, `qa`, `reviewer`, …)."""

    source: str
    text: str


class PlanFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan is made from; `feedback` is what was said of an earlier plan."""

    task: str
    protocol_name: str
    branch: str
    base_branch: str
    checks: tuple[str, ...] = ()
    feedback: tuple[Feedback, ...] = ()


class ExecuteFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a step is executed from.

    `checks` are the commands that must pass, `feedback` what a repair answers to, `resumed` whether the same thread
    was cut off earlier.
    """

    step_index: int
    step_name: str
    step_type: str
    instructions: str
    plan_md: str
    context_md: str
    checks: tuple[str, ...] = ()
    feedback: tuple[Feedback, ...] = ()
    resumed: bool = False


class QaFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a step is judged by; `diff_cut` says that only the beginning of the diff is given."""

    step_index: int
    step_name: str
    instructions: str
    plan_md: str
    start_sha: str
    head_sha: str
    diff: str
    diff_cut: bool = False
    report: str = ""
    checks: tuple[str, ...] = ()
    feedback: tuple[Feedback, ...] = ()


def plan_prompt(facts: PlanFacts, marker: str) -> Prompt:
    """Ask for a plan."""
    return _render("plan.md", "plan", facts, marker, max_steps=MAX_STEPS)


def execute_prompt(facts: ExecuteFacts, marker: str) -> Prompt:
    """Ask for a step to be carried out."""
    return _render("execute.md", f"execute step {facts.step_index:02d}", facts, marker)


def qa_prompt(facts: QaFacts, marker: str) -> Prompt:
    """Ask for a judgement."""
    return _render("qa.md", f"qa step {facts.step_index:02d}", facts, marker)


def bad_answer_prompt(asked: str, complaint: str, marker: str) -> Prompt:
    """Ask once more in the same thread; `asked` is the prompt that was answered badly, whose request it repeats."""
    return _render("bad-answer.md", request_of(asked), _Complaint(complaint=complaint), marker)


def request_of(prompt: str) -> str:
    """Return what a prompt of ours asks for, as in `execute step 01`."""
    for line in prompt.splitlines():
        if line.startswith(_REQUEST_LINE):
            return line.removeprefix(_REQUEST_LINE)
    raise ValueError("This is no prompt of ours: it has no request line.")


def version_of(template: str) -> str:
    """Return the SHA-256 of a template, the rules that it includes among it."""
    digest = hashlib.sha256()
    for name in (template, "rules.md"):
        digest.update(_source(name).encode() + b"\0")
    return digest.hexdigest()


class _Complaint(msgspec.Struct, frozen=True):
    complaint: str


def _source(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


# Markdown for a model is no HTML, so nothing is escaped; the blocks keep data apart from instructions.
_TEMPLATES = jinja2.Environment(
    loader=jinja2.FunctionLoader(_source),
    undefined=jinja2.StrictUndefined,
    autoescape=False,  # noqa: S701  as above
    keep_trailing_newline=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _block(marker: str) -> Callable[[str, str], str]:
    def block(name: str, text: str) -> str:
        return f"<<<{name} {marker}\n{text.rstrip()}\n{marker} {name}>>>"

    return block


def _render(template: str, request: str, facts: msgspec.Struct, marker: str, **more: object) -> Prompt:
    given = msgspec.structs.asdict(facts)
    if len(marker) < _SHORTEST_MARKER or not marker.isalnum():
        raise ValueError(f"The marker must be {_SHORTEST_MARKER} or more letters and digits.")
    if marker in str(given):
        raise ValueError("The marker occurs in the data; make another one.")

    request_line = f"{_REQUEST_LINE}{request}"
    text = _TEMPLATES.get_template(template).render(
        **given, **more, block=_block(marker), marker=marker, request_line=request_line
    )
    return Prompt(text=text, version=version_of(template))
