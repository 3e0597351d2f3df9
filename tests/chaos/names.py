"""The failpoints there are, read from the source, and which service passes each of them."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVICES = ("worker", "webhooks", "api")
# All three services pass through these.
SHARED = ("shared/workflow/*.py", "shared/queue.py")
CONSOLE = "api/console"


def points() -> dict[str, list[str]]:
    """By service, in a fixed order; a shared point is in all of them."""
    everywhere = {name for pattern in SHARED for path in ROOT.glob(pattern) for name in in_file(path)}
    found: dict[str, list[str]] = {}
    for service in SERVICES:
        own = {name for path in (ROOT / "services" / service).rglob("*.py") for name in in_file(path)}
        of_verbs = [name for verb in verbs(service) for name in around(verb)]
        found[service] = [*of_verbs, *sorted(own | everywhere)]
    return found


def all_points() -> list[str]:
    """Each once."""
    return list(dict.fromkeys(name for names in points().values() for name in names))


def around(verb: str) -> tuple[str, str, str]:
    """The points of `Workflow.run`."""
    return f"before_{verb}", f"{verb}_committed", f"{verb}_rung"


def verbs(service: str) -> list[str]:
    """What this service gives to `Workflow.run`, by the names that stand there; `verb` is somebody's parameter."""
    found = {
        name
        for path in (ROOT / "services" / service).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and (name := _verb_of(node))
    }
    return sorted(found - {"verb"})


def _verb_of(call: ast.Call) -> str | None:
    match call:
        case ast.Call(func=ast.Attribute(attr="run", value=flow), args=[_, verb, *_]) if _is_flow(flow):
            pass
        case ast.Call(func=ast.Attribute(attr="_note"), args=[ast.Attribute() as verb, *_]):
            pass
        case _:
            return None
    match verb:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return None


def _is_flow(node: ast.expr) -> bool:
    return ast.unparse(node).split(".")[-1].lstrip("_") == "flow"


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


# Points that not even the long storm reaches, each with the reason; one that it does reach must go from here.
OUT_OF_REACH: dict[str, str] = (
    {
        name: "people of the storm ask the API alone; a form of the console runs the same verbs, without a second key"
        for verb in verbs(CONSOLE)
        for name in around(verb)
    }
    | dict.fromkeys(
        around("note_unkilled"),
        "every process of the storm dies when it is killed; one that does not needs a broken kernel",
    )
    | {"notice_sent": "in the storm nobody outside wants to be told of anything"}
)
