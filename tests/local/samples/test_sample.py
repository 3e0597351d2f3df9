"""The sample repository: red before its script is played by the real Codex CLI, green after."""

import shutil
import subprocess

import msgspec
import pytest

from services.local.samples.sample import make_sample
from services.local.scripted_model import ScriptedModel, load_script
from services.worker import answers


def git(folder, *arguments):
    return subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True, text=True).stdout


def run_tests(sample):
    ran = subprocess.run(sample.test_command, cwd=sample.repository, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stderr


@pytest.fixture
def sample(tmp_path):
    return make_sample(tmp_path / "sample")


def test_the_sample_has_a_history_and_a_bare_origin(sample):
    subjects = git(sample.origin, "log", "--format=%s", "main").splitlines()
    assert subjects == ["Show that a cent gets lost", "Split the bill among friends", "Read a bill"]
    assert git(sample.origin, "rev-parse", "--is-bare-repository").strip() == "true"
    assert git(sample.origin, "symbolic-ref", "HEAD").strip() == "refs/heads/main"
    assert git(sample.repository, "status", "--porcelain") == ""


def test_the_sample_is_the_same_every_time_whatever_git_is_told_elsewhere(sample, tmp_path, monkeypatch):
    (tmp_path / ".gitconfig").write_text("[user]\nname = Someone\n[commit]\ngpgsign = true\n[core]\nautocrlf = true\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    again = make_sample(tmp_path / "again")
    monkeypatch.delenv("GIT_DIR")
    assert git(again.origin, "rev-parse", "main") == git(sample.origin, "rev-parse", "main")


def test_the_sample_is_not_made_over_another(sample):
    with pytest.raises(FileExistsError):
        make_sample(sample.repository.parent)


def test_one_test_of_the_sample_fails_because_of_the_bug(sample):
    code, said = run_tests(sample)
    assert code != 0
    assert "3999 != 4000 : for 3 friends" in said
    assert said.rstrip().endswith("FAILED (failures=1)")


async def played(codex, model, request, sandbox, schema):
    run = await codex.run(model.base_url, f"DeksdenFlow request: {request}\n\nDo it.", sandbox=sandbox, schema=schema)
    assert run.code == 0, (run.events, run.stderr)
    return run


async def test_its_script_makes_the_tests_pass_step_by_step(codex, sample):
    codex.repo = sample.repository
    script = msgspec.structs.replace(load_script(sample.script), delay_s=0)
    async with ScriptedModel(script) as model:
        run = await played(codex, model, "plan", "read-only", answers.PLAN_SCHEMA)
        plan = answers.decode_plan(run.messages[-1])
        assert [code for code, _ in run.commands] == [0, 0]
        assert "3999 != 4000" in run.commands[1][1]
        assert git(sample.repository, "status", "--porcelain") == ""
        for number in range(1, len(plan.steps) + 1):
            execution = f"execute step {number:02}"
            run = await played(codex, model, execution, "workspace-write", answers.EXECUTION_SCHEMA)
            done = answers.decode_execution(run.messages[-1])
            assert git(sample.repository, "status", "--porcelain") != ""
            git(sample.repository, "add", "-A")
            git(sample.repository, "-c", "user.name=T", "-c", "user.email=t@t", "commit", "-qm", done.commit_subject)
            assert run_tests(sample)[0] == 0
            judged = await played(codex, model, f"qa step {number:02}", "read-only", answers.QA_SCHEMA)
            assert answers.decode_qa(judged.messages[-1]).verdict == "pass"
            assert "OK" in judged.commands[0][1]
            assert git(sample.repository, "status", "--porcelain") == ""
    assert [step.type for step in plan.steps] == ["work"] * 3
    changed = git(sample.repository, "diff", "--name-only", "origin/main").splitlines()
    assert {"tabsplit/split.py", "tabsplit/tip.py", "tests/test_tip.py", "README.md"} <= set(changed)
    shown = "".join(
        line[4:] + "\n" for line in (sample.repository / "README.md").read_text().splitlines() if line[:4] == "    "
    )
    command = shown.splitlines()[0].removeprefix("$ ").split()
    assert shutil.which(command[0])
    printed = subprocess.run(command, cwd=sample.repository, capture_output=True, text=True, check=True).stdout
    assert printed == shown.partition("\n")[2]
