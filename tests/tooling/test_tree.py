"""What the linters do not see: who may start a process, how long a module may be, and what no file may contain."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRODUCT = ("services", "shared", "bench", "scripts")

# Lines that hold something: the blank ones between many small structs make no room larger.
MODULE_LINES = 300
FUNCTION_LINES = 66  # about 60

STARTS_PROCESSES = {
    "asyncio.create_subprocess_exec",
    "asyncio.create_subprocess_shell",
    "asyncio.subprocess",
    "multiprocessing",
    "os.execv",
    "os.execve",
    "os.execvp",
    "os.execvpe",
    "os.fork",
    "os.popen",
    "os.posix_spawn",
    "os.system",
    "pty",
    "subprocess",
}
MAY_START_PROCESSES = (
    "services/worker/codex/",  # the agent and its supervisor
    "services/worker/git/",  # git
    "services/local/",  # the demo: the sample's own tests, git on the sample
    "services/cli/",  # runs the services
    "bench/",  # measures real processes
    "scripts/",
)


CALLS_OUT = {"aiohttp", "http.client", "httpx", "requests", "socket", "urllib.request", "urllib3"}
MAY_CALL_OUT = (
    "services/worker/forge/",  # GitHub and GitLab
    "services/worker/work.py",  # the name of this host
    "services/worker/post.py",  # those who want to be told
    "services/api/webhook_test.py",  # one's own webhook service, by its public URL
    "services/api/neighbours.py",  # how worker and webhook service are, on this host alone
    "services/cli/",  # asks the server
    "services/local/",  # the demo asks its own API; the scripted model server resets connections
    "shared/web/server.py",  # listens
    "bench/",  # asks what it measures
    "scripts/",
)


def sources(*rooms: str) -> Iterator[Path]:
    for room in rooms:
        yield from sorted(path for path in (ROOT / room).rglob("*.py") if not is_data(path))


def is_data(path: Path) -> bool:
    """The sample repositories have their own ways, and a bug."""
    samples = ROOT / "services/local/samples"
    return path.is_relative_to(samples) and path.parent != samples


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def place(path: Path, line: int = 1) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


@cache
def tracked_files() -> list[Path]:
    """Every file that a clone of the repository has, the new ones of this working tree included."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [path for name in listing.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def names_used(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Dotted names as they are imported or spelled, with their lines."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((alias.name, node.lineno) for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield module, node.lineno
                yield from ((f"{module}.{alias.name}", node.lineno) for alias in names)
            case ast.Attribute(value=ast.Name(id=owner), attr=attr):
                yield f"{owner}.{attr}", node.lineno
            case _:
                pass


def test_processes_are_started_by_the_codex_and_git_doors_and_the_local_programs_only() -> None:
    found = [
        f"{place(path, line)} {name}"
        for path in sources(*PRODUCT)
        if not str(path.relative_to(ROOT)).startswith(MAY_START_PROCESSES)
        for name, line in names_used(parsed(path))
        if name in STARTS_PROCESSES
    ]
    assert not found, "\n".join(found)


def test_the_forge_door_alone_calls_anybody_outside() -> None:
    found = [
        f"{place(path, line)} {name}"
        for path in sources(*PRODUCT)
        if not str(path.relative_to(ROOT)).startswith(MAY_CALL_OUT)
        for name, line in names_used(parsed(path))
        if name in CALLS_OUT
    ]
    assert not found, "\n".join(found)


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def strings(node: ast.AST) -> Iterator[tuple[str, int]]:
    for inner in ast.walk(node):
        match inner:
            case ast.Constant(value=str(text), lineno=line):
                yield text, line
            case _:
                pass


def test_sql_is_written_in_the_repository_room_only() -> None:
    sql = re.compile(r"^\s*(SELECT\s.+\sFROM|INSERT (OR \w+ )?INTO|UPDATE \w+ SET|DELETE FROM)\s", re.DOTALL)
    found = [
        f"{place(path, line)} {text.strip()[:60]}"
        for path in sources("services", "shared")
        if not path.is_relative_to(ROOT / "shared/repository")
        for text, line in strings(parsed(path))
        if sql.match(text)
    ]
    assert not found, "\n".join(found)


def test_a_status_is_written_by_the_workflow_only() -> None:
    writes_status = re.compile(r"(INSERT INTO|UPDATE) (protocol_runs|step_runs)\b")
    writers = {
        f"{path.stem}.{function.name}"
        for path in sources("shared/repository")
        for function in functions(parsed(path))
        if any(writes_status.search(text) for text, _ in strings(function))
    }
    assert {name.partition(".")[0] for name in writers} == {"protocols", "steps"}
    found = [
        f"{place(path, line)} {name}"
        for path in sources("services", "shared")
        if not path.is_relative_to(ROOT / "shared/workflow")
        for name, line in names_used(parsed(path))
        if name.removeprefix("shared.repository.") in writers
    ]
    assert not found, "\n".join(found)


def test_the_environment_is_read_by_the_programs_mains_only() -> None:
    mains = ("shared/runtime.py", "services/local/", "services/worker/codex/supervisor.py")
    found = [
        f"{place(path, line)} {name}"
        for path in sources("services", "shared")
        if 'if __name__ == "__main__":' not in path.read_text()
        if not str(path.relative_to(ROOT)).startswith(mains)
        for name, line in names_used(parsed(path))
        if name in {"os.environ", "os.getenv"}
    ]
    assert not found, "\n".join(found)


def test_every_module_says_what_it_is_the_place_for() -> None:
    found = [
        place(path)
        for path in sources(*PRODUCT, "tests")
        if path.read_text().strip() and not ast.get_docstring(parsed(path))
    ]
    assert not found, "\n".join(found)


def filled(lines: list[str]) -> int:
    return sum(1 for line in lines if line.strip())


def test_no_module_is_over_its_length() -> None:
    found = [
        f"{place(path)} has {count} lines"
        for path in sources(*PRODUCT)
        if (count := filled(path.read_text().splitlines())) > MODULE_LINES
    ]
    assert not found, "\n".join(found)


def test_no_function_is_over_its_length() -> None:
    found = [
        f"{place(path, node.lineno)} {node.name} has {count} lines"
        for path in sources(*PRODUCT)
        for node in functions(parsed(path))
        if (count := filled(path.read_text().splitlines()[node.lineno - 1 : node.end_lineno])) > FUNCTION_LINES
    ]
    assert not found, "\n".join(found)


def test_no_test_replaces_a_part_of_our_own_code() -> None:
    mocks = {"unittest.mock", "mock", "pytest_mock"}
    found = [
        f"{place(path, line)} {name}"
        for path in sources("tests")
        for name, line in names_used(parsed(path))
        if name in mocks or name == "monkeypatch.setattr"
    ]
    assert not found, "\n".join(found)


def test_every_module_stands_in_a_layer() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    rooms = {room for layer in layers for room in re.findall(r"[a-z_]+(?:\.[a-z_]+)+", layer)}
    tops = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts[:2])
        for path in sources("services", "shared")
        if path.relative_to(ROOT).parts[1] != "__init__.py"
    }
    assert tops <= rooms, f"not in a layer: {sorted(tops - rooms)}"


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    places = re.compile(r"(?<![\w./-])/(?:root|work|Users|home/(?!deksdenflow\b|git\b|user\b)\w+)/\w")
    found = [
        f"{place(path, number)} {line.strip()[:100]}"
        for path in tracked_files()
        if path.suffix not in {".png", ".lock", ".jsonl"} and path != Path(__file__)
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if places.search(line)
    ]
    assert not found, "\n".join(found)
