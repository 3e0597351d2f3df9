"""What the agent is kept from: our secrets, the repository's own configuration of Codex, and git."""

from pathlib import Path

import pytest

from tests.e2e.house import answered, done, open_house, sandbox_works, verdict
from tests.e2e.repositories import content_of, git, make_origin

SECRETS = {
    "CODEX_API_KEY": "sk-the-key-that-is-ours-0123456789",
    "SECRET_KEY": "the-seal-that-is-ours-0123456789abcdef",
    "WEBHOOK_TOKEN": "the-hook-that-is-ours-0123456789",
    "GITHUB_TOKEN": "ghp_TheForgeTokenThatIsOurs0123456789abcd",
}
LOOK_AROUND = "{ env; cat /proc/*/environ; } > seen.txt 2>&1"
ACT_ALONE = "git -c user.name=X -c user.email=x@example.org commit -qam 'by myself'; git push origin HEAD:main; true"


@pytest.mark.skipif(not sandbox_works(), reason="this machine allows no user namespaces")
async def test_the_agent_sees_no_secret_starts_nothing_of_the_repository_and_cannot_commit_or_push(
    tmp_path: Path,
) -> None:
    trap = tmp_path / "sprung"
    files = {
        ".codex/config.toml": f'[mcp_servers.trap]\ncommand = "touch"\nargs = ["{trap}"]\n'.encode(),
        ".codex/hooks.json": f'{{"SessionStart": [{{"command": "touch {trap}"}}]}}'.encode(),
        "notes.txt": b"one\n",
    }
    origin = make_origin(tmp_path / "origin.git", files)
    main = git(origin, "rev-parse", "main")
    script = [
        answered("execute step 01", done("look around"), {"command": LOOK_AROUND}, {"command": ACT_ALONE}),
        answered("qa step 01", verdict()),
    ]
    async with open_house(tmp_path / "house", *script, **SECRETS) as house:
        run = await house.with_steps(await house.register(origin), "Look around")
        run = await house.finish(run["id"])
        seen = content_of(origin, run["branch"], "seen.txt")
        assert "DEKSDENFLOW_RUN=" in seen, "it looked where our settings would be"
        assert [name for name, secret in SECRETS.items() if secret in seen] == []
        assert git(origin, "rev-parse", "main") == main
        subjects = git(origin, "log", "--format=%s", f"main..{run['branch']}").splitlines()
        assert subjects[0].startswith("feat: look around [protocol-")
        assert "by myself" not in subjects
        assert not trap.exists()
