"""Finding Codex, and seeing whether its sandbox works here."""

from pathlib import Path

import pytest

from services.worker.codex.binary import TESTED_VERSION, SandboxProbe, Source, find_codex
from shared.errors import Category, JobError
from tests.worker.codex.ground import CODEX, Ground, needs_sandbox


async def test_the_wheel_is_found_by_itself_and_is_the_tested_version() -> None:
    found = await find_codex(None)
    assert (found.path, found.version, found.source) == (CODEX, TESTED_VERSION, Source.WHEEL)
    assert found.tested


async def test_the_setting_comes_first(ground: Ground) -> None:
    fake = ground.fake("stubborn")
    found = await find_codex(fake)
    assert (found.path, found.source) == (fake, Source.SETTING)


@pytest.mark.parametrize("content", [None, "#!/bin/sh\necho cat 1.0\n", "#!/bin/sh\nexit 3\n", "no program"])
async def test_what_is_no_codex_is_refused_with_how_to_install_it(tmp_path: Path, content: str | None) -> None:
    program = tmp_path / "codex"
    if content is not None:
        program.write_text(content)
        program.chmod(0o755)
    with pytest.raises(JobError, match="pip install openai-codex-cli-bin==") as caught:
        await find_codex(program)
    assert caught.value.category is Category.CODEX_MISSING


@needs_sandbox
async def test_the_sandbox_of_this_machine_works(ground: Ground) -> None:
    await SandboxProbe(CODEX, ground.root / "probe").check()


async def test_a_missing_sandbox_is_an_error_that_says_what_to_do(ground: Ground) -> None:
    probe = SandboxProbe(ground.fake("no_sandbox"), ground.root / "probe")
    with pytest.raises(JobError, match="DEKSDENFLOW_CODEX_SANDBOX=off") as caught:
        await probe.check()
    assert caught.value.category is Category.SANDBOX_MISSING
    assert "bwrap: Creating new namespace failed" in caught.value.message


@needs_sandbox
async def test_a_machine_without_user_namespaces_is_noticed(ground: Ground) -> None:
    inside = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    program = ground.root / "codex"
    program.write_text(f"#!/bin/sh\nexec unshare --user --map-root-user sh -c '{inside}' sh {CODEX} \"$@\"\n")
    program.chmod(0o755)
    with pytest.raises(JobError, match="user namespaces") as caught:
        await SandboxProbe(program, ground.root / "probe").check()
    assert caught.value.category is Category.SANDBOX_MISSING


async def test_a_sandbox_that_holds_nothing_back_is_a_missing_one(ground: Ground) -> None:
    program = ground.root / "codex"
    # Runs what it is given, without any walls.
    program.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n')
    program.chmod(0o755)
    with pytest.raises(JobError) as caught:
        await SandboxProbe(program, ground.root / "probe").check()
    assert caught.value.category is Category.SANDBOX_MISSING


async def test_the_answer_is_kept_until_it_is_asked_for_afresh(ground: Ground) -> None:
    program = ground.fake("no_sandbox")
    probe = SandboxProbe(program, ground.root / "probe")
    with pytest.raises(JobError):
        await probe.check()
    program.write_text("#!/bin/sh\nexit 0\n")
    with pytest.raises(JobError):
        await probe.check()
    await probe.check(afresh=True)
    await probe.check()
