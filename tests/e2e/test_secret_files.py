"""A secret that is given as a file: what the services may read there, the agent may not."""

from pathlib import Path

import pytest

from tests.e2e.house import answered, done, open_house, sandbox_works, verdict
from tests.e2e.repositories import content_of, make_origin


@pytest.mark.skipif(not sandbox_works(), reason="this machine allows no user namespaces")
async def test_the_agent_cannot_read_the_file_of_a_secret_wherever_it_lies(tmp_path: Path) -> None:
    given = tmp_path / "home" / ".openai-key"
    given.parent.mkdir()
    given.write_text("sk-the-key-that-is-ours-0123456789\n")
    beside = given.with_name("plain.txt")
    beside.write_text("nothing special\n")
    origin = make_origin(tmp_path / "origin.git", {"notes.txt": b"one\n"})
    # Backwards, since a redactor would not know it so.
    look = f"{{ rev {given}; cat {beside}; }} > seen.txt 2>&1; true"
    script = [answered("execute step 01", done("look"), {"command": look}), answered("qa step 01", verdict())]
    async with open_house(tmp_path / "house", *script, CODEX_API_KEY_FILE=str(given)) as house:
        run = await house.with_steps(await house.register(origin), "Look")
        run = await house.finish(run["id"])
        seen = content_of(origin, run["branch"], "seen.txt")
    assert "nothing special" in seen, "it could look beside it"
    assert "9876543210" not in seen


@pytest.mark.skipif(not sandbox_works(), reason="this machine allows no user namespaces")
async def test_the_agent_cannot_read_the_file_of_a_projects_secret_either(tmp_path: Path) -> None:
    given = tmp_path / "tokens" / "forge"
    given.parent.mkdir()
    given.write_text("ghp_ourtoken0123456789\n")
    origin = make_origin(tmp_path / "origin.git", {"notes.txt": b"one\n"})
    look = f"{{ rev {given}; echo looked; }} > seen.txt 2>&1; true"
    script = [answered("execute step 01", done("look"), {"command": look}), answered("qa step 01", verdict())]
    async with open_house(tmp_path / "house", *script) as house:
        project = await house.register(origin)
        await house.http.put(f"/projects/{project}/secrets/forge_token", json={"file_name": str(given)})
        run = await house.finish((await house.with_steps(project, "Look"))["id"])
        seen = content_of(origin, run["branch"], "seen.txt")
    assert "looked" in seen
    assert "9876543210" not in seen
