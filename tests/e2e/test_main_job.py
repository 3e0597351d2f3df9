"""The main job on repositories that nobody made for it: a real package, and one with everything that is unusual."""

import hashlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.house import House, addition, answered, done, open_house, plan, verdict
from tests.e2e.repositories import changed_in, content_of, git, make_origin, names_in

THREAD = re.compile(r"[0-9a-f-]{36}")


def passed(*indices: int) -> list[dict[str, Any]]:
    """QA that looks and passes each of these steps."""
    return [answered(f"qa step {index:02d}", verdict(), {"command": "git show --stat | cat"}) for index in indices]


async def check_commits(house: House, origin: Path, run: dict[str, Any]) -> None:
    """One commit for the plan and one for each step, in order, with trailers that the API agrees with."""
    steps = await house.steps(run["id"])
    listed = git(origin, "log", "--reverse", "--format=%H", f"main..{run['branch']}").split()
    assert listed[1:] == [step["head_sha"] for step in steps]
    assert listed[-1] == run["head_sha"] == run["pushed_sha"]
    for step in steps:
        text = git(origin, "log", "-1", "--format=%(trailers:only,unfold)", step["head_sha"])
        trailers = dict(line.split(": ") for line in text.splitlines() if line)
        assert trailers["Deksdenflow-Run"] == str(run["id"])
        assert trailers["Deksdenflow-Step"] == str(step["id"])
        attempts = await house.get(f"/steps/{step['id']}/attempts")
        assert trailers["Deksdenflow-Attempt"] in {str(each["id"]) for each in attempts}
        assert THREAD.fullmatch(trailers["Codex-Thread"])


