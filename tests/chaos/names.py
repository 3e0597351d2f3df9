"""The failpoints there are, read from the source, and which service passes each of them."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("services/worker", "services/webhooks", "services/api", "shared/workflow")
# What `Workflow.run` is given: these three points each.
VERBS = {
    "worker": ("claim_job", "beat", "note_attempt", "note_commit", "note_branch", "release", "mend_times"),
    "webhooks": ("receive_delivery",),
    "api": ("once",),
}


def points() -> dict[str, list[str]]:
    """By service, in a fixed order."""
    named = sorted({name for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")) for name in in_file(path)})
    return {
        kind: [*(f(verb) for verb in verbs for f in (_before, _committed, _rung)), *(named if kind == "worker" else ())]
        for kind, verbs in VERBS.items()
    }


def in_file(path: Path) -> Iterator[str]:
    """The literal names, and two for each function that `points` decorates."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(func=ast.Name(id="fp"), args=[ast.Constant(value=str(name))]):
                yield name
            case ast.AsyncFunctionDef(name=name) if decorated(node):
                yield from (f"before_{name}", f"after_{name}")
            case _:
                pass


def decorated(node: ast.AsyncFunctionDef) -> bool:
    return any(isinstance(each, ast.Name) and each.id == "points" for each in node.decorator_list)


def _before(verb: str) -> str:
    return f"before_{verb}"


def _committed(verb: str) -> str:
    return f"{verb}_committed"


def _rung(verb: str) -> str:
    return f"{verb}_rung"
