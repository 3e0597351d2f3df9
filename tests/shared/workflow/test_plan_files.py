"""What a plan puts on the branch, whatever its titles hold."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.schemas.statuses import StepType
from shared.workflow.plan_files import Line, file_name


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Fix the sum", "07-fix-the-sum.md"),
        ("../../x", "07-x.md"),
        ("/etc/passwd", "07-etc-passwd.md"),
        ("..", "07-task.md"),
        ("a\\b:c*d?", "07-a-b-c-d.md"),
        ("Ünïcode naïve", "07-unicode-naive.md"),
        ("Починить сумму", "07-task.md"),
        ("-rf --help", "07-rf-help.md"),
        (".git", "07-git.md"),
    ],
)
def test_a_title_is_data_and_the_name_of_its_file_is_ours(title: str, name: str) -> None:
    assert file_name(7, title) == name


@given(st.text())
def test_no_title_makes_a_name_that_leaves_its_folder(title: str) -> None:
    name = Line(7, title, StepType.WORK, "do it", ()).file_name
    assert re.fullmatch(r"\d\d-[a-z0-9]+(-[a-z0-9]+)*\.md", name)
    assert len(name) <= len("07-.md") + 48