async def check_statuses(house: House, run: dict[str, Any]) -> None:
    """Every change of a status begins where the one before ended."""
    last = {"protocol": "pending"}
    for event in await house.events(run["id"]):
        if event["to_status"] is not None:
            name = event["entity"] + str(event["step_run_id"] or "")
            assert event["from_status"] == last.get(name, "pending"), event
            last[name] = event["to_status"]
    assert last.pop("protocol") == "completed"
    assert set(last.values()) == {"completed"}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The source of an installed package, as an origin: h11, which this project itself runs on."""
    found = importlib.util.find_spec("h11")
    assert found is not None
    assert found.origin is not None
    source = Path(found.origin).parent
    files = {f"src/h11/{path.name}": path.read_bytes() for path in sorted(source.glob("*.py"))}
    return make_origin(tmp_path / "h11.git", files | {"README.md": b"# h11\n", ".gitignore": b"__pycache__/\n"})


CLASS_OF_A_STATUS = [
    "*** Begin Patch",
    "*** Update File: src/h11/_util.py",
    "@@",
    "+def status_class(code: int) -> int:",
    '+    """The first digit of a status code."""',
    "+    return code // 100",
    "+",
    "+",
    " class ProtocolError(Exception):",
    "*** Add File: tests/test_status.py",
    "+import unittest",
    "+",
    "+from h11._util import status_class",
    "+",
    "+",
    "+class StatusClass(unittest.TestCase):",
    "+    def test_it_is_the_first_digit(self):",
    "+        self.assertEqual(status_class(404), 4)",
    "*** Update File: README.md",
    "@@",
    " # h11",
    "+",
    "+`status_class(404)` is 4.",
    "*** End Patch",
]
EVERY_FILE = "for f in src/h11/*.py; do printf '# SPDX-License-Identifier: MIT\\n%s\\n' \"$(cat $f)\" > $f; done"


async def test_a_change_over_many_files_of_a_real_package_is_completed(tmp_path: Path, package: Path) -> None:
    tests = {"command": "PYTHONPATH=src python3 -B -m unittest discover -s tests -v 2>&1 | tail -5"}
    house_script = [
        answered("plan", plan("Know the class of a status", "Name the licence everywhere", "Say who wrote it")),
        answered("execute step 01", done("know the class"), {"patch": "\n".join(CLASS_OF_A_STATUS)}, tests),
        answered("execute step 02", done("name the licence", "chore"), {"command": EVERY_FILE}, tests),
        answered("execute step 03", done("say who", "docs"), addition("AUTHORS", ["Somebody <s@example.org>"])),
        *passed(1, 2, 3),
    ]
    async with open_house(tmp_path, *house_script) as house:
        run = await house.planned(await house.register(package))
        run = await house.finish(run["id"])
        assert (run["status"], run["reason"]) == ("completed", "steps_done")
        await check_commits(house, package, run)
        await check_statuses(house, run)
        before = names_in(package, "main")
        changed = changed_in(package, "main", run["branch"])
        assert changed == {name for name in before if name.endswith(".py")} | {
            "README.md",
            "AUTHORS",
            "tests/test_status.py",
        }
        attempts = await house.get(f"/protocols/{run['id']}/attempts")
        assert run["usage"]["input_tokens"] == sum(each["usage"]["input_tokens"] for each in attempts) > 0
        log = await house.http.get(f"/attempts/{attempts[1]['id']}/log")
        assert "OK" in log.text, "the agent's own test run passed"


async def test_with_automatic_progression_one_call_is_enough(tmp_path: Path, package: Path) -> None:
    script = [
        answered("plan", plan("First", "Second")),
        answered("execute step 01", done(), addition("a.txt", ["a"])),
        answered("execute step 02", done(), addition("b.txt", ["b"])),
        *passed(1, 2),
    ]
    policy = {"progression": "auto", "auto_qa_after_exec": True}
    async with open_house(tmp_path, *script) as house:
        run = await house.planned(await house.register(package), policy=policy)
        run = await house.at_rest(run["id"])
        assert run["status"] == "completed"
        await check_commits(house, package, run)


@pytest.fixture
def unusual(tmp_path: Path) -> Path:
    """Spaces and letters of many scripts in names, a submodule, a large binary file, and twenty thousand files."""
    library = make_origin(tmp_path / "library.git", {"lib.txt": b"a library\n"})
    commit = git(library, "rev-parse", "main").strip()
    noise = b"".join(hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(400_000))
    files = {
        "docs/Größe und Maß.md": "Das Maß ist voll.\n".encode(),
        "日本語/説明 ファイル.txt": "こんにちは\n".encode(),
        "with space/and 'quotes' & more.txt": b"one\n",
        "data/noise.bin": noise,
        ".gitmodules": f'[submodule "library"]\n\tpath = vendor/library\n\turl = {library}\n'.encode(),
    }
    files |= {f"many/{number // 100:03d}/{number:05d}.txt": b"%d\n" % number for number in range(20_000)}
    return make_origin(tmp_path / "sehr große Sammlung.git", files, {"vendor/library": commit})


async def test_a_repository_with_everything_unusual_is_completed(tmp_path: Path, unusual: Path) -> None:
    write = (
        "echo 'Mehr.' >> 'docs/Größe und Maß.md' && mv 日本語/'説明 ファイル.txt' 日本語/'新しい 名前.txt' && "
        "echo two >> \"with space/and 'quotes' & more.txt\" && printf x >> data/noise.bin && "
        "for n in 00 01 02; do echo changed > many/0$n/0${n}42.txt; done"
    )
    script = [
        answered("plan", plan("Größe ändern", "Ein paar Dateien mehr")),
        answered("execute step 01", done("change the size"), {"command": write}),
        answered("execute step 02", done("add some"), addition("neu/ein Ordner/überall.txt", ["hier"])),
        *passed(1, 2),
    ]
    async with open_house(tmp_path, *script) as house:
        run = await house.planned(await house.register(unusual))
        run = await house.finish(run["id"])
        assert run["status"] == "completed"
        await check_commits(house, unusual, run)
        assert changed_in(unusual, "main", run["branch"]) == {
            "docs/Größe und Maß.md",
            "日本語/説明 ファイル.txt",
            "日本語/新しい 名前.txt",
            "with space/and 'quotes' & more.txt",
            "data/noise.bin",
            "many/000/00042.txt",
            "many/001/00142.txt",
            "many/002/00242.txt",
            "neu/ein Ordner/überall.txt",
        }
        assert content_of(unusual, run["branch"], "日本語/新しい 名前.txt") == "こんにちは\n"
        entry = git(unusual, "ls-tree", run["branch"], "vendor/library")
        assert entry == git(unusual, "ls-tree", "main", "vendor/library")
