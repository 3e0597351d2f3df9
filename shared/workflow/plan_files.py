"""The texts that a plan puts on the branch, and the hash that freezes it: pure."""

import hashlib
from collections.abc import Sequence

from shared.schemas.names import slug
from shared.schemas.records import Plan, Protocol
from shared.schemas.statuses import StepType

FOLDER = ".protocols"
SLUG_LENGTH = 48


class Line:
    """What plan.md says of one step."""

    __slots__ = ("depends_on", "file_name", "index", "instructions", "name", "type")

    def __init__(
        self, index: int, name: str, step_type: StepType, instructions: str, depends_on: Sequence[int]
    ) -> None:
        self.index = index
        self.name = name
        self.type = step_type
        self.instructions = instructions
        self.depends_on = tuple(depends_on)
        self.file_name = file_name(index, name)


def file_name(index: int, name: str) -> str:
    """The step's file below the protocol's folder; named by us, whatever the title holds."""
    return f"{index:02d}-{slug(name, SLUG_LENGTH)}.md"


def compose(
    protocol: Protocol,
    *,
    revision: int,
    summary: str,
    plan_md: str,
    context_md: str,
    lines: Sequence[Line],
    now: int,
) -> Plan:
    """One revision of the plan with all its files; `sha256` is the hash of plan.md, the contract."""
    contract = _contract(protocol, summary, plan_md, lines)
    files = {"plan.md": contract, "context.md": _ended(context_md), "00-setup.md": _setup(protocol)}
    files |= {line.file_name: _step(line) for line in lines}
    return Plan(
        protocol_id=protocol.id,
        revision=revision,
        summary=summary,
        plan_md=plan_md,
        context_md=context_md,
        files=files,
        sha256=hashlib.sha256(contract.encode()).hexdigest(),
        created_at=now,
    )


def _ended(text: str) -> str:
    return text.strip() + "\n"


def _contract(protocol: Protocol, summary: str, plan_md: str, lines: Sequence[Line]) -> str:
    table = ["| # | step | type | after |", "|---|---|---|---|"]
    for line in sorted(lines, key=lambda each: each.index):
        name = " ".join(line.name.split()).replace("|", "\\|")
        after = ", ".join(str(index) for index in line.depends_on) or "-"
        table.append(f"| {line.index:02d} | [{name}]({line.file_name}) | {line.type} | {after} |")
    parts = [f"# {protocol.protocol_name}", summary.strip(), plan_md.strip(), "## Steps", "\n".join(table)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _setup(protocol: Protocol) -> str:
    return (
        f"# 00 Setup\n\nBranch `{protocol.branch}` grows from `{protocol.base_branch}`. DeksdenFlow made the branch and"
        " these files, checks what each step changed, commits and pushes.\n\n"
        "`plan.md` is the contract: it changes only by a new revision. `context.md` holds what a step needs to know."
        " `log.md` gets one entry for each accepted execution.\n"
    )


def _step(line: Line) -> str:
    name = " ".join(line.name.split())
    return f"# {line.index:02d} {name}\n\n{line.instructions.strip()}\n"
