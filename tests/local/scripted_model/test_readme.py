"""The scripts in the README of the scripted model are scripts, and the play for DeksdenFlow is one that it accepts."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from services.local.scripted_model import parse_script
from services.worker.answers import decode_execution, decode_plan, decode_qa

README = Path(__file__).parents[3] / "services" / "local" / "scripted_model" / "README.md"
SCRIPTS = re.findall(r"```toml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("text", SCRIPTS)
def test_every_script_is_accepted(text: str) -> None:
    assert parse_script(tomllib.loads(text)).conversations


def test_the_play_for_deksdenflow_answers_what_is_asked() -> None:
    conversations = tomllib.loads(SCRIPTS[-1])["conversations"]
    asked = [each["match"]["prompt"].split()[2].rstrip("$") for each in conversations]
    answers = [json.dumps(each["turns"][-1]["answer"]) for each in conversations]
    assert asked == ["plan", "execute", "qa"]
    assert [step.title for step in decode_plan(answers[0]).steps] == ["Say hello"]
    assert decode_execution(answers[1]).commit_type == "feat"
    assert decode_qa(answers[2]).verdict == "pass"
