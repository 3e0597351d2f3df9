"""Every await between accept and finish has a point to die at before or after it, and the storm knows them all."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.settings import VARIABLES
from tests.chaos.names import ROOT, decorated, in_file, points, verbs

ROOMS = ("services/worker", "shared/workflow")
# From the claim to the release, and what rings and heals.
CHECKED = [
    *(ROOT / "services/worker" / f"{name}.py" for name in ("work", "lease", "reconcile")),
    *sorted((ROOT / "services/worker/jobs").glob("*.py")),
    ROOT / "shared/workflow/door.py",
]
# They wait or look and change nothing: to die there is to die before or after them. `limit` and `line` are such in a
# variable, `write` is a verb in one.
HARMLESS = {"aclosing", "gather", "kept", "limit", "line", "listen", "read", "sleep", "timeout", "wait"}
CLOSE = 3
Waiting = ast.Await | ast.AsyncWith | ast.AsyncFor


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def functions(paths: list[Path], *, pointed: bool) -> set[str]:
    return {
        node.name
        for path in paths
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.AsyncFunctionDef) and (decorated(node) or not pointed)
    }


POINTED = functions([path for room in ROOMS for path in (ROOT / room).rglob("*.py")], pointed=True)
INSIDE = functions(CHECKED, pointed=False)


def waited_for(node: Waiting) -> Iterator[str]:
    """The names of what is called, `JOBS` for a job by its kind."""
    match node:
        case ast.Await(value=value):
            values = [value]
        case ast.AsyncFor(iter=value):
            values = [value]
        case ast.AsyncWith(items=items):
            values = [item.context_expr for item in items]
    for value in values:
        match value:
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)):
                yield name
            case ast.Call(func=ast.Subscript(value=ast.Name(id=name))):
                yield name
            case ast.Name(id=name):
                yield name
            case _:
                yield ast.unparse(value)


@pytest.mark.parametrize("path", CHECKED, ids=lambda path: path.stem)
def test_every_await_has_a_point_close_to_it(path: Path) -> None:
    tree = parsed(path)
    marks = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "fp"
    ]
    bare = [
        f"{path.name}:{node.lineno} {name}"
        for node in ast.walk(tree)
        if isinstance(node, Waiting)
        for name in waited_for(node)
        if name not in POINTED | INSIDE | HARMLESS | {"JOBS"}
        and ast.unparse(node) != "await write()"
        and not any(
            -CLOSE <= mark - (node.end_lineno if isinstance(node, ast.Await) else node.lineno) <= CLOSE
            for mark in marks
        )
    ]
    assert not bare


def test_the_verbs_of_all_three_services_are_found() -> None:
    assert {"beat", "claim_job", "mend_times", "note_attempt", "note_branch", "note_commit", "release"} <= set(
        verbs("worker")
    )
    assert (verbs("webhooks"), verbs("api")) == (["receive_delivery"], ["once"])


def test_the_storm_knows_every_point_and_the_setting_accepts_it() -> None:
    known = {name for names in points().values() for name in names}
    written = {
        name for room in ("services", "shared") for path in (ROOT / room).rglob("*.py") for name in in_file(path)
    }
    assert written <= known
    assert all(VARIABLES["failpoint"].name and name.replace("_", "").isalnum() for name in known)
