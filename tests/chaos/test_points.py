"""Every await between accept and finish has a point to die at before or after it, and the storm knows them all."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.settings import VARIABLES
from tests.chaos.names import CONSOLE, OUT_OF_REACH, ROOT, all_points, decorated, in_file, points, verbs

ROOMS = ("services/worker", "shared/workflow")
# From the request to its answer, from the claim to the release, and what rings and heals.
CHECKED = [
    *(ROOT / "services/worker" / f"{name}.py" for name in ("work", "lease", "reconcile")),
    *sorted((ROOT / "services/worker/jobs").glob("*.py")),
    *(ROOT / "services/api" / f"{name}.py" for name in ("auth", "desk")),
    *sorted((ROOT / "services/api/routes").glob("*.py")),
    ROOT / "services/webhooks/routes.py",
    ROOT / "shared/workflow/door.py",
    ROOT / "shared/queue.py",
]
# They wait, look or hang up and change nothing: to die there is to die before or after them. `app`, `call`, `limit`,
# `line` and `news` are such in a variable, `write` is a verb in one.
HARMLESS = {
    "aclose",
    "aclosing",
    "app",
    "call",
    "follow",
    "gather",
    "get_message",
    "kept",
    "limit",
    "line",
    "listen",
    "news",
    "ping",
    "pipeline",
    "probe",
    "read",
    "read_part",
    "sleep",
    "subscribe",
    "timeout",
    "wait",
}
# Redis, whose words are no functions of ours of the same name.
FOREIGN = {"_redis", "pipe"}
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
    """The names of what is called, `JOBS` for a job by its kind, and what a thread is given to do."""
    match node:
        case ast.Await(value=value):
            values = [value]
        case ast.AsyncFor(iter=value):
            values = [value]
        case ast.AsyncWith(items=items):
            values = [item.context_expr for item in items]
    for value in values:
        match value:
            case ast.Call(func=ast.Attribute(attr="to_thread"), args=[ast.Name(id=name), *_]):
                yield name
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=name)) if (
                owner in FOREIGN and name not in HARMLESS
            ):
                yield f"{owner}.{name}"
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
    forms = set(verbs(CONSOLE))
    assert (verbs("webhooks"), set(verbs("api")) - forms) == (["receive_delivery"], {"dropped", "once"})


def test_each_service_dies_on_its_whole_way_from_accept_to_finish() -> None:
    """The words are the path: read, proven, in the transaction, committed, rung."""
    known = points()
    rung = {"bell_in_hand", "bell_sounded", "word_said", "ring_unheard"}
    assert {"request_read", "token_touched", "before_once", "once_committed", "once_rung"} | rung <= set(known["api"])
    stored = {"before_receive_delivery", "receive_delivery_committed", "receive_delivery_rung"}
    assert {"delivery_read", "delivery_proven"} | stored | rung <= set(known["webhooks"])
    assert {"before_claim_job", "release_rung"} | rung <= set(known["worker"])


def test_the_storm_knows_every_point_and_the_setting_accepts_it() -> None:
    known = set(all_points())
    written = {
        name for room in ("services", "shared") for path in (ROOT / room).rglob("*.py") for name in in_file(path)
    }
    assert written <= known
    assert all(VARIABLES["failpoint"].name and name.replace("_", "").isalnum() for name in known)


def test_what_is_out_of_reach_is_a_point_and_says_why() -> None:
    assert OUT_OF_REACH.keys() <= set(all_points())
    assert all(len(reason.split()) > 4 for reason in OUT_OF_REACH.values())
